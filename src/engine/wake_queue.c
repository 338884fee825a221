/* SPDX-License-Identifier: MIT
 *
 * Flows that have somebody waiting and may hold another place are in two binary heaps, by what they have used and,
 * among equals, by who came first in one and last in the other. Entries with a rank of their own stand at the head of
 * their flow, best first.
 */
#include "engine/wake_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define HEAP_FIRST 16
#define MANY       4 /* starts a place that wait */

enum heap { OLDEST, NEWEST };

void niwa_wake_queue_init(struct niwa_wake_queue *q, unsigned places, unsigned length_max)
{
	*q = (struct niwa_wake_queue){.places = places ? places : 1, .length_max = length_max, .epoch = 1};
}

void niwa_wake_queue_fini(struct niwa_wake_queue *q)
{
	for (enum heap h = OLDEST; h <= NEWEST; h++) {
		free(q->heap[h]);
		q->heap[h] = NULL;
	}
	q->count = q->size = 0;
}

static unsigned places_of(const struct niwa_wake_queue *q, const struct niwa_wake_flow *flow)
{
	unsigned most = q->places > 1 ? q->places - 1 : 1;

	return flow->places && flow->places < most ? flow->places : most;
}

static uint64_t rank_of(const struct niwa_wake_flow *flow)
{
	uint64_t own = TAILQ_FIRST(&flow->entries)->rank;

	return own < flow->used_us ? own : flow->used_us;
}

static bool is_waited_for(const struct niwa_wake_flow *flow)
{
	return TAILQ_FIRST(&flow->entries)->rank != NIWA_WAKE_RANK_NONE;
}

static uint64_t arrival_of(const struct niwa_wake_flow *flow)
{
	return TAILQ_FIRST(&flow->entries)->arrival;
}

static bool goes_before(enum heap h, const struct niwa_wake_flow *a, const struct niwa_wake_flow *b)
{
	uint64_t x = rank_of(a), y = rank_of(b);

	if (x != y)
		return x < y;
	if (is_waited_for(a) != is_waited_for(b))
		return is_waited_for(a);
	return h == OLDEST ? arrival_of(a) < arrival_of(b) : arrival_of(a) > arrival_of(b);
}

/* ---- the heaps ---- */

static void put_at(struct niwa_wake_queue *q, enum heap h, struct niwa_wake_flow *flow, size_t n)
{
	q->heap[h][n] = flow;
	flow->at[h] = n + 1;
}

static void sift(struct niwa_wake_queue *q, enum heap h, struct niwa_wake_flow *flow)
{
	struct niwa_wake_flow **heap = q->heap[h];
	size_t n = flow->at[h] - 1, child;

	for (; n > 0 && goes_before(h, flow, heap[(n - 1) / 2]); n = (n - 1) / 2)
		put_at(q, h, heap[(n - 1) / 2], n);
	for (; (child = 2 * n + 1) < q->count; n = child) {
		if (child + 1 < q->count && goes_before(h, heap[child + 1], heap[child]))
			child++;
		if (!goes_before(h, heap[child], flow))
			break;
		put_at(q, h, heap[child], n);
	}
	put_at(q, h, flow, n);
}

/* `last` of the heap takes the place of the flow. */
static void heap_remove(struct niwa_wake_queue *q, enum heap h, struct niwa_wake_flow *flow)
{
	struct niwa_wake_flow *last = q->heap[h][q->count];
	size_t n = flow->at[h] - 1;

	flow->at[h] = 0;
	if (last == flow)
		return;
	put_at(q, h, last, n);
	sift(q, h, last);
}

/* In the heaps or not, and where: after every change of a flow, before any other one. There is room for every flow that
 * has an entry. */
static void settle(struct niwa_wake_queue *q, struct niwa_wake_flow *flow)
{
	bool wanted = flow->waiting && flow->busy < places_of(q, flow), there = flow->at[OLDEST];

	if (there && !wanted)
		q->count--;
	else if (wanted && !there)
		q->count++;
	for (enum heap h = OLDEST; h <= NEWEST; h++) {
		if (there && !wanted)
			heap_remove(q, h, flow);
		else if (wanted && !there)
			put_at(q, h, flow, q->count - 1);
		if (wanted)
			sift(q, h, flow);
	}
}

/* Each entry may have a flow of its own. */
static int make_room(struct niwa_wake_queue *q)
{
	size_t size = q->size ? q->size * 2 : HEAP_FIRST;

	if (q->length < q->size)
		return 0;
	for (enum heap h = OLDEST; h <= NEWEST; h++) {
		struct niwa_wake_flow **heap = realloc(q->heap[h], size * sizeof(struct niwa_wake_flow *));

		if (!heap)
			return -ENOMEM;
		q->heap[h] = heap;
	}
	q->size = size;
	return 0;
}

