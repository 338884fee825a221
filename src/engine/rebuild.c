/* SPDX-License-Identifier: MIT
 *
 * A look at one image a turn of a timer; then one start at a time, of an app or of a template.
 */
#include "engine/rebuild.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/order.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/dump.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/roots.h"
#include "engine/share.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"
#include "engine/template.h"
#include "engine/volume_print.h"
#include "engine/wake.h"

#define TURN_US     (100 * NIWA_MS)
#define PICK_US     (2 * NIWA_MS)
#define PICK_APPS   4000            /* looked at before the loop has its turn */
#define PAUSE_TIMES 4               /* a pause is so many times the CPU time of what was done before it */
#define GIVE_UP_US  (60 * NIWA_SEC) /* somebody uses the app: its image is taken when it is quiet, if ever */

static int on_turn(sd_event_source *source, uint64_t usec, void *arg);

static void next_turn(struct niwa_engine *e, uint64_t pause_us)
{
	e->rebuild = sd_event_source_disable_unref(e->rebuild);
	(void)sd_event_add_time_relative(e->event, &e->rebuild, CLOCK_MONOTONIC, pause_us, 10 * NIWA_MS, on_turn,
					 e); /* without memory nothing is made anew */
}

/* Who was passed before may be wanted now. */
static void search_again(struct niwa_engine *e)
{
	e->rebuild_after[0] = '\0';
	e->rebuild_best = 0;
	e->rebuild_anew = false;
}

void niwa_rebuild_begin(struct niwa_engine *e)
{
	struct niwa_app_snapshot *s;
	struct niwa_app *app;
	size_t pos = 0;
	bool any = false;

	while ((app = niwa_map_next(e->apps_by_id, &pos))) {
		app->share_known = false;
		if (app->snapshot && app->snapshot->usable && !app->snapshot->moment)
			any = app->snapshot->unchecked = true;
	}
	pos = 0;
	while ((s = niwa_map_next(e->shares, &pos)))
		s->unchecked = s->usable;
	niwa_share_walk(e);
	search_again(e);
	if (any)
		next_turn(e, TURN_US);
}

void niwa_rebuild_soon(struct niwa_engine *e)
{
	search_again(e);
	if (!e->rebuild && e->snapshots && e->snapshots->empty >= 0)
		next_turn(e, TURN_US);
}

void niwa_rebuild_now(struct niwa_engine *e)
{
	e->rebuild_pause_us = 0;
	search_again(e);
	next_turn(e, NIWA_MS);
}

void niwa_rebuild_slept(struct niwa_engine *e, const struct niwa_app *app)
{
	if (app->snapshot && app->snapshot->wanted_anew && !app->snapshot->shared)
		niwa_rebuild_soon(e);
}

void niwa_rebuild_visited(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_app_snapshot *s = app->snapshot;

	if (app->start_once) {
		app->start_once = false;
		niwa_snapshot_settle_one(e, app, "it may be woken from the image it shares");
	}
	if (!s || !s->shared || s->usable || s->refused)
		return;
	s->wanted_anew = true;
	niwa_rebuild_soon(e);
}

/* It is made anew, if there may be one. */
static void drop(struct niwa_engine *e, struct niwa_app *app, const char *reason)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	char refusal[NIWA_STORE_REASON_MAX];
	struct niwa_error err;

	niwa_snapshot_drop(e, app, reason);
	niwa_snapshot_settle(e, app, "its image is void");
	app->snapshot->wanted_anew = niwa_app_spec_read(e, app, &spec, &err) == 0 &&
				     !*niwa_snapshot_refusal(e, spec, refusal, sizeof(refusal));
}

/* What is read from disks is read by a thread. */
struct comparison {
	struct niwa_engine *engine;
	uint64_t app_id;
	struct niwa_store store;
	struct niwa_snapshot_key key;
	struct niwa_roots roots;
};

static void free_comparison(struct comparison *c)
{
	niwa_roots_close(&c->roots);
	free(c);
}

static int compare_work(void *arg, struct niwa_error *err)
{
	struct comparison *c = arg;
	struct niwa_store_image image;
	int r = niwa_store_use(&c->store, &c->key, NIWA_STORE_QUICK, &image, err);

	if (r == 0)
		r = niwa_manifest_compare(&image.manifest, c->roots.root, c->roots.count, err);
	if (r == 0)
		r = niwa_trees_compare(&c->roots, &image.manifest, err);
	niwa_store_image_close(&image);
	return r;
}

static void compare_done(int r, const struct niwa_error *err, void *arg)
{
	struct comparison *c = arg;
	struct niwa_engine *e = c->engine;
	struct niwa_app *app = niwa_map_get(e->apps_by_id, c->app_id);
	struct niwa_app_snapshot *s = app ? app->snapshot : NULL;

	e->rebuild_compares = false;
	if (r < 0 && e->snapshots && s && s->usable && strcmp(s->key.hex, c->key.hex) == 0) {
		drop(e, app, err->msg);
		niwa_rebuild_soon(e);
	}
	free_comparison(c);
}

/* Fails when there is no thread for it, or a volume is away. */
static int compare(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_instance_params *p,
		   struct niwa_error *err)
{
	struct comparison *c = niwa_zalloc(sizeof(*c));
	int r;

	if (!c)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "compare an image");
	*c = (struct comparison){
		.engine = e, .app_id = app->id, .store = e->snapshots->store, .key = app->snapshot->key};
	r = niwa_roots_open(p, &c->roots, err);
	if (r == 0)
		r = niwa_background_run(e->event, compare_work, compare_done, c, err);
	e->rebuild_compares = r == 0;
	if (r < 0)
		free_comparison(c);
	return r;
}

