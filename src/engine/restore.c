/* SPDX-License-Identifier: MIT
 *
 * Restores.
 */
#include "engine/restore.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "container/instance_snapshot.h"
#include "engine/app.h"
#include "engine/criu.h"
#include "engine/instance.h"
#include "engine/snapshot.h"
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

void niwa_restore_failed(struct niwa_engine *e, struct niwa_instance *i, const char *reason)
{
	struct niwa_app *app = i->app;

	i->snapshot->restoring = false;
	niwa_store_done(&e->snapshots->store, &i->snapshot->image);
	niwa_criu_kill(e, i->snapshot->criu);
	if (app->current != i ||
	    app->state != NIWA_RESTORING) /* it is being stopped: nothing is wrong with the image */
		return;
	e->counts.failed_restores++;
	if (niwa_snapshot_of(app))
		app->snapshot->failures++;
	niwa_snapshot_failed(e, app, reason);
	if (i->life != NIWA_LIFE_GONE)
		abandon(e, i);
	app->current = NULL;
	niwa_wake_start_cold(e, app, "the image could not be restored");
}

static void on_criu(struct niwa_engine *e, struct niwa_criu_result *result)
{
	struct niwa_instance *i = niwa_map_get(e->instances, result->instance);

	if (!i || !niwa_restore_is_under_way(i))
		return;
	i->snapshot->criu = 0;
	(void)niwa_fault("niwad.restored");
	if (result->end != NIWA_CRIU_DONE) {
		niwa_restore_failed(e, i, result->reason);
		return;
	}
	i->snapshot->restoring = false;
	i->restored = true;
	e->counts.restores++;
	if (i->app->snapshot && i->app->snapshot->moment)
		i->app->snapshot->usable = i->app->snapshot->moment = false; /* used */
	if (i->snapshot->restore.layer)                                      /* mounted */
		niwa_snapshot_hold(e, i);
	niwa_store_image_close(&i->snapshot->image);
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
	struct niwa_plan plan = {0};
	int r = niwa_criu_restore_plan(&e->host, &params, &plan, err);

	return r < 0 ? r : niwa_criu_start(e, &plan, &run, &s->criu, err);
}

void niwa_restore_begin(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_error err;

	if (run_criu(e, i, &err) < 0)
		niwa_restore_failed(e, i, err.msg);
	(void)niwa_fault("niwad.restore-asked");
}
