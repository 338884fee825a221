/* SPDX-License-Identifier: MIT
 *
 * One start begins a turn of the loop. What waits is in one of four lists: for a place, for a folder, for memory, or,
 * where it is beside an instance that serves, until few enough of its kind are in one of the others; who leaves the
 * folder's or the memory's gets the rank back that it had. While somebody waits, those who hold places are looked at.
 */
#include "engine/start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/admit.h"
#include "engine/app.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/limit_hit.h"
#include "engine/past.h"
#include "engine/reclaim.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/snapshot.h"
#include "engine/tenant_limit.h"
#include "engine/wake.h"

#define LOOK_US      (100 * NIWA_MS)
#define SHORT_US     (20 * NIWA_MS)
#define SHORT_LOOKS  4096            /* starts that are looked at then, */
#define TENANTS      64              /* their memory is read for so many of them, */
#define REFUSALS     64              /* so many of them are refused, if it is their time */
#define COLD_US      (300 * NIWA_MS) /* what is charged where nothing was measured */
#define RESTORE_US   (50 * NIWA_MS)
#define COST_MAX_US  (10 * NIWA_SEC)
#define STILL        10 /* after that part of start_hold a start that uses no CPU gives its place up */
#define STILL_SHARE  50 /* and this part of a CPU is none */
#define PLACES_A_CPU 4
#define PLACES_MIN   8

enum waits { FOR_A_PLACE, FOR_A_FOLDER, FOR_MEMORY, FOR_OTHERS };

struct niwa_start {
	struct niwa_wake_entry entry; /* first: the queue gives it back */
	TAILQ_ENTRY(niwa_start) link; /* where it does not wait for a place */
	struct niwa_app *app;
	enum niwa_start_kind kind;
	enum waits waits;
	const char *why;
	uint64_t since_us, until_us; /* until: of a start that waits for memory */
	uint64_t needs_bytes, free_bytes;
	bool tenant_full, counted_full; /* counted: in engine.full_count */
	bool tenant_short, waived; /* its tenant's limits.memory: too little is left; that is the kernel's affair */
	bool for_visitors;
	unsigned *count; /* that it is in, of engine; NULL: none */
};

static int on_begin(sd_event_source *s, void *arg);

static unsigned places_of(const struct niwa_config *c)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned derived = cpus > 0 ? (unsigned)cpus * PLACES_A_CPU : PLACES_MIN;

	if (c->concurrent_starts)
		return (unsigned)c->concurrent_starts;
	return derived < PLACES_MIN ? PLACES_MIN : derived;
}

int niwa_start_open(struct niwa_engine *e, struct niwa_error *err)
{
	int r;

	TAILQ_INIT(&e->starts_held);
	TAILQ_INIT(&e->starts_short);
	TAILQ_INIT(&e->starts_beside);
	LIST_INIT(&e->places);
	niwa_wake_queue_init(&e->starts, places_of(&e->config), (unsigned)e->config.wake_queue);
	r = sd_event_add_defer(e->event, &e->start_source, on_begin, e);
	if (r >= 0)
		r = sd_event_source_set_enabled(e->start_source, SD_EVENT_OFF);
	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "make the queue of starts") : 0;
}

void niwa_start_close(struct niwa_engine *e)
{
	(void)sd_event_source_disable_unref(e->start_source);
	(void)sd_event_source_disable_unref(e->places_timer);
	(void)sd_event_source_disable_unref(e->short_timer);
	niwa_wake_queue_fini(&e->starts);
}

void niwa_start_look(struct niwa_engine *e)
{
	if (e->starts.length || e->beside_waiting)
		(void)sd_event_source_set_enabled(e->start_source, SD_EVENT_ON);
}

/* ---- places ---- */

void niwa_start_give_back(struct niwa_instance *i)
{
	struct niwa_place *p = &i->place;
	struct niwa_engine *e = i->engine;

	if (!p->flow)
		return;
	niwa_wake_queue_give_back(&e->starts, p->flow, p->charged_us, niwa_now_us() - p->since_us);
	p->flow = NULL;
	LIST_REMOVE(i, place_link);
	niwa_start_look(e);
}

