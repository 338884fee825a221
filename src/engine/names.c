/* SPDX-License-Identifier: MIT
 *
 * The names of routes: one map of text to owner. Those of the apps themselves are in the registry.
 */
#include "engine/names.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/app.h"

#define MESSAGE_NAMES 256

struct niwa_app_name {
	struct niwa_app *app;
	char text[];
};

/* Those of an app: freed whole. */
struct niwa_app_names {
	size_t count;
	struct niwa_app_name *names[];
};

void niwa_names_of_route(const struct niwa_route *route, char name[NIWA_RELATIVE_MAX])
{
	(void)snprintf(name, NIWA_RELATIVE_MAX, "%s.%s", route->domain, niwa_protocol_name(route->protocol));
}

bool niwa_names_is_like_route(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (unsigned p = 0; dot && p < NIWA_PROTO_COUNT; p++)
		if (strcmp(dot + 1, niwa_protocol_name(p)) == 0)
			return true;
	return false;
}

struct niwa_app *niwa_names_find(struct niwa_engine *e, const char *name)
{
	const struct niwa_app_name *n = niwa_map_get_str(e->routes, name);
	struct niwa_app *app = n ? n->app : niwa_app_by_name(e, name);

	return app && !app->removed ? app : NULL;
}

const char *niwa_names_route(const struct niwa_app *app, size_t i)
{
	return app->names && i < app->names->count ? app->names->names[i]->text : NULL;
}

static void names_free(struct niwa_app_names **names)
{
	for (size_t i = 0; *names && i < (*names)->count; i++)
		free((*names)->names[i]);
	free(*names);
	*names = NULL;
}

static int names_make(struct niwa_app *app, const struct niwa_app_spec *spec, struct niwa_app_names **ret)
{
	NIWA_AUTO(names_free) struct niwa_app_names *names = NULL;
	size_t count = spec ? spec->route_count : 0;

	*ret = NULL;
	if (count == 0)
		return 0;
	names = niwa_zalloc(sizeof(*names) + count * sizeof(names->names[0]));
	if (!names)
		return -ENOMEM;
	for (; names->count < count; names->count++) {
		char text[NIWA_RELATIVE_MAX];
		struct niwa_app_name *name;

		niwa_names_of_route(&spec->routes[names->count], text);
		name = niwa_zalloc(sizeof(*name) + strlen(text) + 1);
		if (!name)
			return -ENOMEM;
		name->app = app;
		memcpy(name->text, text, strlen(text) + 1);
		names->names[names->count] = name;
	}
	*ret = NIWA_TAKE(names);
	return 0;
}

static bool same(const struct niwa_app_names *a, const struct niwa_app_names *b)
{
	size_t i = 0, count = a ? a->count : 0;

	if (count != (b ? b->count : 0))
		return false;
	while (i < count && strcmp(a->names[i]->text, b->names[i]->text) == 0)
		i++;
	return i == count;
}

/* Of another app that has lost the name in the same transaction, or of the same app before. */
static int take(struct niwa_engine *e, struct niwa_app_name *name)
{
	(void)niwa_map_del_str(e->routes, name->text);
	return niwa_map_put_str(e->routes, name->text, name);
}

static void give_up(struct niwa_engine *e, struct niwa_app_names *names)
{
	for (size_t i = 0; names && i < names->count; i++) {
		if (niwa_map_get_str(e->routes, names->names[i]->text) == names->names[i])
			(void)niwa_map_del_str(e->routes, names->names[i]->text);
		niwa_names_note(e, names->names[i]->text);
	}
}

int niwa_names_declare(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec)
{
	NIWA_AUTO(names_free) struct niwa_app_names *names = NULL;
	struct niwa_app_names *old = app->names;
	int r = names_make(app, spec, &names);

	if (r < 0 || same(old, names))
		return r;
	give_up(e, old);
	names_free(&old);
	app->names = NIWA_TAKE(names);
	for (size_t i = 0; app->names && i < app->names->count; i++) {
		r = take(e, app->names->names[i]); /* in the place of one that went: memory is out for more only */
		niwa_names_note(e, app->names->names[i]->text);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Telling. A name that leads nowhere, and that a commit under way has claimed, waits in names_held for its end. */

static int note_set(struct niwa_engine *e, const char *name, const struct niwa_app *app)
{
	char text[INET_ADDRSTRLEN];

	if (!e->names_set)
		e->names_set = json_object();
	if (e->names_gone)
		(void)json_object_del(e->names_gone, name); /* it has come back; a message is read in this order */
	(void)inet_ntop(AF_INET, &app->service_addr, text, sizeof(text));
	return json_object_set_new_nocheck(e->names_set, name, json_string_nocheck(text));
}

static int note_gone(struct niwa_engine *e, const char *name)
{
	json_t **into = niwa_map_get_str(e->route_claims, name) ? &e->names_held : &e->names_gone;

	if (!*into)
		*into = json_object();
	return json_object_set_new_nocheck(*into, name, json_null());
}

void niwa_names_note(struct niwa_engine *e, const char *name)
{
	const struct niwa_app *app = niwa_names_find(e, name);

	if (LIST_EMPTY(&e->names_watches))
		return;
	if (app ? note_set(e, name, app) < 0 : note_gone(e, name) < 0)
		e->names_lost = true;
	if (json_object_size(e->names_set) + json_object_size(e->names_gone) >= MESSAGE_NAMES)
		niwa_names_tell(e, NIWA_NAMES_MORE);
}

/* The claims of a commit have ended: what it has not given to anybody leads nowhere. */
static void let_go(struct niwa_engine *e)
{
	json_t *held = NIWA_TAKE(e->names_held), *value;
	const char *name;

	json_object_foreach(held, name, value) niwa_names_note(e, name);
	json_decref(held);
}

static json_t *names_in(struct niwa_engine *e, json_t *object)
{
	json_t *names = json_array(), *value;
	const char *name;

	json_object_foreach(object, name, value) if (json_array_append_new(names, json_string_nocheck(name)) < 0)
		e->names_lost = true;
	return names;
}

void niwa_names_tell(struct niwa_engine *e, enum niwa_names_part part)
{
	json_t *set, *gone;

	if (part == NIWA_NAMES_LAST)
		let_go(e);
	set = NIWA_TAKE(e->names_set);
	gone = NIWA_TAKE(e->names_gone);
	if (set || gone || e->names_lost)
		niwa_names_send(e, set, names_in(e, gone));
	json_decref(gone);
}
