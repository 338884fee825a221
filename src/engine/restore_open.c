/* SPDX-License-Identifier: MIT
 *
 * One or two jobs in threads: the look at volumes, which the key of a moment of sleep depends on, then the image. A
 * last one runs while the instance is started: the walk through what the app only reads, which takes milliseconds.
 */
#include "engine/restore_open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/memory.h"
#include "engine/age.h"
#include "engine/background.h"
#include "engine/instance.h"
#include "engine/restore.h"
#include "engine/roots.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"
#include "engine/volume_print.h"

/* The instance cannot end before it was opened, so threads may read its record. */
struct opening {
	struct niwa_engine *engine;
	struct niwa_instance *instance;
	struct niwa_prepared prepared;
	struct niwa_store store;
	struct niwa_snapshot_key key, was; /* of today; of the image that the app had */
	bool once, is_void;                /* is_void: what is wrong is wrong with the image */
	struct niwa_text volumes;
	struct niwa_roots roots;
	struct niwa_store_image image;
};

static void free_opening(struct opening *o)
{
	niwa_prepared_fini(&o->prepared);
	niwa_text_fini(&o->volumes);
	niwa_roots_close(&o->roots);
	niwa_store_image_close(&o->image);
	free(o);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t); /* cannot fail for these */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fill_restore(struct niwa_engine *e, struct niwa_instance_snapshot *s)
{
	const struct niwa_manifest *m = &s->image.manifest;

	s->restore = (struct niwa_instance_restore){.pid = (pid_t)m->root_pid,
						    .last_pid = (pid_t)m->free_pid - 1,
						    .monotonic_ns = m->monotonic_ns - clock_ns(CLOCK_MONOTONIC),
						    .boottime_ns = m->boottime_ns - clock_ns(CLOCK_BOOTTIME)};
	niwa_snapshot_paths(e, s, s->image.name);
	s->restore.layer = m->layer_entries ? s->layer_path : NULL;
	s->restore.shm = m->shm_entries ? s->shm_path : NULL;
}

struct walk {
	struct niwa_engine *engine;
	uint64_t instance;
	struct niwa_roots roots;
	struct niwa_manifest manifest; /* what it says of the trees */
};

static int walk_work(void *arg, struct niwa_error *err)
{
	struct walk *w = arg;

	(void)niwa_fault("niwad.trees-walked");
	return niwa_trees_compare(&w->roots, &w->manifest, err);
}

static void walk_done(int r, const struct niwa_error *err, void *arg)
{
	struct walk *w = arg;
	struct niwa_instance *i = niwa_map_get(w->engine->instances, w->instance);

	if (i)
		niwa_restore_compared(w->engine, i, r < 0 ? err->msg : NULL);
	niwa_roots_close(&w->roots);
	free(w);
}

static int begin_walk(struct opening *o, struct niwa_error *err)
{
	const struct niwa_manifest *m = &o->instance->snapshot->image.manifest;
	struct walk *w = m->trees ? niwa_zalloc(sizeof(*w)) : NULL;
	int r;

	if (!w)
		return m->trees ? niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "look at volumes") : 0;
	*w = (struct walk){.engine = o->engine,
			   .instance = o->instance->id,
			   .roots = o->roots,
			   .manifest = {.trees = m->trees, .print = {m->print[0], m->print[1]}}};
	r = niwa_background_hurry(o->engine->event, walk_work, walk_done, w, err);
	if (r < 0) {
		free(w);
		return r;
	}
	o->roots.count = 0; /* the walk's now */
	o->instance->snapshot->comparing = true;
	return 0;
}

/* The start that follows makes memory of a moment void whatever went wrong. */
static void not_opened(const struct opening *o, const struct niwa_error *err)
{
	struct niwa_instance *i = o->instance;

	if (o->once || err->kind != NIWA_TEMPORARY)
		niwa_snapshot_drop(o->engine, i->app, err->msg);
	else if (!niwa_snapshot_forgives(i->app, err->msg))
		niwa_snapshot_failed(o->engine, i, err->msg);
}

