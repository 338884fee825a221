/* SPDX-License-Identifier: MIT
 *
 * Things in the order of their names (strcmp): to be walked from any name on, in pieces, while others come and go. The
 * things are borrowed; each has its name inside it, at the same place, unchanged as long as it is here. Some 10 bytes
 * each; putting and taking moves at most a block of them.
 */
#ifndef NIWA_BASE_ORDER_H
#define NIWA_BASE_ORDER_H

#include <stddef.h>

struct niwa_order; /* opaque */

/* name_offset: of the name, a text that is a part of the thing. NULL: out of memory. */
struct niwa_order *niwa_order_new(size_t name_offset);
void niwa_order_free(struct niwa_order **order); /* not the things */
size_t niwa_order_count(const struct niwa_order *order);

/* 0, -EEXIST when one of that name is there, -ENOMEM. */
int niwa_order_put(struct niwa_order *order, void *thing);
/* The one of that name, taken out; NULL: there is none. */
void *niwa_order_take(struct niwa_order *order, const char *name);

/* A walk, good until something is put or taken. */
struct niwa_order_walk {
	const struct niwa_order *order;
	size_t block, index;
};
/* Begins with the first thing whose name is greater than `after` (NULL: with the first of all). */
struct niwa_order_walk niwa_order_from(const struct niwa_order *order, const char *after);
void *niwa_order_next(struct niwa_order_walk *walk); /* NULL: that was the last */

#endif
