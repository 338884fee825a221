/* SPDX-License-Identifier: MIT
 *
 * App files. Each app becomes JSON with the file's defaults and env files merged in, is checked against the schema
 * and written in canonical form; then come the rules between apps: names, published ports, writable volumes.
 */
#include "spec/file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/text.h"
#include "spec/claims_private.h"
#include "spec/env_file_private.h"
#include "spec/schema_private.h"
#include "spec/yaml_private.h"

#define TENANTS_MAX      50000
#define TENANT_NODES_MAX 100
#define PROBLEMS_MAX     100   /* reported of one file */
#define APP_NODES_MAX    20000 /* keys and values of one app; more would not fit NIWA_APP_JSON_MAX */

struct loader {
	const char *name; /* for messages */
	const char *path;
	void (*also)(const char *msg, void *arg);
	void *arg;
	struct niwa_error *err;
	unsigned problems;
	bool no_memory;
	const struct niwa_yaml_node *defaults; /* NULL: none */
	json_t *defaults_json;
	json_t *env_files; /* path → object: a file is read once */
	json_t *said;      /* problems of the defaults that were reported */
	struct niwa_claims *claims;
	struct niwa_map *tenants; /* name → record */
	/* the app at hand */
	const char *list; /* "apps" */
	size_t index;
	const struct niwa_yaml_node *node;
};

static void report(struct loader *l, char *msg)
{
	niwa_clean_line(msg);
	if (l->problems++ == 0)
		(void)niwa_fail(l->err, NIWA_CALLER, 0, "%s", msg);
	else if (l->also && l->problems <= PROBLEMS_MAX)
		l->also(msg, l->arg);
}

static void problem_at(struct loader *l, uint32_t line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void problem_at(struct loader *l, uint32_t line, const char *fmt, ...)
{
	char msg[NIWA_ERROR_MAX];
	size_t used;
	va_list ap;

	(void)snprintf(msg, sizeof(msg), "%s:%u: ", l->name, line);
	used = strlen(msg);
	va_start(ap, fmt);
	(void)vsnprintf(msg + used, sizeof(msg) - used, fmt, ap);
	va_end(ap);
	report(l, msg);
}

/* The problem lies in `defaults`: every app would report it again. */
static void report_of_defaults(struct loader *l, uint32_t line, const char *path, const char *msg)
{
	char text[NIWA_ERROR_MAX];

	(void)snprintf(text, sizeof(text), "%s:%u: defaults.%s: %s", l->name, line, path, msg);
	if (json_object_get(l->said, text))
		return;
	if (json_object_set_new_nocheck(l->said, text, json_true()) < 0)
		l->no_memory = true;
	report(l, text);
}

/* A problem of the app at hand, at a key of it. */
static void app_problem(const char *path, const char *msg, void *arg)
{
	struct loader *l = arg;
	bool found, in_defaults = false;
	uint32_t line = niwa_yaml_line(l->node, path, &found), other = 0;

	if (!found && l->defaults && *path)
		other = niwa_yaml_line(l->defaults, path, &in_defaults);
	if (in_defaults)
		report_of_defaults(l, other, path, msg);
	else
		problem_at(l, line, "%s[%zu]%s%s: %s", l->list, l->index, *path ? "." : "", path, msg);
}

static void app_problem_at(struct loader *l, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void app_problem_at(struct loader *l, const char *path, const char *fmt, ...)
{
	char msg[NIWA_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	app_problem(path, msg, l);
}

/* Adds what app lacks. Groups, env and labels are merged key by key, all else is taken whole. */
static int merge_defaults(json_t *app, const json_t *defaults, const struct niwa_group *group)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)defaults, name, value)
	{
		const struct niwa_key *key = group ? niwa_group_find(group, name) : NULL;
		json_t *own = json_object_get(app, name);
		bool is_map = key && !key->whole &&
			      (key->kind == &niwa_kind_group || key->kind == &niwa_kind_env ||
			       key->kind == &niwa_kind_labels);
		int r;

		if (!own)
			/* A copy: a group may be merged into later. */
			r = json_object_set_new_nocheck(app, name, json_deep_copy(value));
		else if (is_map && json_is_object(own) && json_is_object(value))
			r = merge_defaults(own, value, key->group);
		else
			r = 0;
		if (r < 0)
			return -ENOMEM;
	}
	return 0;
}

