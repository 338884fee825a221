/* SPDX-License-Identifier: MIT
 *
 * What becomes of a dump.
 */
#include "engine/dump_private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/criu.h"
#include "engine/instance.h"
#include "engine/put_away.h"
#include "engine/roots.h"
#include "engine/snapshot.h"
#include "engine/snapshot_start.h"

void niwa_dump_free(struct niwa_dump *d)
{
	struct niwa_app *app = niwa_map_get(d->engine->apps_by_id, d->app_id);

	if (d->instance)
		d->instance->snapshot->dump = NULL;
	if (app && app->snapshot)
		app->snapshot->taking = false;
	d->engine->dumping--;
	niwa_store_abort(&d->store, &d->files);
	niwa_store_evicted_fini(&d->files.evicted);
	niwa_manifest_fini(&d->manifest);
	niwa_roots_close(&d->roots);
	niwa_fd_close(&d->layer_fd);
	niwa_app_spec_free(&d->spec);
	niwa_text_fini(&d->volumes);
	free(d);
}

void niwa_dump_refused(struct niwa_dump *d, const char *reason)
{
	struct niwa_app *app = niwa_map_get(d->engine->apps_by_id, d->app_id);
	struct niwa_app_snapshot *s = app ? niwa_snapshot_of(app) : NULL;
	struct niwa_log_ctx ctx = {.app = app ? app->name : NULL, .doing = "snapshot"};

	niwa_log(NIWA_LOG_WARN, &ctx, "no image: %s", reason);
	if (!s)
		return;
	if (!s->usable)
		s->key = d->start;
	s->refused = true;
	s->failures++;
	(void)snprintf(s->reason, sizeof(s->reason), "%s", reason);
}

void niwa_dump_failed(struct niwa_dump *d, const struct niwa_error *err)
{
	struct niwa_app *app = niwa_map_get(d->engine->apps_by_id, d->app_id);
	struct niwa_log_ctx ctx = {.app = app ? app->name : NULL, .doing = "snapshot"};

	d->engine->counts.failed_dumps++;
	/* late for the second time: then it is not the host */
	if (err->kind != NIWA_TEMPORARY ||
	    (err->code == ETIMEDOUT && app && app->snapshot && app->snapshot->pause_us)) {
		niwa_dump_refused(d, err->msg);
		return;
	}
	niwa_log(NIWA_LOG_WARN, &ctx, "no image for now: %s", err->msg);
	if (app && app->snapshot)
		niwa_snapshot_later(app->snapshot, err);
	if (app && app->current && app->current->snapshot && !d->moment)
		niwa_dump_try_at(d->engine, app->current, NIWA_DUMP_AGAIN_US); /* and then when it is time */
}

/* Its image gets its name. */

static void remove_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	struct niwa_instance *i = d->instance;

	if (r < 0 && i) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s; the instance is ended", err->msg);
		i->killed = true;
		niwa_instance_kill(d->engine, i);
	}
	niwa_dump_let_go(d);
	niwa_dump_free(d);
}

/* The app is still there, and the tenant's whose memory this is. */
static bool is_owner(const struct niwa_dump *d, const struct niwa_app *app)
{
	return app && !app->removed && app->tenant->id == d->manifest.tenant_id;
}

/* The memory is on disk, and nothing of the app has run since. Only one of the two may go on. */
static void end_moment(struct niwa_dump *d, int r)
{
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;
	struct niwa_app *app = niwa_map_get(e->apps_by_id, d->app_id);
	struct niwa_error err;

	if (i && r == 0 && is_owner(d, app) && TAILQ_EMPTY(&app->waiters) && app->state == NIWA_SAVING) {
		i->life = NIWA_LIFE_STOPPING; /* a new niwad lets it end too */
		i->killed = true;
		niwa_instance_write_tag(e, i);
		(void)niwa_fault("niwad.moment-saved");
		niwa_criu_forget(e, d->criu);
		d->criu = 0;
		niwa_instance_kill(e, i);
		niwa_dump_free(d);
		return;
	}
	if (r == 0 && app && app->snapshot)
		app->snapshot->usable = app->snapshot->moment = false;
	if (r < 0 || niwa_background_hurry(e->event, niwa_dump_remove_work, remove_done, d, &err) < 0)
		remove_done(r < 0 ? 0 : niwa_dump_remove_work(d, &err), &err, d);
}

static void commit_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	struct niwa_engine *e = d->engine;
	struct niwa_app *app = niwa_map_get(e->apps_by_id, d->app_id);
	struct niwa_app_snapshot *s = app ? niwa_snapshot_of(app) : NULL;
	struct niwa_log_ctx ctx = {.app = app ? app->name : NULL, .doing = "snapshot"};

	niwa_put_away_told(e, &d->files.evicted);
	if (d->fate == NIWA_STORE_UNWANTED) {
		niwa_dump_free(d);
		return;
	}
	if (r < 0) {
		niwa_dump_failed(d, err);
	} else if (!d->shared && !is_owner(d, app)) {
		if (!d->moment) /* else end_moment does */
			niwa_snapshot_remove(e, &d->manifest.key);
	} else if (s) {
		e->counts.dumps++;
		if (s->usable && !s->shared && strcmp(s->key.hex, d->manifest.key.hex) != 0)
			niwa_snapshot_remove(e, &s->key); /* of the app as it was before */
		s->key = d->manifest.key;
		s->usable = true;
		s->moment = d->moment;
		s->refused = s->wanted_anew = false;
		s->late = 0;
		s->pause_us = s->not_before_us = 0;
		s->reason[0] = '\0';
		if (!s->cold_us[0])
			s->cold_us[0] = d->manifest.cold_us;
		s->bytes = d->manifest.image_bytes + d->manifest.layer_bytes + d->manifest.shm_bytes;
		s->taken_us = d->manifest.taken_us;
		s->still_us = d->manifest.still_us;
		memset(s->restored_us, 0, sizeof(s->restored_us));
		niwa_log(NIWA_LOG_INFO, &ctx, "an image was taken: %llu bytes, the app stood still for %llu ms",
			 (unsigned long long)s->bytes, (unsigned long long)(s->still_us / NIWA_MS));
		niwa_snapshot_settle(e, app, "an image was taken");
	}
	if (d->moment)
		end_moment(d, r);
	else
		niwa_dump_free(d);
}

void niwa_dump_give_up(struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "snapshot"};
	struct niwa_dump *d = i->snapshot ? i->snapshot->dump : NULL;
	int open = NIWA_STORE_OPEN;

	if (!d || !d->committing || !atomic_compare_exchange_strong(&d->fate, &open, NIWA_STORE_UNWANTED))
		return;
	niwa_log(NIWA_LOG_INFO, &ctx, "its memory is not saved: it is wanted");
	niwa_dump_let_go(d);
}

void niwa_dump_commit(struct niwa_dump *d)
{
	struct niwa_error err;
	int r;

	d->committing = d->moment;
	d->files.fate = d->moment ? &d->fate : NULL;
	r = (d->moment ? niwa_background_hurry : niwa_background_run)(d->engine->event, niwa_dump_commit_work,
								      commit_done, d, &err);
	if (r < 0)
		commit_done(-EAGAIN, &err, d);
}
