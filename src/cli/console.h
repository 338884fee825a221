/* SPDX-License-Identifier: MIT
 *
 * Between the user's terminal and the master of a pty in an app: bytes in both directions, window sizes, signals.
 */
#ifndef NIWA_CLI_CONSOLE_H
#define NIWA_CLI_CONSOLE_H

#include <stdbool.h>
#include <sys/ioctl.h>

#include "base/error.h"

/* The size of the user's terminal; false: there is none. */
bool niwa_console_size(struct winsize *ret);
/* Takes the master from the console socket, waiting up to timeout_ms. Returns the descriptor or -errno. */
int niwa_console_receive(int sock, unsigned timeout_ms, struct niwa_error *err);

/* Copies until the pty is closed by its last user. Returns 0, or the number of a signal that ends us (restored
 * terminal), or -errno. signal_fd: niwa_signals_open of niwa_console_signals. */
extern const int niwa_console_signals[];
int niwa_console_run(int master, int signal_fd, struct niwa_error *err);

#endif
