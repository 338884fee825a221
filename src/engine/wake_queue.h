/* SPDX-License-Identifier: MIT
 *
 * Who may start next. A place is what a start holds while it costs: there are few. Those who wait for one are in flows,
 * one a tenant, each first in, first out; among flows goes first who has used the least so far, as in start-time fair
 * queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a storm of one tenant has used much after its first start, and the single
 * visitor of another one is next. Of those who have used the same the oldest goes first; while more wait than is done
 * in a moment, the oldest and the newest by turns: after a burst of visitors of all tenants who comes now does not wait
 * behind all of them (adaptive LIFO, as in Maurer, ACM Queue 13, 2015). What has waited before, and what a start itself
 * waits for, keeps the rank of its first turn. Pure: no clock, no system call. All is bounded; who is refused is told
 * why.
 */
#ifndef NIWA_ENGINE_WAKE_QUEUE_H
#define NIWA_ENGINE_WAKE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define NIWA_WAKE_RANK_NONE UINT64_MAX /* that of its flow */

struct niwa_wake_flow;

/* One who waits; part of something bigger, zeroed at first. */
struct niwa_wake_entry {
	TAILQ_ENTRY(niwa_wake_entry) link;
	struct niwa_wake_flow *flow; /* NULL: it does not wait */
	uint64_t rank;               /* after niwa_wake_queue_pop: the one it had */
	uint64_t arrival, cost_us;
};
TAILQ_HEAD(niwa_wake_entries, niwa_wake_entry);

/* Zeroed at first; may go when nobody of it waits or holds a place. */
struct niwa_wake_flow {
	struct niwa_wake_entries entries;
	uint64_t used_us; /* virtual */
	uint64_t epoch;
	unsigned waiting, busy;
	unsigned places; /* it may hold at once; 0: all but one */
	size_t at[2];    /* its positions in the heaps plus 1; 0: it is not there */
};

struct niwa_wake_queue {
	unsigned places, length_max; /* a flow may have half of the length */
	unsigned busy, length;
	uint64_t now_us; /* virtual: what the one who began last had used */
	uint64_t epoch, arrivals;
	struct niwa_wake_flow **heap[2]; /* the oldest first, the newest first, of those who have used the same */
	size_t count, size;
	bool newest; /* the next one is the newest, if many wait */
};

void niwa_wake_queue_init(struct niwa_wake_queue *q, unsigned places, unsigned length_max);
void niwa_wake_queue_fini(struct niwa_wake_queue *q); /* entries and flows stay their owners' */

/* Begins to wait. cost_us: what it is going to cost, as far as is known. rank: of whoever it is waited for by, or its
 * own of before; else NIWA_WAKE_RANK_NONE. 0; -EAGAIN: too many wait; -EDQUOT: of its flow alone; -ENOMEM. */
int niwa_wake_queue_push(struct niwa_wake_queue *q, struct niwa_wake_flow *flow, struct niwa_wake_entry *entry,
			 uint64_t cost_us, uint64_t rank);
/* The next one that may begin; it does not wait any more, its flow holds a place and is charged. NULL: nobody may. */
struct niwa_wake_entry *niwa_wake_queue_pop(struct niwa_wake_queue *q, struct niwa_wake_flow **ret_flow);
/* A place is free again. What was charged is replaced by what it took. */
void niwa_wake_queue_give_back(struct niwa_wake_queue *q, struct niwa_wake_flow *flow, uint64_t charged_us,
			       uint64_t took_us);
/* Waits no more; nothing for one that does not. */
void niwa_wake_queue_remove(struct niwa_wake_queue *q, struct niwa_wake_entry *entry);
/* Somebody of a better rank waits for it too. */
void niwa_wake_queue_promote(struct niwa_wake_queue *q, struct niwa_wake_entry *entry, uint64_t rank);
/* The number of places of a flow has changed. */
void niwa_wake_queue_limit(struct niwa_wake_queue *q, struct niwa_wake_flow *flow, unsigned places);

#endif
