/* SPDX-License-Identifier: MIT
 *
 * Knowledge about images, per host and per app.
 */
#include "engine/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "container/instance_snapshot.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/criu.h"
#include "engine/dump.h"
#include "engine/dumpable.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/put_away.h"
#include "engine/rebuild.h"
#include "engine/share.h"
#include "engine/template.h"
#include "engine/wake.h"

#define CHECK_DEADLINE_US (5 * NIWA_SEC) /* four times as long each time */
#define CHECKS            3
#define COLLECT_US        (500 * NIWA_MS)
#define PAYS_PERCENT      80 /* of a cold start, at most */
#define PAYS_SAMPLES      3  /* restores before it is judged */
#define LOOK_AGAIN        16 /* cold starts; a bad moment of the host must not be held against many apps for ever */
#define FAILED_DROP       3  /* restores from a shared image that fail in a row: it is dropped */
#define FAILED_REFUSE     9  /* and those of the ones that came after it: no other is made */
#define NOTES_MAX         1024
#define LATER_US          (60 * NIWA_SEC) /* twice as long each time */
#define LATEST_US         (3600 * NIWA_SEC)

/* Of what becomes of an image, until it is on disk. */
struct niwa_note {
	STAILQ_ENTRY(niwa_note) link;
	struct niwa_snapshot_key key;
	struct niwa_store_note note;
};

static const char *program_of(pid_t pid, char *buf, size_t size)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	n = readlink(link, buf, size - 1);
	if (n < 0)
		return NULL;
	buf[n] = '\0';
	if (n > 10 && strcmp(buf + n - 10, " (deleted)") == 0)
		buf[n - 10] = '\0';
	return buf;
}

static int open_snapshots(struct niwa_engine *e, struct niwa_snapshots *s, struct niwa_error *err)
{
	char niwad[PATH_MAX], keep[PATH_MAX];
	const char *programs[4] = {e->init_path};
	size_t n = 1;
	int r;

	if (program_of(getpid(), niwad, sizeof(niwad)))
		programs[n++] = niwad;
	if (program_of(e->keep_pid, keep, sizeof(keep)))
		programs[n++] = keep;
	s->criu = niwa_criu_open(e->config.criu, err);
	if (s->criu < 0)
		return s->criu;
	r = niwa_key_host_read(e->config.criu, "", NIWA_VERSION, programs, &s->platform, err);
	return r < 0 ? r : niwa_store_open(e->config.state_dir, &s->store, err);
}

static void free_snapshots(struct niwa_snapshots **sp)
{
	struct niwa_snapshots *s = *sp;
	struct niwa_note *note;

	if (!s)
		return;
	*sp = NULL;
	niwa_put_away_forget(s);
	niwa_store_close(&s->store);
	niwa_fd_close(&s->criu);
	niwa_fd_close(&s->cache);
	niwa_fd_close(&s->empty);
	while ((note = STAILQ_FIRST(&s->notes))) {
		STAILQ_REMOVE_HEAD(&s->notes, link);
		free(note);
	}
	free(s);
}

void niwa_snapshots_open(struct niwa_engine *e)
{
	struct niwa_snapshots *s = niwa_zalloc(sizeof(*s));
	struct niwa_error err;

	if (!s)
		return;
	s->store.dir = s->criu = s->cache = s->empty = -1;
	STAILQ_INIT(&s->notes);
	STAILQ_INIT(&s->put_aways);
	s->limits = (struct niwa_store_limits){.bytes = e->config.snapshot_bytes,
					       .image_bytes = e->config.snapshot_image_bytes};
	if (open_snapshots(e, s, &err) < 0) {
		(void)snprintf(e->no_snapshots, sizeof(e->no_snapshots), "%.199s", err.msg);
		free_snapshots(&s);
	}
	e->snapshots = s;
}

void niwa_snapshots_close(struct niwa_engine *e)
{
	free_snapshots(&e->snapshots);
}

/* Images on disk find their apps. */

struct removal {
	struct niwa_engine *engine;
	struct niwa_store store;
	struct niwa_snapshot_key key;
};

