/* SPDX-License-Identifier: MIT
 *
 * snapshot.list, .remove, .take, .verify, and what app.show says of an app's image. What touches the disk is done by a
 * thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/order.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/dump.h"
#include "engine/dumpable.h"
#include "engine/rebuild.h"
#include "engine/rotate.h"
#include "engine/rpc.h"
#include "engine/rpc_show.h"
#include "engine/share.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/wake.h"

#define NAMES_MAX     8   /* of apps that share an image, in a list */
#define PAGE          100 /* rows of a call: what a turn may take */
#define LOOKED_AT_MAX 4000
#define AFTER_NONE    "none:"

struct job {
	struct niwa_call *call;
	struct niwa_store store;
	struct niwa_store_limits limits;
	struct niwa_store_list list;
	struct niwa_snapshot_key key;
	char app[256]; /* remove: whose */
	char after[NIWA_KEY_HEX + 1];
	size_t removed;
	bool had_one;
	char damaged[NIWA_ERROR_MAX];
};

static void add_number(json_t *to, const char *name, uint64_t n)
{
	if (n)
		(void)json_object_set_new(to, name, json_integer((json_int_t)n));
}

static void add_text(json_t *to, const char *name, const char *text)
{
	char safe[NIWA_ERROR_MAX * 4];

	if (*text)
		(void)json_object_set_new(to, name, json_string(niwa_quote(text, strlen(text), safe, sizeof(safe))));
}

json_t *niwa_rpc_snapshot(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_app_spec *spec)
{
	static const char *const modes[] = {[NIWA_SNAPSHOT_AUTO] = "auto",
					    [NIWA_SNAPSHOT_OFF] = "off",
					    [NIWA_SNAPSHOT_READY] = "ready",
					    [NIWA_SNAPSHOT_SHARED] = "shared"};
	const struct niwa_app_snapshot *s = app->snapshot;
	bool wanted = niwa_snapshot_is_wanted(app);
	char why[NIWA_STORE_REASON_MAX];
	json_t *r = json_pack("{s:s,s:s,s:b}", "mode", modes[spec->snapshot], "wakes_by", wanted ? "restore" : "start",
			      "usable", s && s->usable);

	add_text(r, "why_not", niwa_snapshot_why_not(e, app, spec, why, sizeof(why)));
	if (!s)
		return r;
	(void)json_object_set_new(r, "taking", json_boolean(s->taking));
	(void)json_object_set_new(r, "refused", json_boolean(s->refused));
	if (s->shared) {
		add_number(r, "sharers", s->sharers);
		(void)json_object_set_new(r, "making", json_boolean(s->making));
	}
	if (s->usable) {
		add_text(r, "key", s->key.hex);
		add_number(r, "bytes", s->bytes);
		add_number(r, "taken_at", s->taken_us);
		add_number(r, "still_us", s->still_us);
		(void)json_object_set_new(r, "kind", json_string(s->moment ? "moment" : "ready"));
	}
	add_number(r, "cold_us", niwa_store_median(s->cold_us));
	add_number(r, "restored_us", niwa_store_median(s->restored_us));
	add_number(r, "restores", s->restores);
	add_number(r, "failures", s->failures);
	add_number(r, "last_restore_at", s->last_restore_us);
	add_text(r, "last_reason", s->reason);
	return r;
}

static struct job *job_new(struct niwa_call *call)
{
	struct niwa_engine *e = call->engine;
	struct job *j;

	if (!e->snapshots) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_PERMANENT, "this host makes no snapshots: %s",
				    *e->no_snapshots ? e->no_snapshots : "CRIU cannot be used");
		return NULL;
	}
	j = niwa_zalloc(sizeof(*j));
	if (!j) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
		return NULL;
	}
	j->call = call;
	j->store = e->snapshots->store;
	j->limits = e->snapshots->limits;
	return j;
}

static void job_run(struct job *j, niwa_background_work_fn *work, niwa_background_done_fn *done)
{
	struct niwa_error err;

	if (niwa_background_run(j->call->engine->event, work, done, j, &err) == 0)
		return;
	niwa_call_fail(j->call, NIWA_RPC_FAILED, &err);
	free(j);
}

/* snapshot.list */

