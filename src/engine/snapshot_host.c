/* SPDX-License-Identifier: MIT
 *
 * In order: the store and CRIU's file; CRIU's look at the kernel; the scan of what is on disk.
 */
#include "engine/snapshot_host.h"

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
#include "engine/dumpable.h"
#include "engine/put_away.h"
#include "engine/rebuild.h"
#include "engine/share.h"
#include "engine/snapshot.h"
#include "engine/snapshot_note.h"
#include "engine/wake.h"

#define CHECK_DEADLINE_US (5 * NIWA_SEC) /* four times as long each time */
#define CHECKS            3
#define SCAN_TURN_US      NIWA_MS /* that images on disk may take of a turn, */
#define SCAN_PAUSE_US     NIWA_MS /* before the next one */

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

struct niwa_scan {
	struct niwa_engine *engine;
	struct niwa_store store;
	struct niwa_store_list list;
	size_t next;
	sd_event_source *turn;
};

static void free_scan(struct niwa_scan *s)
{
	if (!s)
		return;
	(void)sd_event_source_disable_unref(s->turn);
	niwa_store_list_fini(&s->list);
	free(s);
}

static void free_snapshots(struct niwa_snapshots **sp)
{
	struct niwa_snapshots *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	free_scan(s->scan);
	(void)sd_event_source_disable_unref(s->patience);
	niwa_put_away_forget(s);
	niwa_snapshot_notes_forget(s);
	niwa_store_close(&s->store);
	niwa_fd_close(&s->criu);
	niwa_fd_close(&s->cache);
	niwa_fd_close(&s->empty);
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
					       .image_bytes = e->config.snapshot_image_bytes,
					       .free_bytes = e->config.snapshot_free_bytes};
	if (open_snapshots(e, s, &err) < 0) {
		(void)snprintf(e->no_snapshots, sizeof(e->no_snapshots), "%.199s", err.msg);
		free_snapshots(&s);
		niwa_put_away_moments(e);
	}
	e->snapshots = s;
}

void niwa_snapshots_close(struct niwa_engine *e)
{
	free_snapshots(&e->snapshots);
}

/* Images on disk find their apps. */

static int scan_work(void *arg, struct niwa_error *err)
{
	struct niwa_scan *s = arg;
	int r = niwa_store_collect(&s->store, NULL, err);

	return r < 0 ? r : niwa_store_list(&s->store, &s->list, err);
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
	/* Whoever lived under this niwad has gone on from the moment of that image, and may have told somebody so. */
	if (entry->kind == NIWA_KIND_MOMENT && app->lived) {
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

static void scanned(struct niwa_engine *e)
{
	free_scan(e->snapshots->scan);
	e->snapshots->scan = NULL;
	e->snapshots->scanned = true;
	niwa_share_walk(e);
	niwa_dumpables_begin(e);
	niwa_wake_images_known(e);
	niwa_rebuild_begin(e);
}

static int on_scan_turn(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_scan *s = arg;
	uint64_t until = niwa_now_us() + SCAN_TURN_US;

	(void)usec;
	while (s->next < s->list.count && niwa_now_us() < until)
		take_entry(s->engine, &s->list.entry[s->next++]);
	if (s->next == s->list.count) {
		scanned(s->engine);
		return 0;
	}
	(void)sd_event_source_set_time_relative(source, SCAN_PAUSE_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void scan_done(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_scan *s = arg;
	struct niwa_engine *e = s->engine;

	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "look at the images on disk: %s", err->msg);
	if (!e->snapshots) {
		free_scan(s);
		return;
	}
	e->snapshots->scan = s;
	if (r < 0)
		scanned(e);
	else if (sd_event_add_time_relative(e->event, &s->turn, CLOCK_MONOTONIC, 0, 1, on_scan_turn, s) < 0)
		while (e->snapshots->scan) /* without memory, all in this turn */
			(void)on_scan_turn(NULL, 0, s);
}

static void scan(struct niwa_engine *e)
{
	struct niwa_scan *s = niwa_zalloc(sizeof(*s));
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
	niwa_put_away_moments(e);
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

bool niwa_snapshots_are_known(const struct niwa_engine *e)
{
	return !e->snapshots || e->snapshots->scanned || e->snapshots->awaited;
}

static int on_impatience(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_snapshots *s = e->snapshots;

	(void)source, (void)usec;
	s->patience = sd_event_source_disable_unref(s->patience);
	if (s->scanned)
		return 0;
	s->awaited = true;
	niwa_log(NIWA_LOG_WARN, NULL,
		 "which images are on disk is not known yet; apps are started without (images_wait)");
	niwa_wake_images_known(e);
	return 0;
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

	if (s && !s->patience && !s->awaited &&
	    sd_event_add_time_relative(e->event, &s->patience, CLOCK_MONOTONIC, e->config.images_wait_us, NIWA_MS,
				       on_impatience, e) < 0)
		s->awaited = true;
	if (s && (niwa_criu_check_plan(&plan, &err) < 0 || niwa_criu_start(e, &plan, &run, &s->check, &err) < 0))
		give_up(e, err.msg);
}