/* ---- entries ---- */

static void insert(struct niwa_wake_flow *flow, struct niwa_wake_entry *entry)
{
	struct niwa_wake_entry *other;

	TAILQ_FOREACH(other, &flow->entries, link)
	if (entry->rank < other->rank) {
		TAILQ_INSERT_BEFORE(other, entry, link);
		return;
	}
	TAILQ_INSERT_TAIL(&flow->entries, entry, link);
}

/* The order among those without a rank is the one of their coming: no walk. */
static void put(struct niwa_wake_flow *flow, struct niwa_wake_entry *entry)
{
	if (!flow->waiting)
		TAILQ_INIT(&flow->entries);
	if (entry->rank == NIWA_WAKE_RANK_NONE)
		TAILQ_INSERT_TAIL(&flow->entries, entry, link);
	else
		insert(flow, entry);
	flow->waiting++;
}

/* Nobody saves up what was not used while nobody of it wanted to start, nor owes for ever. */
static void catch_up(struct niwa_wake_queue *q, struct niwa_wake_flow *flow)
{
	if (flow->waiting)
		return;
	if ((flow->epoch != q->epoch && !flow->busy) || flow->used_us < q->now_us)
		flow->used_us = q->now_us;
	flow->epoch = q->epoch;
}

int niwa_wake_queue_push(struct niwa_wake_queue *q, struct niwa_wake_flow *flow, struct niwa_wake_entry *entry,
			 uint64_t cost_us, uint64_t rank)
{
	assert(!entry->flow);
	if (q->length >= q->length_max)
		return -EAGAIN;
	if (flow->waiting >= (q->length_max + 1) / 2)
		return -EDQUOT;
	if (make_room(q) < 0)
		return -ENOMEM;
	catch_up(q, flow);
	*entry = (struct niwa_wake_entry){.flow = flow, .rank = rank, .arrival = q->arrivals++, .cost_us = cost_us};
	put(flow, entry);
	q->length++;
	settle(q, flow);
	return 0;
}

static void take(struct niwa_wake_queue *q, struct niwa_wake_entry *entry)
{
	TAILQ_REMOVE(&entry->flow->entries, entry, link);
	entry->flow->waiting--;
	entry->flow = NULL;
	q->length--;
}

struct niwa_wake_entry *niwa_wake_queue_pop(struct niwa_wake_queue *q, struct niwa_wake_flow **ret_flow)
{
	bool newest = q->newest && q->length > MANY * q->places;
	struct niwa_wake_flow *flow;
	struct niwa_wake_entry *entry;

	if (!q->count || q->busy >= q->places)
		return NULL;
	flow = q->heap[newest ? NEWEST : OLDEST][0];
	q->newest = !q->newest;
	entry = TAILQ_FIRST(&flow->entries);
	if (entry->rank == NIWA_WAKE_RANK_NONE && flow->used_us > q->now_us)
		q->now_us = flow->used_us;
	if (entry->rank > flow->used_us)
		entry->rank = flow->used_us;
	take(q, entry);
	flow->used_us += entry->cost_us;
	flow->busy++;
	q->busy++;
	settle(q, flow);
	*ret_flow = flow;
	return entry;
}

void niwa_wake_queue_give_back(struct niwa_wake_queue *q, struct niwa_wake_flow *flow, uint64_t charged_us,
			       uint64_t took_us)
{
	assert(flow->busy && q->busy);
	flow->busy--;
	q->busy--;
	flow->used_us += took_us;
	flow->used_us = flow->used_us > charged_us ? flow->used_us - charged_us : 0;
	if (!q->busy && !q->length)
		q->epoch++;
	settle(q, flow);
}

void niwa_wake_queue_remove(struct niwa_wake_queue *q, struct niwa_wake_entry *entry)
{
	struct niwa_wake_flow *flow = entry->flow;

	if (!flow)
		return;
	take(q, entry);
	if (!q->busy && !q->length)
		q->epoch++;
	settle(q, flow);
}

void niwa_wake_queue_promote(struct niwa_wake_queue *q, struct niwa_wake_entry *entry, uint64_t rank)
{
	struct niwa_wake_flow *flow = entry->flow;

	if (!flow || entry->rank <= rank)
		return;
	TAILQ_REMOVE(&flow->entries, entry, link);
	flow->waiting--;
	entry->rank = rank;
	put(flow, entry);
	settle(q, flow);
}

void niwa_wake_queue_limit(struct niwa_wake_queue *q, struct niwa_wake_flow *flow, unsigned places)
{
	flow->places = places;
	settle(q, flow);
}
