/* SPDX-License-Identifier: MIT
 *
 * apply.*: a transaction of one connection. Every record is checked again here (the client may be anybody in the
 * group), published ports are tried, folders and routes compared, then the store commits; the registry follows what the
 * store says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/apply_check.h"
#include "engine/folder_claim.h"
#include "engine/names.h"
#include "engine/publish.h"
#include "engine/publish_claim.h"
#include "engine/route_claim.h"
#include "engine/rpc.h"
#include "engine/tenant_limit.h"
#include "spec/tenant.h"

#define NAMES_MAX       100
#define CLAIMS_TURN     400 /* looked at, or freed */
#define CLAIMS_PAUSE_US 100

struct commit {
	struct niwa_engine *engine;
	struct niwa_call *call;
	struct niwa_publish_claims *claims;
	struct niwa_folder_claims *folders;
	struct niwa_route_claims *routes;
	struct niwa_apply_checks *checks;
	struct niwa_cmdb_txn *txn; /* until the claims are settled */
	sd_event_source *turn;     /* the next one of settling or releasing claims */
	bool refused, names_told;
	struct niwa_refusal at; /* why it is refused */
	struct niwa_error err;
	uint64_t began_us;
	json_int_t counts[NIWA_CMDB_KINDS]; /* by enum niwa_cmdb_change_kind; TENANT: whose limits are others now */
	json_int_t tenants_unchanged;
	json_t *names[NIWA_CMDB_KINDS];
};

static struct niwa_rpc_state *state_of(struct niwa_call *call)
{
	struct niwa_rpc_state *s = niwa_rpc_state(call->conn);
	json_int_t txn = json_integer_value(json_object_get(call->params, "txn"));

	if (s->txn && (uint64_t)txn == s->txn_id)
		return s;
	niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER,
			    "params.txn: no such transaction on this connection");
	return NULL;
}

static void drop(struct niwa_call *call, struct niwa_rpc_state *s)
{
	niwa_cmdb_txn_free(&s->txn);
	niwa_publish_claims_free(call->engine, &s->claims);
	niwa_folder_claims_free(call->engine, &s->folders);
	niwa_route_claims_free(call->engine, &s->routes);
	niwa_apply_checks_free(&s->checks);
}

void niwa_rpc_apply_begin(struct niwa_call *call)
{
	struct niwa_rpc_state *s = niwa_rpc_state(call->conn);

	drop(call, s);
	s->txn = niwa_cmdb_txn_new(call->engine->cmdb);
	s->txn_id++;
	s->txn_changes = 0;
	if (!s->txn)
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
	else
		niwa_call_answer(call, json_pack("{s:I}", "txn", (json_int_t)s->txn_id));
}

static int put_one(struct niwa_call *call, const json_t *json, struct niwa_refusal *at, struct niwa_error *err)
{
	struct niwa_rpc_state *s = niwa_rpc_state(call->conn);
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	json_t *canonical;
	int r = niwa_app_from_json(json, &spec, at->key, err);

	if (r < 0) {
		const char *name = json_string_value(json_object_get(json, "name"));

		(void)snprintf(at->app, sizeof(at->app), "%s", name && err->kind == NIWA_CALLER ? name : "");
		return r;
	}
	r = niwa_publish_claim_put(call->engine, &s->claims, spec, at, err);
	if (r == 0)
		r = niwa_folder_claim_put(call->engine, &s->folders, spec, at, err);
	if (r == 0)
		r = niwa_route_claim_put(call->engine, &s->routes, spec, at, err);
	if (r < 0)
		return r;
	niwa_apply_check_note(&s->checks, spec);
	canonical = niwa_app_to_json(spec);
	text = canonical ? json_dumps(canonical, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(canonical);
	if (!text)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "%s", spec->name);
	r = niwa_cmdb_txn_put(s->txn, spec->name, spec->tenant, text, strlen(text));
	return r < 0 ? niwa_fail(err, r == -E2BIG ? NIWA_CALLER : NIWA_TEMPORARY, -r, "%s", spec->name) : 0;
}

static int put_tenant(struct niwa_call *call, const json_t *json, struct niwa_refusal *at, struct niwa_error *err)
{
	NIWA_AUTO(niwa_tenant_spec_free) struct niwa_tenant_spec *spec = NULL;
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	json_t *canonical;
	bool limited;
	int r = niwa_tenant_from_json(json, &spec, at->key, err);

	if (r < 0)
		return r;
	canonical = niwa_tenant_to_json(spec);
	limited = json_object_get(canonical, "limits") != NULL;
	text = canonical ? json_dumps(canonical, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(canonical);
	if (!text)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "tenant %s", spec->name);
	r = niwa_cmdb_txn_tenant(niwa_rpc_state(call->conn)->txn, spec->name, limited ? text : NULL);
	return r < 0 ? niwa_fail(err, r == -E2BIG ? NIWA_CALLER : NIWA_TEMPORARY, -r, "tenant %s", spec->name) : 0;
}

