/* SPDX-License-Identifier: MIT
 *
 * Records that apps share, and the walk that brings apps to them.
 */
#include "engine/share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/instance.h"
#include "engine/put_away.h"
#include "engine/rebuild.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"

#define TURN_US  (NIWA_MS + 500) /* that a turn may take; a key takes 0.2 ms */
#define PASSED   4000            /* that do not share, in a turn */
#define PAUSE_US (2 * NIWA_MS)

bool niwa_share_is_wanted(const struct niwa_app_spec *spec)
{
	return spec->snapshot == NIWA_SNAPSHOT_SHARED && spec->sleep.keep != NIWA_SLEEP_KEEPS_MEMORY;
}

struct niwa_app_snapshot *niwa_share_find(const struct niwa_engine *e, const struct niwa_snapshot_key *key)
{
	return niwa_map_get_str(e->shares, key->hex);
}

struct niwa_app *niwa_share_any(struct niwa_engine *e, const struct niwa_app_snapshot *s)
{
	struct niwa_app *app;
	size_t pos = 0;

	while ((app = niwa_map_next(e->apps_by_id, &pos)))
		if (app->snapshot == s && !app->removed)
			return app;
	return NULL;
}

static struct niwa_app_snapshot *get(struct niwa_engine *e, const struct niwa_snapshot_key *key)
{
	struct niwa_app_snapshot *s = niwa_share_find(e, key);

	if (s)
		return s;
	s = niwa_zalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->shared = true;
	s->key = *key;
	if (niwa_map_put_str(e->shares, s->key.hex, s) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

/* What is on disk is remembered, for apps that come. */
void niwa_share_unused(struct niwa_engine *e, struct niwa_app_snapshot *s)
{
	if (s->sharers || s->usable || s->making)
		return;
	(void)niwa_map_del_str(e->shares, s->key.hex);
	free(s);
}

void niwa_share_leave(struct niwa_app *app)
{
	struct niwa_app_snapshot *s = app->snapshot;

	if (!s || !s->shared)
		return;
	app->snapshot = NULL;
	s->sharers--;
	niwa_share_unused(app->engine, s);
}

int niwa_share_join(struct niwa_engine *e, struct niwa_app *app, const struct niwa_snapshot_key *key,
		    struct niwa_error *err)
{
	struct niwa_app_snapshot *s = app->snapshot;

	app->share_known = true;
	if (s && s->shared && strcmp(s->key.hex, key->hex) == 0)
		return 0;
	s = get(e, key);
	if (!s)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "image of %s", app->name);
	s->sharers++;
	niwa_app_snapshot_free(app);
	app->snapshot = s;
	return 0;
}

void niwa_share_declared(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec)
{
	bool wanted = niwa_share_is_wanted(spec);

	if (wanted != app->shares)
		niwa_app_snapshot_free(app);
	app->shares = wanted;
	app->share_known = app->start_once = false;
	if (wanted)
		niwa_share_walk(e);
}

int niwa_share_key(struct niwa_engine *e, struct niwa_app *app, struct niwa_snapshot_key *ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	NIWA_AUTO(niwa_prepared_fini) struct niwa_prepared p = {0};
	struct niwa_instance nobody = {.engine = e, .app = app, .tenant = app->tenant};
	int r = niwa_app_spec_read(e, app, &spec, err);

	nobody.spec = spec;
	if (r == 0)
		r = niwa_instance_prepare(e, &nobody, &p, err);
	p.params.init = true;
	return r < 0 ? r : niwa_snapshot_key_of(e, spec, &p.params, NULL, ret, err);
}

void niwa_share_look(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "snapshot"};
	struct niwa_snapshot_key key;
	struct niwa_error err;
	int r;

	if (!app->shares || app->share_known || app->removed || !e->snapshots)
		return;
	r = niwa_share_key(e, app, &key, &err);
	if (r == 0)
		r = niwa_share_join(e, app, &key, &err);
	app->share_known = true; /* also when something is missing: its next start says what */
	if (r == 0)
		return;
	niwa_log(NIWA_LOG_INFO, &ctx, "which image it shares is not known: %s", err.msg);
	niwa_share_leave(app);
}

void niwa_share_on_disk(struct niwa_engine *e, const struct niwa_store_entry *entry)
{
	struct niwa_app *like = *entry->app ? niwa_app_by_name(e, entry->app) : NULL;
	struct niwa_app_snapshot *s = get(e, &entry->key);

	if (!s)
		return;
	niwa_snapshot_found(s, entry);
	s->like = like ? like->id : 0;
}

/* After an upgrade nobody has the key of an image that is on disk. Its visitors were those of apps that have another
 * one now; the image can go. One whose apps are not declared stays until its place is needed. */
static void hand_on(struct niwa_engine *e)
{
	struct niwa_app_snapshot *s;
	size_t pos = 0;

	while ((s = niwa_map_next(e->shares, &pos))) {
		struct niwa_app *like =
			s->sharers || s->making || !s->usable ? NULL : niwa_map_get(e->apps_by_id, s->like);
		struct niwa_app_snapshot *now = like && like->shares ? like->snapshot : NULL;

		if (!now || now == s)
			continue;
		now->week += s->week;
		if (!now->usable && s->week)
			now->wanted_anew = true;
		niwa_snapshot_remove(e, &s->key);
		(void)niwa_map_del_str(e->shares, s->key.hex);
		free(s);
	}
	niwa_rebuild_soon(e);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	uint64_t until = niwa_now_us() + TURN_US;
	struct niwa_app *app;
	unsigned passed = 0;

	(void)source, (void)usec;
	while ((app = niwa_map_next(e->apps_by_id, &e->share_pos))) {
		if (!app->shares || app->removed) {
			if (++passed == PASSED)
				break;
			continue;
		}
		niwa_share_look(e, app);
		niwa_snapshot_settle_one(e, app, "the image it shares");
		if (niwa_now_us() >= until)
			break;
	}
	if (!app) {
		e->share_pos = 0;
		e->sharing = sd_event_source_disable_unref(e->sharing);
		hand_on(e);
		if (e->share_again)
			niwa_share_walk(e);
		return 0;
	}
	(void)sd_event_source_set_time_relative(e->sharing, PAUSE_US);
	(void)sd_event_source_set_enabled(e->sharing, SD_EVENT_ONESHOT);
	return 0;
}

void niwa_share_walk(struct niwa_engine *e)
{
	e->share_again = e->sharing && e->share_pos; /* it is under way: once more from the beginning */
	if (e->sharing || !e->snapshots || !e->snapshots->scanned)
		return;
	if (sd_event_add_time_relative(e->event, &e->sharing, CLOCK_MONOTONIC, PAUSE_US, NIWA_MS, on_turn, e) >= 0)
		(void)sd_event_source_set_priority(e->sharing, SD_EVENT_PRIORITY_IDLE);
}
