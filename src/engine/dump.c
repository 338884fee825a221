/* SPDX-License-Identifier: MIT
 *
 * The steps of a dump: out of `awake`, CRIU, the copy, the app goes on.
 */
#include "engine/dump_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "container/instance_snapshot.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/criu.h"
#include "engine/dump_manifest.h"
#include "engine/dumpable.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/put_away.h"
#include "engine/roots.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"
#include "engine/volume_print.h"
#include "engine/wake.h"
#include "net/diag.h"

bool niwa_dump_is_under_way(const struct niwa_instance *i)
{
	return i->snapshot && i->snapshot->dump && i->snapshot->dump->still;
}

/* The app goes on. */

void niwa_dump_let_go(struct niwa_dump *d)
{
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;
	struct niwa_error err;

	d->still = false;
	if (d->criu) {
		if (i)
			niwa_criu_go_on(e, i->id);
		(void)niwa_fault("niwad.dump-went-on");
		niwa_criu_forget(e, d->criu);
		d->criu = 0;
	}
	if (!d->committing)
		d->manifest.still_us = niwa_now_us() - d->stopped_us;
	if (!i)
		return;
	i->snapshot->dump = NULL;
	d->instance = NULL;
	if (i->snapshot->stop_wanted) {
		niwa_leave_go_on(e, i);
		return;
	}
	if (i->app->current == i && i->app->state == NIWA_SAVING) {
		if (TAILQ_EMPTY(&i->app->waiters)) { /* nothing was saved */
			niwa_leave_stop(e, i, "its memory could not be saved");
			return;
		}
		niwa_app_set_state(e, i->app, NIWA_RUNNING, "a connection came while it was being saved");
	}
	if (i->app->current != i || i->app->state != NIWA_RUNNING || i->app->template)
		return;
	if (niwa_awake_enter(e, i, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s; its connections go through the relay", err.msg);
	niwa_wake_answer_all(e, i->app);
	niwa_sleep_watch(e, i);
}

/* Whoever came meanwhile is not to wait for the disk. */
static bool is_unwanted(const struct niwa_dump *d)
{
	return d->moment && d->instance &&
	       (d->instance->snapshot->stop_wanted || !TAILQ_EMPTY(&d->instance->app->waiters));
}

static int moment_key(struct niwa_dump *d, struct niwa_error *err)
{
	NIWA_AUTO(niwa_prepared_fini) struct niwa_prepared p = {0};
	int r = niwa_instance_prepare(d->engine, d->instance, &p, err);

	p.params.init = true;
	return r < 0 ? r
		     : niwa_snapshot_key_of(d->engine, d->instance->spec, &p.params,
					    d->volumes.data ? d->volumes.data : "", &d->manifest.key, err);
}

static void copy_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	bool ended = !d->instance;

	struct niwa_error why;

	(void)niwa_fault("niwad.dump-copied");
	if (is_unwanted(d)) {
		niwa_dump_let_go(d);
		niwa_dump_free(d);
		return;
	}
	if (r == 0 && d->moment && !ended) {
		r = moment_key(d, &why);
		err = &why;
	}
	d->manifest.still_us = niwa_now_us() - d->stopped_us;
	if (r < 0 || ended || !d->moment)
		niwa_dump_let_go(d);
	if (r < 0 || ended) {
		if (!ended)
			niwa_dump_failed(d, err);
		niwa_dump_free(d);
		return;
	}
	niwa_dump_commit(d);
}

/* CRIU has ended. */

static void broken(struct niwa_dump *d, const char *reason)
{
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;

	niwa_dump_refused(d, reason);
	niwa_criu_forget(e, d->criu);
	d->criu = 0;
	i->killed = true;
	i->snapshot->dump = NULL;
	d->instance = NULL;
	d->still = false;
	if (i->snapshot->stop_wanted)
		niwa_leave_go_on(e, i);
	else
		niwa_leave_stop(e, i, "a dump of it was broken off");
	niwa_dump_free(d);
}

/* What CRIU did not want will pass: no room; a connection between processes of the app that was not accepted yet. */
static int passing_error(const char *reason)
{
	if (strstr(reason, strerror(ENOSPC)) || strstr(reason, strerror(EDQUOT)))
		return ENOSPC;
	return strstr(reason, "in-flight socket") ? EBUSY : 0;
}

static void refused(struct niwa_dump *d, const char *reason)
{
	struct niwa_error err = {.code = passing_error(reason)};

	err.kind = err.code ? NIWA_TEMPORARY : NIWA_PERMANENT;
	(void)snprintf(err.msg, sizeof(err.msg), "%s", reason);
	niwa_dump_let_go(d);
	niwa_dump_failed(d, &err);
	niwa_dump_free(d);
}

static void on_criu(struct niwa_engine *e, struct niwa_criu_result *result)
{
	struct niwa_dump *d = result->arg;
	struct niwa_error err;

	(void)niwa_fault("niwad.dump-written");
	if (!d->instance) {
		niwa_criu_forget(e, d->criu);
		niwa_dump_free(d);
	} else if (result->end == NIWA_CRIU_BROKEN) {
		broken(d, result->reason);
	} else if (result->end == NIWA_CRIU_REFUSED) {
		refused(d, result->reason);
	} else if (niwa_dumpable_look_again(e, d->instance, &err) < 0) { /* it ran beside CRIU */
		niwa_dump_let_go(d);
		niwa_dump_failed(d, &err);
		niwa_dump_free(d);
	} else if (niwa_background_hurry(e->event, niwa_dump_copy_work, copy_done, d, &err) < 0) {
		copy_done(-EAGAIN, &err, d);
	}
}

static int run_criu(struct niwa_dump *d, struct niwa_error *err)
{
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;
	const struct niwa_dump_params params = {
		.instance = i->id, .spec = i->spec, .pid = niwa_dumpable_pid(i), .then = NIWA_DUMP_STOP};
	const int fds[] = {i->pidfd, e->snapshots->criu, d->files.images, e->snapshots->cache, e->snapshots->empty};
	const struct niwa_criu_run run = {.work = NIWA_CRIU_DUMP,
					  .instance = i->id,
					  .deadline_us = e->config.dump_us,
					  .fds = fds,
					  .nfds = NIWA_ARRAY_LEN(fds),
					  .done = on_criu,
					  .arg = d};
	struct niwa_group_host host;
	struct niwa_plan plan = {0};
	int r = niwa_dumpable_look(e, i, err);

	if (r == 0)
		r = niwa_dump_plan(niwa_group_host(e, i, &host), &params, &plan, err);
	if (r < 0)
		return r;
	(void)niwa_fault("niwad.dump-looked");
	d->stopped_us = niwa_now_us();
	return niwa_criu_start(e, &plan, &run, &d->criu, err);
}

/* Is anybody connected to one of its ports? What it has opened itself is closed in the image. */
static bool is_talked_to(const struct niwa_instance *i)
{
	uint16_t ports[NIWA_PORTS_MAX];

	for (size_t n = 0; n < i->spec->port_count; n++)
		ports[n] = i->spec->ports[n].number;
	return i->diag_fd < 0 || niwa_sleep_too_many_sockets(i) ||
	       niwa_diag_serving(i->diag_fd, ports, i->spec->port_count) != 0;
}

bool niwa_dump_may_stand_still(const struct niwa_instance *i)
{
	return i->app->current == i && i->app->state == NIWA_RUNNING && i->life == NIWA_LIFE_SERVING &&
	       !i->app->fresh && !i->app->rotate_wanted && !i->execs && !i->killed && TAILQ_EMPTY(&i->app->waiters) &&
	       !niwa_criu_is_at(i->engine, i->id) && !is_talked_to(i);
}

static void begin_moment(struct niwa_dump *d)
{
	struct niwa_error err;
	int r = 0;

	if (is_unwanted(d)) {
		niwa_dump_let_go(d);
		niwa_dump_free(d);
		return;
	}
	r = niwa_dump_manifest(d->instance, d->moment, &d->manifest, &err);
	if (r == 0)
		r = run_criu(d, &err);
	if (r == 0)
		return;
	niwa_dump_let_go(d);
	niwa_dump_failed(d, &err);
	niwa_dump_free(d);
}

static void begin_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;
	struct niwa_error why;

	niwa_put_away_told(e, &d->files.evicted);
	if (r < 0 || !i) {
		if (r == -ESTALE && i)
			niwa_snapshot_not_now(i, err);
		else if (r < 0 && i)
			niwa_dump_failed(d, err);
		if (i && d->moment)
			niwa_dump_let_go(d);
		niwa_dump_free(d);
		return;
	}
	if (d->moment) {
		begin_moment(d);
		return;
	}
	if (!niwa_dump_may_stand_still(i)) {
		niwa_dump_free(d);
		niwa_dump_try_later(e, i);
		return;
	}
	niwa_awake_leave(e, i);
	if (is_talked_to(i)) { /* somebody came just before */
		if (!d->shared && niwa_awake_enter(e, i, &why) < 0)
			niwa_log(NIWA_LOG_ERR, NULL, "%s", why.msg);
		niwa_dump_free(d);
		niwa_dump_try_later(e, i);
		return;
	}
	niwa_sleep_unwatch(i);
	d->still = true;
	(void)niwa_fault("niwad.dump-begins");
	r = niwa_dump_manifest(d->instance, d->moment, &d->manifest, &why);
	if (r == 0)
		r = run_criu(d, &why);
	if (r < 0) {
		niwa_dump_let_go(d);
		niwa_dump_failed(d, &why);
		niwa_dump_free(d);
	}
}

