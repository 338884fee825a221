/* SPDX-License-Identifier: MIT
 *
 * What is due next among many: a binary heap of objects that know their place in it, so that one of them is changed or
 * taken out in a few steps. Pure. Objects are borrowed; one that is in a heap must be taken out before it is freed.
 */
#ifndef NIWA_ENGINE_DUE_H
#define NIWA_ENGINE_DUE_H

#include <stddef.h>
#include <stdint.h>

struct niwa_due { /* embedded; zeroed: in no heap */
	int64_t at;
	size_t place; /* 1 is the top; 0: in no heap */
};

struct niwa_dues {              /* zeroed: empty */
	struct niwa_due **heap; /* [0] is not used */
	size_t count, room;
};

/* Puts it in, or moves it, to `at`. -ENOMEM: it is not in the heap. */
int niwa_due_set(struct niwa_dues *dues, struct niwa_due *due, int64_t at);
void niwa_due_drop(struct niwa_dues *dues, struct niwa_due *due); /* in no heap: nothing */
struct niwa_due *niwa_due_first(const struct niwa_dues *dues);    /* NULL: none */
void niwa_dues_fini(struct niwa_dues *dues);

#endif
