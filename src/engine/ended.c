/* SPDX-License-Identifier: MIT
 *
 * Rounds: pieces wait; a timer takes them all; a thread forgets their connections; a turn of the loop a piece deletes
 * their elements. The time between rounds follows the time that they take, so that a full table costs no more than a
 * small part of a processor.
 */
#include "engine/ended.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/background.h"

#define PIECE        128            /* instances whose elements are deleted in one turn of the loop */
#define PIECES_MAX   512            /* that wait; more ends than that are dealt with at once */
#define PAUSE_MIN_US (50 * NIWA_MS) /* from the first end to the round */
#define PAUSE_MAX_US (10 * NIWA_SEC)
#define SHARE        20 /* rounds take this part of a processor at most */

struct gone {
	uint32_t private_addr, mark;
};

struct piece {
	STAILQ_ENTRY(piece) link;
	unsigned count;
	struct gone gone[PIECE];
};

STAILQ_HEAD(pieces, piece);

struct niwa_ended {
	struct niwa_engine *engine;
	struct pieces waiting, done;
	struct piece *last; /* of those that wait */
	unsigned count;     /* of pieces, in both */
	sd_event_source *timer, *deleter;
	uint64_t not_before_us;
	bool under_way; /* the thread, or what it leaves to the loop */
};

struct round {
	struct niwa_ended *ended;
	struct pieces pieces;
	uint32_t *marks;
	size_t count;
	uint64_t took_us;
};

static void log_error(const struct niwa_error *err)
{
	niwa_log(NIWA_LOG_WARN, &(struct niwa_log_ctx){.doing = "collect"}, "%s", err->msg);
}

/* Where a round was so late that the address has another owner the element is that one's by now. */
static void delete_elements(struct niwa_engine *e, const struct gone *gone, unsigned count)
{
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	const struct niwa_instance *owner;
	struct niwa_error err;

	for (unsigned n = 0; n < count; n++) {
		owner = niwa_map_get(e->instances_by_addr, gone[n].private_addr);
		if (!owner || owner->mark == gone[n].mark)
			niwa_net_mark(txn, NIWA_DEL, gone[n].private_addr, gone[n].mark);
	}
	if (niwa_net_commit(&txn, &err) < 0)
		log_error(&err);
}

static void arm(struct niwa_ended *ended);

