/* SPDX-License-Identifier: MIT
 *
 * niwa-sim: replays visits through the governor's own function and compares it with fixed times. Reads a text and
 * prints a table; touches nothing of the host. See niwa-sim(1).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/standard.h"
#include "base/text.h"
#include "sim/replay.h"

#define MATCH_STEPS  14
#define WORTH_LEAST  (NIWA_SEC / 100)
#define WORTH_MOST   (1000000 * NIWA_SEC)
#define POLICIES_MAX 3

static const char usage[] =
	"usage: niwa-sim [OPTION]... [FILE]\n"
	"Replays visits (lines of FILE or standard input: SECONDS APP) and prints who waited how long, and how much\n"
	"memory was held: with a fixed time, with the declared times alone, with the governor.\n"
	"  --make KIND     no file: makes visits; poisson, bursty, daily or cron\n"
	"    --apps N      of so many apps (500)\n"
	"    --length TIME so long (7d)\n"
	"    --visits N    so many a day, all together (20000)\n"
	"    --seed N      others with another seed (1)\n"
	"    --print       prints them instead of replaying them\n"
	"  --fixed TIME    the fixed time to compare with (10m)\n"
	"  --freeze TIME, --page TIME, --save TIME\n"
	"                  the declared times (10s, 1m, 10m); never: not at all\n"
	"  --swap          there is swap: apps are paged\n"
	"  --worth TIME    a second of waiting is worth holding 1 GiB for so long (1m)\n"
	"  --match p99|mean  looks for the least worth at which this is not more than with the fixed time\n"
	"  --bytes SIZE, --paged PERCENT, --thaw TIME, --unpage TIME, --wake TIME\n"
	"                  what an app holds, and while paged; how long it takes to wake (50M, 20%, 1ms, 20ms, 400ms)\n"
	"  --alike         all apps are like that; else some are larger, some slower\n"
	"  --json          a JSON object\n"
	"  --version, --help\n";

struct options {
	struct niwa_trace_plan plan;
	struct niwa_sim_apps apps;
	uint64_t fixed_us, declared_us[NIWA_DEPTH_COUNT], worth_us;
	const char *file, *match;
	bool print, swap, json;
};

enum option_id {
	OPT_MAKE = 256,
	OPT_APPS,
	OPT_LENGTH,
	OPT_VISITS,
	OPT_SEED,
	OPT_PRINT,
	OPT_FIXED,
	OPT_FREEZE,
	OPT_PAGE,
	OPT_SAVE,
	OPT_SWAP,
	OPT_WORTH,
	OPT_MATCH,
	OPT_BYTES,
	OPT_PAGED,
	OPT_THAW,
	OPT_UNPAGE,
	OPT_WAKE,
	OPT_ALIKE,
	OPT_JSON,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"make", required_argument, NULL, OPT_MAKE},
	{"apps", required_argument, NULL, OPT_APPS},
	{"length", required_argument, NULL, OPT_LENGTH},
	{"visits", required_argument, NULL, OPT_VISITS},
	{"seed", required_argument, NULL, OPT_SEED},
	{"print", no_argument, NULL, OPT_PRINT},
	{"fixed", required_argument, NULL, OPT_FIXED},
	{"freeze", required_argument, NULL, OPT_FREEZE},
	{"page", required_argument, NULL, OPT_PAGE},
	{"save", required_argument, NULL, OPT_SAVE},
	{"swap", no_argument, NULL, OPT_SWAP},
	{"worth", required_argument, NULL, OPT_WORTH},
	{"match", required_argument, NULL, OPT_MATCH},
	{"bytes", required_argument, NULL, OPT_BYTES},
	{"paged", required_argument, NULL, OPT_PAGED},
	{"thaw", required_argument, NULL, OPT_THAW},
	{"unpage", required_argument, NULL, OPT_UNPAGE},
	{"wake", required_argument, NULL, OPT_WAKE},
	{"alike", no_argument, NULL, OPT_ALIKE},
	{"json", no_argument, NULL, OPT_JSON},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static int parse_time(const char *text, uint64_t *ret_us)
{
	if (strcmp(text, "never") == 0) {
		*ret_us = 0;
		return 0;
	}
	return niwa_parse_duration(text, ret_us);
}

static int parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret)
{
	int r = niwa_parse_u64(text, most, ret);

	return r < 0 ? r : *ret < least ? -ERANGE : 0;
}

static int parse_plan(struct niwa_trace_plan *plan, int id, const char *value)
{
	uint64_t n = 0;
	int r;

	if (id == OPT_MAKE) {
		plan->kind = value;
		for (unsigned k = 0; niwa_trace_kinds[k]; k++)
			if (strcmp(niwa_trace_kinds[k], value) == 0)
				return 0;
		return -EINVAL;
	}
	if (id == OPT_LENGTH)
		return niwa_parse_duration(value, &plan->length_us);
	if (id == OPT_SEED)
		return niwa_parse_u64(value, UINT64_MAX, &plan->seed);
	if (id == OPT_APPS) {
		r = parse_number(value, 1, NIWA_TRACE_APPS_MAX, &n);
		plan->apps = (unsigned)n;
		return r;
	}
	r = parse_number(value, 1, NIWA_TRACE_VISITS_MAX, &n);
	plan->visits = (double)n;
	return r;
}

static int parse_paged(const char *text, double *ret)
{
	uint32_t centi = 0;
	int r = niwa_parse_percent(text, &centi);

	*ret = centi / 10000.0;
	return r < 0 ? r : centi > 10000 ? -ERANGE : 0;
}

static int parse_value(struct options *o, int id, const char *value)
{
	switch (id) {
	case OPT_FIXED:
		return niwa_parse_duration(value, &o->fixed_us);
	case OPT_FREEZE:
		return parse_time(value, &o->declared_us[NIWA_DEPTH_FROZEN]);
	case OPT_PAGE:
		return parse_time(value, &o->declared_us[NIWA_DEPTH_PAGED]);
	case OPT_SAVE:
		return parse_time(value, &o->declared_us[NIWA_DEPTH_SAVED]);
	case OPT_WORTH:
		return niwa_parse_duration(value, &o->worth_us);
	case OPT_MATCH:
		o->match = value;
		return strcmp(value, "p99") == 0 || strcmp(value, "mean") == 0 ? 0 : -EINVAL;
	case OPT_BYTES:
		return niwa_parse_size(value, &o->apps.bytes);
	case OPT_PAGED:
		return parse_paged(value, &o->apps.paged);
	case OPT_THAW:
		return niwa_parse_duration(value, &o->apps.thaw_us);
	case OPT_UNPAGE:
		return niwa_parse_duration(value, &o->apps.page_us);
	case OPT_WAKE:
		return niwa_parse_duration(value, &o->apps.wake_us);
	default:
		return parse_plan(&o->plan, id, value);
	}
}

/* 0: go on; 1: all is said; 2: wrong usage. */
static int parse(struct options *o, int argc, char **argv)
{
	int id, at;

	while ((id = getopt_long(argc, argv, "", long_options, &at)) != -1) {
		if (id == OPT_HELP || id == OPT_VERSION) {
			(void)fputs(id == OPT_HELP ? usage : "niwa-sim " NIWA_VERSION "\n", stdout);
			return 1;
		}
		if (id == '?')
			return 2;
		o->print |= id == OPT_PRINT;
		o->swap |= id == OPT_SWAP;
		o->json |= id == OPT_JSON;
		o->apps.alike |= id == OPT_ALIKE;
		if (optarg && parse_value(o, id, optarg) < 0) {
			(void)fprintf(stderr, "niwa-sim: --%s: found '%s'; see niwa-sim --help for what is allowed\n",
				      long_options[at].name, optarg);
			return 2;
		}
	}
	if (argc - optind > 1 || (argc > optind && o->plan.kind) || (o->print && !o->plan.kind)) {
		(void)fputs("niwa-sim: one FILE, or --make; --print with --make only\n", stderr);
		return 2;
	}
	o->file = argc > optind ? argv[optind] : NULL;
	return 0;
}

