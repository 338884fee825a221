/* SPDX-License-Identifier: MIT
 *
 * The rounds: a cursor into the list of instances, the table being filled and the one that is told.
 */
#include "engine/usage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/group.h"
#include "engine/past.h"
#include "engine/rpc.h"

#define TURN_US        (500 * NIWA_MS / 1000)
#define PAUSE_US       (50 * NIWA_MS) /* between turns of a round: at most a fiftieth of the time */
#define PAUSE_ASKED_US (4 * NIWA_MS)  /* while somebody waits */
#define ROUND_US       (10 * NIWA_SEC)
#define ROUND_ASKED_US (200 * NIWA_MS)
#define WANTED_US      (120 * NIWA_SEC)
#define FRESH_US       (3 * NIWA_SEC)
#define STILL_ROUNDS   16              /* one that stands still is read in one of so many */
#define RATE_MIN_US    (100 * NIWA_MS) /* less says nothing */
#define RATE_MAX_US    (60 * NIWA_SEC) /* and more nothing of now */

struct asker {
	STAILQ_ENTRY(asker) link;
	uint64_t after;
	niwa_usage_fn *fn;
	void *arg;
};

struct niwa_usage {
	sd_event_source *timer, *answer;
	struct niwa_usage_round now, done;
	struct niwa_map *tenants;   /* of the round under way: id → position + 1 */
	struct niwa_instance *next; /* of the round under way */
	bool walking;
	uint64_t number, wanted_until_us, cpu_total_us;
	STAILQ_HEAD(, asker) askers;
};

/* Reading. */

/* CurrEstab of /proc/PID/net/snmp: established connections in its network, of those inside both ends. */
static uint32_t connections_of(pid_t pid)
{
	char path[64], text[4096], *line;
	unsigned count = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/snmp", (int)pid);
	if (pid <= 0 || niwa_file_read(path, text, sizeof(text)) < 0)
		return 0;
	line = strstr(text, "\nTcp: "); /* the names, then the values */
	line = line ? strstr(line + 1, "\nTcp: ") : NULL;
	if (!line || sscanf(line, "\nTcp: %*s %*s %*s %*s %*s %*s %*s %*s %u", &count) != 1)
		return 0;
	return count;
}

static void read_usage(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_usage *u = &i->usage;
	uint64_t now = niwa_now_us(), cpu = u->cpu_us, elapsed = now - u->at_us;

	(void)niwa_group_cpu_us(e, i->id, &cpu); /* else it is being made, or ends */
	if (niwa_group_memory(e, i->id, &u->memory_bytes) < 0)
		u->memory_bytes = 0;
	u->connections = connections_of(i->pid);
	if (cpu >= u->cpu_us)
		e->usage->cpu_total_us += cpu - u->cpu_us;
	if (u->at_us && elapsed < RATE_MIN_US)
		return;
	u->cpu_centi = u->at_us && elapsed < RATE_MAX_US && cpu >= u->cpu_us
			       ? (uint32_t)((cpu - u->cpu_us) * 10000 / elapsed)
			       : 0;
	u->cpu_us = cpu;
	u->at_us = now;
}

static bool stands_still(const struct niwa_instance *i)
{
	return i->app->state == NIWA_FROZEN || i->app->state == NIWA_PAGED;
}

/* What stands still uses no CPU; its memory changes with its state, and slowly. */
static void look(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_usage *u = &i->usage;
	bool same = u->looks && u->state == i->app->state;

	if (stands_still(i) && same && u->looks < STILL_ROUNDS) {
		u->looks++;
		u->cpu_centi = 0;
		return;
	}
	read_usage(e, i);
	u->looks = 1;
	u->state = i->app->state;
}

/* Tables. */

static struct niwa_usage_row *row_new(struct niwa_usage_row **rows, size_t *count, size_t *size)
{
	if (*count == *size) {
		size_t more = *size ? *size * 2 : 64;
		struct niwa_usage_row *p = realloc(*rows, more * sizeof(**rows));

		if (!p)
			return NULL;
		*rows = p;
		*size = more;
	}
	(*rows)[*count] = (struct niwa_usage_row){0};
	return &(*rows)[(*count)++];
}

