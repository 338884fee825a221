/* SPDX-License-Identifier: MIT
 *
 * The text for Prometheus: a table of single numbers, and the families that have labels. Names are after its
 * conventions: what they count, the base unit, _total for what only grows.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/metrics_private.h"

static const char *const outcomes[NIWA_WAKE_OUTCOMES] = {[NIWA_WAKE_OK] = "ok",
							 [NIWA_WAKE_FAILED] = "failed",
							 [NIWA_WAKE_FELL_BACK] = "fell_back",
							 [NIWA_WAKE_GIVEN_UP] = "given_up"};
static const char *const stages[NIWA_STAGE_COUNT] = {
	[NIWA_STAGE_DECIDED] = "decided", [NIWA_STAGE_CLONED] = "cloned",       [NIWA_STAGE_EXECUTED] = "executed",
	[NIWA_STAGE_READY] = "ready",     [NIWA_STAGE_CONNECTED] = "connected", [NIWA_STAGE_FIRST_BYTE] = "first_byte"};
static const char *const reasons[NIWA_REFUSED_COUNT] = {
	[NIWA_REFUSED_WAKE_FAILED] = "wake_failed", [NIWA_REFUSED_MAX_WAITING] = "max_waiting",
	[NIWA_REFUSED_BACK_OFF] = "back_off",       [NIWA_REFUSED_SILENT] = "silent",
	[NIWA_REFUSED_CONNECT] = "connect",         [NIWA_REFUSED_REMOVED] = "removed",
	[NIWA_REFUSED_UNDECLARED] = "undeclared",   [NIWA_REFUSED_MEMORY] = "memory",
	[NIWA_REFUSED_FROM] = "wake_from",          [NIWA_REFUSED_WAKES] = "wakes",
	[NIWA_REFUSED_QUEUE] = "wake_queue",        [NIWA_REFUSED_TENANT_QUEUE] = "tenant_wake_queue",
	[NIWA_REFUSED_HOST_MEMORY] = "host_memory", [NIWA_REFUSED_TENANT_AWAKE] = "tenant_awake",
};

static void family(struct niwa_text *out, const char *name, const char *type, const char *help)
{
	niwa_text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void seconds(struct niwa_text *out, uint64_t us)
{
	niwa_text_addf(out, "%" PRIu64 ".%06" PRIu64, us / NIWA_SEC, us % NIWA_SEC);
}

/* One number a row; rows of one family stand together, and only the first of them says what it is. */

enum unit { PLAIN, SECONDS };
struct row {
	const char *name, *labels, *type, *help;
	enum unit unit;
	size_t at; /* in struct niwa_figures */
};
#define AT(field) offsetof(struct niwa_figures, field)

