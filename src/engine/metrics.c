/* SPDX-License-Identifier: MIT
 *
 * Counting. The text is made in metrics_text.c.
 */
#include "engine/metrics.h"

#include <string.h>

#include "base/memory.h"
#include "engine/metrics_private.h"

static const uint32_t bounds[][NIWA_BUCKETS - 1] = {
	[NIWA_SCALE_WAIT] = {500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000,
			     5000000, 10000000, 60000000},
	[NIWA_SCALE_TURN] = {50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000, 20000, 50000, 100000},
};

static const char *const paths[NIWA_PATH_COUNT] = {
	[NIWA_PATH_START] = "start", [NIWA_PATH_RESTORE] = "restore", [NIWA_PATH_THAW] = "thaw"};

uint32_t niwa_histogram_bound(enum niwa_scale scale, unsigned bucket)
{
	return bounds[scale][bucket];
}

const char *niwa_metrics_path_name(enum niwa_wake_path path)
{
	return paths[path];
}

void niwa_histogram_add(struct niwa_histogram *h, uint64_t us)
{
	unsigned bucket = 0;

	while (bucket < NIWA_BUCKETS - 1 && us > bounds[h->scale][bucket])
		bucket++;
	h->counts[bucket]++;
	h->sum_us += us;
}

void niwa_metrics_init(struct niwa_metrics *m)
{
	*m = (struct niwa_metrics){.turn.scale = NIWA_SCALE_TURN}; /* the others are of what somebody waits for */
}

enum niwa_wake_path niwa_metrics_path(const char *name)
{
	for (enum niwa_wake_path p = 0; p < NIWA_PATH_COUNT; p++)
		if (strcmp(paths[p], name) == 0)
			return p;
	return NIWA_PATH_START;
}

void niwa_metrics_woke(struct niwa_metrics *m, const char *path, enum niwa_wake_outcome outcome)
{
	m->wakes[niwa_metrics_path(path)][outcome]++;
}

void niwa_metrics_stage(struct niwa_metrics *m, const char *path, enum niwa_stage stage, uint64_t accepted_us,
			uint64_t reached_us)
{
	if (accepted_us && reached_us >= accepted_us)
		niwa_histogram_add(&m->stages[niwa_metrics_path(path)][stage], reached_us - accepted_us);
}