/* An app has a row, however many instances it has. */
static struct niwa_usage_row *row_of(struct niwa_usage *u, struct niwa_app *app)
{
	struct niwa_app_past *past = niwa_app_past(app);
	struct niwa_usage_row *row;

	if (!past)
		return NULL;
	if (past->usage_round == u->number)
		return &u->now.rows[past->usage_row];
	row = row_new(&u->now.rows, &u->now.count, &u->now.size);
	if (!row)
		return NULL;
	past->usage_round = u->number;
	past->usage_row = (uint32_t)(row - u->now.rows);
	row->app = app->id;
	row->tenant = app->tenant->id;
	row->state = app->state;
	return row;
}

static struct niwa_usage_row *tenant_of(struct niwa_usage *u, const struct niwa_app *app)
{
	uint32_t id = app->tenant->id;
	uintptr_t at = u->tenants ? (uintptr_t)niwa_map_get(u->tenants, id) : 0;
	struct niwa_usage_row *sum;

	if (at || !u->tenants)
		return at ? &u->now.tenants[at - 1] : NULL;
	sum = row_new(&u->now.tenants, &u->now.tenant_count, &u->now.tenant_size);
	if (!sum)
		return NULL;
	sum->app = app->id;
	sum->tenant = id;
	if (niwa_map_put(u->tenants, id, (void *)(uintptr_t)u->now.tenant_count) < 0)
		u->now.tenant_count--;
	return sum;
}

static void take(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_usage_row *row, *tenant, one;
	struct niwa_usage *u = e->usage;
	struct niwa_app *app = i->app;

	if (!app || app->template || app->removed || !app->tenant)
		return;
	look(e, i);
	one = (struct niwa_usage_row){.cpu_centi = i->usage.cpu_centi,
				      .cpu_us = i->usage.cpu_us,
				      .memory_bytes = i->usage.memory_bytes,
				      .connections = i->usage.connections,
				      .instances = 1};
	row = row_of(u, app);
	tenant = tenant_of(u, app);
	if (!row || !tenant)
		return;            /* out of memory: it is missing in this round */
	if (row->instances == 0) { /* the app itself */
		one.wakes = app->past->wakes;
		one.running = app->state == NIWA_RUNNING;
		one.asleep = app->state == NIWA_FROZEN || app->state == NIWA_PAGED;
	}
	niwa_usage_add(row, &one);
	niwa_usage_add(tenant, &one);
	niwa_usage_add(&u->now.total, &one);
	u->now.memory[app->state] += one.memory_bytes;
}

/* Rounds. */

static void begin_round(struct niwa_engine *e)
{
	struct niwa_usage *u = e->usage;
	struct niwa_usage_round *now = &u->now;

	now->count = now->tenant_count = 0;
	now->total = (struct niwa_usage_row){0};
	memset(now->memory, 0, sizeof(now->memory));
	now->number = ++u->number;
	now->began_us = niwa_now_us();
	niwa_map_free(&u->tenants);
	u->tenants = niwa_map_new(NIWA_MAP_U64);
	u->next = LIST_FIRST(&e->instance_list);
	u->walking = true;
}

static void end_round(struct niwa_engine *e)
{
	struct niwa_usage *u = e->usage;
	struct niwa_usage_round old = u->done;

	u->walking = false;
	niwa_map_free(&u->tenants);
	u->now.ended_us = niwa_now_us();
	u->done = u->now;
	u->now = old; /* its memory is used again */
	if (!STAILQ_EMPTY(&u->askers))
		(void)sd_event_source_set_enabled(u->answer, SD_EVENT_ONESHOT);
}

static void forget(struct niwa_usage *u)
{
	free(u->now.rows);
	free(u->now.tenants);
	free(u->done.rows);
	free(u->done.tenants);
	u->now = u->done = (struct niwa_usage_round){0};
}

