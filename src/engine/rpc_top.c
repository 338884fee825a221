/* SPDX-License-Identifier: MIT
 *
 * top: who uses most, by app or by tenant, chosen and sorted here, from a round of usage.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/rpc.h"
#include "engine/usage.h"

#define LIMIT 50 /* unless it is said */

struct question {
	struct niwa_usage_filter filter;
	bool by_tenant;
	size_t limit;
};

static const char *text_in(const struct niwa_call *call, const char *key)
{
	return json_string_value(json_object_get(call->params, key));
}

static int state_by_name(const char *name)
{
	for (enum niwa_state s = 0; s < NIWA_STATE_COUNT; s++)
		if (strcmp(niwa_state_name(s), name) == 0)
			return (int)s;
	return -EINVAL;
}

/* A tenant without apps is not wrong: it uses nothing. */
static void read_tenant(const struct niwa_engine *e, const char *name, struct niwa_usage_filter *f)
{
	const struct niwa_tenant *t = name ? niwa_map_get_str(e->tenants, name) : NULL;

	f->of_tenant = name;
	f->tenant = t ? t->id : UINT32_MAX;
}

/* NULL, or what is wrong. */
static const char *read_question(const struct niwa_call *call, struct question *q)
{
	const char *sort = text_in(call, "sort"), *by = text_in(call, "by"), *state = text_in(call, "state");
	int key = sort ? niwa_usage_key_by_name(sort) : NIWA_USAGE_CPU, s = state ? state_by_name(state) : 0;

	q->limit = (size_t)json_integer_value(json_object_get(call->params, "limit"));
	q->limit = q->limit == 0 ? LIMIT : q->limit;
	q->by_tenant = by && strcmp(by, "tenant") == 0;
	if (key < 0)
		return "params.sort: must be cpu, memory, wakes, connections or state";
	if (by && !q->by_tenant && strcmp(by, "app") != 0)
		return "params.by: must be app or tenant";
	if (s < 0)
		return "params.state: is no sleep state";
	q->filter.key = (enum niwa_usage_key)key;
	q->filter.in_state = state && !q->by_tenant;
	q->filter.state = (uint8_t)s;
	read_tenant(call->engine, text_in(call, "tenant"), &q->filter);
	return NULL;
}

static json_t *sums(const struct niwa_usage_row *r)
{
	return json_pack("{s:f,s:I,s:I,s:I,s:I,s:I}", "cpu_percent", r->cpu_centi / 100.0, "cpu_us",
			 (json_int_t)r->cpu_us, "memory_bytes", (json_int_t)r->memory_bytes, "connections",
			 (json_int_t)r->connections, "wakes", (json_int_t)r->wakes, "instances",
			 (json_int_t)r->instances);
}

static json_t *counts(const struct niwa_usage_row *r)
{
	json_t *o = sums(r);

	(void)json_object_set_new(o, "running", json_integer(r->running));
	(void)json_object_set_new(o, "asleep", json_integer(r->asleep));
	return o;
}

/* NULL when it has gone since. */
static json_t *told(struct niwa_engine *e, const struct question *q, const struct niwa_usage_row *r)
{
	const struct niwa_app *app = niwa_map_get(e->apps_by_id, r->app);
	json_t *o;

	if (!app || app->removed || !app->tenant || app->tenant->id != r->tenant)
		return NULL;
	if (q->by_tenant) {
		o = counts(r);
		(void)json_object_set_new(o, "name", json_string(app->tenant->name));
		(void)json_object_set_new(o, "apps", json_integer(app->tenant->apps));
		return o;
	}
	o = sums(r);
	(void)json_object_set_new(o, "name", json_string(app->name));
	(void)json_object_set_new(o, "tenant", json_string(app->tenant->name));
	(void)json_object_set_new(o, "state", json_string(niwa_state_name((enum niwa_state)app->state)));
	return o;
}

static json_t *ranked(struct niwa_engine *e, const struct question *q, const struct niwa_usage_round *round)
{
	const struct niwa_usage_row *rows = q->by_tenant ? round->tenants : round->rows;
	size_t count = q->by_tenant ? round->tenant_count : round->count, n;
	uint32_t best[NIWA_USAGE_RANKED_MAX];
	json_t *list = json_array(), *row;

	n = niwa_usage_rank(rows, count, &q->filter, q->limit, best);
	for (size_t i = 0; i < n; i++)
		if ((row = told(e, q, &rows[best[i]])))
			(void)json_array_append_new(list, row);
	return list;
}

static void answer(struct niwa_engine *e, void *arg)
{
	const struct niwa_usage_round *round = niwa_usage_last(e);
	struct niwa_call *call = arg;
	struct question q = {0};
	json_t *result;

	(void)read_question(call, &q); /* once more: tenants come and go */
	result = json_pack("{s:I,s:I,s:o,s:o}", "round", (json_int_t)round->number, "age_us",
			   (json_int_t)(niwa_now_us() - round->ended_us), "total", counts(&round->total),
			   q.by_tenant ? "tenants" : "apps", ranked(e, &q, round));
	(void)json_object_set_new(json_object_get(result, "total"), "apps",
				  json_integer((json_int_t)(niwa_map_count(e->apps_by_id) - e->templates)));
	niwa_call_answer(call, result);
}

void niwa_rpc_top(struct niwa_call *call)
{
	uint64_t after = (uint64_t)json_integer_value(json_object_get(call->params, "after"));
	struct question q = {0};
	const char *wrong = read_question(call, &q);

	if (wrong)
		niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER, "%s", wrong);
	else if (niwa_usage_then(call->engine, after, answer, call) < 0)
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
}