/* One bad record refuses all. */
static bool put_tenants(struct niwa_call *call, struct niwa_rpc_state *s)
{
	json_t *tenants = json_object_get(call->params, "tenants"), *tenant;
	struct niwa_refusal at = {0};
	struct niwa_error err;
	size_t index;

	json_array_foreach(tenants, index, tenant)
	{
		if (put_tenant(call, tenant, &at, &err) == 0)
			continue;
		drop(call, s);
		niwa_call_fail_at(call, err.kind == NIWA_CALLER ? NIWA_RPC_BAD_PARAMS : NIWA_RPC_FAILED, &err, at.app,
				  at.key);
		return false;
	}
	return true;
}

void niwa_rpc_apply_put(struct niwa_call *call)
{
	json_t *apps = json_object_get(call->params, "apps"), *app;
	struct niwa_rpc_state *s = state_of(call);
	struct niwa_refusal at = {0};
	struct niwa_error err;
	size_t index;

	if (!s)
		return;
	if (!json_is_array(apps)) {
		niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER,
				    "params.apps: an array of app records is missing");
		return;
	}
	if (!put_tenants(call, s))
		return;
	json_array_foreach(apps, index, app)
	{
		if (put_one(call, app, &at, &err) < 0) {
			drop(call, s); /* one bad app refuses all */
			niwa_call_fail_at(call, err.kind == NIWA_CALLER ? NIWA_RPC_BAD_PARAMS : NIWA_RPC_FAILED, &err,
					  at.app, at.key);
			return;
		}
		s->txn_changes++;
	}
	niwa_call_answer(call, json_pack("{s:I}", "count", (json_int_t)s->txn_changes));
}

void niwa_rpc_apply_remove(struct niwa_call *call)
{
	struct niwa_rpc_state *s = state_of(call);
	struct niwa_error err;
	struct niwa_app *app;
	int r;

	if (!s)
		return;
	app = niwa_call_app(call);
	if (!app)
		return;
	r = niwa_publish_claim_remove(call->engine, &s->claims, app->name, &err);
	if (r == 0)
		r = niwa_folder_claim_remove(call->engine, &s->folders, app->name, &err);
	if (r == 0)
		r = niwa_route_claim_remove(call->engine, &s->routes, app->name, &err);
	if (r == 0)
		r = niwa_cmdb_txn_remove(s->txn, app->name);
	if (r < 0) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "%s: %s", app->name, strerror(-r));
		return;
	}
	s->txn_changes++;
	niwa_call_answer(call, json_object());
}

/* False: nothing is different. */
static bool take_change(struct niwa_engine *e, const struct niwa_cmdb_change *c, struct niwa_net_txn *txn)
{
	struct niwa_app *app;
	struct niwa_error err;

	switch (c->kind) {
	case NIWA_CMDB_ADDED:
	case NIWA_CMDB_CHANGED:
		if (niwa_app_load(e, &c->app, txn, &err) < 0)
			niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		break;
	case NIWA_CMDB_REMOVED:
		app = niwa_map_get(e->apps_by_id, c->app.id);
		if (app && !app->removed)
			niwa_app_forget(e, app, txn);
		break;
	case NIWA_CMDB_TENANT:
		return niwa_tenant_limits_set(e, c->app.tenant, c->app.json);
	case NIWA_CMDB_UNCHANGED:
	case NIWA_CMDB_PAST:
		return false;
	}
	return true;
}

static void note(struct commit *c, const struct niwa_cmdb_change *change, bool changed)
{
	bool tenant = change->kind == NIWA_CMDB_TENANT;

	if (tenant && !changed)
		c->tenants_unchanged++;
	else if (c->counts[change->kind]++ < NAMES_MAX)
		(void)json_array_append_new(c->names[change->kind],
					    json_string(tenant ? change->app.tenant : change->app.name));
}

static void commit_free(struct commit *c)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(c->names); i++)
		json_decref(c->names[i]);
	niwa_publish_claims_free(c->engine, &c->claims);
	niwa_folder_claims_free(c->engine, &c->folders);
	niwa_route_claims_free(c->engine, &c->routes);
	niwa_apply_checks_free(&c->checks);
	(void)sd_event_source_disable_unref(c->turn);
	free(c);
}

static void on_checked(json_t *warnings, void *arg)
{
	struct commit *c = arg;
	json_t *r = json_pack("{s:o,s:I,s:I,s:I,s:I}", "warnings", warnings, "added", c->counts[NIWA_CMDB_ADDED],
			      "changed", c->counts[NIWA_CMDB_CHANGED], "unchanged", c->counts[NIWA_CMDB_UNCHANGED],
			      "removed", c->counts[NIWA_CMDB_REMOVED]);

	if (r)
		(void)json_object_update_new(
			r, json_pack("{s:{s:I,s:I},s:{s:O,s:O,s:O,s:O}}", "tenants", "changed",
				     c->counts[NIWA_CMDB_TENANT], "unchanged", c->tenants_unchanged, "names", "added",
				     c->names[NIWA_CMDB_ADDED], "changed", c->names[NIWA_CMDB_CHANGED], "removed",
				     c->names[NIWA_CMDB_REMOVED], "tenants", c->names[NIWA_CMDB_TENANT]));
	niwa_call_answer(c->call, r);
	commit_free(c);
}

