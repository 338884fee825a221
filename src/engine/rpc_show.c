/* SPDX-License-Identifier: MIT
 *
 * app.list, app.show, top: what is known about apps, as JSON.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/group.h"
#include "engine/labels.h"
#include "engine/limit_hit.h"
#include "engine/past.h"
#include "engine/rpc.h"
#include "engine/rpc_awake.h"
#include "engine/rpc_show.h"
#include "engine/schedule.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/visit.h"
#include "engine/start.h"
#include "engine/tenant_limit.h"

#define LIST_MAX      200  /* rows */
#define LOOKED_AT_MAX 4000 /* apps, by one call of app.list */

static json_t *address(uint32_t addr)
{
	char text[INET_ADDRSTRLEN];

	(void)inet_ntop(AF_INET, &addr, text, sizeof(text));
	return json_string(text);
}

static json_t *address6(const struct niwa_engine *e, enum niwa_ula_net net, uint32_t addr)
{
	char text[INET6_ADDRSTRLEN];

	return json_string(niwa_ula_text(&e->config.ula, net, addr, text));
}

static json_t *ports_of(const struct niwa_app *app)
{
	json_t *ports = json_array();

	for (unsigned i = 0; i < app->port_count; i++) {
		const struct niwa_app_port *p = &app->ports[i];
		json_t *port = json_pack("{s:i,s:s}", "number", p->number, "protocol",
					 niwa_protocol_name((enum niwa_protocol)p->protocol));
		char text[NIWA_PUBLISH_TEXT];

		if (p->publish.port)
			(void)json_object_set_new(port, "publish", json_string(niwa_publish_text(&p->publish, text)));
		(void)json_array_append_new(ports, port);
	}
	return ports;
}

static json_t *last_wake(const struct niwa_app_past *past)
{
	char from[INET6_ADDRSTRLEN];
	json_t *wake = json_pack("{s:I,s:I,s:s}", "at", (json_int_t)past->last_wake_realtime_us, "took_us",
				 (json_int_t)past->last_took_us, "path", past->path);

	if (past->last_by)
		(void)json_object_set_new(wake, "by", json_string(past->last_by));
	if (!IN6_IS_ADDR_UNSPECIFIED(&past->last_from))
		(void)json_object_set_new(wake, "from", json_string(niwa_visitor_text(&past->last_from, from)));
	if (past->last_port)
		(void)json_object_set_new(wake, "port", json_integer(past->last_port));
	return wake;
}

static json_t *row(const struct niwa_app *app)
{
	json_t *r = json_pack("{s:s,s:s,s:s,s:o,s:o,s:I,s:I}", "name", app->name, "tenant", app->tenant->name, "state",
			      niwa_state_name(app->state), "service_address", address(app->service_addr), "ports",
			      ports_of(app), "instances", (json_int_t)app->instance_count, "waiting",
			      (json_int_t)app->waiting);

	if (app->labels)
		(void)json_object_set_new(r, "labels", niwa_labels_json(app->labels));

	if (app->engine->config.ula.on)
		(void)json_object_set_new(r, "service_address6",
					  address6(app->engine, NIWA_ULA_SERVICE, app->service_addr));
	if (app->past && app->past->wakes)
		(void)json_object_set_new(r, "last_wake", last_wake(app->past));
	return r;
}

static bool passes(const struct niwa_filter *filter, const struct niwa_app *app)
{
	struct niwa_filter_facts facts = {
		.name = app->name,
		.state = niwa_state_name(app->state),
		.tenant = app->tenant->name,
		.labels = app->labels,
	};

	return !app->removed && niwa_filter_passes(filter, &facts);
}

/* As many as a turn may take: then it says where to go on, also when none has passed. */
void niwa_rpc_app_list(struct niwa_call *call)
{
	const json_t *p = call->params;
	const struct niwa_filter filter = {.state = json_string_value(json_object_get(p, "state")),
					   .tenant = json_string_value(json_object_get(p, "tenant")),
					   .match = json_string_value(json_object_get(p, "match")),
					   .label = json_string_value(json_object_get(p, "label"))};
	struct niwa_order_walk walk =
		niwa_order_from(call->engine->apps_in_order, json_string_value(json_object_get(p, "after")));
	size_t limit = (size_t)json_integer_value(json_object_get(p, "limit")), seen = 0;
	json_t *rows = json_array(), *result = json_pack("{s:o}", "apps", rows);
	const struct niwa_app *app, *last = NULL;

	if (limit == 0 || limit > LIST_MAX)
		limit = LIST_MAX;
	while ((app = niwa_order_next(&walk))) {
		if (json_array_size(rows) == limit || seen++ == LOOKED_AT_MAX) {
			(void)json_object_set_new(result, "next", json_string(last->name));
			break;
		}
		last = app;
		if (passes(&filter, app))
			(void)json_array_append_new(rows, row(app));
	}
	niwa_call_answer(call, result);
}

json_t *niwa_rpc_stages(const struct niwa_stages *s)
{
	const struct {
		const char *name;
		uint64_t at;
	} stages[] = {{"accepted", s->accepted_us},    {"decided", s->decided_us}, {"cloned", s->cloned_us},
		      {"executed", s->executed_us},    {"ready", s->ready_us},     {"connected", s->connected_us},
		      {"first_byte", s->first_byte_us}};
	json_t *result = json_object();

	for (size_t i = 0; i < NIWA_ARRAY_LEN(stages); i++)
		if (stages[i].at && stages[i].at >= s->accepted_us)
			(void)json_object_set_new(result, stages[i].name,
						  json_integer((json_int_t)(stages[i].at - s->accepted_us)));
	return result;
}

