/* SPDX-License-Identifier: MIT
 *
 * Waiters, answers and failures. A waiter is in its app's list until it is answered; a
 * relay's waiter then lives on, outside the list, until the relay says whether it could connect.
 */
#include "engine/wake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/dump.h"
#include "engine/govern.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/past.h"
#include "engine/ready.h"
#include "engine/relay_client.h"
#include "engine/resident.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/share.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/start.h"
#include "engine/visit.h"

#define ATTEMPTS_MAX     3
#define HEALTHY_US       (60 * NIWA_SEC)
#define IMAGES_US        (100 * NIWA_MS) /* between two looks whether it is known what images there are */
#define BACK_OFF_HELD_US (2 * NIWA_SEC)  /* a back-off up to this long is waited for */

struct niwa_waiter *niwa_waiter_new(struct niwa_app *app, uint64_t ticket, uint16_t port, uint32_t client)
{
	struct niwa_waiter *w = niwa_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	w->app = app;
	w->ticket = ticket;
	w->port = port;
	w->client = client;
	return w;
}

static void set_answered(struct niwa_waiter *w, bool answered)
{
	if (w->answered != answered)
		w->app->answered += answered ? 1 : UINT32_MAX;
	w->answered = answered;
}

static void waiter_free(struct niwa_engine *e, struct niwa_waiter *w)
{
	set_answered(w, false);
	if (w->ticket && niwa_map_get(e->waiters_by_ticket, w->ticket) == w)
		(void)niwa_map_del(e->waiters_by_ticket, w->ticket);
	free(w);
}

static void unlist(struct niwa_waiter *w)
{
	TAILQ_REMOVE(&w->app->waiters, w, link);
	w->app->waiting--;
}

static void fail(struct niwa_engine *e, struct niwa_waiter *w, const struct niwa_error *err)
{
	if (w->ticket)
		niwa_relay_fail(e, w);
	if (w->done)
		w->done(err, w->arg);
	waiter_free(e, w);
}

static void answer(struct niwa_engine *e, struct niwa_waiter *w)
{
	if (w->done)
		w->done(NULL, w->arg);
	if (!w->ticket) {
		waiter_free(e, w);
		return;
	}
	set_answered(w, true);
	niwa_relay_ready(e, w, niwa_scale_target(w->app));
}

void niwa_wake_note(struct niwa_engine *e, struct niwa_app *app, const struct niwa_waiter *w, const char *path,
		    uint64_t accepted_us)
{
	struct niwa_app_past *past = niwa_app_past(app);

	e->counts.wakes++;
	niwa_govern_visit(app, accepted_us);
	if (!past)
		return;
	past->now = (struct niwa_stages){.accepted_us = accepted_us, .decided_us = niwa_now_us()};
	(void)snprintf(past->path, sizeof(past->path), "%s", path);
	past->last_wake_realtime_us = niwa_realtime_us();
	past->last_from = w ? w->from : (struct in6_addr){0};
	past->last_port = w ? w->port : 0;
	past->last_by = !w ? "traffic" : w->why ? w->why : w->ticket ? "connection" : "request";
	past->wakes++;
}

static const char *why_of(const struct niwa_waiter *w, char *buf, size_t size)
{
	char addr[INET6_ADDRSTRLEN];

	if (w->why)
		return w->why;
	if (!w->ticket)
		return "asked for";
	(void)snprintf(buf, size, "connection from %s", niwa_visitor_text(&w->from, addr));
	return buf;
}

static void hold(struct niwa_engine *e, struct niwa_app *app, struct niwa_waiter *w)
{
	TAILQ_INSERT_TAIL(&app->waiters, w, link);
	app->waiting++;
	set_answered(w, false);
	if (w->ticket)
		niwa_relay_hold(e, w);
}

static void refuse(struct niwa_engine *e, struct niwa_waiter *w, enum niwa_refusal_reason reason, const char *text)
{
	struct niwa_error err;

	e->metrics.refusals[reason]++;
	(void)niwa_fail(&err, NIWA_TEMPORARY, 0, "%s: %s", w->app->name, text);
	fail(e, w, &err);
}

static int on_back_off_over(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_app *app = arg;

	(void)s, (void)usec;
	app->retry = sd_event_source_disable_unref(app->retry);
	if (niwa_state_is_down(app->state) && !app->removed && !TAILQ_EMPTY(&app->waiters))
		niwa_wake_start(app->engine, app, "connections are waiting");
	return 0;
}

