/* SPDX-License-Identifier: MIT
 *
 * `niwa exec`: one more process in a running instance, made by keep.
 */
#ifndef NIWA_ENGINE_EXEC_H
#define NIWA_ENGINE_EXEC_H

#include "engine/engine_private.h"

/* With err, status is 127 or 126 as a shell has them when the command is not there or cannot be executed, else 0. */
typedef void niwa_exec_done_fn(int code, int status, const struct niwa_error *err, void *arg);

struct niwa_terminal {
	uint16_t rows, columns; /* 0: not known */
};

/* terminal: NULL for none. fds: a console socket (terminal) or 0, 1, 2; stay the caller's. done is called once, when
 * the process has ended or could not be started, unless cancelled. ret_id names it. */
int niwa_exec_begin(struct niwa_engine *e, struct niwa_app *app, char *const *argv,
		    const struct niwa_terminal *terminal, const int *fds, size_t nfds, niwa_exec_done_fn *done,
		    void *arg, uint64_t *ret_id, struct niwa_error *err);
/* To the command; remembered until it has been started. */
void niwa_exec_signal(struct niwa_engine *e, uint64_t id, int signal);
void niwa_exec_kept(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);

#endif