/* The path of a file that the app file names. */
static char *resolve(const struct loader *l, const char *file)
{
	const char *slash = strrchr(l->path, '/');

	if (*file == '/' || !slash)
		return niwa_strdup(file);
	return niwa_asprintf("%.*s/%s", (int)(slash - l->path), l->path, file);
}

/* Borrowed; NULL after a problem. */
static const json_t *env_file(struct loader *l, const char *at, const char *file)
{
	NIWA_AUTO(niwa_free_ptr) char *path = resolve(l, file);
	struct niwa_error err = {0};
	json_t *env = NULL;

	if (!path) {
		l->no_memory = true;
		return NULL;
	}
	env = json_object_get(l->env_files, path);
	if (env)
		return env;
	if (niwa_env_file_read(path, &env, &err) < 0) {
		l->no_memory |= err.code == ENOMEM;
		app_problem_at(l, at, "%s", err.msg);
		return NULL;
	}
	if (json_object_set_new_nocheck(l->env_files, path, env) < 0) {
		l->no_memory = true;
		return NULL;
	}
	return env;
}

/* env_files → env: later files win over earlier ones, env over all. */
static void merge_env_files(struct loader *l, json_t *app)
{
	json_t *files = json_object_get(app, "env_files"), *own, *env, *item;
	size_t i;

	if (!files)
		return;
	if (!json_is_array(files) && !json_is_null(files)) {
		app_problem_at(l, "env_files", "found what is not a list; allowed: a list of paths");
		(void)json_object_del(app, "env_files");
		return;
	}
	env = json_object();
	json_array_foreach(files, i, item)
	{
		char at[48];
		const json_t *read;

		(void)snprintf(at, sizeof(at), "env_files[%zu]", i);
		if (!json_is_string(item)) {
			app_problem_at(l, at, "found what is not a text; allowed: the path of a file");
			continue;
		}
		read = env_file(l, at, json_string_value(item));
		if (read && (!env || json_object_update(env, (json_t *)read) < 0))
			l->no_memory = true;
	}
	own = json_object_get(app, "env");
	if (json_is_object(own) && json_object_update(env, own) < 0)
		l->no_memory = true;
	if (!own || json_is_object(own) || json_is_null(own)) {
		if (json_object_set_nocheck(app, "env", env) < 0)
			l->no_memory = true;
	}
	json_decref(env);
	(void)json_object_del(app, "env_files");
}

/* The line of a key of the app at hand, wherever it comes from. */
static uint32_t line_of(const struct loader *l, const char *path)
{
	bool found;
	uint32_t line = niwa_yaml_line(l->node, path, &found);

	if (!found && l->defaults)
		line = niwa_yaml_line(l->defaults, path, &found);
	return line;
}

/* Volumes of a record are sorted: the place of one in the file. */
static void volume_path(const json_t *app, const struct niwa_volume *volume, char *buf, size_t size)
{
	const json_t *item;
	size_t i, len = strlen(volume->to);

	json_array_foreach(json_object_get(app, "volumes"), i, item)
	{
		const char *to = json_string_value(json_object_get(item, "to"));

		if (to && strncmp(to, volume->to, len) == 0 && to[len + strspn(to + len, "/")] == '\0')
			break;
	}
	(void)snprintf(buf, size, "volumes[%zu].from", i);
}

/* A domain belongs to one app in each protocol. */
static void claim_routes(struct loader *l, const struct niwa_app_spec *spec)
{
	for (size_t i = 0; i < spec->route_count; i++) {
		const struct niwa_route *route = &spec->routes[i];
		uint32_t before;
		char at[48];
		int r;

		(void)snprintf(at, sizeof(at), "routes[%zu].domain", i);
		r = niwa_claims_route(l->claims, route, l->index, line_of(l, at), &before);
		if (r == -EEXIST)
			app_problem_at(
				l, at,
				"found '%s' (%s), as in line %u; allowed: each domain in one app, for each protocol",
				route->domain, niwa_protocol_name(route->protocol), before);
		if (r == -ENOMEM)
			l->no_memory = true;
	}
}

