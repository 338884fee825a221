/* SPDX-License-Identifier: MIT
 *
 * What is typed at our terminal, on its way to the input of a command that has none of its own. The command gets a
 * pipe: the terminal itself would stay with whatever it leaves behind, which could read what is typed later and write
 * to the terminal what it likes. It is read only while it hands over whole lines and we are in its foreground: a pager
 * beside us takes keys for itself.
 */
#ifndef NIWA_CLI_INFLOW_H
#define NIWA_CLI_INFLOW_H

#include <poll.h>

#include "base/error.h"

struct niwa_inflow;

/* ret_end: what the command gets as its input; the caller's to close when it has been sent. */
int niwa_inflow_new(struct niwa_inflow **ret, int *ret_end, struct niwa_error *err);
void niwa_inflow_free(struct niwa_inflow **flow); /* the command meets the end of its input */
/* What to wait for, and how long at most in ms (-1: any time); then move, which does not wait. NULL: nothing. */
int niwa_inflow_poll(const struct niwa_inflow *flow, struct pollfd *ret);
void niwa_inflow_move(struct niwa_inflow *flow);

#endif