static int load(const struct options *o, struct niwa_trace *trace, struct niwa_error *err)
{
	bool standard = !o->file || strcmp(o->file, "-") == 0;
	FILE *in;
	int r;

	if (o->plan.kind)
		return niwa_trace_make(&o->plan, trace, err);
	in = standard ? stdin : fopen(o->file, "re");
	if (!in)
		return niwa_fail(err, NIWA_CALLER, errno, "open '%s'", o->file);
	r = niwa_trace_read(in, standard ? "standard input" : o->file, trace, err);
	if (!standard)
		(void)fclose(in); /* read only */
	return r;
}

static double measure(const struct options *o, const struct niwa_sim_result *r)
{
	return strcmp(o->match, "p99") == 0 ? (double)r->p99_us : r->mean_us;
}

/* Halves the range of worths, in its logarithm: more worth, more memory, less waiting. */
static int find_worth(const struct options *o, const struct niwa_trace *trace, struct niwa_sim_policy *policy,
		      const struct niwa_sim_result *fixed, struct niwa_error *err)
{
	double low = log((double)WORTH_LEAST), high = log((double)WORTH_MOST);
	struct niwa_sim_result result;
	int r = 0;

	for (unsigned n = 0; r == 0 && n < MATCH_STEPS; n++) {
		double middle = (low + high) / 2;

		policy->worth_us = (uint64_t)exp(middle);
		r = niwa_sim_replay(trace, &o->apps, policy, &result, err);
		if (measure(o, &result) <= measure(o, fixed))
			high = middle;
		else
			low = middle;
	}
	policy->worth_us = (uint64_t)exp(high);
	return r;
}