static int on_delete(sd_event_source *s, void *arg)
{
	struct niwa_ended *ended = arg;
	struct piece *p = STAILQ_FIRST(&ended->done);

	if (p) {
		STAILQ_REMOVE_HEAD(&ended->done, link);
		ended->count--;
		(void)niwa_fault("niwad.ended");
		delete_elements(ended->engine, p->gone, p->count);
		free(p);
	}
	if (!STAILQ_EMPTY(&ended->done))
		return 0;
	ended->under_way = false;
	arm(ended);
	return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static int forget(void *arg, struct niwa_error *err)
{
	struct round *r = arg;
	uint64_t began_us = niwa_now_us();
	int result = niwa_net_flush_many(r->marks, r->count, err);

	r->took_us = niwa_now_us() - began_us;
	return result;
}

static void forgotten(int result, const struct niwa_error *err, void *arg)
{
	struct round *r = arg;
	struct niwa_ended *ended = r->ended;

	if (result < 0)
		log_error(err); /* they end by themselves, later */
	ended->not_before_us = niwa_now_us() + (r->took_us * SHARE < PAUSE_MAX_US ? r->took_us * SHARE : PAUSE_MAX_US);
	STAILQ_CONCAT(&ended->done, &r->pieces);
	(void)sd_event_source_set_enabled(ended->deleter, SD_EVENT_ON);
	free(r->marks);
	free(r);
}

/* All that wait. NULL: no memory. */
static struct round *round_new(struct niwa_ended *ended)
{
	struct round *r = niwa_zalloc(sizeof(*r));
	struct piece *p;
	size_t size = 0;

	STAILQ_FOREACH(p, &ended->waiting, link)
	size += p->count;
	if (r)
		r->marks = calloc(size, sizeof(*r->marks));
	if (!r || !r->marks) {
		free(r);
		return NULL;
	}
	r->ended = ended;
	STAILQ_INIT(&r->pieces);
	STAILQ_FOREACH(p, &ended->waiting, link)
	for (unsigned n = 0; n < p->count; n++)
		r->marks[r->count++] = p->gone[n].mark;
	STAILQ_CONCAT(&r->pieces, &ended->waiting);
	ended->last = NULL;
	return r;
}

static int on_round(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_ended *ended = arg;
	struct round *r = round_new(ended);
	struct niwa_error err;

	(void)usec;
	(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	ended->under_way = r != NULL;
	if (r && niwa_background_run(ended->engine->event, forget, forgotten, r, &err) == 0)
		return 0;
	ended->under_way = false;
	if (r) {
		STAILQ_CONCAT(&ended->waiting, &r->pieces); /* nothing came in between */
		free(r->marks);
		free(r);
	}
	ended->not_before_us = niwa_now_us() + NIWA_SEC; /* so much else is being done */
	arm(ended);
	return 0;
}

static void arm(struct niwa_ended *ended)
{
	uint64_t at = niwa_now_us() + PAUSE_MIN_US;
	int on;

	if (ended->under_way || STAILQ_EMPTY(&ended->waiting) ||
	    (sd_event_source_get_enabled(ended->timer, &on) >= 0 && on != SD_EVENT_OFF))
		return;
	if (at < ended->not_before_us)
		at = ended->not_before_us;
	(void)sd_event_source_set_time(ended->timer, at);
	(void)sd_event_source_set_enabled(ended->timer, SD_EVENT_ONESHOT);
}

static struct niwa_ended *open_ended(struct niwa_engine *e)
{
	struct niwa_ended *ended = niwa_zalloc(sizeof(*ended));

	if (!ended)
		return NULL;
	ended->engine = e;
	STAILQ_INIT(&ended->waiting);
	STAILQ_INIT(&ended->done);
	if (sd_event_add_time_relative(e->event, &ended->timer, CLOCK_MONOTONIC, 0, NIWA_MS, on_round, ended) < 0 ||
	    sd_event_add_defer(e->event, &ended->deleter, on_delete, ended) < 0) {
		(void)sd_event_source_disable_unref(ended->timer);
		free(ended);
		return NULL;
	}
	(void)sd_event_source_set_enabled(ended->timer, SD_EVENT_OFF);
	(void)sd_event_source_set_enabled(ended->deleter, SD_EVENT_OFF);
	return ended;
}

/* The piece that has room. */
static struct piece *piece_for(struct niwa_engine *e)
{
	struct piece *p;

	if (!e->ended)
		e->ended = open_ended(e);
	if (!e->ended)
		return NULL;
	p = e->ended->last;
	if (p && p->count < PIECE)
		return p;
	p = e->ended->count < PIECES_MAX ? niwa_zalloc(sizeof(*p)) : NULL;
	if (!p)
		return NULL;
	STAILQ_INSERT_TAIL(&e->ended->waiting, p, link);
	e->ended->last = p;
	e->ended->count++;
	return p;
}

static void at_once(struct niwa_engine *e, const struct gone *gone)
{
	struct niwa_error err;

	if (niwa_net_flush_all(e->net, gone->mark, &err) < 0)
		log_error(&err);
	delete_elements(e, gone, 1);
}

void niwa_ended_put(struct niwa_engine *e, uint32_t private_addr, uint32_t mark)
{
	const struct gone gone = {.private_addr = private_addr, .mark = mark};
	struct piece *p = piece_for(e);

	if (!p) {
		at_once(e, &gone);
		return;
	}
	p->gone[p->count++] = gone;
	arm(e->ended);
}