/* The rules between apps. */
static void claim_all(struct loader *l, const json_t *app, const struct niwa_app_spec *spec)
{
	uint32_t before;
	char at[48];
	int r = niwa_claims_name(l->claims, spec->name, l->index, line_of(l, "name"), &before);

	if (r == -EEXIST)
		app_problem_at(l, "name", "found '%s', as in line %u; allowed: each name once", spec->name, before);
	for (size_t i = 0; i < spec->port_count && r != -ENOMEM; i++) {
		const struct niwa_publish *publish = &spec->ports[i].publish;

		(void)snprintf(at, sizeof(at), "ports[%zu].publish", i);
		if (publish->port && (r = niwa_claims_port(l->claims, publish, line_of(l, at), &before)) == -EEXIST)
			app_problem_at(l, at, "found %u, as in line %u; allowed: each port of the host once",
				       publish->port, before);
	}
	for (size_t i = 0; i < spec->volume_count && r != -ENOMEM; i++) {
		volume_path(app, &spec->volumes[i], at, sizeof(at));
		r = niwa_claims_volume(l->claims, &spec->volumes[i], l->index, line_of(l, at), &before);
		if (r == -EEXIST)
			app_problem_at(
				l, at,
				"found '%s', which the app in line %u writes to; allowed: one writer, or read_only: "
				"true, or shared: true at both",
				spec->volumes[i].from, before);
	}
	if (r == -ENOMEM)
		l->no_memory = true;
	claim_routes(l, spec);
}

/* The record of one app, appended to ret in canonical form. */
static void load_app(struct loader *l, json_t *app, json_t *ret)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	struct niwa_reader r = {.report = app_problem, .arg = l};
	unsigned before = l->problems;
	int result;

	if (l->defaults_json && json_is_object(app) && merge_defaults(app, l->defaults_json, &niwa_schema_app) < 0)
		l->no_memory = true;
	if (json_is_object(app))
		merge_env_files(l, app);
	if (l->no_memory)
		return;
	result = niwa_app_read(&r, app, &spec);
	if (result == -ENOMEM)
		l->no_memory = true;
	if (result < 0)
		return;
	claim_all(l, app, spec);
	if (!l->no_memory && l->problems == before && json_array_append_new(ret, niwa_app_to_json(spec)) < 0)
		l->no_memory = true;
}

static void load_apps(struct loader *l, const struct niwa_yaml_node *apps, json_t *ret)
{
	for (uint32_t i = 0; i < apps->count && !l->no_memory && l->problems <= PROBLEMS_MAX; i++) {
		json_t *app;

		l->index = i;
		l->node = apps->items[i];
		if (l->node->nodes > APP_NODES_MAX) {
			app_problem_at(l, "", "found %u values; allowed: at most %d bytes of declaration",
				       l->node->nodes, NIWA_APP_JSON_MAX);
			continue;
		}
		app = niwa_yaml_to_json(l->node);
		if (!app)
			l->no_memory = true;
		else
			load_app(l, app, ret);
		json_decref(app);
	}
	if (l->problems > PROBLEMS_MAX && l->also)
		l->also("there is more; mend these first", l->arg);
}

/* Each once: which of two would hold? */
static int take_tenant(struct loader *l, const char *name, json_t *record, json_t *ret)
{
	if (niwa_map_get_str(l->tenants, name)) {
		app_problem_at(l, "name", "found '%s' again; allowed: each tenant once", name);
		return 0;
	}
	if (!record || json_array_append(ret, record) < 0)
		return -ENOMEM;
	/* the name is borrowed from the record, which ret holds now */
	return niwa_map_put_str(l->tenants, json_string_value(json_object_get(record, "name")), record);
}

