/* SPDX-License-Identifier: MIT
 *
 * The user's terminal, changed and always given back: at the end, at every signal that ends us, and at a crash.
 * One per process.
 */
#ifndef NIWA_CLI_TERMINAL_H
#define NIWA_CLI_TERMINAL_H

/* Remembers how fd is set and makes it raw. 0 or -errno; nothing when fd is no terminal. */
int niwa_terminal_raw(int fd);
/* Remembers; single keys without echo, output and signals as before (top). */
int niwa_terminal_keys(int fd);
/* As it was before. May be called twice, and from a signal handler. */
void niwa_terminal_restore(void);
/* Stops this process as Ctrl-Z would: restored meanwhile, as before when it goes on. */
void niwa_terminal_suspend(void);

#endif