static json_t *entry_row(struct niwa_engine *e, const struct niwa_store_entry *x)
{
	const struct niwa_app_snapshot *shared = niwa_share_find(e, &x->key);
	json_t *r =
		json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:f}", "key", x->key.hex, "kind",
			  x->kind == NIWA_KIND_MOMENT ? "moment" : "ready", "scope",
			  x->scope == NIWA_SCOPE_SHARED ? "shared" : "app", "bytes", (json_int_t)x->bytes, "restores",
			  (json_int_t)x->stats.restores, "failures", (json_int_t)x->stats.failures, "sharers",
			  (json_int_t)(x->scope == NIWA_SCOPE_APP ? 1
				       : shared                   ? shared->sharers
								  : 0),
			  "value", x->value);

	add_text(r, "app", x->app);
	add_text(r, "damaged", x->damaged);
	add_text(r, "last_failure", x->stats.last_failure);
	add_number(r, "taken_at", x->taken_us);
	add_number(r, "still_us", x->still_us);
	add_number(r, "last_restore_at", x->stats.last_restore_us);
	add_number(r, "restored_us", niwa_store_median(x->stats.restored_us));
	add_number(r, "cold_us",
		   niwa_store_median(x->stats.cold_us) ? niwa_store_median(x->stats.cold_us) : x->cold_us);
	return r;
}

/* Some of those who share each image. */
static void add_sharers(struct niwa_engine *e, json_t *rows)
{
	struct niwa_order_walk walk = niwa_order_from(e->apps_in_order, NULL);
	const struct niwa_app_snapshot *shared[PAGE];
	json_t *names[PAGE], *row;
	const struct niwa_app *app;
	size_t count = 0, n;

	json_array_foreach(rows, n, row)
	{
		struct niwa_snapshot_key key;

		if (strcmp(json_string_value(json_object_get(row, "scope")), "shared") != 0 ||
		    niwa_snapshot_key_parse(json_string_value(json_object_get(row, "key")), &key, NULL) < 0)
			continue;
		shared[count] = niwa_share_find(e, &key);
		names[count++] = json_array();
		(void)json_object_set_new(row, "apps", names[count - 1]);
	}
	for (unsigned seen = 0; count && seen < LOOKED_AT_MAX && (app = niwa_order_next(&walk)); seen++) {
		if (app->removed || !app->snapshot || !app->snapshot->shared || !app->snapshot->usable)
			continue;
		for (n = 0; n < count && shared[n] != app->snapshot;)
			n++;
		if (n < count && json_array_size(names[n]) < NAMES_MAX)
			(void)json_array_append_new(names[n], json_string(app->name));
	}
}

/* Apps that have none because something went wrong: what people look for. Of those who share one of them. As many as a
 * turn may take: then it says where to go on. */
static void add_refused(struct niwa_engine *e, json_t *result, unsigned listing, const char *after)
{
	struct niwa_order_walk walk = niwa_order_from(e->apps_in_order, after);
	json_t *list = json_array();
	struct niwa_app *app, *last = NULL;

	for (unsigned seen = 0; (app = niwa_order_next(&walk)); seen++, last = app) {
		struct niwa_app_snapshot *s = app->snapshot;
		json_t *row;

		if (last && (seen >= LOOKED_AT_MAX || json_array_size(list) >= PAGE)) {
			(void)json_object_set_new(result, "next",
						  json_sprintf(AFTER_NONE "%u:%s", listing, last->name));
			break;
		}
		if (app->removed || !s || s->usable || !*s->reason || (s->shared && s->told == listing))
			continue;
		s->told = listing;
		row = json_pack("{s:s}", "app", app->name);
		add_text(row, "why", s->reason);
		add_number(row, "sharers", s->sharers);
		(void)json_array_append_new(list, row);
	}
	(void)json_object_set_new(result, "none", list);
}

static int list_work(void *arg, struct niwa_error *err)
{
	struct job *j = arg;

	return *j->after ? niwa_store_list_after(&j->store, j->after, PAGE + 1, &j->list, err)
			 : niwa_store_list(&j->store, &j->list, err);
}

