/* SPDX-License-Identifier: MIT
 *
 * Signals as events of a poll loop: blocked, read from a signalfd.
 */
#ifndef NIWA_CLI_SIGNALS_H
#define NIWA_CLI_SIGNALS_H

/* Blocks the signals (ended by 0) and returns a non-blocking descriptor that tells them, or -errno. */
int niwa_signals_open(const int *signals);
/* The next one, 0: none. */
int niwa_signals_next(int fd);

#endif