static int removal_work(void *arg, struct niwa_error *err)
{
	struct removal *r = arg;

	return niwa_store_remove(&r->store, &r->key, err);
}

static void removal_done(int r, const struct niwa_error *err, void *arg)
{
	struct removal *removal = arg;

	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "remove an image: %s", err->msg);
	niwa_snapshots_collect(removal->engine); /* somebody may have held it */
	free(removal);
}

void niwa_snapshot_remove(struct niwa_engine *e, const struct niwa_snapshot_key *key)
{
	struct removal *r = niwa_zalloc(sizeof(*r));
	struct niwa_error err;

	if (!r)
		return;
	*r = (struct removal){.engine = e, .store = e->snapshots->store, .key = *key};
	if (niwa_background_run(e->event, removal_work, removal_done, r, &err) < 0) {
		(void)niwa_store_remove(&r->store, &r->key, &err); /* a rename, mostly */
		free(r);
	}
}

struct scan {
	struct niwa_engine *engine;
	struct niwa_store store;
	struct niwa_store_list list;
};

static int collect_work(void *arg, struct niwa_error *err)
{
	struct scan *s = arg;

	return niwa_store_collect(&s->store, NULL, err);
}

static void collect_done(int r, const struct niwa_error *err, void *arg)
{
	struct scan *s = arg;

	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "look for unused images: %s", err->msg);
	s->engine->snapshots_collecting = false;
	if (s->engine->snapshots_collect_again)
		niwa_snapshots_collect(s->engine);
	free(s);
}

static int on_collect(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct scan *s = e->snapshots ? niwa_zalloc(sizeof(*s)) : NULL;
	struct niwa_error err;

	(void)usec;
	(void)sd_event_source_disable_unref(source);
	if (!s) {
		e->snapshots_collecting = false;
		return 0;
	}
	s->engine = e;
	s->store = e->snapshots->store;
	if (niwa_background_run(e->event, collect_work, collect_done, s, &err) < 0)
		collect_done(-EAGAIN, &err, s);
	return 0;
}

void niwa_snapshots_collect(struct niwa_engine *e)
{
	sd_event_source *source;

	e->snapshots_collect_again = e->snapshots_collecting; /* it may have passed what is wanted now */
	if (!e->snapshots || e->snapshots_collecting)
		return;
	e->snapshots_collecting =
		sd_event_add_time_relative(e->event, &source, CLOCK_MONOTONIC, COLLECT_US, NIWA_MS, on_collect, e) >= 0;
}

static int scan_work(void *arg, struct niwa_error *err)
{
	struct scan *s = arg;
	int r = niwa_store_collect(&s->store, NULL, err);

	return r < 0 ? r : niwa_store_list(&s->store, &s->list, err);
}

void niwa_snapshot_found(struct niwa_app_snapshot *s, const struct niwa_store_entry *entry)
{
	s->key = entry->key;
	s->usable = true;
	s->moment = entry->kind == NIWA_KIND_MOMENT;
	s->bytes = entry->bytes;
	s->taken_us = entry->taken_us;
	s->still_us = entry->still_us;
	s->restores = entry->stats.restores;
	s->failures = entry->stats.failures;
	s->last_restore_us = entry->stats.last_restore_us;
	memcpy(s->cold_us, entry->stats.cold_us, sizeof(s->cold_us));
	memcpy(s->restored_us, entry->stats.restored_us, sizeof(s->restored_us));
	if (!s->cold_us[0])
		s->cold_us[0] = entry->cold_us;
	s->week = niwa_store_week(&entry->stats, (uint32_t)(niwa_realtime_us() / NIWA_SEC / 86400));
}

