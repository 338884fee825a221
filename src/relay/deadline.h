/* SPDX-License-Identifier: MIT
 *
 * Deadlines of many objects behind one timer: a binary heap of embedded members. Arming and disarming cost
 * O(log n) and allocate only when the heap grows. Single-threaded, knows no clock.
 */
#ifndef NIWA_RELAY_DEADLINE_H
#define NIWA_RELAY_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

/* Embedded in the object that waits. Zero-initialised means not armed. */
struct niwa_deadline {
	uint64_t at_us; /* CLOCK_MONOTONIC; 0 while not armed */
	uint32_t place; /* in the heap, counted from 1 */
};

struct niwa_deadlines {
	struct niwa_deadline **heap;
	uint32_t count, size;
};

void niwa_deadlines_fini(struct niwa_deadlines *all);
/* Room for one more object: an object that was counted can always be armed. 0 or -ENOMEM. */
int niwa_deadlines_reserve(struct niwa_deadlines *all, uint32_t objects);
/* Arms, or moves when armed. at_us must not be 0. There must be room (niwa_deadlines_reserve). */
void niwa_deadline_arm(struct niwa_deadlines *all, struct niwa_deadline *d, uint64_t at_us);
void niwa_deadline_disarm(struct niwa_deadlines *all, struct niwa_deadline *d);
/* The earliest, or NULL. */
struct niwa_deadline *niwa_deadline_first(const struct niwa_deadlines *all);

#endif
