/* SPDX-License-Identifier: MIT
 *
 * A list of blocks, none of them empty, each of them in order. A full one is split; one that has become small is joined
 * with its neighbour.
 */
#include "base/order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define ITEMS 128

struct block {
	size_t count;
	void *items[ITEMS];
};

struct niwa_order {
	size_t name_offset, count;
	struct block **blocks;
	size_t block_count, block_size;
};

struct place {
	size_t block, index;
	bool exact;
};

static const char *name_of(const struct niwa_order *o, const void *thing)
{
	return (const char *)thing + o->name_offset;
}

struct niwa_order *niwa_order_new(size_t name_offset)
{
	struct niwa_order *o = niwa_zalloc(sizeof(*o));

	if (o)
		o->name_offset = name_offset;
	return o;
}

void niwa_order_free(struct niwa_order **order)
{
	struct niwa_order *o = *order;

	*order = NULL;
	for (size_t i = 0; o && i < o->block_count; i++)
		free(o->blocks[i]);
	if (o)
		free(o->blocks);
	free(o);
}

size_t niwa_order_count(const struct niwa_order *o)
{
	return o->count;
}

/* The last block whose first item is not greater; the first block when there is none. */
static size_t block_for(const struct niwa_order *o, const char *name)
{
	size_t low = 0, high = o->block_count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(name_of(o, o->blocks[middle]->items[0]), name) <= 0)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Where it is, or would be. There has to be a block. */
static struct place find(const struct niwa_order *o, const char *name)
{
	struct place at = {.block = block_for(o, name)};
	const struct block *b = o->blocks[at.block];
	size_t low = 0, high = b->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(name_of(o, b->items[middle]), name);

		if (c == 0)
			return (struct place){.block = at.block, .index = middle, .exact = true};
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	at.index = low;
	return at;
}

static int block_add(struct niwa_order *o, size_t at)
{
	struct block *b, **blocks;
	size_t size = o->block_size ? o->block_size * 2 : 8;

	if (o->block_count == o->block_size) {
		blocks = niwa_zalloc(size * sizeof(struct block *));
		if (!blocks)
			return -ENOMEM;
		if (o->block_count)
			memcpy(blocks, o->blocks, o->block_count * sizeof(struct block *));
		free(o->blocks);
		o->blocks = blocks;
		o->block_size = size;
	}
	b = niwa_zalloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	memmove(o->blocks + at + 1, o->blocks + at, (o->block_count - at) * sizeof(struct block *));
	o->blocks[at] = b;
	o->block_count++;
	return 0;
}

static void block_drop(struct niwa_order *o, size_t at)
{
	free(o->blocks[at]);
	o->block_count--;
	memmove(o->blocks + at, o->blocks + at + 1, (o->block_count - at) * sizeof(struct block *));
}

/* A full block makes room. What is put in order makes full blocks: at the end nothing is moved. */
static int split(struct niwa_order *o, struct place *at)
{
	size_t keep = at->index == ITEMS && at->block + 1 == o->block_count ? ITEMS : ITEMS / 2;
	struct block *from, *to;
	int r = block_add(o, at->block + 1);

	if (r < 0)
		return r;
	from = o->blocks[at->block];
	to = o->blocks[at->block + 1];
	to->count = ITEMS - keep;
	memcpy(to->items, from->items + keep, to->count * sizeof(void *));
	from->count = keep;
	if (at->index > keep || keep == ITEMS) {
		at->block++;
		at->index -= keep;
	}
	return 0;
}

int niwa_order_put(struct niwa_order *o, void *thing)
{
	struct place at;
	struct block *b;
	int r = o->block_count ? 0 : block_add(o, 0);

	if (r < 0)
		return r;
	at = find(o, name_of(o, thing));
	if (at.exact)
		return -EEXIST;
	if (o->blocks[at.block]->count == ITEMS) {
		r = split(o, &at);
		if (r < 0)
			return r;
	}
	b = o->blocks[at.block];
	memmove(b->items + at.index + 1, b->items + at.index, (b->count - at.index) * sizeof(void *));
	b->items[at.index] = thing;
	b->count++;
	o->count++;
	return 0;
}

static void join(struct niwa_order *o, size_t at)
{
	struct block *a = o->blocks[at], *b;

	if (a->count == 0) {
		block_drop(o, at);
		return;
	}
	if (a->count > ITEMS / 4 || at + 1 == o->block_count)
		return;
	b = o->blocks[at + 1];
	if (a->count + b->count > ITEMS / 4 * 3)
		return;
	memcpy(a->items + a->count, b->items, b->count * sizeof(void *));
	a->count += b->count;
	block_drop(o, at + 1);
}

void *niwa_order_take(struct niwa_order *o, const char *name)
{
	struct place at;
	struct block *b;
	void *thing;

	if (!o->block_count)
		return NULL;
	at = find(o, name);
	if (!at.exact)
		return NULL;
	b = o->blocks[at.block];
	thing = b->items[at.index];
	b->count--;
	memmove(b->items + at.index, b->items + at.index + 1, (b->count - at.index) * sizeof(void *));
	o->count--;
	join(o, at.block);
	return thing;
}

struct niwa_order_walk niwa_order_from(const struct niwa_order *o, const char *after)
{
	struct niwa_order_walk walk = {.order = o};
	struct place at;

	if (!after || !o->block_count)
		return walk;
	at = find(o, after);
	walk.block = at.block;
	walk.index = at.index + at.exact;
	return walk;
}

void *niwa_order_next(struct niwa_order_walk *walk)
{
	const struct niwa_order *o = walk->order;

	while (walk->block < o->block_count && walk->index >= o->blocks[walk->block]->count) {
		walk->block++;
		walk->index = 0;
	}
	return walk->block < o->block_count ? o->blocks[walk->block]->items[walk->index++] : NULL;
}
