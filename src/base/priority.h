/* SPDX-License-Identifier: MIT
 *
 * Who goes before whom on a processor: the loops that connections wait for before apps, apps before what nobody waits
 * for (threads that write to the disk, an apply of thousands of apps).
 */
#ifndef NIWA_BASE_PRIORITY_H
#define NIWA_BASE_PRIORITY_H

/* Lowers that of the calling thread: it goes on, but others that wake on its processor need not wait for it. A little
 * only, because the loop may wait for a lock that the thread has. Needs no right and cannot be undone without one. */
void niwa_priority_lower(void);

/* Raises it, as far as there is the right to; threads and children have the usual one. Its slice is the shortest: who
 * runs on the processor is interrupted when it wakes, not at the scheduler's next tick (up to 4 ms), and it is
 * interrupted by what it wakes. */
void niwa_priority_raise(void);

#endif
