/* SPDX-License-Identifier: MIT
 *
 * The sleep states of an app: names, legal moves and how long a state may last at most. Pure tables;
 * the one setter is niwa_app_set_state (app.h). `paged` is laid out here and
 * entered once there is something to enter it.
 */
#ifndef NIWA_ENGINE_STATE_H
#define NIWA_ENGINE_STATE_H

#include <stdbool.h>

enum niwa_state {
	NIWA_STOPPED,   /* a record and a set element per port */
	NIWA_STARTING,  /* an instance is being made, or is not ready yet */
	NIWA_RUNNING,   /* ready; reached by the kernel alone */
	NIWA_FREEZING,  /* the freezer was asked */
	NIWA_FROZEN,    /* no instruction is executed; connections are kept by the kernel */
	NIWA_PAGED,     /* frozen, memory in swap */
	NIWA_SAVING,    /* an image is being written */
	NIWA_SAVED,     /* an image on disk */
	NIWA_RESTORING, /* an instance is being made from an image */
	NIWA_STOPPING,  /* left `awake`; the instance is ending; new connections are held */
	NIWA_STATE_COUNT,
};

const char *niwa_state_name(enum niwa_state s);
bool niwa_state_may_follow(enum niwa_state from, enum niwa_state to);
/* True in the states in which no instance is wanted and none is being made. */
bool niwa_state_is_down(enum niwa_state s);
/* True in states in which an instance exists that could serve after at most a thaw. */
bool niwa_state_is_awake(enum niwa_state s);

#endif
