/* SPDX-License-Identifier: MIT
 *
 * Standard input, output and error. Where a program is started without one, the next descriptor that it opens takes
 * the number, and a socket or a database of its own is read from, printed to, or handed to a child as a stream.
 */
#ifndef NIWA_BASE_STANDARD_H
#define NIWA_BASE_STANDARD_H

/* The first call of every main. Gives a number that is free to /dev/null, the wrong way round: who reads or writes
 * there meets EBADF as before. 0 or -errno: the program must not go on. */
int niwa_standard_hold(void);

#endif
