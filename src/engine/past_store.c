/* SPDX-License-Identifier: MIT
 *
 * Those to be written are a list, in the order in which they were touched. When it is time all that are in it then are
 * written, part after part; who is touched meanwhile is written the next time. What the store refused goes back to the
 * end of the list.
 */
#include "engine/past_store.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/age.h"
#include "engine/past_record.h"

#define BATCH        256 /* some 0.2 ms of the loop, and a few ms of the store's thread */
#define BATCH_AT_END 4096
#define TELL_US      (600 * NIWA_SEC)

struct batch {
	struct niwa_engine *engine;
	size_t count;
	uint64_t apps[]; /* their numbers */
};

static void write_some(struct niwa_engine *e, size_t most);

static int on_time(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;

	(void)usec;
	e->pasts.due = e->pasts.count;
	if (e->pasts.due)
		write_some(e, BATCH);
	return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static void arm(struct niwa_engine *e)
{
	struct niwa_pasts *p = &e->pasts;
	uint64_t after_us = e->config.history_write_us;
	int r;

	if (!p->count || p->writing || p->closed)
		return;
	if (!p->timer)
		r = sd_event_add_time_relative(e->event, &p->timer, CLOCK_MONOTONIC, after_us, after_us / 8, on_time,
					       e);
	else if ((r = sd_event_source_set_time_relative(p->timer, after_us)) >= 0)
		r = sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
	(void)r; /* out of memory: the next visit tries again */
}

static bool is_armed(const struct niwa_pasts *p)
{
	int enabled = SD_EVENT_OFF;

	return p->timer && sd_event_source_get_enabled(p->timer, &enabled) > 0;
}

void niwa_past_touch(struct niwa_app_past *past)
{
	struct niwa_engine *e = past->app->engine;

	if (past->touched || !e->cmdb || !e->config.history_write_us || past->app->template)
		return;
	past->touched = true;
	TAILQ_INSERT_TAIL(&e->pasts.touched, past, touched_link);
	e->pasts.count++;
	if (!is_armed(&e->pasts))
		arm(e);
}

void niwa_past_forget(struct niwa_app_past *past)
{
	struct niwa_pasts *p = &past->app->engine->pasts;

	if (!past->touched)
		return;
	TAILQ_REMOVE(&p->touched, past, touched_link);
	past->touched = false;
	p->count--;
	if (p->due > p->count)
		p->due = p->count;
}

static void refused(struct niwa_engine *e, const struct batch *b, const struct niwa_error *err)
{
	if (niwa_log_allow(&e->pasts.refusals_logged, 1, TELL_US))
		niwa_log(NIWA_LOG_WARN, NULL, "what was learnt of visits is not written: %s; it is tried again",
			 err->msg);
	e->pasts.due = 0;
	for (size_t n = 0; n < b->count; n++) {
		struct niwa_app *app = niwa_map_get(e->apps_by_id, b->apps[n]);

		if (app && app->past)
			niwa_past_touch(app->past);
	}
}

static void on_written(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
		       void *arg)
{
	struct batch *b = arg;
	struct niwa_engine *e = b->engine;

	(void)changes, (void)count;
	if (!last)
		return;
	e->pasts.writing = false;
	if (err && !e->pasts.closed)
		refused(e, b, err);
	else if (err)
		niwa_log(NIWA_LOG_WARN, NULL, "what was learnt of visits is lost: %s", err->msg);
	free(b);
	if (e->pasts.due)
		write_some(e, BATCH);
	else
		arm(e);
}

static void add(struct niwa_cmdb_txn *txn, struct batch *b, struct niwa_app_past *past)
{
	uint8_t data[NIWA_PAST_RECORD_MAX];
	struct niwa_past_record record = {.boot = past->app->engine->pasts.boot,
					  .visited_us = past->visited_us,
					  .woke_us = past->woke_us,
					  .needs_bytes = past->needs_bytes,
					  .gaps = past->gaps};
	size_t len = niwa_past_record_pack(&record, data);

	if (niwa_cmdb_txn_past(txn, past->app->id, data, len) == 0)
		b->apps[b->count++] = past->app->id;
}

/* At most so many of those that are due. */
static void write_some(struct niwa_engine *e, size_t most)
{
	struct niwa_pasts *p = &e->pasts;
	struct batch *b = niwa_zalloc(sizeof(*b) + most * sizeof(b->apps[0]));
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(e->cmdb);
	struct niwa_app_past *past;

	if (!b || !txn) { /* out of memory: the next visit tries again */
		p->due = 0;
		free(b);
		niwa_cmdb_txn_free(&txn);
		return;
	}
	b->engine = e;
	while (p->due && b->count < most && (past = TAILQ_FIRST(&p->touched))) {
		p->due--;
		niwa_past_forget(past);
		add(txn, b, past);
	}
	p->writing = true;
	niwa_cmdb_txn_commit(txn, on_written, b);
}

void niwa_past_load(struct niwa_app_past *past)
{
	struct niwa_app *app = past->app;
	struct niwa_past_record record;
	uint8_t data[NIWA_CMDB_PAST_MAX];
	struct niwa_error err;
	int r;

	if (!app->engine->cmdb || app->template || app->removed)
		return;
	r = niwa_cmdb_past(app->engine->cmdb, app->id, data, &err);
	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "what was learnt of visits to %s: %s", app->name, err.msg);
	if (r <= 0 || !niwa_past_record_unpack(data, (size_t)r, &record))
		return;
	past->gaps = record.gaps;
	past->woke_us = record.woke_us;
	past->needs_bytes = record.needs_bytes;
	if (record.boot && record.boot == app->engine->pasts.boot && record.visited_us <= niwa_now_us())
		past->visited_us = record.visited_us; /* over a reboot nobody could visit it */
}

void niwa_past_open(struct niwa_engine *e)
{
	TAILQ_INIT(&e->pasts.touched);
	e->pasts.boot = niwa_age_boot();
}

void niwa_past_close(struct niwa_engine *e)
{
	struct niwa_pasts *p = &e->pasts;

	p->timer = sd_event_source_disable_unref(p->timer);
	p->closed = true;
	if (!e->cmdb)
		return;
	p->due = p->count;
	while (p->due)
		write_some(e, BATCH_AT_END);
}
