/* SPDX-License-Identifier: MIT
 *
 * Rules between keys, and the defaults that depend on other keys. A group's finish runs only when each of its keys
 * was right by itself.
 */
#include "spec/schema_private.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum niwa_speaks niwa_default_speaks(enum niwa_protocol protocol)
{
	/* Who waits for the other would wait for ever: in doubt the app is woken by the connection. */
	static const enum niwa_speaks speaks[] = {
		[NIWA_PROTO_TCP] = NIWA_SPEAKS_SERVER,      [NIWA_PROTO_HTTP] = NIWA_SPEAKS_CLIENT,
		[NIWA_PROTO_SMTP] = NIWA_SPEAKS_SERVER,     [NIWA_PROTO_IMAP] = NIWA_SPEAKS_SERVER,
		[NIWA_PROTO_LMTP] = NIWA_SPEAKS_SERVER,     [NIWA_PROTO_POP3] = NIWA_SPEAKS_SERVER,
		[NIWA_PROTO_POSTGRES] = NIWA_SPEAKS_CLIENT, [NIWA_PROTO_MYSQL] = NIWA_SPEAKS_SERVER,
		[NIWA_PROTO_REDIS] = NIWA_SPEAKS_CLIENT,
	};

	return speaks[protocol];
}

bool niwa_app_has_own_data(const struct niwa_app_spec *spec)
{
	for (size_t i = 0; i < spec->volume_count; i++)
		if (!spec->volumes[i].read_only && !spec->volumes[i].shared)
			return true;
	return false;
}

bool niwa_app_writes_volumes(const struct niwa_app_spec *spec)
{
	for (size_t i = 0; i < spec->volume_count; i++)
		if (!spec->volumes[i].read_only)
			return true;
	return false;
}

enum niwa_rotate niwa_default_rotate(const struct niwa_app_spec *app)
{
	return niwa_app_has_own_data(app) ? NIWA_ROTATE_HANDOVER : NIWA_ROTATE_OVERLAP;
}

uint16_t niwa_default_ready_port(const struct niwa_app_spec *app)
{
	if (app->ready.kind == NIWA_READY_NOTIFY)
		return 0;
	for (size_t i = 0; app->ready.kind == NIWA_READY_HTTP && i < app->port_count; i++)
		if (app->ports[i].protocol == NIWA_PROTO_HTTP)
			return app->ports[i].number;
	return app->port_count > 0 ? app->ports[0].number : 0;
}

void niwa_finish_port(struct niwa_reader *r, const json_t *json, void *base)
{
	struct niwa_port *port = base;

	if (!json_object_get(json, "speaks"))
		port->speaks = niwa_default_speaks(port->protocol);
	for (size_t i = 0; i < port->allow_count; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(port->allow[i], port->allow[j]) == 0)
				niwa_reader_problem_at(r, "allow", "found '%s' twice; allowed: each tenant once",
						       port->allow[i]);
}

void niwa_finish_volume(struct niwa_reader *r, const json_t *json, void *base)
{
	const struct niwa_volume *volume = base;

	(void)json;
	if (volume->read_only && volume->shared)
		niwa_reader_problem_at(r, "shared",
				       "found true beside read_only: true; allowed: one of them, what nobody writes "
				       "needs no leave to be shared");
}

static bool given(const json_t *json, const char *name)
{
	return json_object_get(json, name) != NULL;
}