static void list_done(int r, const struct niwa_error *err, void *arg)
{
	struct job *j = arg;
	struct niwa_engine *e = j->call->engine;
	json_t *rows = json_array();
	json_t *result = json_pack("{s:o,s:I}", "snapshots", rows, "bytes_max", (json_int_t)j->limits.bytes);

	for (size_t n = 0; r == 0 && n < j->list.count && n < PAGE; n++)
		(void)json_array_append_new(rows, entry_row(e, &j->list.entry[n]));
	if (r < 0) {
		json_decref(result);
		niwa_call_fail(j->call, NIWA_RPC_FAILED, err);
	} else {
		add_sharers(e, rows);
		if (!*j->after)
			(void)json_object_set_new(result, "bytes", json_integer((json_int_t)j->list.bytes));
		if (j->list.count > PAGE) {
			(void)json_object_set_new(result, "none", json_array());
			(void)json_object_set_new(result, "next", json_string(j->list.entry[PAGE - 1].key.hex));
		} else {
			add_refused(e, result, ++e->snapshots->listing, NULL);
		}
		niwa_call_answer(j->call, result);
	}
	niwa_store_list_fini(&j->list);
	free(j);
}

/* `after` is the key of an image, or in the list of those without one its number and the name of an app. */
void niwa_rpc_snapshot_list(struct niwa_call *call)
{
	const char *after = json_string_value(json_object_get(call->params, "after"));
	bool none = after && strncmp(after, AFTER_NONE, strlen(AFTER_NONE)) == 0;
	const char *name = none ? strchr(after + strlen(AFTER_NONE), ':') : NULL;
	struct job *j = job_new(call);
	json_t *result;

	if (!j)
		return;
	if (name) {
		result = json_pack("{s:[],s:I}", "snapshots", "bytes_max", (json_int_t)j->limits.bytes);
		add_refused(call->engine, result, (unsigned)strtoul(after + strlen(AFTER_NONE), NULL, 10), name + 1);
		niwa_call_answer(call, result);
		free(j);
		return;
	}
	(void)snprintf(j->after, sizeof(j->after), "%s", after ? after : "");
	job_run(j, list_work, list_done);
}

/* snapshot.remove */

/* All that were taken of it: of its start, of its sleep, and those that it cannot use any more. */
static int remove_work(void *arg, struct niwa_error *err)
{
	struct job *j = arg;
	int r = j->had_one ? niwa_store_remove(&j->store, &j->key, err) : 0;

	if (r == 0)
		r = niwa_store_list(&j->store, &j->list, err);
	for (size_t n = 0; r == 0 && n < j->list.count; n++) {
		const struct niwa_store_entry *x = &j->list.entry[n];

		if (*x->damaged || x->scope != NIWA_SCOPE_APP || strcmp(x->app, j->app) != 0)
			continue;
		r = niwa_store_remove(&j->store, &x->key, err);
		j->removed++;
	}
	niwa_store_list_fini(&j->list);
	return r;
}

static void remove_done(int r, const struct niwa_error *err, void *arg)
{
	struct job *j = arg;

	if (r < 0)
		niwa_call_fail(j->call, NIWA_RPC_FAILED, err);
	else if (!j->had_one && !j->removed)
		niwa_call_fail_text(j->call, NIWA_RPC_FAILED, NIWA_CALLER, "%s has no image", j->app);
	else
		niwa_call_answer(j->call, json_object());
	free(j);
}

/* Of an image that others share only this app's part is taken away, once, unless all of it is asked for. */
void niwa_rpc_snapshot_remove(struct niwa_call *call)
{
	bool all = json_is_true(json_object_get(call->params, "all"));
	struct niwa_app *app = niwa_call_app(call);
	struct job *j;

	if (!app)
		return;
	if (app->snapshot && app->snapshot->usable && app->snapshot->shared && app->snapshot->sharers > 1 && !all) {
		app->start_once = true;
		niwa_snapshot_settle_one(call->engine, app, "its image was removed");
		niwa_call_answer(call, json_pack("{s:I}", "others", (json_int_t)app->snapshot->sharers - 1));
		return;
	}
	j = job_new(call);
	if (!j)
		return;
	(void)snprintf(j->app, sizeof(j->app), "%s", app->name);
	j->had_one = app->snapshot && app->snapshot->usable;
	if (j->had_one) {
		j->key = app->snapshot->key;
		niwa_snapshot_drop(call->engine, app, "removed on request");
		niwa_snapshot_settle(call->engine, app, "its image was removed");
	}
	job_run(j, remove_work, remove_done); /* answered when no new niwad can find it again */
}

