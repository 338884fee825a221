/* SPDX-License-Identifier: MIT
 *
 * One image; a queue of them, of which one thread at a time takes all (a list of apps that is taken back may be long);
 * what nobody holds any more.
 */
#include "engine/put_away.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/share.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"

#define COLLECT_US (500 * NIWA_MS)

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

struct niwa_put_away {
	STAILQ_ENTRY(niwa_put_away) link;
	struct niwa_snapshot_key key;
};

struct put_aways {
	struct niwa_engine *engine;
	struct niwa_store store;
	STAILQ_HEAD(, niwa_put_away) list;
};

static int put_away_work(void *arg, struct niwa_error *err)
{
	struct put_aways *p = arg;
	struct niwa_put_away *each;
	int r = 0;

	STAILQ_FOREACH(each, &p->list, link)
	if (niwa_store_remove(&p->store, &each->key, err) < 0)
		r = -EIO;
	return r;
}

static void put_away_next(struct niwa_engine *e);

static void put_away_done(int r, const struct niwa_error *err, void *arg)
{
	struct put_aways *p = arg;
	struct niwa_engine *e = p->engine;
	struct niwa_put_away *each;

	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "remove images: %s", err->msg);
	while ((each = STAILQ_FIRST(&p->list))) {
		STAILQ_REMOVE_HEAD(&p->list, link);
		free(each);
	}
	free(p);
	niwa_snapshots_collect(e); /* somebody may have held one */
	if (!e->snapshots)
		return;
	e->snapshots->putting_away = false;
	put_away_next(e);
}

static void put_away_next(struct niwa_engine *e)
{
	struct niwa_snapshots *s = e->snapshots;
	struct put_aways *p = STAILQ_EMPTY(&s->put_aways) || s->putting_away ? NULL : niwa_zalloc(sizeof(*p));
	struct niwa_error err;

	if (!p)
		return;
	p->engine = e;
	p->store = s->store;
	STAILQ_INIT(&p->list);
	STAILQ_CONCAT(&p->list, &s->put_aways);
	s->putting_away = true;
	if (niwa_background_run(e->event, put_away_work, put_away_done, p, &err) < 0)
		put_away_done(put_away_work(p, &err), &err, p); /* renames, mostly */
}

void niwa_put_away(struct niwa_engine *e, const struct niwa_snapshot_key *key)
{
	struct niwa_put_away *p = niwa_zalloc(sizeof(*p));

	if (!p)
		return; /* the next niwad finds it */
	p->key = *key;
	STAILQ_INSERT_TAIL(&e->snapshots->put_aways, p, link);
	put_away_next(e);
}

void niwa_put_away_forget(struct niwa_snapshots *s)
{
	struct niwa_put_away *p;

	while ((p = STAILQ_FIRST(&s->put_aways))) {
		STAILQ_REMOVE_HEAD(&s->put_aways, link);
		free(p);
	}
}

void niwa_snapshot_owner_gone(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_app_snapshot *s = app->snapshot;

	if (!s || s->shared)
		return;
	if (s->usable && e->snapshots)
		niwa_put_away(e, &s->key);
	s->usable = s->moment = false;
	niwa_snapshot_settle_one(e, app, "its image was another tenant's");
}

static void told(struct niwa_engine *e, const struct niwa_store_gone *gone)
{
	struct niwa_app *app = gone->app_id ? niwa_map_get(e->apps_by_id, gone->app_id) : NULL;
	struct niwa_app_snapshot *s = app ? app->snapshot : niwa_share_find(e, &gone->key);

	if (!s || !s->usable || strcmp(s->key.hex, gone->key.hex) != 0)
		return;
	s->usable = s->moment = false;
	(void)snprintf(s->reason, sizeof(s->reason), "its place on disk was needed for others (snapshot_bytes)");
	if (app) {
		niwa_snapshot_settle(e, app, "its image had to go");
	} else {
		niwa_share_walk(e);
		niwa_share_unused(e, s);
	}
}

void niwa_put_away_told(struct niwa_engine *e, struct niwa_store_evicted *evicted)
{
	for (size_t n = 0; n < evicted->count; n++)
		told(e, &evicted->image[n]);
	niwa_store_evicted_fini(evicted);
}

/* Memory of moments, on a host that cannot restore it. */
struct moments {
	struct niwa_store store;
	unsigned count;
};

static int moments_work(void *arg, struct niwa_error *err)
{
	struct moments *m = arg;
	struct niwa_store_list list = {0};
	int r = niwa_store_list(&m->store, &list, err);

	for (size_t n = 0; r == 0 && n < list.count; n++) {
		if (list.entry[n].kind != NIWA_KIND_MOMENT)
			continue;
		r = niwa_store_remove(&m->store, &list.entry[n].key, err);
		m->count++;
	}
	niwa_store_list_fini(&list);
	return r;
}

static void moments_done(int r, const struct niwa_error *err, void *arg)
{
	struct moments *m = arg;

	if (r < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "memory of apps that sleep may be older than what they do now: %s",
			 err->msg);
	else if (m->count)
		niwa_log(NIWA_LOG_WARN, NULL, "memory of %u apps that sleep is void: they are started without it",
			 m->count);
	niwa_store_close(&m->store);
	free(m);
}

void niwa_put_away_moments(struct niwa_engine *e)
{
	struct moments *m;
	struct niwa_error err;
	char path[PATH_MAX];
	int r;

	(void)snprintf(path, sizeof(path), "%s/snapshots", e->config.state_dir);
	m = access(path, F_OK) < 0 ? NULL : niwa_zalloc(sizeof(*m));
	if (!m)
		return;
	r = niwa_store_open(e->config.state_dir, &m->store, &err);
	if (r < 0) { /* nobody else will open it either */
		free(m);
		return;
	}
	r = niwa_background_run(e->event, moments_work, moments_done, m, &err);
	if (r < 0)
		moments_done(r, &err, m);
}

struct collection {
	struct niwa_engine *engine;
	struct niwa_store store;
};

static int collect_work(void *arg, struct niwa_error *err)
{
	struct collection *s = arg;

	return niwa_store_sweep(&s->store, err);
}

static void collect_done(int r, const struct niwa_error *err, void *arg)
{
	struct collection *s = arg;

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
	struct collection *s = e->snapshots ? niwa_zalloc(sizeof(*s)) : NULL;
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
