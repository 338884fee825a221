/* SPDX-License-Identifier: MIT
 *
 * Knowledge about images, per app.
 */
#include "engine/snapshot.h"

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
#include "engine/share.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_note.h"
#include "engine/snapshot_start.h"

#define PAYS_PERCENT  80 /* of a cold start, at most */
#define PAYS_SAMPLES  3  /* restores before it is judged */
#define LOOK_AGAIN    16 /* cold starts; a bad moment of the host must not be held against many apps for ever */
#define TRUST_US      (5 * NIWA_SEC) /* a restored app that ends sooner had a bad image */
#define FAILED_DROP   3              /* restores from a shared image that fail in a row: it is dropped */
#define FAILED_REFUSE 9              /* and those of the ones that came after it: no other is made */
#define FAILED_OWN    3 /* of an app that has images of its own, each of which was dropped: no other is made */
#define LATE_MAX      2 /* restores in a row for which the host is not blamed any more, but the image */
#define SOON_US       NIWA_SEC
#define LATER_US      (60 * NIWA_SEC) /* twice as long each time */
#define LATEST_US     (3600 * NIWA_SEC)

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

bool niwa_snapshot_hibernates(const struct niwa_engine *e, const struct niwa_app_spec *spec)
{
	return spec->sleep.keep == NIWA_SLEEP_KEEPS_MEMORY && spec->snapshot != NIWA_SNAPSHOT_OFF && e->snapshots;
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

/* Of an image that is kept. */
static void note_failure(struct niwa_engine *e, struct niwa_app_snapshot *s, const char *reason)
{
	(void)snprintf(s->reason, sizeof(s->reason), "%s", reason);
	if (e->snapshots)
		niwa_snapshot_note(e, &s->key, &(struct niwa_store_note){.event = NIWA_STORE_FAILED, .reason = reason});
}

bool niwa_snapshot_forgives(struct niwa_app *app, const char *reason)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "snapshot"};
	struct niwa_app_snapshot *s = app->snapshot;

	if (!s || s->shared || !s->usable || ++s->late >= LATE_MAX)
		return false;
	niwa_log(NIWA_LOG_WARN, &ctx, "%s; its image is kept, and dropped if that happens again", reason);
	note_failure(app->engine, s, reason);
	return true;
}

/* Each image of it is made for nothing, and each of its wakes takes longer than a start would. */
static void refuse_own(struct niwa_app_snapshot *s, const struct niwa_snapshot_key *start, const char *reason)
{
	s->key = *start;
	s->refused = true;
	s->failed = 0;
	(void)snprintf(s->reason, sizeof(s->reason), "not restored %d times in a row: %s", FAILED_OWN, reason);
}

void niwa_snapshot_failed(struct niwa_engine *e, const struct niwa_instance *i, const char *reason)
{
	struct niwa_app *app = i->app;
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "snapshot"};
	struct niwa_app_snapshot *s = app->snapshot;

	if (!s || (s->shared && !s->usable)) /* of many it went away under those who were just being woken from it */
		return;
	s->failed++;
	if (!s->shared || s->failed % FAILED_DROP == 0) {
		niwa_snapshot_drop(e, app, reason);
		if (s->shared && s->failed >= FAILED_REFUSE)
			s->refused = true;
		else if (!s->shared && s->failed >= FAILED_OWN && i->snapshot)
			refuse_own(s, &i->snapshot->key, reason);
		return;
	}
	niwa_log(NIWA_LOG_WARN, &ctx, "not woken from the image it shares: %s", reason);
	note_failure(e, s, reason);
}

void niwa_snapshot_later(struct niwa_app_snapshot *s, const struct niwa_error *err)
{
	(void)snprintf(s->reason, sizeof(s->reason), "%.159s", err->msg);
	s->pause_us = s->pause_us ? s->pause_us * 2 : err->code == EBUSY ? SOON_US : LATER_US;
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
	if (s->shared) /* else it has to live a little first */
		s->failed = 0;
	s->last_restore_us = niwa_realtime_us();
}

void niwa_snapshot_ended(struct niwa_engine *e, const struct niwa_instance *i, const char *how)
{
	struct niwa_app_snapshot *s = i->app->snapshot;
	bool asked = i->app->state == NIWA_STOPPING || i->app->state == NIWA_SAVING;

	if (!asked && niwa_now_us() - i->stages.ready_us < TRUST_US)
		niwa_snapshot_failed(e, i, how);
	else if (s && !s->shared)
		s->failed = 0;
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
		niwa_snapshot_note(
			e, &s->key,
			&(struct niwa_store_note){.event = restored ? NIWA_STORE_RESTORED : NIWA_STORE_COLD, .us = us});
}