static void load_tenant(struct loader *l, const json_t *tenant, json_t *ret)
{
	NIWA_AUTO(niwa_tenant_spec_free) struct niwa_tenant_spec *spec = NULL;
	struct niwa_reader r = {.report = app_problem, .arg = l};
	int result = niwa_tenant_read(&r, tenant, &spec);
	json_t *record = result == 0 ? niwa_tenant_to_json(spec) : NULL;

	if (result == 0)
		result = take_tenant(l, spec->name, record, ret);
	if (result == -ENOMEM)
		l->no_memory = true;
	json_decref(record);
}

static void load_tenants(struct loader *l, const struct niwa_yaml_node *tenants, json_t *ret)
{
	const struct niwa_yaml_node *defaults = l->defaults;

	l->list = "tenants";
	l->defaults = NULL; /* they are of apps */
	if (tenants->type != NIWA_YAML_LIST || tenants->count > TENANTS_MAX)
		problem_at(l, tenants->line,
			   "tenants: found %s; allowed: a list of at most %d, each begins with '- name:'",
			   tenants->type == NIWA_YAML_LIST ? "more" : "no list", TENANTS_MAX);
	else
		for (uint32_t i = 0; i < tenants->count && !l->no_memory && l->problems <= PROBLEMS_MAX; i++) {
			json_t *tenant = NULL;

			l->index = i;
			l->node = tenants->items[i];
			if (l->node->nodes > TENANT_NODES_MAX)
				app_problem("", "found too many values", l);
			else if (!(tenant = niwa_yaml_to_json(l->node)))
				l->no_memory = true;
			else
				load_tenant(l, tenant, ret);
			json_decref(tenant);
		}
	l->defaults = defaults;
	l->list = "apps";
}

static void load_defaults(struct loader *l, const struct niwa_yaml_node *defaults)
{
	if (niwa_yaml_is_empty(defaults))
		return;
	if (defaults->type != NIWA_YAML_MAP) {
		problem_at(l, defaults->line, "defaults: found what is not a map; allowed: keys of an app");
		return;
	}
	if (defaults->nodes > APP_NODES_MAX) {
		problem_at(l, defaults->line, "defaults: found %u values; allowed: at most %d bytes of declaration",
			   defaults->nodes, NIWA_APP_JSON_MAX);
		return;
	}
	for (uint32_t i = 0; i < defaults->count; i++)
		if (strcmp(defaults->pairs[i].key->text, "name") == 0)
			problem_at(l, defaults->pairs[i].key->line,
				   "defaults.name: found a name for all; allowed: every key of an app but name");
	l->defaults = defaults;
	l->defaults_json = niwa_yaml_to_json(defaults);
	if (!l->defaults_json)
		l->no_memory = true;
}

static void load_top(struct loader *l, const struct niwa_yaml_node *root, const struct niwa_file_records *ret)
{
	static const char *const keys[] = {"apps", "defaults", "tenants"};
	const struct niwa_yaml_node *apps = niwa_yaml_get(root, "apps"), *defaults = niwa_yaml_get(root, "defaults");
	const struct niwa_yaml_node *tenants = niwa_yaml_get(root, "tenants");
	char quoted[64], hint[64];

	if (niwa_yaml_get(root, "services") && !apps) {
		problem_at(l, root->line, "this is a Compose file; niwa import makes an app file from it");
		return;
	}
	for (uint32_t i = 0; i < root->count; i++) {
		const struct niwa_yaml_node *key = root->pairs[i].key;

		/* "x-..." holds anchors, as in Compose files. */
		if (root->pairs[i].value == apps || root->pairs[i].value == defaults ||
		    root->pairs[i].value == tenants || strncmp(key->text, "x-", 2) == 0)
			continue;
		problem_at(l, key->line, "%s: unknown key; allowed: apps, defaults, tenants, and x-... for anchors%s",
			   niwa_quote(key->text, key->count, quoted, sizeof(quoted)),
			   niwa_did_you_mean(key->text, keys, NIWA_ARRAY_LEN(keys), hint, sizeof(hint)));
	}
	if (defaults)
		load_defaults(l, defaults);
	if (tenants)
		load_tenants(l, tenants, ret->tenants);
	if (!apps && !tenants)
		problem_at(l, root->line, "apps: missing; allowed: a list of apps");
	else if (!apps)
		return;
	else if (apps->type != NIWA_YAML_LIST || apps->count == 0)
		problem_at(l, apps->line,
			   "apps: found no apps; allowed: a list of at least one, each begins with '- name:'");
	else
		load_apps(l, apps, ret->apps);
}

