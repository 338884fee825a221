/* SPDX-License-Identifier: MIT
 *
 * Visits replayed through the governor's function, app by app: who waited how long, and how much memory was held.
 */
#ifndef NIWA_SIM_REPLAY_H
#define NIWA_SIM_REPLAY_H

#include "governor/governor.h"
#include "sim/trace.h"

/* What apps are like. Unless alike, size and time to wake of each are up to twice (four times) as much or as little,
 * by its name. */
struct niwa_sim_apps {
	uint64_t bytes, thaw_us, page_us, wake_us;
	double paged; /* part of the bytes that is held while paged */
	bool alike;
};

struct niwa_sim_policy {
	const char *name;
	uint64_t declared_us[NIWA_DEPTH_COUNT];
	bool learns, swap;
	uint64_t worth_us;
};

struct niwa_sim_result {
	uint64_t visits, wakes[NIWA_DEPTH_COUNT], pagings;
	double gib_hours, mean_us;
	uint64_t p50_us, p99_us, p999_us, most_us;
};

int niwa_sim_replay(const struct niwa_trace *trace, const struct niwa_sim_apps *apps,
		    const struct niwa_sim_policy *policy, struct niwa_sim_result *ret, struct niwa_error *err);

#endif