static void take_entry(struct niwa_engine *e, const struct niwa_store_entry *entry)
{
	struct niwa_app *app = entry->app_id ? niwa_map_get(e->apps_by_id, entry->app_id) : NULL;
	struct niwa_app_snapshot *s;

	if (entry->scope == NIWA_SCOPE_SHARED && !*entry->damaged) {
		niwa_share_on_disk(e, entry);
		return;
	}
	if (*entry->damaged)
		return;
	/* Memory of an app that is gone, of another tenant, or of before it shared one. */
	if (!app || app->removed || app->tenant->id != entry->tenant_id || app->shares) {
		niwa_put_away(e, &entry->key);
		return;
	}
	/* Whoever lives has gone on from the moment of that image, and may have written since. */
	if (entry->kind == NIWA_KIND_MOMENT && app->state != NIWA_STOPPED && app->state != NIWA_SAVED) {
		niwa_put_away(e, &entry->key);
		return;
	}
	s = app->snapshot;
	if (s && s->usable) { /* one of the two is of the app as it was before */
		niwa_put_away(e, entry->taken_us < s->taken_us ? &entry->key : &s->key);
		if (entry->taken_us < s->taken_us)
			return;
	}
	s = niwa_snapshot_of(app);
	if (!s)
		return;
	niwa_snapshot_found(s, entry);
	niwa_snapshot_settle(e, app, "an image is on disk");
}

static void scan_done(int r, const struct niwa_error *err, void *arg)
{
	struct scan *s = arg;

	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "look at the images on disk: %s", err->msg);
	for (size_t n = 0; r == 0 && n < s->list.count; n++)
		take_entry(s->engine, &s->list.entry[n]);
	if (s->engine->snapshots) {
		s->engine->snapshots->scanned = true;
		niwa_share_walk(s->engine);
		niwa_dumpables_begin(s->engine);
	}
	niwa_wake_images_known(s->engine);
	niwa_rebuild_begin(s->engine);
	niwa_store_list_fini(&s->list);
	free(s);
}

static void scan(struct niwa_engine *e)
{
	struct scan *s = niwa_zalloc(sizeof(*s));
	struct niwa_error err;

	if (!s)
		return;
	s->engine = e;
	s->store = e->snapshots->store;
	if (niwa_background_run(e->event, scan_work, scan_done, s, &err) < 0) {
		niwa_log(NIWA_LOG_WARN, NULL, "look at the images on disk: %s", err.msg);
		e->snapshots->scanned = true;
		niwa_wake_images_known(e);
		free(s);
	}
}

static void give_up(struct niwa_engine *e, const char *reason)
{
	niwa_log(NIWA_LOG_WARN, NULL, "no snapshots: %s", reason);
	(void)snprintf(e->no_snapshots, sizeof(e->no_snapshots), "%.199s", reason);
	free_snapshots(&e->snapshots);
	niwa_wake_images_known(e);
}

