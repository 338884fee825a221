/* SPDX-License-Identifier: MIT
 *
 * Restores.
 */
#include "engine/restore.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "container/instance_snapshot.h"
#include "engine/app.h"
#include "engine/criu.h"
#include "engine/group_tenant.h"
#include "engine/instance.h"
#include "engine/put_away.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"
#include "engine/wake.h"

bool niwa_restore_is_under_way(const struct niwa_instance *i)
{
	return i->snapshot && i->snapshot->restoring;
}

/* The group's end is CRIU's, its helpers' and that of half-restored processes alike. */
static void abandon(struct niwa_engine *e, struct niwa_instance *i)
{
	i->killed = true;
	if (i->life == NIWA_LIFE_CLONING) /* killed when its pid is known */
		return;
	i->life = NIWA_LIFE_STOPPING;
	niwa_instance_kill(e, i);
}

/* False: it is being stopped, and nobody waits for it. */
static bool break_off(struct niwa_engine *e, struct niwa_instance *i)
{
	i->snapshot->restoring = false;
	niwa_store_image_close(&i->snapshot->image); /* a used one is removed when nobody holds it */
	niwa_criu_kill(e, i->snapshot->criu);
	return i->app->current == i && i->app->state == NIWA_RESTORING;
}

static void start_instead(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	if (i->life != NIWA_LIFE_GONE)
		abandon(e, i);
	i->app->current = NULL;
	niwa_wake_start_cold(e, i->app, why);
}

enum fault { OF_THE_IMAGE, OF_TIME };
static void failed(struct niwa_engine *e, struct niwa_instance *i, const char *reason, enum fault fault)
{
	struct niwa_app *app = i->app;

	if (!break_off(e, i)) /* nothing is wrong with the image */
		return;
	if (niwa_snapshot_of(app))
		app->snapshot->failures++;
	if (fault != OF_TIME || !niwa_snapshot_forgives(app, reason))
		niwa_snapshot_failed(e, i, reason);
	start_instead(e, i, "the image could not be restored");
}

void niwa_restore_failed(struct niwa_engine *e, struct niwa_instance *i, const char *reason)
{
	failed(e, i, reason, OF_THE_IMAGE);
}

static void on_criu(struct niwa_engine *e, struct niwa_criu_result *result)
{
	struct niwa_instance *i = niwa_map_get(e->instances, result->instance);

	if (!i || !niwa_restore_is_under_way(i))
		return;
	i->snapshot->criu = 0;
	(void)niwa_fault("niwad.restored");
	if (result->end != NIWA_CRIU_DONE) {
		failed(e, i, result->reason, result->late ? OF_TIME : OF_THE_IMAGE);
		return;
	}
	i->snapshot->restoring = false;
	i->restored = true;
	e->counts.restores++;
	if (i->app->snapshot)
		i->app->snapshot->late = 0;
	if (i->snapshot->restore.layer) /* mounted */
		niwa_snapshot_hold(e, i);
	niwa_store_image_close(&i->snapshot->image);
	if (i->snapshot->folder[0] == '.') /* used once */
		niwa_snapshots_collect(e);
	if (i->life != NIWA_LIFE_STARTED || i->app->current != i) /* it is being stopped */
		return;
	if (i->spec->restore_signal) /* niwa-init passes it on; before anybody is answered */
		(void)niwa_instance_signal(i, i->spec->restore_signal);
	niwa_wake_ready(e, i);
}

static int run_criu(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_instance_snapshot *s = i->snapshot;
	const struct niwa_criu_restore_params params = {
		.instance = i->id, .spec = i->spec, .init_pid = i->pid, .log_inode = s->image.manifest.log_pipe};
	const int fds[] = {i->pidfd, e->snapshots->criu, s->image.images, e->snapshots->cache, e->snapshots->empty};
	const struct niwa_criu_run run = {.work = NIWA_CRIU_RESTORE,
					  .instance = i->id,
					  .deadline_us = e->config.restore_us,
					  .fds = fds,
					  .nfds = NIWA_ARRAY_LEN(fds),
					  .done = on_criu};
	struct niwa_group_host host;
	struct niwa_plan plan = {0};
	int r = niwa_criu_restore_plan(niwa_group_host(e, i, &host), &params, &plan, err);

	return r < 0 ? r : niwa_criu_start(e, &plan, &run, &s->criu, err);
}

void niwa_restore_begin(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_error err;

	i->snapshot->begin_wanted = i->snapshot->comparing;
	if (i->snapshot->begin_wanted)
		return;
	if (run_criu(e, i, &err) < 0)
		niwa_restore_failed(e, i, err.msg);
	(void)niwa_fault("niwad.restore-asked");
}

void niwa_restore_compared(struct niwa_engine *e, struct niwa_instance *i, const char *differs)
{
	const struct niwa_app_snapshot *known = i->app->snapshot;
	bool is_known;

	i->snapshot->comparing = false;
	if (!niwa_restore_is_under_way(i))
		return;
	if (!differs) {
		if (i->snapshot->begin_wanted && i->life == NIWA_LIFE_STARTED && !i->killed)
			niwa_restore_begin(e, i);
		return;
	}
	is_known = known && strcmp(known->key.hex, i->snapshot->image.manifest.key.hex) == 0;
	if (!break_off(e, i))
		return;
	if (is_known)
		niwa_snapshot_drop(e, i->app, differs);
	start_instead(e, i, "its image cannot be used");
}

void niwa_restore_give_up(struct niwa_engine *e, struct niwa_instance *i)
{
	if (!niwa_restore_is_under_way(i))
		i->killed = true; /* a thread opens its image; who gets it then looks at this */
	else if (break_off(e, i))
		start_instead(e, i, "a fresh start was asked for");
}