/* snapshot.verify */

static int verify_work(void *arg, struct niwa_error *err)
{
	struct job *j = arg;
	struct niwa_store_image image;
	int r = niwa_store_use(&j->store, &j->key, NIWA_STORE_WHOLE, &image, err);

	if (r == -EBADMSG || r == -ENOENT) {
		(void)snprintf(j->damaged, sizeof(j->damaged), "%s", err->msg);
		return 0;
	}
	if (r == 0)
		niwa_store_image_close(&image);
	return r;
}

static void verify_done(int r, const struct niwa_error *err, void *arg)
{
	struct job *j = arg;
	struct niwa_app *app = r < 0 ? NULL : niwa_call_app(j->call);

	if (r < 0) {
		niwa_call_fail(j->call, NIWA_RPC_FAILED, err);
	} else if (app) {
		if (*j->damaged && app->snapshot && app->snapshot->usable &&
		    strcmp(app->snapshot->key.hex, j->key.hex) == 0) {
			niwa_snapshot_drop(j->call->engine, app, j->damaged);
			niwa_snapshot_settle(j->call->engine, app, "its image is damaged");
		}
		if (*j->damaged)
			niwa_call_fail_text(j->call, NIWA_RPC_FAILED, NIWA_PERMANENT, "%s: %s; it was dropped",
					    app->name, j->damaged);
		else
			niwa_call_answer(j->call, json_pack("{s:s}", "key", j->key.hex));
	}
	free(j);
}

void niwa_rpc_snapshot_verify(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);
	struct job *j;

	if (!app)
		return;
	if (!app->snapshot || !app->snapshot->usable) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_CALLER, "%s has no image", app->name);
		return;
	}
	j = job_new(call);
	if (!j)
		return;
	j->key = app->snapshot->key;
	job_run(j, verify_work, verify_done);
}

/* snapshot.take: answered when it is under way; app.show tells how it went. */

static void on_awake(const struct niwa_error *err, void *arg)
{
	struct niwa_call *call = arg;
	struct niwa_app *app = err ? NULL : niwa_call_app(call);
	struct niwa_error failed;

	if (err)
		niwa_call_fail(call, NIWA_RPC_FAILED, err);
	if (!app)
		return;
	if (app->current && (app->current->restored || !niwa_dumpable_is_current(call->engine, app->current)))
		niwa_rotate(call->engine, app, "an image is wanted"); /* of a start of its own, as it is today */
	else if (niwa_dump_ask(call->engine, app, &failed) < 0) {
		niwa_call_fail(call, NIWA_RPC_FAILED, &failed);
		return;
	}
	niwa_call_answer(call, json_object());
}

void niwa_rpc_snapshot_take(struct niwa_call *call)
{
	struct niwa_engine *e = call->engine;
	struct niwa_app *app = niwa_call_app(call);
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	char refusal[NIWA_STORE_REASON_MAX];
	struct niwa_error err;

	if (!app)
		return;
	if (niwa_app_spec_read(e, app, &spec, &err) < 0) {
		niwa_call_fail(call, NIWA_RPC_FAILED, &err);
		return;
	}
	if (*niwa_snapshot_refusal(e, spec, refusal, sizeof(refusal))) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_CALLER, "%s: no image is made: %s", app->name, refusal);
		return;
	}
	if (niwa_snapshot_hibernates(e, spec)) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_CALLER,
				    "%s: its memory is saved whenever it sleeps (sleep: {keep: memory})", app->name);
		return;
	}
	niwa_share_look(e, app);
	if (app->snapshot && app->snapshot->usable)
		niwa_snapshot_drop(e, app, "another one was asked for");
	if (app->snapshot)
		app->snapshot->refused = false;
	niwa_snapshot_settle(e, app, "an image is wanted");
	if (app->snapshot && app->snapshot->shared) { /* of a template: nothing happens to the app */
		app->snapshot->failed = 0;
		app->snapshot->wanted_anew = true;
		niwa_rebuild_now(e);
		niwa_call_answer(call, json_object());
		return;
	}
	niwa_call_wake(call, app, on_awake);
}
