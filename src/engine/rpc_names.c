/* SPDX-License-Identifier: MIT
 *
 * names.watch: all names of apps, some a turn of the loop, and every change as long as the connection lives. A reader
 * that does not keep up is cut; it connects again and gets all of them anew.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/app.h"
#include "engine/names.h"
#include "engine/rpc.h"

#define TURN_NAMES   64            /* wakes wait for a turn */
#define BACKLOG_MAX  (1024 * 1024) /* bytes that a reader may be behind with */
#define BACKLOG_WAIT (64 * 1024)   /* with this much the first list pauses */
#define PAUSE_US     2000

struct niwa_names_watch {
	struct niwa_engine *engine;
	struct niwa_rpc_conn *conn;
	sd_event_source *turn;
	uint64_t *ids; /* of the apps that were there; NULL when all were told */
	size_t count, next, told;
	LIST_ENTRY(niwa_names_watch) link;
};

void niwa_names_watch_free(struct niwa_names_watch **watch)
{
	struct niwa_names_watch *w = *watch;

	*watch = NULL;
	if (!w)
		return;
	LIST_REMOVE(w, link);
	(void)sd_event_source_disable_unref(w->turn);
	free(w->ids);
	free(w);
}

void niwa_names_send(struct niwa_engine *e, json_t *set, json_t *gone)
{
	bool lost = e->names_lost || (!set && !(set = json_object())) || (!gone && !(gone = json_array()));
	struct niwa_names_watch *w;

	e->names_lost = false;
	LIST_FOREACH(w, &e->names_watches, link)
	if (lost || niwa_rpc_backlog(w->conn) > BACKLOG_MAX)
		niwa_rpc_cut(w->conn);
	else
		niwa_rpc_notify(w->conn, "names.changed", json_pack("{s:O,s:O}", "set", set, "gone", gone));
	json_decref(set);
	json_decref(gone);
}

static void add(struct niwa_names_watch *w, json_t *set, const char *name, const char *addr)
{
	if (json_object_set_new_nocheck(set, name, json_string_nocheck(addr)) < 0)
		niwa_rpc_cut(w->conn); /* out of memory */
	w->told++;
}

/* Its names, unless another app has them now. */
static size_t add_app(struct niwa_names_watch *w, json_t *set, const struct niwa_app *app)
{
	char addr[INET_ADDRSTRLEN];
	const char *name;
	size_t i = 0;

	(void)inet_ntop(AF_INET, &app->service_addr, addr, sizeof(addr));
	if (niwa_names_find(w->engine, app->name) == app)
		add(w, set, app->name, addr);
	for (; (name = niwa_names_route(app, i)); i++)
		if (niwa_names_find(w->engine, name) == app)
			add(w, set, name, addr);
	return i + 1;
}

static void turn_end(struct niwa_names_watch *w, json_t *set)
{
	niwa_rpc_notify(w->conn, "names.changed", json_pack("{s:o,s:[]}", "set", set, "gone"));
	if (w->next < w->count)
		return;
	free(w->ids);
	w->ids = NULL;
	niwa_rpc_notify(w->conn, "names.complete", json_pack("{s:I}", "count", (json_int_t)w->told));
}

static int on_turn(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_names_watch *w = arg;
	size_t names = 0;
	json_t *set;

	(void)usec;
	if (niwa_rpc_backlog(w->conn) <= BACKLOG_WAIT) {
		set = json_object();
		while (names < TURN_NAMES && w->next < w->count) {
			const struct niwa_app *app = niwa_map_get(w->engine->apps_by_id, w->ids[w->next++]);

			if (app && !app->removed)
				names += add_app(w, set, app);
		}
		turn_end(w, set);
	}
	if (!w->ids)
		return 0; /* once is over */
	(void)sd_event_source_set_time_relative(s, niwa_rpc_backlog(w->conn) > BACKLOG_WAIT ? PAUSE_US : 0);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* What is added from now on is told as a change: the ids of this moment are enough. */
static int take_ids(struct niwa_names_watch *w)
{
	const struct niwa_map *apps = w->engine->apps_by_id;
	const struct niwa_app *app;
	size_t pos = 0;

	w->ids = niwa_zalloc((niwa_map_count(apps) + 1) * sizeof(w->ids[0]));
	while (w->ids && (app = niwa_map_next(apps, &pos)))
		w->ids[w->count++] = app->id;
	return w->ids ? 0 : -ENOMEM;
}

static json_t *settings(const struct niwa_config *c)
{
	char addr[INET_ADDRSTRLEN], metrics[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];

	(void)inet_ntop(AF_INET, &c->dns_addr, addr, sizeof(addr));
	(void)inet_ntop(AF_INET, &c->gateway_addr, gateway, sizeof(gateway));
	(void)inet_ntop(AF_INET, &c->metrics_addr, metrics, sizeof(metrics));
	return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:s,s:I,s:s,s:I,s:I,s:s}", "domain", c->domain, "address", addr,
			 "port", (json_int_t)c->dns_port, "ttl", (json_int_t)(c->dns_ttl_us / 1000000), "negative_ttl",
			 (json_int_t)(c->dns_negative_ttl_us / 1000000), "tcp_connections",
			 (json_int_t)c->dns_connections, "tcp_idle_us", (json_int_t)c->dns_idle_us, "metrics_address",
			 metrics, "metrics_port", (json_int_t)c->metrics_port, "instances_address", gateway,
			 "instances_port", c->dns_instances_addr ? (json_int_t)c->dns_instances_port : 0,
			 "instance_rate", (json_int_t)c->dns_instance_rate, "ula_prefix",
			 c->ula.on ? c->ula_prefix : "none");
}

void niwa_rpc_names_watch(struct niwa_call *call)
{
	struct niwa_rpc_state *state = niwa_rpc_state(call->conn);
	struct niwa_engine *e = call->engine;
	struct niwa_names_watch *w;

	niwa_names_watch_free(&state->names); /* asked again: from the beginning */
	w = niwa_zalloc(sizeof(*w));
	if (!w) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
		return;
	}
	w->engine = e;
	w->conn = call->conn;
	LIST_INSERT_HEAD(&e->names_watches, w, link);
	if (take_ids(w) < 0 || sd_event_add_time_relative(e->event, &w->turn, CLOCK_MONOTONIC, 0, 1, on_turn, w) < 0) {
		niwa_names_watch_free(&w);
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
		return;
	}
	(void)sd_event_source_set_priority(w->turn, NIWA_RPC_PRIORITY);
	state->names = w;
	niwa_call_answer(call, settings(&e->config));
}
