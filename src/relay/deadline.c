/* SPDX-License-Identifier: MIT
 *
 * A binary heap of embedded deadlines. Each member knows its place, so that it can be taken out from the middle.
 */
#include "relay/deadline.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define FIRST_SIZE 64

void niwa_deadlines_fini(struct niwa_deadlines *all)
{
	free(all->heap);
	*all = (struct niwa_deadlines){0};
}

int niwa_deadlines_reserve(struct niwa_deadlines *all, uint32_t objects)
{
	struct niwa_deadline **heap;
	uint32_t size = all->size ? all->size : FIRST_SIZE;

	while (size < objects)
		size *= 2;
	if (size == all->size)
		return 0;
	heap = realloc(all->heap, size * sizeof(struct niwa_deadline *));
	if (!heap)
		return -ENOMEM;
	all->heap = heap;
	all->size = size;
	return 0;
}

static void put(struct niwa_deadlines *all, uint32_t i, struct niwa_deadline *d)
{
	all->heap[i] = d;
	d->place = i + 1;
}

static void rise(struct niwa_deadlines *all, uint32_t i, struct niwa_deadline *d)
{
	for (; i > 0 && all->heap[(i - 1) / 2]->at_us > d->at_us; i = (i - 1) / 2)
		put(all, i, all->heap[(i - 1) / 2]);
	put(all, i, d);
}

static void sink(struct niwa_deadlines *all, uint32_t i, struct niwa_deadline *d)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= all->count)
			break;
		if (child + 1 < all->count && all->heap[child + 1]->at_us < all->heap[child]->at_us)
			child++;
		if (all->heap[child]->at_us >= d->at_us)
			break;
		put(all, i, all->heap[child]);
		i = child;
	}
	put(all, i, d);
}

/* Finds the place of d, which stands at i for now. */
static void settle(struct niwa_deadlines *all, uint32_t i, struct niwa_deadline *d)
{
	if (i > 0 && all->heap[(i - 1) / 2]->at_us > d->at_us)
		rise(all, i, d);
	else
		sink(all, i, d);
}

void niwa_deadline_arm(struct niwa_deadlines *all, struct niwa_deadline *d, uint64_t at_us)
{
	assert(at_us);
	d->at_us = at_us;
	if (d->place) {
		settle(all, d->place - 1, d);
		return;
	}
	assert(all->count < all->size);
	rise(all, all->count++, d);
}

void niwa_deadline_disarm(struct niwa_deadlines *all, struct niwa_deadline *d)
{
	uint32_t i = d->place;
	struct niwa_deadline *last;

	if (!i)
		return;
	d->place = 0;
	d->at_us = 0;
	last = all->heap[--all->count];
	if (last != d)
		settle(all, i - 1, last);
}

struct niwa_deadline *niwa_deadline_first(const struct niwa_deadlines *all)
{
	return all->count ? all->heap[0] : NULL;
}