static void on_checked(struct niwa_engine *e, struct niwa_criu_result *result)
{
	struct niwa_snapshots *s = e->snapshots;

	if (!s)
		return;
	s->check = 0;
	if (result->late && s->checks < CHECKS) {
		niwa_log(NIWA_LOG_WARN, NULL, "CRIU's look at the kernel was not done in time; once more");
		niwa_snapshots_begin(e);
		return;
	}
	if (result->end != NIWA_CRIU_DONE || result->fd < 0) {
		give_up(e, *result->reason ? result->reason : "CRIU's look at the kernel brought nothing");
		return;
	}
	s->cache = NIWA_TAKE_FD(result->fd);
	if (mkdirat(s->cache, "empty", 0700) < 0 && errno != EEXIST)
		give_up(e, "no folder can be made beside CRIU's cache");
	else if ((s->empty = openat(s->cache, "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		give_up(e, "the folder beside CRIU's cache cannot be opened");
	else
		scan(e);
}

void niwa_snapshots_begin(struct niwa_engine *e)
{
	struct niwa_snapshots *s = e->snapshots;
	const struct niwa_criu_run run = {.work = NIWA_CRIU_CHECK,
					  .deadline_us = CHECK_DEADLINE_US << (s ? 2 * s->checks++ : 0),
					  .fds = s ? &s->criu : NULL,
					  .nfds = 1,
					  .done = on_checked};
	struct niwa_plan plan = {0};
	struct niwa_error err;

	if (s && (niwa_criu_check_plan(&plan, &err) < 0 || niwa_criu_start(e, &plan, &run, &s->check, &err) < 0))
		give_up(e, err.msg);
}

/* Apps. */

struct niwa_app_snapshot *niwa_snapshot_of(struct niwa_app *app)
{
	if (!app->snapshot)
		app->snapshot = niwa_zalloc(sizeof(*app->snapshot));
	return app->snapshot;
}

void niwa_app_snapshot_free(struct niwa_app *app)
{
	niwa_share_leave(app);
	free(app->snapshot);
	app->snapshot = NULL;
}

const char *niwa_snapshot_refusal(const struct niwa_engine *e, const struct niwa_app_spec *spec, char *buf, size_t size)
{
	*buf = '\0';
	if (spec->snapshot == NIWA_SNAPSHOT_OFF)
		(void)snprintf(buf, size, "snapshot: off");
	else if (!e->snapshots)
		(void)snprintf(buf, size, "%s", *e->no_snapshots ? e->no_snapshots : "CRIU cannot be used");
	else if (spec->snapshot == NIWA_SNAPSHOT_AUTO && niwa_app_writes_volumes(spec))
		(void)snprintf(buf, size,
			       "it has a writable volume: old memory must not meet new data (snapshot: ready says that "
			       "nothing in memory depends on it)");
	return buf;
}

bool niwa_snapshot_is_slower(const struct niwa_app *app)
{
	const struct niwa_app_snapshot *s = app->snapshot;
	uint64_t cold, restored;

	if (!s || !s->restored_us[PAYS_SAMPLES - 1] || s->moment)
		return false;
	if (s->shared && s->cold_since >= LOOK_AGAIN)
		return false;
	cold = niwa_store_median(s->cold_us);
	restored = niwa_store_median(s->restored_us);
	return cold && restored * 100 > cold * PAYS_PERCENT;
}

bool niwa_snapshot_is_wanted(const struct niwa_app *app)
{
	return app->engine->snapshots && app->engine->snapshots->empty >= 0 && app->snapshot && app->snapshot->usable &&
	       !app->removed && !app->start_once && !niwa_snapshot_is_slower(app);
}

const char *niwa_snapshot_why_not(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_app_spec *spec,
				  char *buf, size_t size)
{
	const struct niwa_app_snapshot *s = app->snapshot;

	(void)niwa_snapshot_refusal(e, spec, buf, size);
	if (*buf && !niwa_snapshot_hibernates(e, spec)) /* which asks nothing of its volumes */
		return buf;
	if (niwa_snapshot_is_slower(app))
		(void)snprintf(buf, size, "a cold start is about as fast");
	else if (s && s->usable && app->start_once)
		(void)snprintf(buf, size, "its image was removed; that of the others stays");
	else if (s && s->usable)
		*buf = '\0';
	else if (s && *s->reason)
		(void)snprintf(buf, size, "%s", s->reason);
	else
		(void)snprintf(buf, size, "none was taken yet%s",
			       app->shares ? ": it is when one of those who share it was asked" : "");
	return buf;
}

void niwa_snapshot_settle_one(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	bool wanted = niwa_snapshot_is_wanted(app);

	if (app->state == NIWA_STOPPED && wanted && !app->retry)
		niwa_app_set_state(e, app, NIWA_SAVED, why);
	else if (app->state == NIWA_SAVED && !wanted)
		niwa_app_set_state(e, app, NIWA_STOPPED, why);
}

void niwa_snapshot_settle(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_app_snapshot *s = app->snapshot;

	niwa_snapshot_settle_one(e, app, why);
	if (!s || !s->shared || s->settled == s->usable)
		return;
	s->settled = s->usable;
	niwa_share_walk(e);
}

void niwa_snapshot_failed(struct niwa_engine *e, struct niwa_app *app, const char *reason)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "snapshot"};
	struct niwa_app_snapshot *s = app->snapshot;

	if (!s || !s->shared || ++s->failed % FAILED_DROP == 0) {
		niwa_snapshot_drop(e, app, reason);
		if (s && s->shared && s->failed >= FAILED_REFUSE)
			s->refused = true;
		return;
	}
	niwa_log(NIWA_LOG_WARN, &ctx, "not woken from the image it shares: %s", reason);
	(void)snprintf(s->reason, sizeof(s->reason), "%s", reason);
}

void niwa_snapshot_later(struct niwa_app_snapshot *s, const char *reason)
{
	(void)snprintf(s->reason, sizeof(s->reason), "%.159s", reason);
	s->pause_us = s->pause_us ? s->pause_us * 2 : LATER_US;
	if (s->pause_us > LATEST_US)
		s->pause_us = LATEST_US;
	s->not_before_us = niwa_now_us() + s->pause_us;
}

void niwa_snapshot_not_now(const struct niwa_instance *i, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "snapshot"};

	niwa_log(NIWA_LOG_INFO, &ctx, "no image of this start: %s", err->msg);
	if (i->app->snapshot)
		(void)snprintf(i->app->snapshot->reason, sizeof(i->app->snapshot->reason), "%.159s", err->msg);
}