/* After one crash of a good app nobody is to notice more than a pause; what fails again and again is said at once. */
static void wake_backing_off(struct niwa_engine *e, struct niwa_app *app, struct niwa_waiter *w, uint64_t accepted_us)
{
	uint64_t at = app->past->not_before_us;

	if (at > niwa_now_us() + BACK_OFF_HELD_US ||
	    (!app->retry &&
	     sd_event_add_time(e->event, &app->retry, CLOCK_MONOTONIC, at, NIWA_MS, on_back_off_over, app) < 0)) {
		refuse(e, w, NIWA_REFUSED_BACK_OFF, niwa_app_last_error(app));
		return;
	}
	if (TAILQ_EMPTY(&app->waiters))
		niwa_wake_note(e, app, w, "start", accepted_us);
	hold(e, app, w);
}

/* What hibernates is not started before it is known whether its memory is on disk: a start would make that void. What
 * no visitor waits for can wait anyway. */
static bool waits_for_images(struct niwa_engine *e, struct niwa_app *app, const struct niwa_waiter *w)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	struct niwa_error err;

	if (niwa_snapshots_are_known(e))
		return false;
	return w->why || (niwa_app_spec_read(e, app, &spec, &err) == 0 && niwa_snapshot_hibernates(e, spec));
}

void niwa_wake_images_known(struct niwa_engine *e)
{
	struct niwa_app *app;
	size_t pos = 0;

	while ((app = niwa_map_next(e->apps_by_id, &pos)))
		if (niwa_state_is_down(app->state) && !app->removed && !app->retry && !TAILQ_EMPTY(&app->waiters))
			niwa_wake_start(e, app, "connections are waiting");
	niwa_resident_begin(e);
}

static void wake_stopped(struct niwa_engine *e, struct niwa_app *app, struct niwa_waiter *w, uint64_t accepted_us)
{
	struct niwa_app_past *past = niwa_app_past(app);
	char why[64];

	if (past && past->not_before_us > niwa_now_us()) {
		wake_backing_off(e, app, w, accepted_us);
		return;
	}
	if (TAILQ_EMPTY(&app->waiters))
		niwa_wake_note(e, app, w, "start", accepted_us);
	hold(e, app, w);
	if (waits_for_images(e, app, w))
		return;
	niwa_wake_start(e, app, why_of(w, why, sizeof(why)));
	niwa_start_for_visitors(app);
}

/* Who connects may be an app that is starting itself. */
static struct niwa_instance *asker_of(struct niwa_engine *e, const struct niwa_waiter *w)
{
	return w->ticket ? niwa_map_get(e->instances_by_addr, w->client) : NULL;
}

void niwa_wake(struct niwa_engine *e, struct niwa_app *app, struct niwa_waiter *w, uint64_t accepted_us)
{
	struct niwa_instance *asker = asker_of(e, w);
	char why[64];

	if (w->ticket && !niwa_map_get(e->waiters_by_ticket, w->ticket) &&
	    niwa_map_put(e->waiters_by_ticket, w->ticket, w) < 0) {
		refuse(e, w, NIWA_REFUSED_MEMORY, "out of memory");
		return;
	}
	if (app->removed) {
		refuse(e, w, NIWA_REFUSED_REMOVED, "was removed");
		return;
	}
	if (app->waiting >= app->max_waiting && !niwa_state_is_awake(app->state)) {
		refuse(e, w, NIWA_REFUSED_MAX_WAITING, "too many connections are waiting for it (max_waiting)");
		return;
	}
	switch ((enum niwa_state)app->state) {
	case NIWA_RUNNING:
		if (niwa_dump_is_under_way(app->current))
			hold(e, app, w);
		else
			answer(e, w);
		break;
	case NIWA_FREEZING:
	case NIWA_FROZEN:
	case NIWA_PAGED:
		niwa_wake_note(e, app, w, "thaw", accepted_us);
		niwa_sleep_thaw(e, app->current, why_of(w, why, sizeof(why)));
		answer(e, w);
		break;
	case NIWA_STOPPED:
	case NIWA_SAVED:
		wake_stopped(e, app, w, accepted_us);
		break;
	case NIWA_STARTING:
	case NIWA_STOPPING:
	case NIWA_RESTORING:
	case NIWA_STATE_COUNT:
		hold(e, app, w);
		break;
	case NIWA_SAVING:
		hold(e, app, w);
		if (app->current)
			niwa_dump_give_up(app->current);
		break;
	}
	if (asker && !niwa_state_is_awake(app->state) && !TAILQ_EMPTY(&app->waiters))
		niwa_start_awaited(e, asker, app);
}