static void end(struct opening *o, int r, const struct niwa_error *err)
{
	struct niwa_engine *e = o->engine;
	struct niwa_instance *i = o->instance;
	struct niwa_app_snapshot *known = i->app->snapshot;
	struct niwa_error why;

	if (r < 0) {
		if (o->is_void && known && strcmp(known->key.hex, o->was.hex) == 0)
			not_opened(o, err);
	} else {
		i->snapshot->image = o->image;
		niwa_store_image_init(&o->image);
		fill_restore(e, i->snapshot);
		if (o->once)
			i->aged_us = niwa_age_now(&i->snapshot->image.manifest);
		i->snapshot->restoring = true;
		if (o->once && known)
			known->usable = known->moment = false; /* nobody finds it any more */
		r = begin_walk(o, &why);
		err = &why;
	}
	free_opening(o);
	niwa_instance_opened(e, i, r, err);
}

static int open_work(void *arg, struct niwa_error *err)
{
	struct opening *o = arg;
	int r = (o->once ? niwa_store_use_once : niwa_store_use)(&o->store, &o->key, NIWA_STORE_QUICK, &o->image, err);
	uint64_t lifetime_us = o->instance->spec->lifetime_us;

	if (r == 0 && o->once && lifetime_us && niwa_age_now(&o->image.manifest) >= lifetime_us)
		return niwa_fail(err, NIWA_PERMANENT, 0, "its memory has reached the end of its lifetime");
	return r < 0 ? r : niwa_manifest_compare(&o->image.manifest, o->roots.root, o->roots.count, err);
}

static void open_done(int r, const struct niwa_error *err, void *arg)
{
	end(arg, r, err);
}

/* The image that the app has is the one that this start would use? */
static int open_if_same(struct opening *o, struct niwa_error *err)
{
	const struct niwa_app_snapshot *known = o->instance->app->snapshot;
	int r;

	o->is_void = known && !known->shared;
	if (!known || !known->usable || strcmp(o->key.hex, known->key.hex) != 0)
		return niwa_fail(err, NIWA_PERMANENT, 0, "%s the app, its image, CRIU or this host were changed",
				 o->once ? "a volume was written, or" : "");
	r = niwa_roots_open(&o->prepared.params, &o->roots, err);
	if (r < 0)
		return r;
	o->is_void = true;
	return niwa_background_hurry(o->engine->event, open_work, open_done, o, err);
}

static int look_work(void *arg, struct niwa_error *err)
{
	struct opening *o = arg;

	return niwa_volume_print(o->instance->spec, &o->volumes, err);
}

static void look_done(int r, const struct niwa_error *err, void *arg)
{
	struct opening *o = arg;
	struct niwa_instance *i = o->instance;
	struct niwa_error why;

	if (r == 0) {
		r = niwa_snapshot_key_of(o->engine, i->spec, &o->prepared.params,
					 o->volumes.data ? o->volumes.data : "", &o->key, &why);
		if (r == 0)
			r = open_if_same(o, &why);
		err = &why;
	}
	if (r < 0)
		end(o, r, err);
}

int niwa_restore_open(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct opening *o = niwa_zalloc(sizeof(*o));
	char refusal[NIWA_STORE_REASON_MAX];
	int r;

	if (!o)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "restore %s", i->app->name);
	*o = (struct opening){
		.engine = e, .instance = i, .is_void = !i->app->shares}; /* a volume is one's own affair */
	niwa_store_image_init(&o->image);
	r = niwa_fault("niwad.restore-opens");
	r = r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "restore %s", i->app->name)
		  : niwa_instance_prepare(e, i, &o->prepared, err);
	if (r < 0) /* a volume is away: no fault of the image, and a start will not do either */
		o->is_void = false;
	else
		r = niwa_snapshot_prepare(e, i, &o->prepared.params, err);
	if (r == 0 && !i->snapshot)
		r = niwa_fail(err, NIWA_PERMANENT, 0, "%s",
			      niwa_snapshot_refusal(e, i->spec, refusal, sizeof(refusal)));
	if (r == 0) {
		o->store = e->snapshots->store;
		o->key = i->snapshot->key;
		o->once = i->app->snapshot && i->app->snapshot->moment;
		if (i->app->snapshot)
			o->was = i->app->snapshot->key;
		r = o->once ? niwa_background_hurry(e->event, look_work, look_done, o, err) : open_if_same(o, err);
	}
	if (r < 0) {
		if (o->is_void && err->kind != NIWA_TEMPORARY)
			niwa_snapshot_drop(e, i->app, err->msg);
		free_opening(o);
	}
	return r;
}
