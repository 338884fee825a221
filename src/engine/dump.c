/* SPDX-License-Identifier: MIT
 *
 * Dumps. A struct niwa_dump belongs to the chain of its callbacks and outlives its instance when that ends meanwhile.
 */
#include "engine/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "container/instance_snapshot.h"
#include "engine/age.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/criu.h"
#include "engine/dump_manifest.h"
#include "engine/dumpable.h"
#include "engine/instance.h"
#include "engine/layer_copy.h"
#include "engine/leave.h"
#include "engine/relay_client.h"
#include "engine/rebuild.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"
#include "engine/template.h"
#include "engine/volume_print.h"
#include "engine/wake.h"
#include "net/diag.h"
#include "snapshot/image.h"

#define FIRST_TRY_US  (30 * NIWA_MS)
#define AGAIN_US      (250 * NIWA_MS)
#define AUTO_LEAST_US (40 * NIWA_MS) /* what starts sooner than this gains nothing */
#define DUMPS_MAX     4              /* at a time */
#define WARM_TICKET   (UINT64_C(1) << 63)
#define WARM_US       (2 * NIWA_SEC) /* that an answer is waited for */

struct niwa_dump {
	struct niwa_engine *engine;
	struct niwa_instance *instance; /* NULL: it has ended */
	uint64_t app_id;
	struct niwa_store store;
	struct niwa_store_limits limits;
	struct niwa_store_new files;
	struct niwa_manifest manifest;
	struct niwa_snapshot_key start; /* what a refusal holds for */
	struct niwa_roots roots;
	uint64_t expected, criu, stopped_us;
	int64_t began_ns; /* since 1970: the start that it is an image of */
	bool still;       /* the app stands still or is about to */
	bool moment;      /* hibernation */
	bool shared;      /* of a template */
	size_t volume_count;
	struct niwa_app_spec *spec; /* moment: for the thread that looks at volumes */
	struct niwa_text volumes;   /* as they were before CRIU */
	int layer_fd;
	uint32_t id_base;
	pid_t pid;
	char layer[512];
	char saved[600]; /* the layer of the image that it was restored from; "": none */
};

static void try_at(struct niwa_engine *e, struct niwa_instance *i, uint64_t pause_us);

bool niwa_dump_is_under_way(const struct niwa_instance *i)
{
	return i->snapshot && i->snapshot->dump && i->snapshot->dump->still;
}

static void free_dump(struct niwa_dump *d)
{
	struct niwa_app *app = niwa_map_get(d->engine->apps_by_id, d->app_id);

	if (d->instance)
		d->instance->snapshot->dump = NULL;
	if (app && app->snapshot)
		app->snapshot->taking = false;
	d->engine->dumping--;
	niwa_store_abort(&d->store, &d->files);
	niwa_manifest_fini(&d->manifest);
	niwa_roots_close(&d->roots);
	niwa_fd_close(&d->layer_fd);
	niwa_app_spec_free(&d->spec);
	niwa_text_fini(&d->volumes);
	free(d);
}

static void refuse(struct niwa_dump *d, const char *reason)
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

/* What will pass (no room, too much to do) is tried again; what will not is remembered. */
static void failed(struct niwa_dump *d, const struct niwa_error *err)
{
	struct niwa_app *app = niwa_map_get(d->engine->apps_by_id, d->app_id);
	struct niwa_log_ctx ctx = {.app = app ? app->name : NULL, .doing = "snapshot"};

	d->engine->counts.failed_dumps++;
	if (err->kind != NIWA_TEMPORARY) {
		refuse(d, err->msg);
		return;
	}
	niwa_log(NIWA_LOG_WARN, &ctx, "no image for now: %s", err->msg);
	if (app && app->snapshot)
		niwa_snapshot_later(app->snapshot, err->msg);
	if (app && app->current && app->current->snapshot && !d->moment)
		try_at(d->engine, app->current, AGAIN_US); /* and then when it is time */
}

static void let_go(struct niwa_dump *d);

/* The last step: the image gets its name. */

static int commit_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;
	struct niwa_criu_files files = {0};
	struct niwa_criu_tasks tasks;
	int r = niwa_criu_look(d->files.images, &files, &tasks, err);

	if (r < 0)
		return r;
	d->manifest.root_pid = tasks.root_pid;
	d->manifest.free_pid = tasks.free_pid;
	r = niwa_criu_edit(d->files.images, tasks.root_pid, err);
	if (r == 0)
		r = niwa_manifest_look(&d->manifest, d->roots.root, d->roots.count, &files, err);
	niwa_criu_files_fini(&files);
	if (r == 0 && d->shared)
		r = niwa_template_check(&d->manifest, &d->roots, d->volume_count, err);
	return r < 0 ? r : niwa_store_commit(&d->store, &d->limits, &d->files, &d->manifest, err);
}