/* Is it what a restore would find good? What is wrong with one of many that share it says nothing of it. */
static int look(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	NIWA_AUTO(niwa_prepared_fini) struct niwa_prepared p = {0};
	struct niwa_instance nobody = {.engine = e, .app = app, .tenant = app->tenant};
	struct niwa_snapshot_key key;
	int r = niwa_app_spec_read(e, app, &spec, err);

	nobody.spec = spec;
	if (r == 0)
		r = niwa_instance_prepare(e, &nobody, &p, err);
	p.params.init = true;
	if (r == 0)
		r = niwa_snapshot_key_of(e, spec, &p.params, NULL, &key, err);
	if (r == 0 && strcmp(key.hex, app->snapshot->key.hex) != 0)
		r = niwa_fail(err, NIWA_PERMANENT, 0, "the app, its image, CRIU or this host were changed");
	return r < 0 ? r : compare(e, app, &p.params, err);
}

static void look_at(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_error err;
	int r;

	app->snapshot->unchecked = false;
	r = look(e, app, &err);
	if (r == -EAGAIN) /* threads have too much to do */
		app->snapshot->unchecked = true;
	else if (r < 0 && !app->snapshot->shared)
		drop(e, app, err.msg);
}

static bool is_candidate(const struct niwa_app *app, bool anew)
{
	const struct niwa_app_snapshot *s = app->snapshot;

	if (!s || app->removed)
		return false;
	if (anew && s->shared) /* a template does not mind what those do that share it */
		return niwa_template_is_wanted(s);
	if (!anew) /* of one that is awake, too: its image would only lie there */
		return s->unchecked && s->usable && !s->taking && app->state != NIWA_RESTORING;
	return niwa_state_is_down(app->state) && s->wanted_anew && !s->usable && !app->retry;
}

/* Some apps a turn. 1: *ret is the app that was woken most often of those that sleep and wait for this, NULL: there is
 * none. 0: there are more to look at. */
static int pick(struct niwa_engine *e, struct niwa_app **ret)
{
	struct niwa_app *app, *best = niwa_map_get(e->apps_by_id, e->rebuild_best);
	struct niwa_order_walk walk;

	if (e->rebuild_best &&
	    (!best || !is_candidate(best, e->rebuild_anew))) { /* not any more; who is next was not noted */
		e->rebuild_after[0] = '\0';
		best = NULL;
	}
	walk = niwa_order_from(e->apps_in_order, *e->rebuild_after ? e->rebuild_after : NULL);
	for (unsigned n = 0; n < PICK_APPS; n++) {
		app = niwa_order_next(&walk);
		if (!app) {
			e->rebuild_after[0] = '\0';
			e->rebuild_best = 0;
			*ret = best;
			return 1;
		}
		if (is_candidate(app, e->rebuild_anew) && (!best || best->snapshot->week < app->snapshot->week))
			best = app;
		if (n + 1 == PICK_APPS)
			(void)snprintf(e->rebuild_after, sizeof(e->rebuild_after), "%s", app->name);
	}
	e->rebuild_best = best ? best->id : 0;
	return 0;
}

static void make(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "snapshot"};
	bool shared = app->snapshot->shared;
	struct niwa_error err;

	app->snapshot->wanted_anew = false;
	e->rebuild_began_us = niwa_now_us();
	e->rebuild_cpu_us = 0;
	if (shared && niwa_template_start(e, app, &app, &err) < 0) {
		niwa_log(NIWA_LOG_WARN, &ctx, "no image for now: %s", err.msg);
		return;
	}
	e->rebuilding = app->id;
	if (!shared)
		niwa_wake_start_cold(e, app, "its image is made anew");
}

/* True: the app of the last turn is still being dealt with. */
static bool under_way(struct niwa_engine *e)
{
	struct niwa_app *app = niwa_map_get(e->apps_by_id, e->rebuilding);
	uint64_t took = niwa_now_us() - e->rebuild_began_us, cpu;
	struct niwa_app_snapshot *s = app ? app->snapshot : NULL;

	if (!e->rebuilding)
		return false;
	if (app && app->current && niwa_group_cpu_us(e, app->current->id, &cpu) == 0)
		e->rebuild_cpu_us = cpu;
	if (app && app->template) {
		if (niwa_template_goes_on(e, app))
			return true;
	} else if (s && !niwa_state_is_down(app->state) && took < GIVE_UP_US) {
		if (app->state != NIWA_RUNNING || niwa_dump_is_under_way(app->current) || s->taking)
			return true;
		if (!s->usable && !s->refused)
			return true;
		(void)niwa_leave_idle(e, app->current, NIWA_LEAVE_ENDS, "its image was made"); /* else it is used */
	}
	e->rebuilding = 0;
	e->rebuild_pause_us = (e->rebuild_cpu_us ? e->rebuild_cpu_us : took) * PAUSE_TIMES;
	return false;
}

static int on_turn(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_app *app;

	(void)source, (void)usec;
	if (!e->snapshots) {
		e->rebuild = sd_event_source_disable_unref(e->rebuild);
		return 0;
	}
	if (under_way(e) || e->rebuild_compares) {
		next_turn(e, TURN_US);
		return 0;
	}
	if (e->rebuild_pause_us) {
		next_turn(e, e->rebuild_pause_us);
		e->rebuild_pause_us = 0;
		return 0;
	}
	if (!pick(e, &app)) {
		next_turn(e, PICK_US);
	} else if (app) {
		if (e->rebuild_anew)
			make(e, app);
		else
			look_at(e, app);
		e->rebuild_anew = false;
		next_turn(e, TURN_US);
	} else if (!e->rebuild_anew) {
		e->rebuild_anew = true;
		next_turn(e, PICK_US);
	} else {
		e->rebuild_anew = false;
		e->rebuild = sd_event_source_disable_unref(e->rebuild);
	}
	return 0;
}
