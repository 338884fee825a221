/* SPDX-License-Identifier: MIT
 *
 * Rotation in its two modes, draining, lifetimes.
 */
#include "engine/rotate.h"

#include <stdio.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/busy.h"
#include "engine/dump.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/past.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/start.h"
#include "engine/wake.h"
#include "net/diag.h"
#include "net/wake.h"

#define DRAIN_LOOK_US (250 * NIWA_MS)
#define RETRY_US      (30 * NIWA_SEC)

static int on_lifetime(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	i->life_timer = sd_event_source_disable_unref(i->life_timer);
	if (i->copy)
		niwa_scale_age_one(i);
	else if (i->app->current == i)
		niwa_rotate(i->engine, i->app, "end of lifetime");
	return 0;
}

static void arm(struct niwa_engine *e, struct niwa_instance *i, uint64_t at_us)
{
	i->life_timer = sd_event_source_disable_unref(i->life_timer);
	if (sd_event_add_time(e->event, &i->life_timer, CLOCK_MONOTONIC, at_us, 10 * NIWA_MS, on_lifetime, i) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: the lifetime of %s has no end", i->app->name);
}

void niwa_rotate_arm(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t life = i->spec->lifetime_us;

	if (life)
		arm(e, i, i->began_us + (life > i->aged_us ? life - i->aged_us : 0));
}

bool niwa_rotate_declared(const struct niwa_app_spec *spec)
{
	return spec->rotate == NIWA_ROTATE_OVERLAP && !niwa_app_has_own_data(spec);
}

bool niwa_rotate_made_for(const struct niwa_instance *i)
{
	return i->record & NIWA_TAG_RECORD_KNOWN ? i->record & NIWA_TAG_RECORD_OVERLAPS : niwa_rotate_declared(i->spec);
}

/* The declared mode is the one of the record as it is now; the old instance's data rules it out as well. */
static bool may_overlap(struct niwa_engine *e, struct niwa_app *app)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	struct niwa_error err;

	if (!niwa_rotate_made_for(app->current))
		return false;
	if (niwa_app_spec_read(e, app, &spec, &err) < 0)
		return false;
	return niwa_rotate_declared(spec);
}

static void overlap(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_log_ctx ctx = {.app = app->name, .instance = app->current->id, .doing = "rotate"};

	if (!app->fresh && niwa_start_push_beside(e, app, NIWA_START_SUCCESSOR, why))
		niwa_log(NIWA_LOG_INFO, &ctx, "a fresh instance is to be made beside this one (%s)", why);
}

int niwa_rotate_make(struct niwa_engine *e, struct niwa_app *app, const char *why, struct niwa_instance **ret,
		     struct niwa_error *err)
{
	bool lost = app->state == NIWA_STARTING && app->current && app->current->lost;
	int r;

	if ((app->state != NIWA_RUNNING && !lost) || app->fresh || !may_overlap(e, app)) { /* since it was wanted */
		niwa_rotate(e, app, why);
		return 0;
	}
	r = niwa_instance_make(e, app, &app->fresh, err);
	*ret = app->fresh;
	(void)niwa_fault("niwad.rotate-begun");
	return r;
}

/* What follows must not run beside another one. */
static void end_copies(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *i, *next;

	niwa_scale_cancel(e, app, why);
	for (i = niwa_scale_is_grown(app) ? LIST_FIRST(&app->scale->copies) : NULL; i; i = next) {
		next = LIST_NEXT(i, copy_link);
		niwa_leave_stop(e, i, why);
	}
}

void niwa_rotate(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *i = app->current;

	switch ((enum niwa_state)app->state) {
	case NIWA_RUNNING:
		if (may_overlap(e, app)) {
			overlap(e, app, why);
			return;
		}
		end_copies(e, app, why);
		app->rotate_wanted = true; /* a fresh one follows at once: somebody was using it */
		niwa_leave_stop(e, i, why);
		(void)niwa_fault("niwad.handover-begun");
		break;
	case NIWA_FREEZING:
	case NIWA_FROZEN:
	case NIWA_PAGED:
		if (niwa_leave_idle(e, i, NIWA_LEAVE_ENDS, why) < 0) { /* somebody is behind it: treat it as running */
			niwa_sleep_thaw(e, i, why);
			niwa_rotate(e, app, why);
		}
		break;
	case NIWA_STOPPED: /* the next wake makes a fresh one */
	case NIWA_SAVED:
	case NIWA_STARTING: /* niwa_wake_ready compares the generations */
	case NIWA_STOPPING:
	case NIWA_SAVING:
	case NIWA_RESTORING:
	case NIWA_STATE_COUNT:
		break;
	}
}

void niwa_rotate_cancel(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *fresh = app->fresh;

	niwa_start_drop_beside(e, app, NIWA_START_SUCCESSOR);
	if (!fresh)
		return;
	app->fresh = NULL; /* its end is nobody's failure */
	fresh->killed = true;
	niwa_leave_stop(e, fresh, why);
}

/* What concerns names, labels, times and visitors of an app, none of its instances. */
static void leave_out(json_t *record)
{
	json_t *port;
	size_t i;

	(void)json_object_del(record, "routes"); /* if there are any, here and below */
	(void)json_object_del(record, "labels");
	(void)json_object_del(record, "awake");
	(void)json_object_del(record, "wake");
	json_array_foreach(json_object_get(record, "ports"), i, port)(void) json_object_del(port, "wake");
}

static bool same_for_instances(const struct niwa_app_spec *a, const struct niwa_app_spec *b)
{
	json_t *x = niwa_app_to_json(a), *y = niwa_app_to_json(b);
	bool same;

	leave_out(x);
	leave_out(y);
	same = x && y && json_equal(x, y);
	json_decref(x);
	json_decref(y);
	return same;
}

