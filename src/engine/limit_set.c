/* SPDX-License-Identifier: MIT
 *
 * A change goes: the control groups of all instances, in a thread; the store; the answer. What fails half-way is put
 * back as it was. An instance that was changed says so in its tag, so that a niwad killed in between puts its limits
 * right when it is adopted.
 */
#include "engine/limit_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/group_limit.h"
#include "engine/group_tenant.h"
#include "engine/instance.h"

static const char *const names[] = {"cpu", "memory"};

static bool *is_set(struct niwa_limit_set *set, size_t n)
{
	return n == 0 ? &set->cpu : &set->memory;
}

/* Takes a change into the set. */
static int take(struct niwa_limit_set *set, const json_t *changes, struct niwa_error *err)
{
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach((json_t *)(uintptr_t)changes, key, value)
	{
		size_t n = strcmp(key, "cpu") == 0 ? 0 : strcmp(key, "memory") == 0 ? 1 : 2;

		if (n == 2)
			return niwa_fail(err, NIWA_CALLER, EINVAL, "%.40s: cannot be set; allowed: cpu, memory", key);
		if (!json_is_null(value) && !json_is_string(value))
			return niwa_fail(err, NIWA_CALLER, EINVAL, "%s: found no text; allowed: a text, or null", key);
		*is_set(set, n) = json_is_string(value);
		if (json_is_string(value))
			r = niwa_limit_parse(key, json_string_value(value), &set->limits, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *write_set(const struct niwa_limit_set *set)
{
	json_t *r = NULL;

	for (size_t n = 0; set && n < NIWA_ARRAY_LEN(names); n++) {
		if (!*is_set((struct niwa_limit_set *)(uintptr_t)set, n))
			continue;
		r = r ? r : json_object();
		(void)json_object_set_new(r, names[n], niwa_limit_write(names[n], &set->limits));
	}
	return r;
}

json_t *niwa_limits_set(const struct niwa_app *app)
{
	return write_set(app->set);
}

void niwa_limits_load(struct niwa_app *app, const char *text)
{
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;
	struct niwa_limit_set *set = text ? niwa_zalloc(sizeof(*set)) : NULL;
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "read what was set"};
	struct niwa_error err;

	if (text && (!set || !json || take(set, json, &err) < 0)) {
		niwa_log(NIWA_LOG_ERR, &ctx, "it is not understood; the limits of the record hold");
		free(set);
		set = NULL;
	}
	json_decref(json);
	free(app->set);
	app->set = set;
}

static struct niwa_limits over(const struct niwa_limit_set *set, const struct niwa_limits *record)
{
	struct niwa_limits l = *record;

	if (set && set->cpu)
		l.cpu_centi = set->limits.cpu_centi;
	if (set && set->memory)
		l.memory_bytes = set->limits.memory_bytes;
	return l;
}

struct niwa_limits niwa_limits_over(const struct niwa_app *app, const struct niwa_limits *record)
{
	return over(app->set, record);
}

void niwa_limits_begin(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "set limits"};
	struct niwa_limit_place place;
	struct niwa_group_host host;
	struct niwa_limits limits;
	struct niwa_error err;

	if (!i->spec || (!i->limits_changed && (!i->app->set || (!i->app->set->cpu && !i->app->set->memory))))
		return;
	limits = niwa_limits_over(i->app, &i->spec->limits);
	i->limits_changed = true;
	niwa_limit_place(niwa_group_host(e, i, &host), i->id, &place);
	if (niwa_limit_both(&place, &limits, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
}

int niwa_limits_cpu(struct niwa_engine *e, struct niwa_instance *i, uint32_t centi, struct niwa_error *err)
{
	struct niwa_limit_place place;
	struct niwa_group_host host;

	niwa_limit_place(niwa_group_host(e, i, &host), i->id, &place);
	if (!i->limits_changed) {
		i->limits_changed = true;
		niwa_instance_write_tag(e, i);
	}
	return niwa_limit_cpu(&place, centi, err);
}

/* A change under way. */

struct item {
	struct niwa_limit_place place;
	struct niwa_limits before, after;
};

struct change {
	struct niwa_engine *engine;
	uint64_t app; /* may be gone by the end */
	struct niwa_limit_set set;
	niwa_limits_done_fn *fn;
	void *arg;
	uint64_t newest; /* instances after this one began during the change */
	size_t count;
	struct item items[];
};

static int write_all(void *arg, struct niwa_error *err)
{
	struct change *c = arg;
	int r = 0;

	for (size_t n = 0; r == 0 && n < c->count; n++) {
		r = niwa_limit_both(&c->items[n].place, &c->items[n].after, err);
		for (size_t back = n + 1; r < 0 && back-- > 0;) {
			struct niwa_error ignored; /* the first one is the one to tell */

			(void)niwa_limit_both(&c->items[back].place, &c->items[back].before, &ignored);
		}
	}
	return r;
}

static void end(struct change *c, const struct niwa_error *err)
{
	struct niwa_app *app = niwa_map_get(c->engine->apps_by_id, c->app);

	if (app && app->set)
		app->set->busy = false;
	c->fn(err, c->arg);
	free(c);
}

/* Also those that were not there when the change began; what they are to have is what app->set says now. */
static void settle(struct niwa_engine *e, struct niwa_app *app, uint64_t after)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &app->instance_list, app_link)
	if (i->id > after)
		niwa_limits_begin(e, i);
}

static void on_stored(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
		      void *arg)
{
	struct change *c = arg;
	struct niwa_app *app = niwa_map_get(c->engine->apps_by_id, c->app);

	(void)changes, (void)count, (void)last;
	(void)niwa_fault("niwad.limits-stored");
	if (app && !err)
		*app->set = c->set;
	if (app)
		settle(c->engine, app, err ? 0 : c->newest);
	end(c, err);
}

static void store(struct change *c, struct niwa_app *app)
{
	json_t *json = write_set(&c->set);
	NIWA_AUTO(niwa_free_ptr) char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(c->engine->cmdb);
	struct niwa_error err;

	if (!txn || (json && !text) || niwa_cmdb_txn_override(txn, app->name, text) < 0) {
		niwa_cmdb_txn_free(&txn);
		(void)niwa_fail(&err, NIWA_TEMPORARY, ENOMEM, "set limits of %s", app->name);
		on_stored(NULL, 0, true, &err, c);
	} else {
		niwa_cmdb_txn_commit(txn, on_stored, c);
	}
	json_decref(json);
}

static void on_written(int r, const struct niwa_error *err, void *arg)
{
	struct change *c = arg;
	struct niwa_app *app = niwa_map_get(c->engine->apps_by_id, c->app);
	struct niwa_error gone;

	(void)niwa_fault("niwad.limits-written");
	if (r < 0) {
		end(c, err);
	} else if (!app || app->removed) {
		(void)niwa_fail(&gone, NIWA_CALLER, 0, "the app was removed");
		end(c, &gone);
	} else {
		store(c, app);
	}
}

static struct change *change_new(struct niwa_engine *e, struct niwa_app *app, const struct niwa_limit_set *set)
{
	struct niwa_instance *i;
	struct change *c;

	c = niwa_zalloc(sizeof(*c) + app->instance_count * sizeof(struct item));
	if (!c)
		return NULL;
	*c = (struct change){.engine = e, .app = app->id, .set = *set, .newest = e->next_instance - 1};
	LIST_FOREACH(i, &app->instance_list, app_link)
	{
		struct item *item = &c->items[c->count];
		struct niwa_group_host host;

		if (i->life == NIWA_LIFE_GONE || !i->spec)
			continue;
		if (i->life == NIWA_LIFE_CLONING) { /* it has no groups yet: when it has begun */
			c->newest = i->id - 1 < c->newest ? i->id - 1 : c->newest;
			continue;
		}
		niwa_limit_place(niwa_group_host(e, i, &host), i->id, &item->place);
		i->cpu_limit_centi = 0; /* widened from what is set now, if it is to be */
		item->before = niwa_limits_over(app, &i->spec->limits);
		item->after = over(set, &i->spec->limits);
		i->limits_changed = true;
		niwa_instance_write_tag(e, i);
		c->count++;
	}
	return c;
}

static int begin(struct niwa_engine *e, struct niwa_app *app, const json_t *changes, struct change **ret,
		 struct niwa_error *err)
{
	struct niwa_limit_set set = {0};
	int r;

	if (!app->set)
		app->set = niwa_zalloc(sizeof(*app->set));
	if (!app->set)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "set limits of %s", app->name);
	if (app->set->busy)
		return niwa_fail(err, NIWA_TEMPORARY, EBUSY, "limits of %s are being set; try again", app->name);
	set = *app->set;
	r = take(&set, changes, err);
	if (r < 0)
		return r;
	*ret = change_new(e, app, &set);
	return *ret ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "set limits of %s", app->name);
}

void niwa_limits_change(struct niwa_engine *e, struct niwa_app *app, const json_t *changes, niwa_limits_done_fn *fn,
			void *arg)
{
	struct niwa_error err;
	struct change *c;

	if (begin(e, app, changes, &c, &err) < 0) {
		fn(&err, arg);
		return;
	}
	c->fn = fn;
	c->arg = arg;
	app->set->busy = true;
	if (niwa_background_hurry(e->event, write_all, on_written, c, &err) < 0)
		end(c, &err);
}
