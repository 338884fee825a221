/* SPDX-License-Identifier: MIT
 *
 * CRIU as a child of niwa-keep: one program with a deadline and a log, for a dump, a restore, or its look at the
 * kernel. What its end means is the caller's; what it said is read from its log.
 */
#ifndef NIWA_ENGINE_CRIU_H
#define NIWA_ENGINE_CRIU_H

#include "engine/engine_private.h"

/* How it ended. */
enum niwa_criu_end {
	NIWA_CRIU_DONE,    /* status 0 */
	NIWA_CRIU_REFUSED, /* another status; reason says why */
	NIWA_CRIU_BROKEN,  /* killed, by its deadline or by others, or never started */
};

/* Called in the loop, once. fd: of slot 0, where the plan sends one back, else -1; taken by setting it to -1. */
struct niwa_criu_result {
	enum niwa_criu_end end;
	bool late; /* BROKEN by its deadline */
	const char *reason;
	int fd;
	uint64_t instance;
	void *arg;
};
typedef void niwa_criu_done_fn(struct niwa_engine *e, struct niwa_criu_result *result);

struct niwa_criu_run {
	enum niwa_criu_work { NIWA_CRIU_CHECK, NIWA_CRIU_DUMP, NIWA_CRIU_RESTORE } work;
	uint64_t instance, deadline_us;
	const int *fds; /* behind the plan and before the log; stay the caller's */
	size_t nfds;
	niwa_criu_done_fn *done;
	void *arg;
};
/* Takes the plan (ended by it). ret_id names the child. */
int niwa_criu_start(struct niwa_engine *e, struct niwa_plan *plan, const struct niwa_criu_run *run, uint64_t *ret_id,
		    struct niwa_error *err);
/* Kills it; `done` is called with BROKEN when it has ended. One that is gone is fine. */
void niwa_criu_kill(struct niwa_engine *e, uint64_t id);
/* After `done` of a dump: keep forgets the child. Until then a new niwad finds it, and lets the app go on. */
void niwa_criu_forget(struct niwa_engine *e, uint64_t id);
bool niwa_criu_is(struct niwa_engine *e, uint64_t id);
/* One works on this instance, perhaps started by a niwad that is gone. */
bool niwa_criu_is_at(struct niwa_engine *e, uint64_t instance);
void niwa_criu_kept(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);
/* A child of a niwad that is gone: a check or restore ends, a dump may end by itself. */
void niwa_criu_adopt(struct niwa_engine *e, const struct niwa_keep_msg *m, const struct niwa_tag *tag, int *fds,
		     size_t nfds);
/* Every process of the instance that was left stopped runs again. */
void niwa_criu_go_on(struct niwa_engine *e, uint64_t instance);

#endif