/* What was made from the record before is as good as what would be made now. */
static void keep_as_it_is(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_app_spec *spec,
			  uint64_t before)
{
	if (!i || i->generation != before || !i->spec || !same_for_instances(i->spec, spec))
		return;
	i->generation = i->app->generation;
	niwa_instance_write_tag(e, i);
}

static void keep_copies(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec, uint64_t before)
{
	struct niwa_instance *i;

	if (!app->scale)
		return;
	keep_as_it_is(e, app->scale->growing, spec, before);
	LIST_FOREACH(i, &app->scale->copies, copy_link)
	keep_as_it_is(e, i, spec, before);
	if (app->scale->growing && app->scale->growing->generation != app->generation)
		niwa_scale_cancel(e, app, "changed again");
}

void niwa_rotate_changed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec, uint64_t before)
{
	keep_as_it_is(e, app->current, spec, before);
	keep_as_it_is(e, app->fresh, spec, before);
	keep_copies(e, app, spec, before);
	if (app->past)
		app->past->not_before_us = app->past->backoff_us = 0; /* perhaps the change mends it */
	if (app->fresh && app->fresh->generation != app->generation)
		niwa_rotate_cancel(e, app, "changed again");
	if (app->current && app->current->generation != app->generation)
		niwa_rotate(e, app, "changed");
}

void niwa_rotate_ready(struct niwa_engine *e, struct niwa_instance *fresh)
{
	struct niwa_app *app = fresh->app;
	struct niwa_instance *old = app->current;
	struct niwa_log_ctx ctx = {.app = app->name, .instance = fresh->id, .doing = "rotate"};
	struct niwa_error err;

	niwa_start_give_back(fresh);
	app->fresh = NULL;
	app->current = fresh;
	if (app->state == NIWA_STARTING) { /* the old one has lost its port meanwhile: connections wait */
		niwa_leave_stop(e, old, "replaced");
		niwa_wake_ready(e, fresh);
		return;
	}
	if (app->state != NIWA_RUNNING) { /* frozen on request meanwhile: it has to drain */
		niwa_sleep_release(e, old);
		niwa_app_set_state(e, app, NIWA_RUNNING, "a fresh instance serves");
	}
	fresh->life = NIWA_LIFE_SERVING;
	fresh->stages.ready_us = niwa_now_us();
	if (niwa_awake_replace(e, old, fresh, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s; its connections go through the relay", err.msg);
	(void)niwa_fault("niwad.rotate-awake");
	niwa_log(NIWA_LOG_INFO, &ctx, "serves instead of instance %llu", (unsigned long long)old->id);
	niwa_instance_write_tag(e, fresh);
	(void)niwa_fault("niwad.rotate-tagged");
	niwa_sleep_watch(e, fresh);
	niwa_rotate_arm(e, fresh);
	niwa_dump_when_quiet(e, fresh);
	niwa_app_notify(app);
	niwa_scale_follow(e, app);
	if (niwa_net_flush_unreplied(e->net, old->mark, &err) < 0)
		niwa_log(NIWA_LOG_WARN, &ctx, "%s", err.msg);
	niwa_rotate_drain(e, old);
	if (fresh->generation != app->generation)
		niwa_rotate(e, app, "changed");
}

void niwa_rotate_failed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "rotate"};

	niwa_log(NIWA_LOG_ERR, &ctx, "%s; the old instance goes on, the next try is in 30 s", err->msg);
	e->counts.failures++;
	app->fresh = NULL;
	niwa_app_note_error(app, err->msg);
	niwa_app_unwatch(app);
	if (app->current)
		arm(e, app->current, niwa_now_us() + RETRY_US);
}

/* Connections that it has made itself are no reason to go on; one whose handshake is under way is. */
static bool is_serving(const struct niwa_instance *i)
{
	uint16_t ports[NIWA_PORTS_MAX];

	if (i->diag_fd < 0)
		return false;
	if (niwa_sleep_too_many_sockets(i))
		return true;
	for (size_t n = 0; n < i->spec->port_count; n++)
		ports[n] = i->spec->ports[n].number;
	return niwa_diag_clients(i->diag_fd, ports, i->spec->port_count) > 0;
}

static int on_drain(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	i->timer = sd_event_source_disable_unref(i->timer);
	if (niwa_now_us() < i->drain_deadline_us && (niwa_is_busy(i) || is_serving(i)) &&
	    sd_event_add_time_relative(i->engine->event, &i->timer, CLOCK_MONOTONIC, DRAIN_LOOK_US, 10 * NIWA_MS,
				       on_drain, i) >= 0)
		return 0;
	niwa_leave_stop(i->engine, i, "drained");
	return 0;
}

void niwa_rotate_drain(struct niwa_engine *e, struct niwa_instance *i)
{
	niwa_rotate_drain_within(e, i, e->config.drain_us);
}

void niwa_rotate_drain_within(struct niwa_engine *e, struct niwa_instance *i, uint64_t within_us)
{
	niwa_sleep_unwatch(i);
	i->life_timer = sd_event_source_disable_unref(i->life_timer);
	i->life = NIWA_LIFE_DRAINING;
	i->drain_deadline_us = niwa_now_us() + within_us;
	niwa_instance_write_tag(e, i);
	(void)niwa_fault("niwad.draining");
	/* the pause covers connections that were accepted by the kernel just before the map was changed */
	if (sd_event_add_time_relative(e->event, &i->timer, CLOCK_MONOTONIC, DRAIN_LOOK_US, 10 * NIWA_MS, on_drain, i) <
	    0)
		niwa_leave_stop(e, i, "drained");
}