static uint64_t shorter(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t longer(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Times that were not given keep out of the way of those that were. */
static void sleep_defaults(const json_t *json, struct niwa_app_spec *app)
{
	const struct niwa_app_spec *d = niwa_group_defaults(&niwa_schema_app);
	uint64_t page_us = given(json, "page") ? app->sleep.page_us : 0;
	uint64_t save_us = given(json, "save") ? app->sleep.save_us : 0;

	if (!given(json, "freeze")) {
		app->sleep.freeze_us = d->sleep.freeze_us;
		if (page_us)
			app->sleep.freeze_us = shorter(app->sleep.freeze_us, page_us / 2);
		if (save_us)
			app->sleep.freeze_us = shorter(app->sleep.freeze_us, save_us / 2);
	}
	if (!given(json, "page")) {
		app->sleep.page_us = longer(d->sleep.page_us, 6 * app->sleep.freeze_us);
		if (app->sleep.freeze_us == 0 || (save_us && save_us <= app->sleep.page_us))
			app->sleep.page_us = 0;
	}
	if (!given(json, "save"))
		app->sleep.save_us = longer(d->sleep.save_us, 5 * longer(app->sleep.freeze_us, app->sleep.page_us));
}

static void check_order(struct niwa_reader *r, const char *late, uint64_t late_us, const char *early, uint64_t early_us)
{
	char a[64], b[64];

	if (late_us && early_us && late_us <= early_us)
		niwa_reader_problem_at(r, late, "found %s; allowed: more than %s, which is %s",
				       niwa_format_duration(late_us, a, sizeof(a)), early,
				       niwa_format_duration(early_us, b, sizeof(b)));
}

void niwa_finish_sleep(struct niwa_reader *r, const json_t *json, void *base)
{
	struct niwa_app_spec *app = base;

	sleep_defaults(json, app);
	if (app->sleep.page_us && !app->sleep.freeze_us)
		niwa_reader_problem_at(r, "page",
				       "found a time, but freeze is never; allowed: never, because only a "
				       "frozen app is paged");
	check_order(r, "page", app->sleep.page_us, "freeze", app->sleep.freeze_us);
	check_order(r, "save", app->sleep.save_us, "freeze", app->sleep.freeze_us);
	check_order(r, "save", app->sleep.save_us, "page", app->sleep.page_us);
}

void niwa_finish_ready(struct niwa_reader *r, const json_t *json, void *base)
{
	struct niwa_app_spec *app = base;
	const json_t *notify = json_object_get(json, "notify");
	bool notifies = json_is_true(notify) || (notify && strcmp(json_string_value(notify) ?: "", "true") == 0);

	if (given(json, "listen") + given(json, "http") + notifies > 1) {
		niwa_reader_problem(r, "found more than one kind of check; allowed: one of listen, http and notify");
		return;
	}
	if (given(json, "port") && !given(json, "http")) {
		niwa_reader_problem_at(r, "port", "found without http; allowed: listen: PORT, or http: PATH with port");
		return;
	}
	if (notifies)
		app->ready.kind = NIWA_READY_NOTIFY;
	else
		app->ready.kind = given(json, "http") ? NIWA_READY_HTTP : NIWA_READY_LISTEN;
}

void niwa_finish_restart(struct niwa_reader *r, const json_t *json, void *base)
{
	struct niwa_app_spec *app = base;

	if (!given(json, "backoff_max"))
		app->restart.backoff_max_us = longer(app->restart.backoff_max_us, app->restart.backoff_us);
	if (app->restart.backoff_max_us < app->restart.backoff_us)
		niwa_reader_problem_at(r, "backoff_max", "found less than backoff; allowed: backoff or more");
}

static void check_ports(struct niwa_reader *r, const struct niwa_app_spec *app)
{
	for (size_t i = 0; i < app->port_count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct niwa_publish *a = &app->ports[i].publish, *b = &app->ports[j].publish;
			char at[48];

			(void)snprintf(at, sizeof(at), "ports[%zu].port", i);
			if (app->ports[i].number == app->ports[j].number)
				niwa_reader_problem_at(r, at, "found %u, as in ports[%zu]; allowed: each port once",
						       app->ports[i].number, j);
			(void)snprintf(at, sizeof(at), "ports[%zu].publish", i);
			if (a->port && niwa_publish_clash(a, b))
				niwa_reader_problem_at(
					r, at, "found %u, as in ports[%zu]; allowed: each port of the host once",
					a->port, j);
		}
}

static void check_volumes(struct niwa_reader *r, const struct niwa_app_spec *app)
{
	for (size_t i = 0; i < app->volume_count; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(app->volumes[i].to, app->volumes[j].to) == 0) {
				char at[48];

				(void)snprintf(at, sizeof(at), "volumes[%zu].to", i);
				niwa_reader_problem_at(r, at,
						       "found '%s', as in volumes[%zu]; allowed: each place once",
						       app->volumes[i].to, j);
			}
}

static void check_routes(struct niwa_reader *r, const struct niwa_app_spec *app)
{
	for (size_t i = 0; i < app->route_count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct niwa_route *a = &app->routes[i], *b = &app->routes[j];
			char at[48];

			if (a->protocol != b->protocol || strcmp(a->domain, b->domain) != 0)
				continue;
			(void)snprintf(at, sizeof(at), "routes[%zu].domain", i);
			niwa_reader_problem_at(r, at, "found '%s', as in routes[%zu]; allowed: each domain once",
					       a->domain, j);
		}
}

static int compare_volumes(const void *a, const void *b)
{
	return strcmp(((const struct niwa_volume *)a)->to, ((const struct niwa_volume *)b)->to);
}

static void set_tenant(struct niwa_reader *r, struct niwa_app_spec *app)
{
	if (app->tenant)
		return;
	if (!niwa_is_tenant(app->name)) {
		niwa_reader_problem_at(r, "tenant",
				       "missing, and the name cannot stand for it; allowed: at most 63 characters, not "
				       "'any'");
		return;
	}
	app->tenant = niwa_strdup(app->name);
	r->no_memory |= !app->tenant;
	niwa_reader_count(r, app->name);
}

static void set_empty_lists(struct niwa_reader *r, struct niwa_app_spec *app)
{
	if (!app->command)
		app->command = niwa_zalloc(sizeof(char *));
	if (!app->env)
		app->env = niwa_zalloc(sizeof(char *));
	r->no_memory |= !app->command || !app->env;
}

static void check_scale(struct niwa_reader *r, const struct niwa_app_spec *app)
{
	bool counts = app->scale.connections || app->scale.cpu_centi;

	if (app->scale.max == 1 && counts)
		niwa_reader_problem_at(r, "scale.max", "missing or 1 beside connections or cpu; allowed: 2 to %d",
				       NIWA_SCALE_MAX);
	if (app->scale.max > 1 && !counts)
		niwa_reader_problem_at(r, "scale.max",
				       "found %u without a word on when an instance is full; allowed: with connections "
				       "or cpu beside it",
				       app->scale.max);
	if (app->scale.max > 1 && niwa_app_has_own_data(app))
		niwa_reader_problem_at(r, "scale.max",
				       "found %u with a writable volume that is not shared; allowed: 1, or shared: "
				       "true at each writable volume",
				       app->scale.max);
	else if (app->scale.max > 1 && app->rotate == NIWA_ROTATE_HANDOVER)
		niwa_reader_problem_at(r, "scale.max",
				       "found %u with rotate: handover, which lets no two instances live beside each "
				       "other; allowed: 1, or rotate: overlap",
				       app->scale.max);
	if (app->scale.cpu_max_centi && app->limits.cpu_centi >= app->scale.cpu_max_centi)
		niwa_reader_problem_at(r, "scale.cpu_max", "found no more than limits.cpu; allowed: more than that");
	if (app->scale.cpu_max_centi && !app->limits.cpu_centi)
		niwa_reader_problem_at(r, "scale.cpu_max",
				       "found without limits.cpu, so there is nothing to widen; allowed: with it");
}

/* What a resident app is, in words that everybody else knows already. */
static void make_resident(struct niwa_reader *r, struct niwa_app_spec *app)
{
	app->sleep.freeze_us = app->sleep.page_us = app->sleep.save_us = 0;
	if (app->snapshot == NIWA_SNAPSHOT_AUTO)
		app->snapshot = NIWA_SNAPSHOT_OFF;
	if (app->sleep.keep == NIWA_SLEEP_KEEPS_MEMORY)
		niwa_reader_problem_at(r, "resident",
				       "found true beside sleep: keep: memory; allowed: one of them, a resident app "
				       "does not sleep");
}

void niwa_finish_app(struct niwa_reader *r, const json_t *json, void *base)
{
	struct niwa_app_spec *app = base;

	set_tenant(r, app);
	set_empty_lists(r, app);
	if (r->no_memory)
		return;
	if (strcmp(app->image, "host") == 0 && !*app->command)
		niwa_reader_problem_at(r, "command",
				       "missing; allowed: a list of texts, because image host has no "
				       "command of its own");
	check_ports(r, app);
	check_volumes(r, app);
	check_routes(r, app);
	if (!given(json, "rotate"))
		app->rotate = niwa_default_rotate(app);
	if (app->rotate == NIWA_ROTATE_OVERLAP && niwa_app_has_own_data(app))
		niwa_reader_problem_at(r, "rotate",
				       "found overlap with a writable volume that is not shared; allowed: "
				       "handover, or shared: true at each writable volume");
	if (app->snapshot == NIWA_SNAPSHOT_OFF && app->sleep.keep == NIWA_SLEEP_KEEPS_MEMORY)
		niwa_reader_problem_at(r, "snapshot",
				       "found off beside sleep: keep: memory, which is an image too; allowed: one of "
				       "them");
	check_scale(r, app);
	if (app->resident)
		make_resident(r, app);
	if (app->ready.port == 0)
		app->ready.port = niwa_default_ready_port(app);
	/* Mounted in this order: an inner one must not be hidden by an outer one. */
	if (app->volume_count > 1)
		qsort(app->volumes, app->volume_count, sizeof(*app->volumes), compare_volumes);
}