static void take_place(struct niwa_engine *e, struct niwa_instance *i, struct niwa_wake_flow *flow,
		       const struct niwa_start *s)
{
	uint64_t now = niwa_now_us();

	i->place = (struct niwa_place){.flow = flow,
				       .rank = s->entry.rank,
				       .charged_us = s->entry.cost_us,
				       .since_us = now,
				       .looked_us = now,
				       .needs_bytes = s->needs_bytes};
	LIST_INSERT_HEAD(&e->places, i, place_link);
}

/* It waits for something else than the CPU, or has held its place for too long. */
static bool costs_nothing(struct niwa_engine *e, struct niwa_instance *i, uint64_t now)
{
	struct niwa_place *p = &i->place;
	uint64_t cpu, used, elapsed = now - p->looked_us;

	if ((i->life != NIWA_LIFE_CLONING && i->life != NIWA_LIFE_STARTED) ||
	    now - p->since_us >= e->config.start_hold_us)
		return true;
	if (now - p->since_us < e->config.start_hold_us / STILL || niwa_group_cpu_us(e, i->id, &cpu) < 0)
		return false;
	used = cpu > p->cpu_us ? cpu - p->cpu_us : 0;
	p->cpu_us = cpu;
	p->looked_us = now;
	return elapsed >= LOOK_US / 2 && used * STILL_SHARE < elapsed;
}