static int remove_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;

	return niwa_store_remove(&d->store, &d->manifest.key, err);
}

static void remove_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	struct niwa_instance *i = d->instance;

	if (r < 0 && i) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s; the instance is ended", err->msg);
		i->killed = true;
		niwa_instance_kill(d->engine, i);
	}
	let_go(d);
	free_dump(d);
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
		free_dump(d);
		return;
	}
	if (r == 0 && app && app->snapshot)
		app->snapshot->usable = app->snapshot->moment = false;
	if (r < 0 || niwa_background_hurry(e->event, remove_work, remove_done, d, &err) < 0)
		remove_done(r < 0 ? 0 : remove_work(d, &err), &err, d);
}

static void commit_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	struct niwa_engine *e = d->engine;
	struct niwa_app *app = niwa_map_get(e->apps_by_id, d->app_id);
	struct niwa_app_snapshot *s = app ? niwa_snapshot_of(app) : NULL;
	struct niwa_log_ctx ctx = {.app = app ? app->name : NULL, .doing = "snapshot"};

	if (r < 0) {
		failed(d, err);
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
		s->refused = false;
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
		free_dump(d);
}

static void commit(struct niwa_dump *d)
{
	struct niwa_error err;

	int r = (d->moment ? niwa_background_hurry : niwa_background_run)(d->engine->event, commit_work, commit_done, d,
									  &err);

	if (r < 0)
		commit_done(-EAGAIN, &err, d);
}

/* The app goes on. */

static void let_go(struct niwa_dump *d)
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

