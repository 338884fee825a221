/* SPDX-License-Identifier: MIT
 *
 * Visits as they come: by chance, in bursts, by day and night, by the clock. The popularity of apps follows Zipf's law
 * with s = 1, as that of web sites does; with cron each has a period instead.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "sim/trace.h"

#define DAY_S        86400.0
#define BURST_VISITS 10.0 /* on average */
#define BURST_GAP_S  15.0
#define NIGHT        0.05 /* of the day's rate */
#define JITTER_S     5.0

/* SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine. */
static double chance(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static double exponential(uint64_t *state, double mean)
{
	return -mean * log(1 - chance(state));
}

struct making {
	struct niwa_trace *trace;
	uint64_t random;
	uint32_t app;
	double rate, length_s; /* visits a second of this app */
	struct niwa_error *err;
};

static int visit(struct making *m, double at_s)
{
	return at_s < 0 || at_s >= m->length_s ? 0 : niwa_trace_add(m->trace, m->app, (uint64_t)(at_s * 1e6), m->err);
}

static int make_poisson(struct making *m)
{
	int r = 0;

	for (double t = exponential(&m->random, 1 / m->rate); r == 0 && t < m->length_s;
	     t += exponential(&m->random, 1 / m->rate))
		r = visit(m, t);
	return r;
}

/* Somebody comes, reads on for a while, and goes. */
static int make_bursty(struct making *m)
{
	double pause = BURST_VISITS / m->rate;
	int r = 0;

	for (double t = exponential(&m->random, pause); r == 0 && t < m->length_s;
	     t += exponential(&m->random, pause)) {
		double at = t;

		do {
			r = visit(m, at);
			at += exponential(&m->random, BURST_GAP_S);
		} while (r == 0 && chance(&m->random) > 1 / BURST_VISITS);
	}
	return r;
}

/* A sine over the day, with hardly anybody at night. Each app's noon is its own by up to two hours. */
static int make_daily(struct making *m)
{
	double most = 3 * m->rate, noon = 12 + 4 * (chance(&m->random) - 0.5);
	int r = 0;

	for (double t = exponential(&m->random, 1 / most); r == 0 && t < m->length_s;
	     t += exponential(&m->random, 1 / most)) {
		double hour = fmod(t / 3600, 24), height = cos((hour - noon) / 24 * 2 * M_PI);

		if (chance(&m->random) < (height > 0 ? height : 0) + NIGHT / 3)
			r = visit(m, t);
	}
	return r;
}

/* By the clock, a few seconds early or late. What is asked more often than each minute is no matter of sleeping. */
static int make_cron(struct making *m)
{
	static const double periods[] = {60, 300, 600, 900, 1800, 3600, 3600, 6 * 3600, DAY_S, DAY_S};
	double period = periods[(size_t)(chance(&m->random) * 10) % 10], at = chance(&m->random) * period;
	int r = 0;

	for (; r == 0 && at < m->length_s; at += period)
		r = visit(m, at + JITTER_S * (chance(&m->random) - 0.5));
	return r;
}

static const struct {
	const char *name;
	int (*make)(struct making *m);
} kinds[] = {{"poisson", make_poisson}, {"bursty", make_bursty}, {"daily", make_daily}, {"cron", make_cron}};
const char *const niwa_trace_kinds[] = {"poisson", "bursty", "daily", "cron", NULL};

static double harmonic(unsigned n)
{
	double sum = 0;

	for (unsigned k = 1; k <= n; k++)
		sum += 1.0 / k;
	return sum;
}

static int make_app(const struct niwa_trace_plan *plan, struct niwa_trace *t, uint32_t n, double first,
		    struct niwa_error *err)
{
	struct making m = {.trace = t,
			   .random = plan->seed * UINT64_C(1000003) + n,
			   .app = n,
			   .rate = first / (n + 1),
			   .length_s = (double)plan->length_us / 1e6,
			   .err = err};

	t->names[n] = niwa_asprintf("%s%u", plan->kind, n + 1);
	if (!t->names[n])
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make visits");
	t->app_count++;
	for (size_t k = 0; k < NIWA_ARRAY_LEN(kinds); k++)
		if (strcmp(kinds[k].name, plan->kind) == 0)
			return kinds[k].make(&m);
	return niwa_fail(err, NIWA_CALLER, 0,
			 "there are no visits of kind '%.40s'; allowed: poisson, bursty, daily, cron", plan->kind);
}

int niwa_trace_make(const struct niwa_trace_plan *plan, struct niwa_trace *ret, struct niwa_error *err)
{
	struct niwa_trace t = {.names = niwa_zalloc((plan->apps + 1) * sizeof(char *))};
	double first = plan->visits / DAY_S / harmonic(plan->apps);
	int r = t.names ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make visits");

	for (uint32_t n = 0; r == 0 && n < plan->apps; n++)
		r = make_app(plan, &t, n, first, err);
	if (r == 0 && !t.count)
		r = niwa_fail(err, NIWA_CALLER, 0, "nobody came; more visits or a longer time are needed");
	if (r < 0) {
		niwa_trace_fini(&t);
		return r;
	}
	t.end_us = plan->length_us;
	niwa_trace_done(&t);
	*ret = t;
	return 0;
}