/* What it has in memory of its own; files of which it has read stay outside of the image. */
static uint64_t expected_bytes(struct niwa_engine *e, const struct niwa_instance *i)
{
	uint64_t bytes;

	return niwa_group_needs(e, i->id, &bytes) < 0 ? 0 : bytes;
}

static struct niwa_dump *new_dump(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_dump *d = niwa_zalloc(sizeof(*d));

	if (!d)
		return NULL;
	e->dumping++;
	*d = (struct niwa_dump){.engine = e,
				.instance = i,
				.app_id = i->app->id,
				.start = i->snapshot->key,
				.store = e->snapshots->store,
				.limits = e->snapshots->limits,
				.files = {.dir = -1, .images = -1},
				.expected = expected_bytes(e, i),
				.began_ns = (int64_t)(niwa_realtime_us() - (niwa_now_us() - i->began_us)) * 1000,
				.shared = i->app->template,
				.volume_count = i->spec->volume_count,
				.layer_fd = i->layer_fd < 0 ? -1 : fcntl(i->layer_fd, F_DUPFD_CLOEXEC, 0),
				.id_base = i->lease,
				.pid = i->pid};
	(void)snprintf(d->layer, sizeof(d->layer), "%s/layers/%llu/upper", e->config.state_dir,
		       (unsigned long long)i->id);
	niwa_group_procs(e, i->id, d->procs, sizeof(d->procs));
	if (i->restored && i->snapshot->restore.layer)
		(void)snprintf(d->saved, sizeof(d->saved), "%s", i->snapshot->restore.layer);
	return d;
}

