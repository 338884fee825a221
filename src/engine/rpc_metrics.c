/* SPDX-License-Identifier: MIT
 *
 * metrics.get: what is counted in struct niwa_metrics, and what is known or quickly read elsewhere. Images on disk are
 * looked at by a thread, at most once a minute and only while somebody asks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/background.h"
#include "engine/relay_stats.h"
#include "engine/rpc.h"
#include "engine/snapshot_host.h"
#include "engine/start.h"
#include "engine/usage.h"

#define DISK_PAUSE_US (60 * NIWA_SEC)
#define DISK_SHARE    100 /* of the time at most one part goes into looking */

/* What there is of images, as of the last look. */
struct niwa_metrics_disk {
	struct niwa_engine *engine;
	struct niwa_store store;
	struct niwa_store_list list;
	uint64_t count, bytes, began_us, not_before_us;
	bool looking;
};

static int look_work(void *arg, struct niwa_error *err)
{
	struct niwa_metrics_disk *d = arg;

	return niwa_store_list(&d->store, &d->list, err);
}

static void look_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_metrics_disk *d = arg;
	uint64_t now = niwa_now_us(), pause = (now - d->began_us) * DISK_SHARE;

	(void)err; /* whoever lists them is told */
	if (r >= 0) {
		d->count = d->list.count;
		d->bytes = d->list.bytes;
	}
	niwa_store_list_fini(&d->list);
	d->not_before_us = now + (pause > DISK_PAUSE_US ? pause : DISK_PAUSE_US);
	d->looking = false;
}

static const struct niwa_metrics_disk *look_at_disk(struct niwa_engine *e)
{
	struct niwa_metrics_disk *d = e->metrics_disk;
	struct niwa_error err;

	if (!e->snapshots || (!d && !(d = e->metrics_disk = niwa_zalloc(sizeof(*d)))))
		return NULL;
	if (d->looking || niwa_now_us() < d->not_before_us)
		return d;
	d->engine = e;
	d->store = e->snapshots->store;
	d->began_us = niwa_now_us();
	d->looking = niwa_background_run(e->event, look_work, look_done, d, &err) >= 0;
	return d;
}

static uint64_t number_in(const char *path, unsigned field)
{
	char text[128], *at = text;

	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return 0;
	while (field--)
		at += strcspn(at, " ") + 1;
	return strtoull(at, NULL, 10);
}

static uint64_t cpu_us(void)
{
	struct rusage u = {0};

	(void)getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NIWA_SEC +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void gather(struct niwa_engine *e, struct niwa_figures *f)
{
	const struct niwa_metrics_disk *disk = look_at_disk(e);
	const struct niwa_usage_round *usage;

	niwa_usage_want(e);
	usage = niwa_usage_last(e);

	*f = (struct niwa_figures){
		.version = NIWA_VERSION,
		.started_realtime_us = niwa_realtime_us() - (niwa_now_us() - e->started_us),
		.cpu_us = cpu_us(),
		.resident_bytes = number_in("/proc/self/statm", 1) * (uint64_t)sysconf(_SC_PAGESIZE),
		.keep_up = e->keep != NULL,
		.relay_up = e->relay != NULL,
		.tenants = niwa_map_count(e->tenants),
		.instances = niwa_map_count(e->instances),
		.starts_under_way = e->starts.busy,
		.starts_limit = e->starts.places,
		.start_queue = e->starts.length,
		.memory_queue = e->short_count,
		.folder_queue = niwa_start_waiting_for_folders(e),
		.behind_queue = e->beside_waiting,
		.waiting = niwa_map_count(e->waiters_by_ticket),
		.silent = niwa_map_count(e->silent),
		.memory = usage ? usage->memory : NULL,
		.apps_cpu_us = niwa_usage_cpu_total_us(e),
		.failures = e->counts.failures,
		.crashes = e->counts.crashes,
		.leftovers = e->counts.leftovers,
		.repairs = e->counts.repairs,
		.events_lost = e->counts.overflows,
		.failed_commits = e->counts.failed_commits,
		.dumps = e->counts.dumps,
		.failed_dumps = e->counts.failed_dumps,
		.restores = e->counts.restores,
		.failed_restores = e->counts.failed_restores,
		.dumping = e->dumping,
		.snapshots = disk ? disk->count : 0,
		.snapshot_bytes = disk ? disk->bytes : 0,
		.snapshot_limit_bytes = e->config.snapshot_bytes,
		.conntrack_entries = number_in("/proc/sys/net/netfilter/nf_conntrack_count", 0),
		.conntrack_limit = number_in("/proc/sys/net/netfilter/nf_conntrack_max", 0),
		.rpc_connections = niwa_rpc_connections(e),
	};
	memcpy(f->relay, e->relay_counters, sizeof(f->relay));
}

static void answer(struct niwa_engine *e, void *arg)
{
	struct niwa_call *call = arg;
	struct niwa_text text = {0};
	struct niwa_figures figures;

	gather(e, &figures);
	niwa_metrics_text(&e->metrics, &figures, &text);
	if (text.failed)
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
	else
		niwa_call_answer(call, json_pack("{s:s}", "text", text.data));
	niwa_text_fini(&text);
}

void niwa_rpc_metrics_get(struct niwa_call *call)
{
	niwa_relay_stats_then(call->engine, answer, call);
}
