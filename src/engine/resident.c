/* SPDX-License-Identifier: MIT
 *
 * The queue of resident apps that are down. Every way down ends in the one setter of states, which tells here, so no
 * other file has to remember that an app is resident.
 */
#include "engine/resident.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/schedule.h"
#include "engine/snapshot_host.h"
#include "engine/start.h"
#include "engine/wake.h"

#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 5) /* behind wakes, before the socket */
#define ROOM_US  (20 * NIWA_MS)

static bool is_wanted(const struct niwa_app *app)
{
	return (app->resident || niwa_schedule_is_on(app)) && !app->removed && !app->stays_down &&
	       niwa_state_is_down((enum niwa_state)app->state);
}

static void look(struct niwa_engine *e, struct niwa_app *app)
{
	if (!is_wanted(app) || app->resident_queued || app->retry)
		return;
	TAILQ_INSERT_TAIL(&e->resident_queue, app, resident_link);
	app->resident_queued = true;
	if (e->adopted)
		(void)sd_event_source_set_enabled(e->resident_source, SD_EVENT_ONESHOT);
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_app *app = arg;

	(void)s, (void)usec;
	app->retry = sd_event_source_disable_unref(app->retry);
	look(app->engine, app);
	return 0;
}

static void begin(struct niwa_engine *e, struct niwa_app *app)
{
	uint64_t at = app->past ? app->past->not_before_us : 0;

	if (at <= niwa_now_us()) {
		niwa_wake_start(e, app, app->resident ? "resident" : "its hours");
		niwa_start_for_resident(e, app);
	} else if (sd_event_add_time(e->event, &app->retry, CLOCK_MONOTONIC, at, NIWA_MS, on_pause_over, app) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: %s, which is to be up, is not started", app->name);
	}
}

static int on_room(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;

	(void)s, (void)usec;
	return sd_event_source_set_enabled(e->resident_source, SD_EVENT_ONESHOT);
}

/* The queue of starts has a bound, and is for those who are waited for: it is not filled with thousands. Some are in it
 * always, else a storm of one tenant would keep the resident apps of all others down. */
static bool waits_for_room(struct niwa_engine *e)
{
	if (e->residents_queued < e->starts.places &&
	    (!e->starts.length || e->starts.length < e->starts.length_max / 2))
		return false;
	if (!e->resident_pause)
		return sd_event_add_time_relative(e->event, &e->resident_pause, CLOCK_MONOTONIC, ROOM_US, NIWA_MS,
						  on_room, e) >= 0;
	return sd_event_source_set_time_relative(e->resident_pause, ROOM_US) >= 0 &&
	       sd_event_source_set_enabled(e->resident_pause, SD_EVENT_ONESHOT) >= 0;
}

static int on_turn(sd_event_source *s, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_app *app = TAILQ_FIRST(&e->resident_queue);

	if (!app || !niwa_snapshots_are_known(e) || waits_for_room(e)) /* known: niwa_resident_begin */
		return 0;
	niwa_resident_forget(e, app);
	if (is_wanted(app) && !app->retry)
		begin(e, app);
	if (!TAILQ_EMPTY(&e->resident_queue))
		(void)sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

int niwa_resident_open(struct niwa_engine *e)
{
	int r;

	TAILQ_INIT(&e->resident_queue);
	r = sd_event_add_defer(e->event, &e->resident_source, on_turn, e);
	if (r >= 0)
		r = sd_event_source_set_priority(e->resident_source, PRIORITY);
	if (r >= 0)
		r = sd_event_source_set_enabled(e->resident_source, SD_EVENT_OFF);
	return r;
}

void niwa_resident_begin(struct niwa_engine *e)
{
	if (!TAILQ_EMPTY(&e->resident_queue))
		(void)sd_event_source_set_enabled(e->resident_source, SD_EVENT_ONESHOT);
}

void niwa_resident_declare(struct niwa_engine *e, struct niwa_app *app, bool resident)
{
	app->resident = resident;
	app->stays_down = false;
	look(e, app);
}

void niwa_resident_moved(struct niwa_engine *e, struct niwa_app *app)
{
	if (app->state == NIWA_STARTING || app->state == NIWA_RESTORING)
		app->stays_down = false;
	else
		look(e, app);
}

void niwa_resident_stop(struct niwa_engine *e, struct niwa_app *app)
{
	app->stays_down = app->resident || niwa_schedule_is_on(app);
	if (!app->stays_down)
		return;
	niwa_resident_forget(e, app);
	if (niwa_state_is_down((enum niwa_state)app->state) && TAILQ_EMPTY(&app->waiters))
		app->retry = sd_event_source_disable_unref(app->retry);
}

void niwa_resident_forget(struct niwa_engine *e, struct niwa_app *app)
{
	if (app->resident_queued)
		TAILQ_REMOVE(&e->resident_queue, app, resident_link);
	app->resident_queued = false;
}
