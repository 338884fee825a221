/* SPDX-License-Identifier: MIT
 *
 * The heap.
 */
#include "engine/due.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define ROOM_FIRST 64

static void put(struct niwa_dues *d, struct niwa_due *due, size_t place)
{
	d->heap[place] = due;
	due->place = place;
}

static void rise(struct niwa_dues *d, struct niwa_due *due)
{
	size_t place = due->place;

	for (; place > 1 && d->heap[place / 2]->at > due->at; place /= 2)
		put(d, d->heap[place / 2], place);
	put(d, due, place);
}

static void sink(struct niwa_dues *d, struct niwa_due *due)
{
	size_t place = due->place;

	while (2 * place <= d->count) {
		size_t below = 2 * place;

		if (below < d->count && d->heap[below + 1]->at < d->heap[below]->at)
			below++;
		if (d->heap[below]->at >= due->at)
			break;
		put(d, d->heap[below], place);
		place = below;
	}
	put(d, due, place);
}

static int grow(struct niwa_dues *d)
{
	size_t room = d->room ? d->room * 2 : ROOM_FIRST;
	struct niwa_due **heap = niwa_zalloc((room + 1) * sizeof(struct niwa_due *));

	if (!heap)
		return -ENOMEM;
	if (d->count)
		memcpy(heap, d->heap, (d->count + 1) * sizeof(struct niwa_due *));
	free(d->heap);
	d->heap = heap;
	d->room = room;
	return 0;
}

int niwa_due_set(struct niwa_dues *dues, struct niwa_due *due, int64_t at)
{
	if (!due->place && dues->count == dues->room && grow(dues) < 0)
		return -ENOMEM;
	due->at = at;
	if (!due->place)
		due->place = ++dues->count;
	rise(dues, due);
	sink(dues, due);
	return 0;
}

void niwa_due_drop(struct niwa_dues *dues, struct niwa_due *due)
{
	struct niwa_due *last;

	if (!due->place)
		return;
	last = dues->heap[dues->count--];
	if (last != due) {
		last->place = due->place;
		rise(dues, last);
		sink(dues, last);
	}
	due->place = 0;
}

struct niwa_due *niwa_due_first(const struct niwa_dues *dues)
{
	return dues->count ? dues->heap[1] : NULL;
}

void niwa_dues_fini(struct niwa_dues *dues)
{
	free(dues->heap);
	*dues = (struct niwa_dues){0};
}