/* What lies below what it has written since it was restored. */
static int copy_saved(const struct niwa_dump *d, struct niwa_layer_copy copy, struct niwa_error *err)
{
	NIWA_AUTO_FD saved = *d->saved ? open(d->saved, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (!*d->saved)
		return 0;
	if (saved < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the saved layer");
	copy.from = saved;
	copy.id_base = 0;
	return niwa_layer_copy(&copy, err);
}

static int copy_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;
	uint64_t left = d->limits.image_bytes ? d->limits.image_bytes : NIWA_STORE_IMAGE_BYTES;
	struct niwa_layer_copy copy = {.from = -1,
				       .id_base = d->id_base,
				       .bytes = &left,
				       .deadline_us = d->stopped_us + d->engine->config.dump_us};
	NIWA_AUTO_FD upper = d->layer_fd >= 0 ? openat(d->layer_fd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
					      : open(d->layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD layer = openat(d->files.dir, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD shm = openat(d->files.dir, "shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD from_shm = -1;
	char path[64];
	int r;

	if (d->moment) {
		r = niwa_volume_compare(d->spec, d->volumes.data, err);
		if (r < 0)
			return r;
	}
	if (upper < 0 || layer < 0 || shm < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the writable layer");
	copy.to = layer;
	copy.overlay = true;
	r = copy_saved(d, copy, err);
	copy.from = upper;
	copy.over = *d->saved;
	copy.image = d->roots.root[0].fd;
	if (r == 0)
		r = niwa_layer_copy(&copy, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/root/dev/shm", (int)d->pid);
	from_shm = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from_shm < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the instance's /dev/shm");
	copy.from = from_shm;
	copy.to = shm;
	copy.overlay = false;
	return niwa_layer_copy(&copy, err);
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
	if (r == 0 && d->moment && !ended) {
		r = moment_key(d, &why);
		err = &why;
	}
	d->manifest.still_us = niwa_now_us() - d->stopped_us;
	if (r < 0 || ended || !d->moment)
		let_go(d);
	if (r < 0 || ended) {
		if (!ended)
			failed(d, err);
		free_dump(d);
		return;
	}
	commit(d);
}

/* CRIU has ended. */

static void broken(struct niwa_dump *d, const char *reason)
{
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;

	refuse(d, reason);
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
	free_dump(d);
}

static bool is_about_room(const char *reason)
{
	return strstr(reason, strerror(ENOSPC)) || strstr(reason, strerror(EDQUOT));
}

static void on_criu(struct niwa_engine *e, struct niwa_criu_result *result)
{
	struct niwa_dump *d = result->arg;
	struct niwa_error err;

	(void)niwa_fault("niwad.dump-written");
	if (!d->instance) {
		niwa_criu_forget(e, d->criu);
		free_dump(d);
	} else if (result->end == NIWA_CRIU_BROKEN) {
		broken(d, result->reason);
	} else if (result->end == NIWA_CRIU_REFUSED) {
		let_go(d);
		(void)niwa_fail(&err, is_about_room(result->reason) ? NIWA_TEMPORARY : NIWA_PERMANENT, 0, "%s",
				result->reason);
		failed(d, &err);
		free_dump(d);
	} else if (niwa_dumpable_look(e, d->instance, &err) < 0) { /* it ran beside CRIU */
		let_go(d);
		failed(d, &err);
		free_dump(d);
	} else if (niwa_background_hurry(e->event, copy_work, copy_done, d, &err) < 0) {
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
	struct niwa_plan plan = {0};
	int r = niwa_dumpable_look(e, i, err);

	if (r == 0)
		r = niwa_dump_plan(&e->host, &params, &plan, err);
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

static bool may_stand_still(const struct niwa_instance *i)
{
	return i->app->current == i && i->app->state == NIWA_RUNNING && i->life == NIWA_LIFE_SERVING &&
	       !i->app->fresh && !i->app->rotate_wanted && !i->execs && !i->killed && TAILQ_EMPTY(&i->app->waiters) &&
	       !niwa_criu_is_at(i->engine, i->id) && !is_talked_to(i);
}

static void begin_moment(struct niwa_dump *d)
{
	struct niwa_error err;
	int r = 0;

	if (d->instance->snapshot->stop_wanted || !TAILQ_EMPTY(&d->instance->app->waiters)) {
		let_go(d);
		free_dump(d);
		return;
	}
	r = niwa_dump_manifest(d->instance, d->moment, &d->manifest, &err);
	if (r == 0)
		r = run_criu(d, &err);
	if (r == 0)
		return;
	let_go(d);
	failed(d, &err);
	free_dump(d);
}

static void begin_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_dump *d = arg;
	struct niwa_engine *e = d->engine;
	struct niwa_instance *i = d->instance;
	struct niwa_error why;

	if (r < 0 || !i) {
		if (r == -ESTALE && i)
			niwa_snapshot_not_now(i, err);
		else if (r < 0 && i)
			failed(d, err);
		if (i && d->moment)
			let_go(d);
		free_dump(d);
		return;
	}
	if (d->moment) {
		begin_moment(d);
		return;
	}
	if (!may_stand_still(i)) {
		free_dump(d);
		try_at(e, i, AGAIN_US);
		return;
	}
	niwa_awake_leave(e, i);
	if (is_talked_to(i)) { /* somebody came just before */
		if (!d->shared && niwa_awake_enter(e, i, &why) < 0)
			niwa_log(NIWA_LOG_ERR, NULL, "%s", why.msg);
		free_dump(d);
		try_at(e, i, AGAIN_US);
		return;
	}
	niwa_sleep_unwatch(i);
	d->still = true;
	(void)niwa_fault("niwad.dump-begins");
	r = niwa_dump_manifest(d->instance, d->moment, &d->manifest, &why);
	if (r == 0)
		r = run_criu(d, &why);
	if (r < 0) {
		let_go(d);
		failed(d, &why);
		free_dump(d);
	}
}

static int begin_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;
	uint64_t trees = d->roots.trees & (d->shared ? 1 : UINT64_MAX);
	int r = niwa_trees_look(&d->roots, trees, d->moment ? INT64_MAX : d->began_ns, &d->manifest, err);

	if (r == 0)
		r = niwa_store_begin(&d->store, &d->limits, d->expected, &d->files, err);
	return r == 0 && d->moment ? niwa_volume_print(d->spec, &d->volumes, err) : r;
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
				.expected = niwa_sleep_memory(e, i),
				.began_ns = (int64_t)(niwa_realtime_us() - (niwa_now_us() - i->began_us)) * 1000,
				.shared = i->app->template,
				.volume_count = i->spec->volume_count,
				.layer_fd = i->layer_fd < 0 ? -1 : fcntl(i->layer_fd, F_DUPFD_CLOEXEC, 0),
				.id_base = i->lease,
				.pid = i->pid};
	(void)snprintf(d->layer, sizeof(d->layer), "%s/layers/%llu/upper", e->config.state_dir,
		       (unsigned long long)i->id);
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

static int begin(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
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
		r = niwa_background_run(e->event, begin_work, begin_done, d, err);
	if (r < 0)
		free_dump(d);
	return r;
}

int niwa_dump_moment(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	struct niwa_app_snapshot *s = niwa_snapshot_of(i->app);
	struct niwa_dump *d;
	struct niwa_error err;
	int r;

	if (!niwa_snapshot_hibernates(e, i->spec) || !i->snapshot || i->snapshot->dump || !s ||
	    (s->refused && strcmp(s->key.hex, i->snapshot->key.hex) == 0) || i->app->rotate_wanted || i->app->removed ||
	    i->generation != i->app->generation || i->life != NIWA_LIFE_SERVING)
		return -EOPNOTSUPP;
	if (e->dumping >= DUMPS_MAX || !e->snapshots->scanned || niwa_criu_is_at(e, i->id))
		return -EBUSY;
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
		r = niwa_background_run(e->event, begin_work, begin_done, d, &err);
	if (r < 0) {
		failed(d, &err);
		free_dump(d);
		return r;
	}
	s->taking = true;
	niwa_sleep_unwatch(i);
	niwa_app_set_state(e, i->app, NIWA_SAVING, why);
	niwa_sleep_release(e, i); /* CRIU would wait for ever for a frozen one */
	return 0;
}

/* When. */

static bool has_one(const struct niwa_instance *i)
{
	const struct niwa_app_snapshot *s = i->app->snapshot;

	return s && (s->usable || s->refused) && strcmp(s->key.hex, i->snapshot->key.hex) == 0;
}

static int on_try(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;
	struct niwa_engine *e = i->engine;
	const struct niwa_app_snapshot *s = i->app->snapshot;
	uint64_t now = niwa_now_us();
	struct niwa_error err;

	(void)source, (void)usec;
	i->snapshot->timer = sd_event_source_disable_unref(i->snapshot->timer);
	if (!e->snapshots || i->snapshot->dump || i->life != NIWA_LIFE_SERVING || has_one(i))
		return 0;
	if (s && now < s->not_before_us)
		try_at(e, i, s->not_before_us - now);
	else if (!e->snapshots->scanned || e->dumping >= DUMPS_MAX || !may_stand_still(i))
		try_at(e, i, AGAIN_US);
	else if (niwa_dumpable_is_current(e, i) && begin(e, i, &err) < 0)
		try_at(e, i, AGAIN_US);
	return 0;
}

static void try_at(struct niwa_engine *e, struct niwa_instance *i, uint64_t pause_us)
{
	i->snapshot->timer = sd_event_source_disable_unref(i->snapshot->timer);
	(void)sd_event_add_time_relative(e->event, &i->snapshot->timer, CLOCK_MONOTONIC, pause_us, NIWA_MS, on_try,
					 i); /* without memory there is no image this time */
}

static void warm_next(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_snapshot *s = i->snapshot;
	char *path = i->spec->warm ? i->spec->warm[s->warm_next] : NULL;
	uint16_t port = i->spec->ready.port;

	for (size_t n = 0; path && i->spec->ready.kind != NIWA_READY_HTTP && n < i->spec->port_count; n++)
		if (i->spec->ports[n].protocol == NIWA_PROTO_HTTP) {
			port = i->spec->ports[n].number;
			break;
		}
	if (path) {
		if (s->warm_next++ == 0)
			s->warm_began_us = niwa_now_us();
		s->warm_ticket = WARM_TICKET | ++e->next_check;
		if (niwa_map_put(e->checks, s->warm_ticket, i) == 0 &&
		    niwa_relay_check(e, s->warm_ticket, i->private_addr, port, path, i->app->name) == 0) {
			try_at(e, i, WARM_US); /* the answer comes before */
			return;
		}
		(void)niwa_map_del(e->checks, s->warm_ticket);
		s->warm_ticket = 0;
	}
	try_at(e, i, FIRST_TRY_US);
}

bool niwa_dump_warmed(struct niwa_engine *e, struct niwa_instance *i, uint64_t ticket)
{
	if (!i->snapshot || i->snapshot->warm_ticket != ticket)
		return false;
	i->snapshot->warm_ticket = 0;
	if (i->snapshot->warm_next == 1)
		i->snapshot->warm_took_us = niwa_now_us() - i->snapshot->warm_began_us;
	if (i->life == NIWA_LIFE_SERVING && i->app->current == i)
		warm_next(e, i);
	return true;
}

void niwa_dump_when_quiet(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t took = i->stages.ready_us - i->began_us;

	if (i->app->shares && !i->restored)
		niwa_rebuild_visited(e, i->app);
	if (i->app->shares)
		return;
	if (!e->snapshots || !i->snapshot || i->restored || has_one(i) || niwa_snapshot_hibernates(e, i->spec))
		return;
	if (i->spec->snapshot == NIWA_SNAPSHOT_AUTO && !i->spec->warm && took < AUTO_LEAST_US) {
		struct niwa_app_snapshot *s = niwa_snapshot_of(i->app);

		if (s)
			(void)snprintf(s->reason, sizeof(s->reason),
				       "it starts in %llu ms: an image would not be faster",
				       (unsigned long long)(took / NIWA_MS));
		return;
	}
	warm_next(e, i);
}

int niwa_dump_ask(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err)
{
	struct niwa_instance *i = app->current;

	if (!i || !i->snapshot || app->state != NIWA_RUNNING)
		return niwa_fail(err, NIWA_CALLER, 0, "%s is not running from a start of its own", app->name);
	if (app->snapshot) {
		app->snapshot->refused = app->snapshot->usable = false;
		app->snapshot->pause_us = app->snapshot->not_before_us = 0;
	}
	try_at(e, i, 1);
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