/* When the next turn is. One that is near already stays: who asks must not put it off. */
static void rest(struct niwa_engine *e)
{
	struct niwa_usage *u = e->usage;
	uint64_t now = niwa_now_us(), at, armed;
	int enabled = SD_EVENT_OFF;

	if (u->walking)
		at = now + (STAILQ_EMPTY(&u->askers) ? PAUSE_US : PAUSE_ASKED_US);
	else if (!STAILQ_EMPTY(&u->askers))
		at = u->done.began_us + ROUND_ASKED_US;
	else if (now < u->wanted_until_us)
		at = u->done.began_us + ROUND_US;
	else
		at = UINT64_MAX; /* nobody looks any more */
	if (at == UINT64_MAX) {
		forget(u);
		return;
	}
	if (sd_event_source_get_enabled(u->timer, &enabled) > 0 && sd_event_source_get_time(u->timer, &armed) >= 0 &&
	    armed <= at)
		return;
	(void)sd_event_source_set_time(u->timer, at);
	(void)sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
}

static int on_turn(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_usage *u = e->usage;
	uint64_t until = niwa_now_us() + TURN_US;

	(void)s, (void)usec;
	if (!u->walking)
		begin_round(e);
	while (u->next && niwa_now_us() < until) {
		struct niwa_instance *i = u->next;

		u->next = LIST_NEXT(i, link);
		take(e, i);
	}
	if (!u->next)
		end_round(e);
	rest(e);
	return 0;
}

void niwa_usage_gone(struct niwa_engine *e, const struct niwa_instance *i)
{
	if (e->usage && e->usage->next == i)
		e->usage->next = LIST_NEXT(i, link);
}

/* Asking. */

static bool is_known(const struct niwa_usage *u, uint64_t after)
{
	return u->done.number > after && (after || niwa_now_us() - u->done.began_us < FRESH_US);
}

/* One a turn; the first that can be answered. */
static int on_answer(sd_event_source *s, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_usage *u = e->usage;
	struct asker *a;

	STAILQ_FOREACH(a, &u->askers, link)
	if (is_known(u, a->after))
		break;
	if (!a)
		return 0; /* a round that ends asks again */
	STAILQ_REMOVE(&u->askers, a, asker, link);
	(void)sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	a->fn(e, a->arg);
	free(a);
	return 0;
}

static struct niwa_usage *open_usage(struct niwa_engine *e)
{
	struct niwa_usage *u = niwa_zalloc(sizeof(*u));

	if (!u)
		return NULL;
	STAILQ_INIT(&u->askers);
	if (sd_event_add_time(e->event, &u->timer, CLOCK_MONOTONIC, 0, NIWA_MS, on_turn, e) < 0 ||
	    sd_event_add_defer(e->event, &u->answer, on_answer, e) < 0) {
		(void)sd_event_source_disable_unref(u->timer);
		free(u);
		return NULL;
	}
	(void)sd_event_source_set_enabled(u->timer, SD_EVENT_OFF);
	(void)sd_event_source_set_enabled(u->answer, SD_EVENT_OFF);
	(void)sd_event_source_set_priority(u->timer, NIWA_RPC_PRIORITY);
	(void)sd_event_source_set_priority(u->answer, NIWA_RPC_PRIORITY);
	return u;
}

static int want(struct niwa_engine *e)
{
	if (!e->usage)
		e->usage = open_usage(e);
	if (!e->usage)
		return -ENOMEM;
	e->usage->wanted_until_us = niwa_now_us() + WANTED_US;
	return 0;
}

void niwa_usage_want(struct niwa_engine *e)
{
	if (want(e) == 0)
		rest(e);
}

int niwa_usage_then(struct niwa_engine *e, uint64_t after, niwa_usage_fn *fn, void *arg)
{
	struct asker *a = want(e) == 0 ? niwa_zalloc(sizeof(*a)) : NULL;

	if (!a)
		return -ENOMEM;
	*a = (struct asker){.after = after > e->usage->number ? 0 : after, /* of another niwad */
			    .fn = fn,
			    .arg = arg};
	STAILQ_INSERT_TAIL(&e->usage->askers, a, link);
	(void)sd_event_source_set_enabled(e->usage->answer, SD_EVENT_ONESHOT);
	rest(e);
	return 0;
}

const struct niwa_usage_round *niwa_usage_last(const struct niwa_engine *e)
{
	return e->usage && e->usage->done.number ? &e->usage->done : NULL;
}

uint64_t niwa_usage_cpu_total_us(const struct niwa_engine *e)
{
	return e->usage ? e->usage->cpu_total_us : 0;
}