static int on_places(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_instance *i = LIST_FIRST(&e->places), *next;
	uint64_t now = niwa_now_us();

	(void)usec;
	for (; i; i = next) {
		next = LIST_NEXT(i, place_link);
		if (costs_nothing(e, i, now))
			niwa_start_give_back(i);
	}
	niwa_start_look(e);
	if (!e->starts.length)
		return sd_event_source_set_enabled(s, SD_EVENT_OFF);
	(void)sd_event_source_set_time(s, now + LOOK_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Somebody waits: those who hold places are looked at from now on. */
static void watch_places(struct niwa_engine *e)
{
	int on = SD_EVENT_OFF;

	if (!e->places_timer) {
		if (sd_event_add_time_relative(e->event, &e->places_timer, CLOCK_MONOTONIC, LOOK_US, 10 * NIWA_MS,
					       on_places, e) < 0)
			niwa_log(NIWA_LOG_ERR, NULL, "out of memory: starts hold their places until they are ready");
		return;
	}
	if (sd_event_source_get_enabled(e->places_timer, &on) >= 0 && on != SD_EVENT_OFF)
		return;
	(void)sd_event_source_set_time(e->places_timer, niwa_now_us() + LOOK_US);
	(void)sd_event_source_set_enabled(e->places_timer, SD_EVENT_ONESHOT);
}

/* ---- waiting ---- */

static uint64_t newest(const uint64_t *samples, uint64_t otherwise)
{
	uint64_t us = samples[0] ? samples[0] : otherwise;

	return us > COST_MAX_US ? COST_MAX_US : us;
}

static uint64_t cost_of(const struct niwa_app *app)
{
	const struct niwa_app_snapshot *s = app->snapshot;

	if (app->state == NIWA_RESTORING)
		return s ? newest(s->restored_us, RESTORE_US) : RESTORE_US;
	return s ? newest(s->cold_us, COLD_US) : COLD_US;
}

static void count_in(struct niwa_start *s, unsigned *count)
{
	s->count = count;
	++*count;
}

static void uncount(struct niwa_start *s)
{
	if (s->count)
		--*s->count;
	s->count = NULL;
}

static void forget(struct niwa_start *s)
{
	uncount(s);
	if (s->app->start == s)
		s->app->start = NULL;
	free(s);
}

/* The one beside which it was to be goes on. */
static void refuse_beside(struct niwa_engine *e, struct niwa_app *app, enum niwa_start_kind kind,
			  const struct niwa_error *err)
{
	if (kind == NIWA_START_SUCCESSOR)
		niwa_rotate_failed(e, app, err);
	else
		niwa_scale_failed(e, app, err);
}

/* Its visitors are told; what nobody came for is tried again. */
static void refuse(struct niwa_engine *e, struct niwa_app *app, enum niwa_start_kind kind,
		   enum niwa_refusal_reason reason, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "start"};
	struct niwa_app_past *past = niwa_app_past(app);
	bool again = TAILQ_EMPTY(&app->waiters);

	e->counts.refusals++;
	e->metrics.starts_refused[reason]++;
	if (kind != NIWA_START_APP) {
		refuse_beside(e, app, kind, err);
		return;
	}
	if (past)
		past->not_before_us = niwa_now_us() + NIWA_SEC;
	niwa_app_note_error(app, err->msg);
	if (niwa_log_allow(&e->refusals_logged, 10, NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, &ctx, "%s", err->msg);
	niwa_wake_refuse_all(e, app, reason, err);
	niwa_app_set_state(e, app, NIWA_STOPPED, "refused");
	niwa_snapshot_settle(e, app, "refused");
	if (again)
		niwa_wake_again(e, app);
}

static enum niwa_refusal_reason reason_of(int r)
{
	return r == -EDQUOT ? NIWA_REFUSED_TENANT_QUEUE : r == -EAGAIN ? NIWA_REFUSED_QUEUE : NIWA_REFUSED_MEMORY;
}

static void explain_refusal(const struct niwa_engine *e, const struct niwa_app *app, int r, struct niwa_error *err)
{
	if (r == -EDQUOT)
		(void)niwa_fail(err, NIWA_TEMPORARY, 0,
				"%s: %u starts of tenant %s wait already, half of what may wait (wake_queue = %u)",
				app->name, app->tenant->starts.waiting, app->tenant->name, e->starts.length_max);
	else if (r == -EAGAIN)
		(void)niwa_fail(err, NIWA_TEMPORARY, 0, "%s: %u starts wait already (wake_queue)", app->name,
				e->starts.length);
	else
		(void)niwa_fail(err, NIWA_TEMPORARY, -r, "%s: wait for a start", app->name);
}

static void wait_for_place(struct niwa_engine *e, struct niwa_start *s, uint64_t rank)
{
	enum niwa_start_kind kind = s->kind;
	struct niwa_app *app = s->app;
	struct niwa_error err;
	int r = niwa_wake_queue_push(&e->starts, &app->tenant->starts, &s->entry, cost_of(app), rank);

	s->waits = FOR_A_PLACE;
	if (r == 0)
		return;
	explain_refusal(e, app, r, &err);
	forget(s);
	refuse(e, app, kind, reason_of(r), &err);
}

/* An image that cannot be used makes it a cold start. */
static int make_instance(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err)
{
	int r = niwa_instance_make(e, app, &app->current, err);

	if (r >= 0 || r == -EINPROGRESS || app->state != NIWA_RESTORING)
		return r;
	niwa_app_set_state(e, app, NIWA_STARTING, "its image cannot be used");
	niwa_wake_note_path(app, "start");
	return niwa_instance_make(e, app, &app->current, err);
}

/* *ret: what holds the place; NULL: nothing was to be made any more. */
static int make(struct niwa_engine *e, const struct niwa_start *s, struct niwa_instance **ret, struct niwa_error *err)
{
	struct niwa_app *app = s->app;
	int r;

	*ret = NULL;
	if (s->kind != NIWA_START_APP)
		app->start = NULL; /* the app may go down now, and what waits for it is dropped then */
	if (s->kind == NIWA_START_SUCCESSOR)
		return niwa_rotate_make(e, app, s->why, ret, err);
	if (s->kind == NIWA_START_COPY)
		return niwa_scale_make(e, app, s->why, ret, err);
	r = make_instance(e, app, err);
	*ret = r < 0 ? NULL : app->current;
	return r;
}

static void wait_for_folder(struct niwa_engine *e, struct niwa_start *s, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = s->app->name, .doing = "start"};

	niwa_log(NIWA_LOG_INFO, &ctx, "waits: %s", err->msg);
	s->waits = FOR_A_FOLDER;
	TAILQ_INSERT_TAIL(&e->starts_held, s, link);
	e->held_count++;
}

static void stop_waiting(struct niwa_engine *e, struct niwa_start *s)
{
	if (s->waits == FOR_A_FOLDER) {
		TAILQ_REMOVE(&e->starts_held, s, link);
		e->held_count--;
	} else if (s->waits == FOR_MEMORY) {
		TAILQ_REMOVE(&e->starts_short, s, link);
		e->short_count--;
		e->full_count -= s->counted_full;
	} else if (s->waits == FOR_OTHERS) {
		TAILQ_REMOVE(&e->starts_beside, s, link);
		e->beside_waiting--;
	} else {
		if (s->kind == NIWA_START_APP)
			uncount(s);
		niwa_wake_queue_remove(&e->starts, &s->entry);
	}
}

/* ---- memory ---- */

static void no_memory(struct niwa_engine *e, struct niwa_start *s)
{
	char needs[32], there[32], reserve[32], waited[32];
	enum niwa_start_kind kind = s->kind;
	enum niwa_refusal_reason reason;
	struct niwa_app *app = s->app;
	struct niwa_error err;

	(void)niwa_format_duration(e->config.start_wait_us, waited, sizeof(waited));
	if (kind == NIWA_START_COPY) {
		(void)niwa_fail(&err, NIWA_TEMPORARY, 0, "%s: there is no %s for one more instance", app->name,
				s->tenant_full ? "room in its tenant's limits (awake)" : "memory");
		reason = s->tenant_full ? NIWA_REFUSED_TENANT_AWAKE : NIWA_REFUSED_HOST_MEMORY;
		forget(s);
		refuse(e, app, kind, reason, &err);
		return;
	}
	if (s->tenant_full) {
		(void)niwa_fail(
			&err, NIWA_TEMPORARY, 0,
			"%s: tenant %s has %u instances and may have %u (limits.awake); none of them was idle in "
			"%s",
			app->name, app->tenant->name, app->tenant->instances,
			app->tenant->limits ? app->tenant->limits->awake : 0, waited);
		niwa_limit_refused(e, app, NIWA_HIT_TENANT_AWAKE, err.msg);
		forget(s);
		refuse(e, app, kind, NIWA_REFUSED_TENANT_AWAKE, &err);
		return;
	}
	(void)niwa_format_size(s->needs_bytes / 1024 * 1024, needs, sizeof(needs));
	(void)niwa_format_size(s->free_bytes / 1024 * 1024, there, sizeof(there));
	(void)niwa_format_size(niwa_admit_reserve(e) / 1024 * 1024, reserve, sizeof(reserve));
	(void)niwa_fail(
		&err, NIWA_TEMPORARY, 0,
		"%s: needs %s of memory, and %s are available beyond memory_reserve (%s); nothing idle could be "
		"put to sleep for it in %s",
		app->name, needs, there, reserve, waited);
	niwa_limit_refused(e, app, NIWA_HIT_HOST_MEMORY, err.msg);
	forget(s);
	refuse(e, app, kind, NIWA_REFUSED_HOST_MEMORY, &err);
}

static bool admit(struct niwa_engine *e, struct niwa_start *s, uint64_t *ret_missing)
{
	struct niwa_admission a = {.needs_bytes = s->needs_bytes};

	/* a successor is one instead of another */
	s->tenant_full = s->kind != NIWA_START_SUCCESSOR && niwa_tenant_is_full(s->app->tenant);
	s->tenant_short = false;
	*ret_missing = 1;
	if (s->tenant_full)
		return false;
	niwa_admit(e, s->app, &a);
	s->needs_bytes = a.needs_bytes;
	s->free_bytes = a.free_bytes;
	*ret_missing = a.missing_bytes;
	if (a.missing_bytes || s->waived)
		return !a.missing_bytes;
	*ret_missing = niwa_admit_tenant(e, s->app, s->needs_bytes);
	s->tenant_short = *ret_missing > 0;
	return !s->tenant_short;
}

/* Its tenant's apps that are idle go before the kernel ends one that serves. Where none is idle it may try. */
static bool tenant_has_nobody(struct niwa_engine *e, const struct niwa_start *s, uint64_t missing)
{
	return !niwa_reclaim(e, missing, s->app->tenant) && s->tenant_short && !niwa_admit_may_wait(e, s->app);
}

/* What one round of looking at those who wait may still do; tenants: has done. */
struct round {
	unsigned refusals, tenants;
	bool memory_asked;
	struct niwa_start *of_tenant; /* of those at their tenants' limits the one whose last turn is longest ago */
};

/* It does not fit yet: something is put to sleep for it, or it is refused. Those behind it want the same memory. */
static void look_again(struct niwa_engine *e, struct niwa_start *s, uint64_t missing, struct round *round)
{
	struct niwa_tenant *tenant = s->app->tenant;

	if (niwa_now_us() >= s->until_us && s->tenant_short) {
		s->waived = true;
	} else if (niwa_now_us() >= s->until_us) {
		if (!round->refusals)
			return;
		round->refusals--;
		stop_waiting(e, s);
		no_memory(e, s);
	} else if (s->tenant_full || s->tenant_short) {
		if (!round->of_tenant || tenant->reclaimed_us < round->of_tenant->app->tenant->reclaimed_us)
			round->of_tenant = s;
	} else if (!round->memory_asked) {
		round->memory_asked = true;
		(void)niwa_reclaim(e, missing, NULL);
	}
}

/* Those who wait longest first. One is let in a turn: what it takes is seen in the next one. A tenant that is at its
 * limit costs a comparison for each start that waits, and takes no turn of others. */
static int on_short(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_start *s = TAILQ_FIRST(&e->starts_short), *next;
	struct round round = {.refusals = REFUSALS};
	uint64_t missing;

	(void)usec;
	for (unsigned n = 0; s && n < SHORT_LOOKS; n++, s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->tenant_short && round.tenants++ >= TENANTS)
			continue;
		if (!admit(e, s, &missing)) {
			look_again(e, s, missing, &round);
			continue;
		}
		stop_waiting(e, s);
		wait_for_place(e, s, s->entry.rank);
		niwa_start_look(e);
		break;
	}
	if (round.of_tenant) {
		round.of_tenant->app->tenant->reclaimed_us = niwa_now_us();
		round.of_tenant->waived = tenant_has_nobody(e, round.of_tenant, 0);
	}
	niwa_start_look(e);
	if (!e->short_count)
		return sd_event_source_set_enabled(source, SD_EVENT_OFF);
	(void)sd_event_source_set_time(source, niwa_now_us() + SHORT_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Half of what may wait for a place may wait for memory, and as much for the limits of tenants. */
static bool has_room(const struct niwa_engine *e, const struct niwa_start *s)
{
	unsigned others = s->counted_full ? e->full_count : e->short_count - e->full_count;

	return others < (e->starts.length_max + 1) / 2;
}

static void no_room(struct niwa_engine *e, struct niwa_start *s)
{
	enum niwa_start_kind kind = s->kind;
	struct niwa_app *app = s->app;
	struct niwa_error err;

	(void)niwa_fail(&err, NIWA_TEMPORARY, 0, "%s: %u starts wait already for %s (half of wake_queue)", app->name,
			(e->starts.length_max + 1) / 2, s->counted_full ? "limits of tenants" : "memory");
	forget(s);
	refuse(e, app, kind, NIWA_REFUSED_QUEUE, &err);
}

static void wait_for_memory(struct niwa_engine *e, struct niwa_start *s)
{
	int r = 0;

	if (s->kind == NIWA_START_COPY) { /* growth puts nobody to sleep */
		no_memory(e, s);
		return;
	}
	s->counted_full = s->tenant_full || s->tenant_short;
	if (!has_room(e, s)) {
		no_room(e, s);
		return;
	}
	s->waits = FOR_MEMORY;
	e->full_count += s->counted_full;
	if (s->until_us) { /* there was enough a moment ago */
		TAILQ_INSERT_HEAD(&e->starts_short, s, link);
	} else {
		s->until_us = niwa_now_us() + e->config.start_wait_us;
		TAILQ_INSERT_TAIL(&e->starts_short, s, link);
	}
	if (e->short_count++)
		return;
	if (!e->short_timer)
		r = sd_event_add_time_relative(e->event, &e->short_timer, CLOCK_MONOTONIC, 0, NIWA_MS, on_short, e);
	else if (sd_event_source_set_time(e->short_timer, niwa_now_us()) >= 0)
		r = sd_event_source_set_enabled(e->short_timer, SD_EVENT_ONESHOT);
	if (r < 0) {
		stop_waiting(e, s);
		no_memory(e, s);
	}
}

static void begin(struct niwa_engine *e, struct niwa_start *s, struct niwa_wake_flow *flow)
{
	enum niwa_start_kind kind = s->kind;
	struct niwa_app *app = s->app;
	struct niwa_instance *i = NULL;
	struct niwa_error err;
	uint64_t missing;
	bool go = admit(e, s, &missing) ||
		  (s->tenant_short && kind != NIWA_START_COPY && tenant_has_nobody(e, s, missing));
	int r = go ? make(e, s, &i, &err) : -ENOSPC;

	if (kind == NIWA_START_APP)
		uncount(s); /* its part of the queue is free for the next one */
	if (i)
		take_place(e, i, flow, s);
	else
		niwa_wake_queue_give_back(&e->starts, flow, s->entry.cost_us, 0);
	if (r == -ENOSPC && missing) {
		wait_for_memory(e, s);
		return;
	}
	if (r == -EINPROGRESS && kind == NIWA_START_APP) {
		wait_for_folder(e, s, &err);
		return;
	}
	forget(s);
	if (kind != NIWA_START_APP) {
		if (r < 0)
			refuse_beside(e, app, kind, &err);
		return;
	}
	if (app->state == NIWA_RESTORING)
		return;
	e->counts.starts++;
	if (r < 0)
		niwa_wake_not_begun(e, app, &err);
}

/* Instances beside others: as many at a time as there are places, so that those who are waited for find the queue as
 * it would be without, however many apps are to be replaced at once. */
static void let_in_beside(struct niwa_engine *e)
{
	struct niwa_start *s;

	while (e->beside_under_way < e->starts.places &&
	       (!e->starts.length || e->starts.length < e->starts.length_max / 2) &&
	       (s = TAILQ_FIRST(&e->starts_beside))) {
		stop_waiting(e, s);
		count_in(s, &e->beside_under_way);
		wait_for_place(e, s, NIWA_WAKE_RANK_NONE);
		watch_places(e);
	}
}

/* False: nobody may begin. */
static bool begin_next(struct niwa_engine *e)
{
	struct niwa_wake_flow *flow;
	struct niwa_wake_entry *entry = niwa_wake_queue_pop(&e->starts, &flow);

	if (entry)
		begin(e, (struct niwa_start *)(void *)entry, flow);
	return entry;
}

static int on_begin(sd_event_source *s, void *arg)
{
	let_in_beside(arg);
	return begin_next(arg) ? 0 : sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

/* An app that could not be restored has had its turn. */
static uint64_t rank_before(const struct niwa_engine *e, const struct niwa_app *app)
{
	const struct niwa_instance *i;

	LIST_FOREACH(i, &e->places, place_link)
	if (i->app == app)
		return i->place.rank;
	return NIWA_WAKE_RANK_NONE;
}

void niwa_start_push(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_start *s = niwa_zalloc(sizeof(*s));
	struct niwa_error err;

	niwa_start_drop_beside(e, app, NIWA_START_APP);
	if (!s) {
		(void)niwa_fail(&err, NIWA_TEMPORARY, ENOMEM, "%s: wait for a start", app->name);
		refuse(e, app, NIWA_START_APP, NIWA_REFUSED_MEMORY, &err);
		return;
	}
	s->app = app;
	s->since_us = niwa_now_us();
	app->start = s;
	wait_for_place(e, s, rank_before(e, app));
	if (e->starts.length == 1) /* nobody was there before it */
		(void)begin_next(e);
	niwa_start_look(e);
	if (e->starts.length)
		watch_places(e);
}

bool niwa_start_push_beside(struct niwa_engine *e, struct niwa_app *app, enum niwa_start_kind kind, const char *why)
{
	struct niwa_start *s = app->start;
	struct niwa_error err;

	if (s && (s->kind == kind || s->kind != NIWA_START_COPY))
		return false;
	niwa_start_drop_beside(e, app, NIWA_START_COPY); /* of the two the successor is wanted more */
	s = niwa_zalloc(sizeof(*s));
	if (!s) {
		(void)niwa_fail(&err, NIWA_TEMPORARY, ENOMEM, "%s: wait for a start", app->name);
		refuse(e, app, kind, NIWA_REFUSED_MEMORY, &err);
		return false;
	}
	s->app = app;
	s->kind = kind;
	s->why = why;
	s->since_us = niwa_now_us();
	s->waits = FOR_OTHERS;
	app->start = s;
	if (kind == NIWA_START_COPY) /* what is full waits less well than what is old */
		TAILQ_INSERT_HEAD(&e->starts_beside, s, link);
	else
		TAILQ_INSERT_TAIL(&e->starts_beside, s, link);
	e->beside_waiting++;
	niwa_start_look(e);
	return true;
}

bool niwa_start_is_beside(const struct niwa_app *app)
{
	return app->start && app->start->kind != NIWA_START_APP;
}

void niwa_start_drop_beside(struct niwa_engine *e, struct niwa_app *app, enum niwa_start_kind kind)
{
	struct niwa_start *s = app->start;

	if (!niwa_start_is_beside(app) || (kind != NIWA_START_APP && s->kind != kind))
		return;
	stop_waiting(e, s);
	forget(s);
	niwa_start_look(e);
}

void niwa_start_for_resident(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_start *s = app->start;

	if (s && s->waits == FOR_A_PLACE && !s->count)
		count_in(s, &e->residents_queued);
}

void niwa_start_for_visitors(struct niwa_app *app)
{
	if (app->start)
		app->start->for_visitors = true;
}

bool niwa_start_drop(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_start *s = app->start;

	if (!s || s->kind != NIWA_START_APP)
		return false;
	stop_waiting(e, s);
	forget(s);
	return true;
}

void niwa_start_unwanted(struct niwa_engine *e, struct niwa_app *app)
{
	if (app->start && app->start->for_visitors && !app->resident && TAILQ_EMPTY(&app->waiters))
		niwa_wake_unqueue(e, app, "its visitors have gone");
}

void niwa_start_moved(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_start *s = app->start;

	if (!s || s->waits != FOR_A_PLACE)
		return;
	niwa_wake_queue_remove(&e->starts, &s->entry);
	wait_for_place(e, s, NIWA_WAKE_RANK_NONE);
}

void niwa_start_folders_changed(struct niwa_engine *e)
{
	struct niwa_start *s;

	while ((s = TAILQ_FIRST(&e->starts_held))) {
		stop_waiting(e, s);
		wait_for_place(e, s, s->entry.rank);
	}
	niwa_start_look(e);
}

unsigned niwa_start_waiting_for_folders(const struct niwa_engine *e)
{
	return e->held_count;
}

static bool is_starting(const struct niwa_instance *i)
{
	const struct niwa_app *app = i->app;

	if (app->current != i)
		return app->fresh == i || niwa_scale_is_growing(i);
	return app->state == NIWA_STARTING || app->state == NIWA_RESTORING;
}

void niwa_start_awaited(struct niwa_engine *e, struct niwa_instance *asker, struct niwa_app *app)
{
	struct niwa_place *p = &asker->place;

	if (asker->app == app || asker->life != NIWA_LIFE_STARTED || !is_starting(asker))
		return;
	niwa_start_give_back(asker);
	if (!app->start || app->start->waits != FOR_A_PLACE)
		return;
	if (!p->since_us) /* adopted */
		p->rank = e->starts.now_us;
	niwa_wake_queue_promote(&e->starts, &app->start->entry, p->rank);
	p->rank += app->start->entry.cost_us; /* one that wakes a hundred is a storm too */
	p->since_us = niwa_now_us();
	niwa_start_look(e);
}

const char *niwa_start_explain(const struct niwa_engine *e, const struct niwa_app *app, char *buf, size_t size)
{
	static const char *const what[] = {[NIWA_START_APP] = "its start",
					   [NIWA_START_SUCCESSOR] = "a fresh instance",
					   [NIWA_START_COPY] = "one more instance"};
	const struct niwa_start *s = app->start;
	char since[32], needs[32], there[32];

	buf[0] = '\0';
	if (!s)
		return buf;
	(void)niwa_format_duration((niwa_now_us() - s->since_us) / NIWA_MS * NIWA_MS, since, sizeof(since));
	if (s->waits == FOR_A_FOLDER)
		(void)snprintf(buf, size, "%s waits for %s until another instance lets go of a folder", what[s->kind],
			       since);
	else if (s->waits == FOR_MEMORY && s->tenant_full)
		(void)snprintf(buf, size, "%s waits for %s: its tenant has as many instances as it may (%u)",
			       what[s->kind], since, app->tenant->instances);
	else if (s->waits == FOR_MEMORY && s->tenant_short)
		(void)snprintf(buf, size, "%s waits for %s: idle apps of its tenant are put to sleep for it",
			       what[s->kind], since);
	else if (s->waits == FOR_MEMORY)
		(void)snprintf(buf, size, "%s waits for %s: it needs %s of memory, %s are available", what[s->kind],
			       since, niwa_format_size(s->needs_bytes / 1024 * 1024, needs, sizeof(needs)),
			       niwa_format_size(s->free_bytes / 1024 * 1024, there, sizeof(there)));
	else
		(void)snprintf(buf, size,
			       "%s waits for %s; %u are under way of at most %u (concurrent_starts), %u wait",
			       what[s->kind], since, e->starts.busy, e->starts.places, e->starts.length);
	return buf;
}