void niwa_snapshot_drop(struct niwa_engine *e, struct niwa_app *app, const char *reason)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "snapshot"};
	struct niwa_app_snapshot *s = app->snapshot;

	if (!s)
		return;
	niwa_log(NIWA_LOG_WARN, &ctx, "its image is dropped: %s", reason);
	(void)snprintf(s->reason, sizeof(s->reason), "%s", reason);
	if (s->usable && e->snapshots)
		niwa_snapshot_remove(e, &s->key);
	s->usable = s->moment = false;
	memset(s->restored_us, 0, sizeof(s->restored_us));
}

static void push(uint64_t samples[NIWA_STORE_SAMPLES], uint64_t us)
{
	memmove(samples + 1, samples, (NIWA_STORE_SAMPLES - 1) * sizeof(*samples));
	samples[0] = us;
}

void niwa_snapshot_restored(struct niwa_app *app)
{
	struct niwa_app_snapshot *s = niwa_snapshot_of(app);

	if (!s)
		return;
	s->restores++;
	s->failed = 0;
	s->last_restore_us = niwa_realtime_us();
}

/* What is noted on disk: hints, written by one thread at a time. */

struct notes {
	struct niwa_engine *engine;
	struct niwa_store store;
	STAILQ_HEAD(, niwa_note) list;
};

static void write_notes(struct niwa_engine *e);

static int note_work(void *arg, struct niwa_error *err)
{
	struct notes *n = arg;
	struct niwa_note *note;

	STAILQ_FOREACH(note, &n->list, link)
	(void)niwa_store_note(&n->store, &note->key, &note->note, err); /* a hint */
	return 0;
}

static void note_done(int r, const struct niwa_error *err, void *arg)
{
	struct notes *n = arg;
	struct niwa_engine *e = n->engine;
	struct niwa_note *note;

	(void)r, (void)err;
	while ((note = STAILQ_FIRST(&n->list))) {
		STAILQ_REMOVE_HEAD(&n->list, link);
		free(note);
	}
	free(n);
	if (!e->snapshots)
		return;
	e->snapshots->noting = false;
	write_notes(e);
}

static void write_notes(struct niwa_engine *e)
{
	struct niwa_snapshots *s = e->snapshots;
	struct notes *n = STAILQ_EMPTY(&s->notes) || s->noting ? NULL : niwa_zalloc(sizeof(*n));
	struct niwa_error err;

	if (!n)
		return;
	n->engine = e;
	n->store = s->store;
	STAILQ_INIT(&n->list);
	STAILQ_CONCAT(&n->list, &s->notes);
	s->noting = niwa_background_run(e->event, note_work, note_done, n, &err) == 0;
	if (s->noting) {
		s->note_count = 0;
		return;
	}
	STAILQ_CONCAT(&s->notes, &n->list); /* with the next one */
	free(n);
}