static const struct row rows[] = {
	{"niwa_engine_start_time_seconds", "", "gauge", "When niwad started, since 1970.", SECONDS,
	 AT(started_realtime_us)},
	{"niwa_engine_cpu_seconds_total", "", "counter", "CPU time of niwad.", SECONDS, AT(cpu_us)},
	{"niwa_engine_resident_memory_bytes", "", "gauge", "Memory of niwad.", PLAIN, AT(resident_bytes)},
	{"niwa_engine_connections", "", "gauge", "Connections to the sockets of niwad.", PLAIN, AT(rpc_connections)},
	{"niwa_up", "{program=\"keep\"}", "gauge", "Whether niwad talks to that program.", PLAIN, AT(keep_up)},
	{"niwa_up", "{program=\"relay\"}", NULL, NULL, PLAIN, AT(relay_up)},
	{"niwa_tenants", "", "gauge", "Tenants that have an app.", PLAIN, AT(tenants)},
	{"niwa_instances", "", "gauge", "Instances, those that end included.", PLAIN, AT(instances)},
	{"niwa_instances_cpu_seconds_total", "", "counter",
	 "CPU time of instances, read every few seconds; what one uses in its last seconds is missing.", SECONDS,
	 AT(apps_cpu_us)},
	{"niwa_starts_under_way", "", "gauge", "Starts at this moment: instances that are not ready yet.", PLAIN,
	 AT(starts_under_way)},
	{"niwa_starts_limit", "", "gauge", "How many may be (concurrent_starts).", PLAIN, AT(starts_limit)},
	{"niwa_queue_length", "{queue=\"start\"}", "gauge",
	 "What waits: starts for their turn, for memory or a limit of their tenant, for a folder that another instance "
	 "holds; instances beside others; connections for a wake, connections for their first byte.",
	 PLAIN, AT(start_queue)},
	{"niwa_queue_length", "{queue=\"memory\"}", NULL, NULL, PLAIN, AT(memory_queue)},
	{"niwa_queue_length", "{queue=\"folder\"}", NULL, NULL, PLAIN, AT(folder_queue)},
	{"niwa_queue_length", "{queue=\"beside\"}", NULL, NULL, PLAIN, AT(behind_queue)},
	{"niwa_queue_length", "{queue=\"wake\"}", NULL, NULL, PLAIN, AT(waiting)},
	{"niwa_queue_length", "{queue=\"first_byte\"}", NULL, NULL, PLAIN, AT(silent)},
	{"niwa_failures_total", "", "counter", "Starts that failed, also those that nobody waited for.", PLAIN,
	 AT(failures)},
	{"niwa_crashes_total", "", "counter", "Instances that served and ended unasked.", PLAIN, AT(crashes)},
	{"niwa_leftovers_total", "", "counter", "Things of instances that are gone, found and removed.", PLAIN,
	 AT(leftovers)},
	{"niwa_repairs_total", "", "counter", "Times the nftables table was changed by somebody else and put back.",
	 PLAIN, AT(repairs)},
	{"niwa_events_lost_total", "", "counter",
	 "Times the kernel lost events for niwad; the sets in the kernel were read instead.", PLAIN, AT(events_lost)},
	{"niwa_snapshots", "", "gauge", "Images of processes on disk, looked at once a minute.", PLAIN, AT(snapshots)},
	{"niwa_snapshot_bytes", "", "gauge", "What they take, looked at once a minute.", PLAIN, AT(snapshot_bytes)},
	{"niwa_snapshot_limit_bytes", "", "gauge", "What they may take (snapshot_bytes).", PLAIN,
	 AT(snapshot_limit_bytes)},
	{"niwa_snapshots_under_way", "", "gauge", "Images being taken.", PLAIN, AT(dumping)},
	{"niwa_snapshots_taken_total", "", "counter", "Images that were taken.", PLAIN, AT(dumps)},
	{"niwa_snapshot_restores_total", "", "counter", "Instances restored from an image.", PLAIN, AT(restores)},
	{"niwa_snapshot_failures_total", "{operation=\"restore\"}", "counter", "Restores and dumps that failed.", PLAIN,
	 AT(failed_restores)},
	{"niwa_snapshot_failures_total", "{operation=\"dump\"}", NULL, NULL, PLAIN, AT(failed_dumps)},
	{"niwa_relay_connections", "{state=\"open\"}", "gauge", "Connections in niwa-relay: all, and those held.",
	 PLAIN, AT(relay[0])},
	{"niwa_relay_connections", "{state=\"waiting\"}", NULL, NULL, PLAIN, AT(relay[1])},
	{"niwa_relay_accepted_total", "", "counter", "Connections accepted for sleeping apps.", PLAIN, AT(relay[2])},
	{"niwa_relay_spliced_total", "", "counter", "Of those, connected to their app.", PLAIN, AT(relay[3])},
	{"niwa_relay_answered_total", "", "counter", "Of those, answered with a failure in their protocol.", PLAIN,
	 AT(relay[4])},
	{"niwa_relay_refused_total", "", "counter", "Of those, reset.", PLAIN, AT(relay[5])},
	{"niwa_relay_bytes_total", "", "counter", "Bytes relayed, both ways.", PLAIN, AT(relay[6])},
	{"niwa_relay_over_limit_total", "", "counter", "Connections beyond a bound of niwa-relay.", PLAIN,
	 AT(relay[7])},
	{"niwa_commits_failed_total", "", "counter", "Transactions that were refused when they were to be stored.",
	 PLAIN, AT(failed_commits)},
	{"niwa_conntrack_entries", "", "gauge", "Connections the kernel remembers.", PLAIN, AT(conntrack_entries)},
	{"niwa_conntrack_limit", "", "gauge", "How many it can; beyond, the host drops packets.", PLAIN,
	 AT(conntrack_limit)},
};

static void add_rows(const struct niwa_figures *f, struct niwa_text *out)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		uint64_t value = *(const uint64_t *)(const void *)((const char *)f + r->at);

		if (r->type)
			family(out, r->name, r->type, r->help);
		niwa_text_addf(out, "%s%s ", r->name, r->labels);
		if (r->unit == SECONDS)
			seconds(out, value);
		else
			niwa_text_addf(out, "%" PRIu64, value);
		niwa_text_add(out, "\n");
	}
}

static void add_states(struct niwa_text *out, const char *name, const char *type, const char *help, const char *label,
		       const uint64_t values[NIWA_STATE_COUNT])
{
	family(out, name, type, help);
	for (enum niwa_state s = 0; s < NIWA_STATE_COUNT; s++)
		niwa_text_addf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, niwa_state_name(s), values[s]);
}