static void loader_free(struct loader **lp)
{
	struct loader *l = *lp;

	if (!l)
		return;
	niwa_claims_free(&l->claims);
	niwa_map_free(&l->tenants);
	json_decref(l->defaults_json);
	json_decref(l->env_files);
	json_decref(l->said);
	free(l);
	*lp = NULL;
}

static struct loader *loader_new(void)
{
	NIWA_AUTO(loader_free) struct loader *l = niwa_zalloc(sizeof(*l));

	if (!l)
		return NULL;
	l->claims = niwa_claims_new();
	l->tenants = niwa_map_new(NIWA_MAP_STRING);
	l->env_files = json_object();
	l->said = json_object();
	if (!l->claims || !l->tenants || !l->env_files || !l->said)
		return NULL;
	return NIWA_TAKE(l);
}

static int load(const struct niwa_file_text *file, struct loader *l, struct niwa_file_records *ret)
{
	NIWA_AUTO(niwa_yaml_free) struct niwa_yaml *yaml = NULL;
	const struct niwa_yaml_node *root;
	int r = niwa_yaml_parse(file->name, file->text, file->len, &yaml, l->err);

	if (r < 0)
		return r;
	root = niwa_yaml_root(yaml);
	if (root && root->type == NIWA_YAML_MAP)
		load_top(l, root, ret);
	else
		problem_at(l, root ? root->line : 1, "found no apps; allowed: apps: and a list of them");
	if (l->no_memory)
		return niwa_fail(l->err, NIWA_TEMPORARY, ENOMEM, "read %s", file->name);
	return l->problems ? -EINVAL : 0;
}

static int load_records(const struct niwa_file_text *file, void (*also)(const char *msg, void *arg), void *arg,
			struct niwa_file_records *ret, struct niwa_error *err)
{
	NIWA_AUTO(loader_free) struct loader *l = loader_new();
	struct niwa_file_records records = {json_array(), json_array()};
	int r;

	if (!l || !records.apps || !records.tenants) {
		r = niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read %s", file->name);
	} else {
		l->name = file->name;
		l->path = file->path;
		l->list = "apps";
		l->also = also;
		l->arg = arg;
		l->err = err;
		r = load(file, l, &records);
	}
	if (r == 0) {
		*ret = records;
		return 0;
	}
	json_decref(records.apps);
	json_decref(records.tenants);
	return r;
}

int niwa_file_load_text(const struct niwa_file_text *file, void (*also)(const char *msg, void *arg), void *arg,
			json_t **ret, struct niwa_error *err)
{
	struct niwa_file_records records;
	int r = load_records(file, also, arg, &records, err);

	if (r < 0)
		return r;
	json_decref(records.tenants);
	*ret = records.apps;
	return 0;
}

int niwa_file_load_records(const char *path, void (*also)(const char *msg, void *arg), void *arg,
			   struct niwa_file_records *ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	struct niwa_file_text file = {.path = path, .name = strcmp(path, "-") == 0 ? "(standard input)" : path};
	int r = niwa_yaml_read_file(path, NIWA_FILE_MAX, &text, &file.len, err);

	if (r < 0)
		return r;
	file.text = text;
	return load_records(&file, also, arg, ret, err);
}

int niwa_file_load(const char *path, void (*also)(const char *msg, void *arg), void *arg, json_t **ret,
		   struct niwa_error *err)
{
	struct niwa_file_records records;
	int r = niwa_file_load_records(path, also, arg, &records, err);

	if (r < 0)
		return r;
	json_decref(records.tenants);
	*ret = records.apps;
	return 0;
}