static void note(struct niwa_engine *e, const struct niwa_snapshot_key *key, const struct niwa_store_note *what)
{
	struct niwa_snapshots *s = e->snapshots;
	struct niwa_note *n = s->note_count < NOTES_MAX ? niwa_zalloc(sizeof(*n)) : NULL;

	if (!n)
		return;
	n->key = *key;
	n->note = *what;
	STAILQ_INSERT_TAIL(&s->notes, n, link);
	s->note_count++;
	write_notes(e);
}

void niwa_snapshot_measured(struct niwa_engine *e, struct niwa_app *app, bool restored, uint64_t us)
{
	struct niwa_app_snapshot *s = e->snapshots ? niwa_snapshot_of(app) : NULL;

	if (!s)
		return;
	push(restored ? s->restored_us : s->cold_us, us);
	s->cold_since = restored ? 0 : s->cold_since + 1;
	if (s->shared)
		s->week++;
	if (s->usable && !s->moment)
		note(e, &s->key,
		     &(struct niwa_store_note){.event = restored ? NIWA_STORE_RESTORED : NIWA_STORE_COLD, .us = us});
}

/* What an instance sees of the host. */

static int add_root(struct niwa_roots *roots, const char *at, const char *path, struct niwa_error *err)
{
	int fd = -1;

	if (path) {
		fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "open '%s'", path);
	}
	roots->text[roots->count] = niwa_strdup(at);
	roots->root[roots->count] = (struct niwa_manifest_root){.at = roots->text[roots->count], .fd = fd};
	roots->count++;
	return roots->text[roots->count - 1] ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "look at files");
}

static int add_volume(struct niwa_roots *roots, const struct niwa_volume *volume, struct niwa_error *err)
{
	char at[PATH_MAX];
	int r = niwa_manifest_place(roots->root[0].fd, volume->to, at, sizeof(at), err);

	if (r == 0)
		r = add_root(roots, at, volume->from, err);
	if (r == 0) {
		roots->root[roots->count - 1].writable = !volume->read_only;
		roots->trees |= (uint64_t)volume->read_only << (roots->count - 1);
	}
	return r;
}

int niwa_roots_open(const struct niwa_instance_params *p, struct niwa_roots *ret, struct niwa_error *err)
{
	static const char *const others[] = {"/proc", "/dev", "/sys", "/run/niwa"};
	int r;

	*ret = (struct niwa_roots){0};
	r = add_root(ret, "/", p->image->root, err);
	ret->trees = p->image->folder;
	if (r == 0 && p->image->bind_usr)
		r = add_root(ret, "/usr", "/usr", err);
	for (size_t n = 0; r == 0 && n < NIWA_ARRAY_LEN(others); n++)
		r = add_root(ret, others[n], NULL, err);
	for (size_t n = 0; r == 0 && n < p->spec->volume_count; n++)
		r = add_volume(ret, &p->spec->volumes[n], err);
	if (r < 0)
		niwa_roots_close(ret);
	return r;
}

void niwa_roots_close(struct niwa_roots *roots)
{
	for (size_t n = 0; n < roots->count; n++) {
		int fd = roots->root[n].fd;

		niwa_fd_close(&fd);
		free(roots->text[n]);
	}
	roots->count = 0;
}

/* Instances. */

int niwa_snapshot_key_of(struct niwa_engine *e, const struct niwa_app_spec *spec, const struct niwa_instance_params *p,
			 const char *volumes, struct niwa_snapshot_key *ret, struct niwa_error *err)
{
	bool shared = niwa_share_is_wanted(spec);
	struct niwa_text extra = {0};
	struct niwa_key_params params = {.host = &e->host,
					 .instance = p,
					 .platform = &e->snapshots->platform,
					 .scope = shared ? NIWA_SCOPE_SHARED : NIWA_SCOPE_APP,
					 .kind = volumes ? NIWA_KIND_MOMENT : NIWA_KIND_READY};
	int r;

	for (char **path = spec->warm; path && *path; path++)
		niwa_text_addf(&extra, "warm %s\n", *path);
	if (shared) { /* not of the plan, but of the moment at which it is taken */
		niwa_text_addf(&extra, "ready %d %u %s\n", (int)spec->ready.kind, spec->ready.port,
			       spec->ready.path ? spec->ready.path : "");
		for (size_t n = 0; n < spec->port_count; n++)
			niwa_text_addf(&extra, "port %u\n", spec->ports[n].number);
	}
	niwa_text_add(&extra, volumes ? volumes : "");
	params.extra = extra.data;
	r = niwa_snapshot_key(&params, ret, err);
	niwa_text_fini(&extra);
	return r;
}