/* Claims are settled before the commit and released after it, some a turn: with 50,000 apps all of them take 50 ms. */

static int on_turn(sd_event_source *source, uint64_t usec, void *arg);

static void next_turn(struct commit *c)
{
	c->turn = sd_event_source_disable_unref(c->turn);
	if (sd_event_add_time_relative(c->engine->event, &c->turn, CLOCK_MONOTONIC, CLAIMS_PAUSE_US, 1, on_turn, c) >=
	    0)
		(void)sd_event_source_set_priority(c->turn, NIWA_RPC_PRIORITY);
	else
		(void)on_turn(NULL, 0, c); /* without memory at once */
}

static void refuse(struct commit *c)
{
	niwa_call_fail_at(c->call, NIWA_RPC_FAILED, &c->err, c->at.app, c->at.key);
	commit_free(c);
}

static void release_some(struct commit *c)
{
	unsigned budget = CLAIMS_TURN;

	niwa_route_claims_free_some(c->engine, &c->routes, &budget);
	if (!c->routes && !c->names_told)
		niwa_names_tell(c->engine, NIWA_NAMES_LAST);
	c->names_told = !c->routes;
	niwa_publish_claims_free_some(c->engine, &c->claims, &budget);
	niwa_folder_claims_free_some(c->engine, &c->folders, &budget);
	if (c->routes || c->claims || c->folders)
		next_turn(c);
	else if (c->refused)
		refuse(c); /* who tries again finds none of them */
	else
		niwa_apply_check_run(c->engine, NIWA_TAKE(c->checks), on_checked, c);
}

static void on_done(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
		    void *arg)
{
	struct commit *c = arg;
	struct niwa_net_txn *txn;
	struct niwa_error net_err;

	if (err) {
		c->engine->counts.failed_commits++;
		c->refused = true;
		c->err = *err;
		release_some(c);
		return;
	}
	if (c->began_us) /* the first part of its changes: now it is durable */
		niwa_histogram_add(&c->engine->metrics.commit, niwa_now_us() - c->began_us);
	c->began_us = 0;
	(void)niwa_fault("niwad.committed");
	txn = niwa_net_txn_new(c->engine->net);
	for (size_t i = 0; i < count; i++) {
		bool changed = take_change(c->engine, &changes[i], txn);

		note(c, &changes[i], changed);
	}
	if (txn && niwa_net_commit(&txn, &net_err) < 0) {
		c->engine->redeclare = true;
		niwa_log(NIWA_LOG_ERR, NULL, "declare apps to the kernel: %s", net_err.msg);
	}
	if (!last)
		niwa_names_tell(c->engine, NIWA_NAMES_MORE);
	niwa_tenant_refresh(c->engine);
	(void)niwa_fault("niwad.declared");
	if (!last)
		return;
	niwa_publish_sweep(c->engine);
	release_some(c);
}

static void settle_some(struct commit *c)
{
	unsigned budget = CLAIMS_TURN;
	int r = niwa_publish_claims_settle(c->engine, c->claims, &budget, &c->at, &c->err);

	if (r == 0)
		r = niwa_folder_claims_settle(c->engine, c->folders, &budget, &c->at, &c->err);
	if (r == 0)
		r = niwa_route_claims_settle(c->engine, c->routes, &budget, &c->at, &c->err);
	if (r > 0) {
		next_turn(c);
	} else if (r < 0) {
		niwa_cmdb_txn_free(&c->txn);
		c->refused = true;
		release_some(c);
	} else {
		c->began_us = niwa_now_us();
		niwa_cmdb_txn_commit(NIWA_TAKE(c->txn), on_done, c);
	}
}

static int on_turn(sd_event_source *source, uint64_t usec, void *arg)
{
	struct commit *c = arg;

	(void)source, (void)usec;
	if (c->txn)
		settle_some(c);
	else
		release_some(c);
	return 0;
}

void niwa_rpc_apply_commit(struct niwa_call *call)
{
	struct niwa_rpc_state *s = state_of(call);
	struct commit *c;

	if (!s)
		return;
	c = niwa_zalloc(sizeof(*c));
	for (size_t i = 0; c && i < NIWA_ARRAY_LEN(c->names); i++)
		c->names[i] = json_array();
	if (!c) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
		return;
	}
	c->engine = call->engine;
	c->call = call;
	c->claims = NIWA_TAKE(s->claims);
	c->folders = NIWA_TAKE(s->folders);
	c->routes = NIWA_TAKE(s->routes);
	c->checks = NIWA_TAKE(s->checks);
	c->txn = NIWA_TAKE(s->txn);
	settle_some(c);
}