void niwa_wake_gone(struct niwa_engine *e, uint64_t ticket)
{
	struct niwa_waiter *w = niwa_map_get(e->waiters_by_ticket, ticket);
	struct niwa_app *app;

	if (!w)
		return;
	app = w->answered ? NULL : w->app;
	if (app)
		unlist(w);
	waiter_free(e, w);
	if (app)
		niwa_start_unwanted(e, app);
}

void niwa_wake_connected(struct niwa_engine *e, uint64_t ticket, int error, uint64_t connected_us)
{
	struct niwa_waiter *w = niwa_map_get(e->waiters_by_ticket, ticket);
	struct niwa_app *app;

	if (!w || !w->answered)
		return;
	app = w->app;
	if (!error) {
		if (app->past && !app->past->last.connected_us) {
			app->past->last.connected_us = connected_us;
			app->past->last_ticket = ticket;
			niwa_metrics_stage(&e->metrics, app->past->path, NIWA_STAGE_CONNECTED,
					   app->past->last.accepted_us, connected_us);
		}
		waiter_free(e, w);
		return;
	}
	if (++w->attempts >= ATTEMPTS_MAX) {
		struct niwa_error err;

		e->metrics.refusals[NIWA_REFUSED_CONNECT]++;
		(void)niwa_fail(&err, NIWA_TEMPORARY, error, "%s: connect to port %u of the instance", app->name,
				w->port);
		fail(e, w, &err);
		return;
	}
	if (app->state == NIWA_RUNNING && niwa_ready_listens_at_all(app->current) == 0)
		niwa_ready_lost(e, app->current, "nothing listens any more");
	niwa_wake(e, app, w, w->since_us);
}

void niwa_wake_answer_all(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_waiter *w;

	while ((w = TAILQ_FIRST(&app->waiters))) {
		unlist(w);
		answer(e, w);
	}
}

void niwa_wake_fail_all(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err)
{
	niwa_wake_refuse_all(e, app, NIWA_REFUSED_WAKE_FAILED, err);
}

void niwa_wake_refuse_all(struct niwa_engine *e, struct niwa_app *app, enum niwa_refusal_reason reason,
			  const struct niwa_error *err)
{
	struct niwa_waiter *w;

	e->metrics.refusals[reason] += app->waiting;
	while ((w = TAILQ_FIRST(&app->waiters))) {
		unlist(w);
		fail(e, w, err);
	}
}

void niwa_wake_forget(struct niwa_engine *e, const struct niwa_app *app)
{
	struct niwa_waiter *w;
	size_t pos = 0;

	while (app->answered && (w = niwa_map_next(e->waiters_by_ticket, &pos)))
		if (w->app == app)
			refuse(e, w, NIWA_REFUSED_REMOVED, "was removed");
}

void niwa_wake_note_path(struct niwa_app *app, const char *path)
{
	if (app->past && app->past->now.accepted_us)
		(void)snprintf(app->past->path, sizeof(app->past->path), "%s", path);
}

static void start(struct niwa_engine *e, struct niwa_app *app, enum niwa_state how, const char *why)
{
	app->retry = sd_event_source_disable_unref(app->retry);
	app->rotate_wanted = false;
	niwa_wake_note_path(app, how == NIWA_RESTORING ? "restore" : "start");
	niwa_app_set_state(e, app, how, why);
	niwa_start_push(e, app);
}

void niwa_wake_start(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	if (app->shares && niwa_state_is_down((enum niwa_state)app->state)) { /* others know more by now */
		niwa_share_look(e, app);
		niwa_snapshot_settle_one(e, app, "the image it shares");
	}
	start(e, app, app->state == NIWA_SAVED && niwa_snapshot_is_wanted(app) ? NIWA_RESTORING : NIWA_STARTING, why);
}

void niwa_wake_start_cold(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	start(e, app, NIWA_STARTING, why);
}

void niwa_wake_unqueue(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_error err;

	if (!niwa_start_drop(e, app))
		return;
	(void)niwa_fail(&err, NIWA_TEMPORARY, 0, "%s: its start was given up (%s)", app->name, why);
	niwa_wake_fail_all(e, app, &err);
	niwa_app_set_state(e, app, NIWA_STOPPED, why);
	niwa_snapshot_settle(e, app, why);
}