bool niwa_snapshot_hibernates(const struct niwa_engine *e, const struct niwa_app_spec *spec)
{
	return spec->sleep.keep == NIWA_SLEEP_KEEPS_MEMORY && spec->snapshot != NIWA_SNAPSHOT_OFF && e->snapshots;
}

void niwa_snapshot_paths(const struct niwa_engine *e, struct niwa_instance_snapshot *s, const char *folder)
{
	(void)snprintf(s->folder, sizeof(s->folder), "%s", folder);
	(void)snprintf(s->layer_path, sizeof(s->layer_path), "%s/snapshots/%s/layer", e->config.state_dir, folder);
	(void)snprintf(s->shm_path, sizeof(s->shm_path), "%s/snapshots/%s/shm", e->config.state_dir, folder);
}

/* The key of its start. */
static int start_key(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_instance_params *p,
		     struct niwa_error *err)
{
	int r;

	if (i->app->template) { /* it has other volumes than those whose key it has */
		i->snapshot->key = i->app->snapshot->key;
		return 0;
	}
	r = niwa_snapshot_key_of(e, i->spec, p, NULL, &i->snapshot->key, err);
	return r == 0 && i->app->shares ? niwa_share_join(e, i->app, &i->snapshot->key, err) : r;
}

int niwa_snapshot_prepare(struct niwa_engine *e, struct niwa_instance *i, struct niwa_instance_params *p,
			  struct niwa_error *err)
{
	char refusal[NIWA_STORE_REASON_MAX];

	if (i->snapshot) { /* to be restored: looked at before */
		p->init = true;
		p->restore = i->snapshot->restoring ? &i->snapshot->restore : NULL;
		return 0;
	}
	if (*niwa_snapshot_refusal(e, i->spec, refusal, sizeof(refusal)) && !niwa_snapshot_hibernates(e, i->spec))
		return 0;
	i->snapshot = niwa_zalloc(sizeof(*i->snapshot));
	if (!i->snapshot)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start %s", i->app->name);
	niwa_store_image_init(&i->snapshot->image);
	p->init = true;
	return start_key(e, i, p, err);
}

void niwa_snapshot_instance_gone(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_snapshot *s = i->snapshot;

	if (!s)
		return;
	niwa_dump_instance_gone(e, i);
	if (s->restoring && s->criu)
		niwa_criu_kill(e, s->criu);
	s->timer = sd_event_source_disable_unref(s->timer);
	niwa_store_image_close(&s->image);
	if (s->restoring) /* what was used once and went wrong */
		niwa_snapshots_collect(e);
	free(s);
	i->snapshot = NULL;
}

static void hold_name(uint64_t instance, char *buf, size_t size)
{
	(void)snprintf(buf, size, "image:%llu", (unsigned long long)instance);
}

void niwa_snapshot_hold(struct niwa_engine *e, const struct niwa_instance *i)
{
	char name[NIWA_KEEP_NAME_MAX];

	hold_name(i->id, name, sizeof(name));
	niwa_keep_store(e, name, i->snapshot->image.images);
}

void niwa_snapshot_let_go(struct niwa_engine *e, const struct niwa_instance *i)
{
	char name[NIWA_KEEP_NAME_MAX];

	hold_name(i->id, name, sizeof(name));
	niwa_keep_unstore(e, name);
	niwa_snapshots_collect(e);
}

void niwa_snapshot_held(struct niwa_engine *e, const char *name)
{
	uint64_t id;

	if (niwa_parse_u64(name + strlen("image:"), UINT64_MAX, &id) < 0 || !niwa_map_get(e->instances, id))
		niwa_keep_unstore(e, name);
}