static void print_time(uint64_t us)
{
	if (us < 1000)
		(void)printf(" %6" PRIu64 "us", us);
	else
		(void)printf(" %6.0fms", (double)us / 1e3);
}

static void print_table(const struct options *o, const struct niwa_trace *trace, const struct niwa_sim_policy *policies,
			const struct niwa_sim_result *results, size_t count)
{
	char worth[64];

	(void)printf("%zu apps, %zu visits, %.1f hours; a second of waiting is worth 1 GiB for %s%s\n\n",
		     trace->app_count, trace->count, (double)trace->end_us / 3600e6,
		     niwa_format_duration(policies[count - 1].worth_us / 1000 * 1000, worth, sizeof(worth)),
		     o->swap ? "" : "; no swap");
	(void)printf("%-10s %34s  %35s  %9s\n", "", "visits that found it", "waiting", "memory");
	(void)printf("%-10s %8s %8s %8s %8s  %8s %8s %8s %8s  %9s\n", "", "awake", "frozen", "paged", "saved", "mean",
		     "p50", "p99", "p99.9", "GiB hours");
	for (size_t n = 0; n < count; n++) {
		const struct niwa_sim_result *r = &results[n];

		(void)printf("%-10s", policies[n].name);
		for (unsigned d = 0; d < NIWA_DEPTH_COUNT; d++)
			(void)printf(" %8" PRIu64, r->wakes[d]);
		(void)putchar(' ');
		print_time((uint64_t)r->mean_us);
		print_time(r->p50_us);
		print_time(r->p99_us);
		print_time(r->p999_us);
		(void)printf("  %9.2f %4.0f%%\n", r->gib_hours, 100 * r->gib_hours / results[0].gib_hours);
	}
}

