/* SPDX-License-Identifier: MIT
 *
 * The transition table.
 */
#include "engine/state.h"

#define TO(s) (1u << (s))

static const struct {
	const char *name;
	unsigned next; /* set of states */
} table[NIWA_STATE_COUNT] = {
	[NIWA_STOPPED] = {"stopped", TO(NIWA_STARTING) | TO(NIWA_SAVED)},
	[NIWA_STARTING] = {"starting", TO(NIWA_RUNNING) | TO(NIWA_STOPPING) | TO(NIWA_STOPPED)},
	[NIWA_RUNNING] = {"running", TO(NIWA_FREEZING) | TO(NIWA_STARTING) | TO(NIWA_SAVING) | TO(NIWA_STOPPING) |
					     TO(NIWA_STOPPED)},
	[NIWA_FREEZING] = {"freezing", TO(NIWA_FROZEN) | TO(NIWA_RUNNING) | TO(NIWA_STOPPING) | TO(NIWA_STOPPED)},
	[NIWA_FROZEN] = {"frozen",
			 TO(NIWA_RUNNING) | TO(NIWA_PAGED) | TO(NIWA_SAVING) | TO(NIWA_STOPPING) | TO(NIWA_STOPPED)},
	[NIWA_PAGED] = {"paged", TO(NIWA_RUNNING) | TO(NIWA_SAVING) | TO(NIWA_STOPPING) | TO(NIWA_STOPPED)},
	[NIWA_SAVING] = {"saving", TO(NIWA_SAVED) | TO(NIWA_RUNNING) | TO(NIWA_STOPPING) | TO(NIWA_STOPPED)},
	[NIWA_SAVED] = {"saved", TO(NIWA_RESTORING) | TO(NIWA_STARTING) | TO(NIWA_STOPPED)},
	[NIWA_RESTORING] = {"restoring", TO(NIWA_RUNNING) | TO(NIWA_STARTING) | TO(NIWA_STOPPING) | TO(NIWA_STOPPED)},
	[NIWA_STOPPING] = {"stopping", TO(NIWA_STOPPED) | TO(NIWA_STARTING) | TO(NIWA_SAVED)},
};

const char *niwa_state_name(enum niwa_state s)
{
	return table[s].name;
}

bool niwa_state_may_follow(enum niwa_state from, enum niwa_state to)
{
	return table[from].next & TO(to);
}

bool niwa_state_is_down(enum niwa_state s)
{
	return s == NIWA_STOPPED || s == NIWA_SAVED;
}

bool niwa_state_is_awake(enum niwa_state s)
{
	return s == NIWA_RUNNING || s == NIWA_FREEZING || s == NIWA_FROZEN || s == NIWA_PAGED;
}
