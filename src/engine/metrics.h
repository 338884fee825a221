/* SPDX-License-Identifier: MIT
 *
 * What is counted for monitoring, and its text in the format of Prometheus (exposition format 0.0.4). Everything is
 * counted where it happens, so telling it takes the same short time however many apps there are. Pure: no clock, no
 * files. No label has a value that grows with what is declared (names of apps, tenants).
 */
#ifndef NIWA_ENGINE_METRICS_H
#define NIWA_ENGINE_METRICS_H

#include <stdint.h>

#include "base/text.h"
#include "engine/state.h"

enum niwa_scale {
	NIWA_SCALE_WAIT, /* 0.5 ms to 60 s: what somebody waits for */
	NIWA_SCALE_TURN, /* 50 us to 100 ms: turns of the loop */
};
#define NIWA_BUCKETS 16 /* of each scale, the last one without an end */

struct niwa_histogram {
	uint64_t counts[NIWA_BUCKETS]; /* of values up to the bucket's bound and above the one before */
	uint64_t sum_us;
	enum niwa_scale scale;
};
void niwa_histogram_add(struct niwa_histogram *h, uint64_t us);

enum niwa_wake_path { NIWA_PATH_START, NIWA_PATH_RESTORE, NIWA_PATH_THAW, NIWA_PATH_COUNT };
enum niwa_wake_outcome {
	NIWA_WAKE_OK,
	NIWA_WAKE_FAILED,
	NIWA_WAKE_FELL_BACK, /* an image could not be restored: a start followed, for the same visitors */
	NIWA_WAKE_GIVEN_UP,  /* stopped or removed before it was ready */
	NIWA_WAKE_OUTCOMES,
};

/* Since the connection was accepted. */
enum niwa_stage {
	NIWA_STAGE_DECIDED,
	NIWA_STAGE_CLONED,
	NIWA_STAGE_EXECUTED,
	NIWA_STAGE_READY,
	NIWA_STAGE_CONNECTED,
	NIWA_STAGE_FIRST_BYTE,
	NIWA_STAGE_COUNT,
};

/* Why a client or a waiter was not let through to an app. */
enum niwa_refusal_reason {
	NIWA_REFUSED_WAKE_FAILED,                /* waited for a wake that failed or was given up */
	NIWA_REFUSED_MAX_WAITING,                /* max_waiting of the app */
	NIWA_REFUSED_BACK_OFF,                   /* the app failed again and again */
	NIWA_REFUSED_SILENT,                     /* too many connections of the app without a byte */
	NIWA_REFUSED_CONNECT,                    /* nothing listens in the app */
	NIWA_REFUSED_REMOVED,                    /* the app was removed meanwhile */
	NIWA_REFUSED_UNDECLARED,                 /* no such app or port */
	NIWA_REFUSED_MEMORY,                     /* niwad is out of memory */
	NIWA_REFUSED_FROM,                       /* wake.from of the port */
	NIWA_REFUSED_WAKES,                      /* wake.wakes of the port */
	NIWA_REFUSED_START,                      /* the first of those for which a start itself is refused: */
	NIWA_REFUSED_QUEUE = NIWA_REFUSED_START, /* wake_queue */
	NIWA_REFUSED_TENANT_QUEUE,               /* the part of it that a tenant may have */
	NIWA_REFUSED_HOST_MEMORY,                /* it does not fit */
	NIWA_REFUSED_TENANT_AWAKE,               /* limits.awake of the tenant */
	NIWA_REFUSED_COUNT,
};

struct niwa_metrics {
	uint64_t wakes[NIWA_PATH_COUNT][NIWA_WAKE_OUTCOMES];
	struct niwa_histogram stages[NIWA_PATH_COUNT][NIWA_STAGE_COUNT];
	struct niwa_histogram commit, turn;
	uint64_t refusals[NIWA_REFUSED_COUNT];
	uint64_t starts_refused[NIWA_REFUSED_COUNT]; /* from NIWA_REFUSED_START on; also those that nobody waits for */
	uint64_t apps[NIWA_STATE_COUNT], moves[NIWA_STATE_COUNT]; /* now; moves to it */
};
void niwa_metrics_init(struct niwa_metrics *m);

/* "start", "restore", "thaw"; what is none of them counts as a start. */
enum niwa_wake_path niwa_metrics_path(const char *name);
const char *niwa_metrics_path_name(enum niwa_wake_path path);
void niwa_metrics_woke(struct niwa_metrics *m, const char *path, enum niwa_wake_outcome outcome);
/* A stage of a wake was reached; either 0: it was not. */
void niwa_metrics_stage(struct niwa_metrics *m, const char *path, enum niwa_stage stage, uint64_t accepted_us,
			uint64_t reached_us);

/* What is not counted here: read or known elsewhere when it is asked for. */
struct niwa_figures {
	const char *version;
	uint64_t started_realtime_us, cpu_us, resident_bytes;
	uint64_t keep_up, relay_up;
	uint64_t tenants, instances, starts_under_way, starts_limit;
	uint64_t start_queue, memory_queue, folder_queue, behind_queue, waiting, silent;
	const uint64_t *memory; /* by state; NULL: not known yet */
	uint64_t apps_cpu_us;
	uint64_t crashes, leftovers, repairs, events_lost;
	uint64_t failures, failed_commits;
	uint64_t dumps, failed_dumps, restores, failed_restores, dumping;
	uint64_t snapshots, snapshot_bytes, snapshot_limit_bytes;
	uint64_t relay[8]; /* as in NIWA_RELAY_STATS */
	uint64_t conntrack_entries, conntrack_limit;
	uint64_t rpc_connections;
};

/* Appends all of it. */
void niwa_metrics_text(const struct niwa_metrics *m, const struct niwa_figures *f, struct niwa_text *out);

#endif