static int print_json(const struct niwa_trace *trace, const struct niwa_sim_policy *policies,
		      const struct niwa_sim_result *results, size_t count)
{
	json_t *list = json_array(),
	       *all = json_pack("{s:I,s:I,s:f,s:O}", "apps", (json_int_t)trace->app_count, "visits",
				(json_int_t)trace->count, "hours", (double)trace->end_us / 3600e6, "policies", list);
	int r;

	for (size_t n = 0; n < count; n++) {
		const struct niwa_sim_result *x = &results[n];

		(void)json_array_append_new(
			list,
			json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:I,s:I,s:I,s:I,s:I}", "policy", policies[n].name,
				  "awake", (json_int_t)x->wakes[NIWA_DEPTH_AWAKE], "frozen",
				  (json_int_t)x->wakes[NIWA_DEPTH_FROZEN], "paged",
				  (json_int_t)x->wakes[NIWA_DEPTH_PAGED], "saved",
				  (json_int_t)x->wakes[NIWA_DEPTH_SAVED], "pagings", (json_int_t)x->pagings,
				  "gib_hours", x->gib_hours, "mean_us", x->mean_us, "p50_us", (json_int_t)x->p50_us,
				  "p99_us", (json_int_t)x->p99_us, "p999_us", (json_int_t)x->p999_us, "most_us",
				  (json_int_t)x->most_us, "worth_us", (json_int_t)policies[n].worth_us));
	}
	r = json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	(void)putchar('\n');
	json_decref(list);
	json_decref(all);
	return r;
}

static int compare(const struct options *o, const struct niwa_trace *trace, struct niwa_error *err)
{
	struct niwa_sim_policy policies[POLICIES_MAX] = {
		{.name = "fixed", .declared_us = {[NIWA_DEPTH_SAVED] = o->fixed_us}},
		{.name = "declared", .swap = o->swap},
		{.name = "governor", .swap = o->swap, .learns = true, .worth_us = o->worth_us}};
	struct niwa_sim_result results[POLICIES_MAX];
	int r = 0;

	memcpy(policies[1].declared_us, o->declared_us, sizeof(o->declared_us));
	memcpy(policies[2].declared_us, o->declared_us, sizeof(o->declared_us));
	for (size_t n = 0; r == 0 && n < POLICIES_MAX; n++) {
		if (n == POLICIES_MAX - 1 && o->match)
			r = find_worth(o, trace, &policies[n], &results[0], err);
		if (r == 0)
			r = niwa_sim_replay(trace, &o->apps, &policies[n], &results[n], err);
	}
	if (r < 0)
		return r;
	if (!o->json)
		print_table(o, trace, policies, results, POLICIES_MAX);
	else if (print_json(trace, policies, results, POLICIES_MAX) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "print the result");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {
		.plan = {.apps = 500, .length_us = 7 * 86400 * NIWA_SEC, .visits = 20000, .seed = 1},
		.apps = {.bytes = 50 << 20,
			 .paged = 0.2,
			 .thaw_us = NIWA_MS,
			 .page_us = 20 * NIWA_MS,
			 .wake_us = 400 * NIWA_MS},
		.fixed_us = 600 * NIWA_SEC,
		.declared_us = {0, 10 * NIWA_SEC, 60 * NIWA_SEC, 600 * NIWA_SEC},
		.worth_us = 60 * NIWA_SEC,
	};
	struct niwa_trace trace = {0};
	struct niwa_error err;
	int r;

	if (niwa_standard_hold() < 0)
		return 1;
	r = parse(&o, argc, argv);
	if (r)
		return r == 1 ? 0 : 2;
	r = load(&o, &trace, &err);
	if (r == 0 && o.print)
		niwa_trace_print(&trace, stdout);
	else if (r == 0)
		r = compare(&o, &trace, &err);
	niwa_trace_fini(&trace);
	if (r == 0 && (fflush(stdout) || ferror(stdout)))
		r = niwa_fail(&err, NIWA_PERMANENT, errno, "write to standard output");
	if (r < 0)
		(void)fprintf(stderr, "niwa-sim: %s\n", err.msg);
	return r < 0;
}