static void finish_stages(struct niwa_app *app, const struct niwa_instance *i)
{
	struct niwa_app_past *past = niwa_app_past(app);

	if (!past || !past->now.accepted_us)
		return;
	past->now.cloned_us = i->stages.cloned_us;
	past->now.executed_us = i->stages.executed_us;
	past->now.ready_us = i->stages.ready_us;
	niwa_app_note_woke(app, NIWA_WAKE_OK);
}

void niwa_wake_ready(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "wake"};
	struct niwa_app *app = i->app;
	struct niwa_error err;

	i->life = NIWA_LIFE_SERVING;
	i->stages.ready_us = niwa_now_us();
	niwa_start_give_back(i);
	finish_stages(app, i);
	(void)niwa_fault("niwad.ready");
	niwa_app_set_state(e, app, NIWA_RUNNING, "ready");
	niwa_wake_answer_all(e, app);
	(void)niwa_fault("niwad.answered");
	if (!app->template && niwa_awake_enter(e, i, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s; its connections go through the relay", err.msg);
	(void)niwa_fault("niwad.awake");
	niwa_instance_write_tag(e, i);
	(void)niwa_fault("niwad.ready-tagged");
	niwa_sleep_watch(e, i);
	niwa_rotate_arm(e, i);
	if (i->restored && !i->stages.measured)
		niwa_snapshot_restored(app);
	i->stages.measured = true;
	niwa_dump_when_quiet(e, i);
	if (i->generation != app->generation)
		niwa_rotate(e, app, "changed");
}

static int on_retry(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_app *app = arg;

	(void)s, (void)usec;
	app->retry = sd_event_source_disable_unref(app->retry);
	if (!niwa_state_is_down(app->state) || app->removed)
		return 0;
	if (niwa_snapshots_are_known(app->engine)) {
		niwa_snapshot_settle_one(app->engine, app, "an image is there");
		niwa_wake_start(app->engine, app, "restart policy");
	} else {
		(void)sd_event_add_time_relative(app->engine->event, &app->retry, CLOCK_MONOTONIC, IMAGES_US, NIWA_MS,
						 on_retry, app);
	}
	return 0;
}

void niwa_wake_again(struct niwa_engine *e, struct niwa_app *app)
{
	if (!app->removed && !app->template && !app->retry)
		(void)sd_event_add_time_relative(e->event, &app->retry, CLOCK_MONOTONIC, NIWA_SEC, NIWA_MS, on_retry,
						 app);
}

void niwa_wake_healthy(const struct niwa_instance *i)
{
	if (i->app->past && i->stages.ready_us && niwa_now_us() - i->stages.ready_us >= HEALTHY_US)
		i->app->past->backoff_us = 0;
}

static void back_off(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_past *past)
{
	const struct niwa_instance *i = app->current;
	const struct niwa_app_spec *spec = i ? i->spec : NULL;
	uint64_t first = spec && spec->restart.backoff_us ? spec->restart.backoff_us : 100 * NIWA_MS;
	uint64_t max = spec && spec->restart.backoff_max_us ? spec->restart.backoff_max_us : 30 * NIWA_SEC;
	uint64_t now = niwa_now_us();

	if (i)
		niwa_wake_healthy(i);
	past->backoff_us = past->backoff_us ? past->backoff_us * 2 : first;
	if (past->backoff_us > max)
		past->backoff_us = max;
	past->not_before_us = now + past->backoff_us;
	if (spec && spec->restart.policy != NIWA_RESTART_ON_WAKE && !app->removed && !app->retry)
		(void)sd_event_add_time(e->event, &app->retry, CLOCK_MONOTONIC, past->not_before_us, NIWA_MS, on_retry,
					app);
}

void niwa_wake_gave_up(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = app->name, .instance = app->current ? app->current->id : 0};
	struct niwa_app_past *past = niwa_app_past(app);

	e->counts.failures++;
	if (app->current)
		niwa_start_give_back(app->current);
	if (past) {
		past->failures++;
		niwa_app_note_woke(app, NIWA_WAKE_FAILED);
		niwa_app_note_error(app, err->msg);
		back_off(e, app, past);
	}
	niwa_log(NIWA_LOG_WARN, &ctx, "%s", err->msg);
	niwa_wake_fail_all(e, app, err);
}

void niwa_wake_failed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err)
{
	niwa_wake_gave_up(e, app, err);
	app->current = NULL;
	niwa_app_set_state(e, app, NIWA_STOPPED, "failed");
}

void niwa_wake_not_begun(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err)
{
	niwa_wake_failed(e, app, err);
	niwa_snapshot_settle_one(e, app, "nothing of it ran, its image is as good as before");
}