/* labels: "" or `a="b",`. Buckets are told as Prometheus wants them, each with all before it. */
static void add_histogram(struct niwa_text *out, const char *name, const char *labels, const struct niwa_histogram *h)
{
	uint64_t sum = 0;

	for (unsigned b = 0; b < NIWA_BUCKETS - 1; b++) {
		uint32_t us = niwa_histogram_bound(h->scale, b);

		sum += h->counts[b];
		niwa_text_addf(out, "%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, labels, us / 1e6, sum);
	}
	sum += h->counts[NIWA_BUCKETS - 1];
	niwa_text_addf(out, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n%s_sum", name, labels, sum, name);
	if (*labels)
		niwa_text_addf(out, "{%.*s}", (int)strlen(labels) - 1, labels);
	niwa_text_add(out, " ");
	seconds(out, h->sum_us);
	niwa_text_addf(out, "\n%s_count", name);
	if (*labels)
		niwa_text_addf(out, "{%.*s}", (int)strlen(labels) - 1, labels);
	niwa_text_addf(out, " %" PRIu64 "\n", sum);
}

/* A thaw makes no instance, and nobody takes its first byte but the app. */
static bool happens(enum niwa_wake_path path, enum niwa_stage stage)
{
	return path != NIWA_PATH_THAW || (stage != NIWA_STAGE_CLONED && stage != NIWA_STAGE_EXECUTED);
}

static void add_wakes(const struct niwa_metrics *m, struct niwa_text *out)
{
	char labels[64];

	family(out, "niwa_wakes_total", "counter", "Wakes that have ended, by what woke the app.");
	for (enum niwa_wake_path p = 0; p < NIWA_PATH_COUNT; p++)
		for (enum niwa_wake_outcome o = 0; o < NIWA_WAKE_OUTCOMES; o++)
			niwa_text_addf(out, "niwa_wakes_total{path=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
				       niwa_metrics_path_name(p), outcomes[o], m->wakes[p][o]);
	family(out, "niwa_wake_stage_seconds", "histogram",
	       "From a connection's being accepted to each stage of its wake; ready is what a visitor waits for.");
	for (enum niwa_wake_path p = 0; p < NIWA_PATH_COUNT; p++)
		for (enum niwa_stage s = 0; s < NIWA_STAGE_COUNT; s++) {
			if (!happens(p, s))
				continue;
			(void)snprintf(labels, sizeof(labels), "path=\"%s\",stage=\"%s\",", niwa_metrics_path_name(p),
				       stages[s]);
			add_histogram(out, "niwa_wake_stage_seconds", labels, &m->stages[p][s]);
		}
}

static void add_refusals(const struct niwa_metrics *m, struct niwa_text *out)
{
	family(out, "niwa_refusals_total", "counter", "Connections and requests that did not get to their app.");
	for (enum niwa_refusal_reason r = 0; r < NIWA_REFUSED_COUNT; r++)
		niwa_text_addf(out, "niwa_refusals_total{reason=\"%s\"} %" PRIu64 "\n", reasons[r], m->refusals[r]);
}

static void add_starts_refused(const struct niwa_metrics *m, struct niwa_text *out)
{
	family(out, "niwa_starts_refused_total", "counter", "Starts that were refused, waited for or not.");
	for (enum niwa_refusal_reason r = NIWA_REFUSED_START; r < NIWA_REFUSED_COUNT; r++)
		niwa_text_addf(out, "niwa_starts_refused_total{reason=\"%s\"} %" PRIu64 "\n", reasons[r],
			       m->starts_refused[r]);
}

void niwa_metrics_text(const struct niwa_metrics *m, const struct niwa_figures *f, struct niwa_text *out)
{
	family(out, "niwa_build_info", "gauge", "The version of niwad.");
	niwa_text_addf(out, "niwa_build_info{version=\"%s\"} 1\n", f->version);
	add_states(out, "niwa_apps", "gauge", "Declared apps by sleep state.", "state", m->apps);
	add_states(out, "niwa_state_changes_total", "counter", "Moves of apps to a sleep state.", "to", m->moves);
	if (f->memory)
		add_states(out, "niwa_memory_bytes", "gauge",
			   "Memory of instances by the sleep state of their app, read every few seconds.", "state",
			   f->memory);
	add_wakes(m, out);
	add_refusals(m, out);
	add_starts_refused(m, out);
	add_rows(f, out);
	family(out, "niwa_commit_seconds", "histogram", "From a transaction's being asked for to its being durable.");
	add_histogram(out, "niwa_commit_seconds", "", &m->commit);
	family(out, "niwa_loop_turn_seconds", "histogram", "Turns of niwad's loop; none should be longer than 2 ms.");
	add_histogram(out, "niwa_loop_turn_seconds", "", &m->turn);
}