static json_t *instance_row(const struct niwa_instance *i)
{
	static const char *const lives[] = {
		[NIWA_LIFE_CLONING] = "cloning",   [NIWA_LIFE_STARTED] = "started",   [NIWA_LIFE_SERVING] = "serving",
		[NIWA_LIFE_DRAINING] = "draining", [NIWA_LIFE_STOPPING] = "stopping", [NIWA_LIFE_GONE] = "gone"};
	json_t *r = json_pack("{s:I,s:s,s:i,s:o,s:I,s:I,s:s,s:b,s:I}", "id", (json_int_t)i->id, "life", lives[i->life],
			      "pid", (int)i->pid, "private_address", address(i->private_addr), "began_at",
			      (json_int_t)(niwa_realtime_us() - (niwa_now_us() - i->began_us)), "generation",
			      (json_int_t)i->generation, "veth", i->veth, "copy", i->copy, "connections",
			      (json_int_t)(i->pid > 0 ? niwa_scale_connections(i) : 0));

	/* not one of a time before there was IPv6 */
	if (niwa_net_reaches6(i->engine->net, i->private_addr))
		(void)json_object_set_new(r, "private_address6",
					  address6(i->engine, NIWA_ULA_PRIVATE, i->private_addr));
	return r;
}

static json_t *instances_of(const struct niwa_app *app)
{
	json_t *list = json_array();
	struct niwa_instance *i;

	LIST_FOREACH(i, &app->instance_list, app_link)
	{
		(void)json_array_append_new(list, instance_row(i));
	}
	return list;
}

static json_t *history_of(const struct niwa_app *app)
{
	const struct niwa_app_past *past = app->past;
	json_t *list = json_array();
	char why[80];

	for (unsigned n = 0; past && n < NIWA_HISTORY; n++) {
		unsigned at = (past->history_next + n) % NIWA_HISTORY;

		if (past->history[at].realtime_us)
			(void)json_array_append_new(list, json_pack("{s:I,s:s,s:s,s:s}", "at",
								    (json_int_t)past->history[at].realtime_us, "from",
								    niwa_state_name(past->history[at].from), "to",
								    niwa_state_name(past->history[at].to), "why",
								    niwa_app_why(app, n, why, sizeof(why))));
	}
	return list;
}

static void add_past(json_t *r, struct niwa_app *app)
{
	const struct niwa_app_past *past = app->past;
	char why[80];
	unsigned last;

	(void)json_object_set_new(r, "wakes", json_integer(past ? (json_int_t)past->wakes : 0));
	(void)json_object_set_new(r, "failures", json_integer(past ? (json_int_t)past->failures : 0));
	if (!past)
		return;
	last = (past->history_next + NIWA_HISTORY - 1) % NIWA_HISTORY;
	if (past->history[last].realtime_us)
		(void)json_object_set_new(r, "why", json_string(niwa_app_last_why(app, why, sizeof(why))));
	(void)json_object_set_new(r, "gaps", json_integer(niwa_gaps_count(&past->gaps)));
	if (past->last.accepted_us)
		(void)json_object_set_new(r, "stages", niwa_rpc_stages(&past->last));
	if (past->last_error)
		(void)json_object_set_new(r, "last_error", json_string(past->last_error));
}

static void add_usage(struct niwa_engine *e, json_t *r, struct niwa_app *app)
{
	uint64_t cpu;

	if (!app->current)
		return;
	if (niwa_group_cpu_us(e, app->current->id, &cpu) == 0)
		(void)json_object_set_new(r, "cpu_us", json_integer((json_int_t)cpu));
	(void)json_object_set_new(r, "memory_bytes", json_integer((json_int_t)niwa_sleep_memory(e, app->current)));
}

/* Why it is awake, when it is woken without a visitor, which visitors it was not woken by. */
static void add_idleness(json_t *r, struct niwa_app *app)
{
	uint64_t next = niwa_schedule_next_us(app);
	json_t *awake = niwa_rpc_awake(app), *refused = niwa_visit_refusals(app);

	if (awake)
		(void)json_object_set_new(r, "awake", awake);
	if (next)
		(void)json_object_set_new(r, "next_wake", json_integer((json_int_t)next));
	if (refused)
		(void)json_object_set_new(r, "refused", refused);
}

void niwa_rpc_app_show(struct niwa_call *call)
{
	struct niwa_engine *e = call->engine;
	struct niwa_app *app = niwa_call_app(call);
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	struct niwa_error err;
	char waits[200];
	json_t *r, *tenant;

	if (!app)
		return;
	if (niwa_cmdb_get(e->cmdb, app->id, &text, &err) < 0) {
		niwa_call_fail(call, NIWA_RPC_FAILED, &err);
		return;
	}
	r = row(app);
	(void)json_object_set_new(r, "record", json_loads(text, 0, NULL));
	(void)json_object_set_new(r, "generation", json_integer((json_int_t)app->generation));
	(void)json_object_set_new(r, "instances", instances_of(app));
	(void)json_object_set_new(r, "history", history_of(app));
	(void)json_object_set_new(r, "warnings", niwa_rpc_warnings(e, app));
	add_idleness(r, app);
	if (niwa_app_spec_read(e, app, &spec, &err) == 0) {
		(void)json_object_set_new(r, "snapshot", niwa_rpc_snapshot(e, app, spec));
		niwa_rpc_show_limits(app, spec, r);
	}
	add_past(r, app);
	(void)json_object_set_new(r, "limit_hits", niwa_limit_hits_show(app));
	tenant = niwa_tenant_limits_show(e, app->tenant);
	if (tenant)
		(void)json_object_set_new(r, "tenant_limits", tenant);
	if (*niwa_start_explain(e, app, waits, sizeof(waits)))
		(void)json_object_set_new(r, "waits_for", json_string(waits));
	add_usage(e, r, app);
	niwa_call_answer(call, r);
}