static int open_roots(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_dump *d, struct niwa_error *err)
{
	NIWA_AUTO(niwa_prepared_fini) struct niwa_prepared p = {0};
	int r = niwa_instance_prepare(e, i, &p, err);

	return r < 0 ? r : niwa_roots_open(&p.params, &d->roots, err);
}

int niwa_dump_begin(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_app_snapshot *s = niwa_snapshot_of(i->app);
	struct niwa_dump *d = s ? new_dump(e, i) : NULL;
	int r;

	if (!d)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make an image of %s", i->app->name);
	i->snapshot->dump = d;
	s->taking = true;
	r = open_roots(e, i, d, err);
	if (r == 0)
		r = niwa_background_run(e->event, niwa_dump_begin_work, begin_done, d, err);
	if (r < 0)
		niwa_dump_free(d);
	return r;
}

int niwa_dump_may_save(struct niwa_engine *e, const struct niwa_instance *i)
{
	const struct niwa_app_snapshot *s = i->app->snapshot;

	if (!niwa_snapshot_hibernates(e, i->spec) || !i->snapshot || i->snapshot->dump ||
	    (s && s->refused && strcmp(s->key.hex, i->snapshot->key.hex) == 0) || i->app->rotate_wanted ||
	    i->app->removed || i->generation != i->app->generation || i->life != NIWA_LIFE_SERVING)
		return -EOPNOTSUPP;
	return e->dumping >= NIWA_DUMPS_MAX || !e->snapshots->scanned || niwa_criu_is_at(e, i->id) ? -EBUSY : 0;
}

int niwa_dump_moment(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	struct niwa_app_snapshot *s = niwa_snapshot_of(i->app);
	struct niwa_dump *d;
	struct niwa_error err;
	int r = s ? niwa_dump_may_save(e, i) : -EOPNOTSUPP;

	if (r < 0)
		return r;
	if (!niwa_dumpable_is_current(e, i))
		return -EOPNOTSUPP;
	d = new_dump(e, i);
	if (!d)
		return -ENOMEM;
	d->moment = d->still = true;
	i->snapshot->dump = d;
	r = niwa_app_spec_read(e, i->app, &d->spec, &err);
	if (r == 0)
		r = open_roots(e, i, d, &err);
	if (r == 0)
		r = niwa_background_run(e->event, niwa_dump_begin_work, begin_done, d, &err);
	if (r < 0) {
		niwa_dump_failed(d, &err);
		niwa_dump_free(d);
		return r;
	}
	s->taking = true;
	niwa_sleep_unwatch(i);
	niwa_app_set_state(e, i->app, NIWA_SAVING, why);
	niwa_sleep_release(e, i); /* CRIU would wait for ever for a frozen one */
	return 0;
}

void niwa_dump_instance_gone(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_dump *d = i->snapshot->dump;

	if (i->snapshot->warm_ticket)
		(void)niwa_map_del(e->checks, i->snapshot->warm_ticket);
	if (!d)
		return;
	i->snapshot->dump = NULL;
	d->instance = NULL;
	if (!d->criu)
		return; /* a thread has it */
	niwa_criu_kill(e, d->criu);
}
