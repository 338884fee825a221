/* SPDX-License-Identifier: MIT
 *
 * What a command in an app prints, on its way to our own standard output and error. The command gets pipes that it may
 * open again as /dev/stdout and /dev/stderr: our own descriptors belong to a user whom the app's user namespace does
 * not know, so that opening them is refused, and a terminal of ours is none of the app's. Where our two are one file,
 * its pipe is one, too, and what was printed stays in order.
 */
#ifndef NIWA_CLI_OUTFLOW_H
#define NIWA_CLI_OUTFLOW_H

#include <poll.h>
#include <stdbool.h>

#include "base/error.h"

#define NIWA_OUTFLOW_STREAMS 2

struct niwa_outflow;

/* ret_ends: what the command gets as its output and error; ours to close when it has been sent. */
int niwa_outflow_new(struct niwa_outflow **ret, int ret_ends[NIWA_OUTFLOW_STREAMS], struct niwa_error *err);
void niwa_outflow_free(struct niwa_outflow **flow);
/* What to wait for; then move, which moves what can be moved without waiting. */
void niwa_outflow_poll(const struct niwa_outflow *flow, struct pollfd ret[NIWA_OUTFLOW_STREAMS]);
void niwa_outflow_move(struct niwa_outflow *flow);
/* The command has ended: what it has printed by now is all that is waited for, whoever else holds the pipes. */
void niwa_outflow_end(struct niwa_outflow *flow);
bool niwa_outflow_done(const struct niwa_outflow *flow); /* after end: all is written, or cannot be */
/* 0, or why something could not be written; that a reader has gone is not an error. */
int niwa_outflow_error(const struct niwa_outflow *flow, struct niwa_error *err);

#endif
