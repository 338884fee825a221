/* SPDX-License-Identifier: MIT
 *
 * niwa import: services one by one, each checked against the schema before it is written: what would be refused is
 * left out and listed.
 */
#include "spec/compose_private.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/claims_private.h"
#include "spec/env_file_private.h"
#include "spec/file.h"
#include "spec/schema_private.h"

#define COMPOSE_MAX   (4 * 1024 * 1024) /* bytes of a Compose file */
#define SERVICE_NODES 20000

void niwa_compose_note(struct niwa_compose *c, const char *path, const char *fmt, ...)
{
	uint32_t line = 1;
	size_t begin = c->left_out.len;
	char text[400];
	bool found;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c->node)
		line = niwa_yaml_line(c->node, path, &found);
	niwa_text_addf(&c->left_out, "%s:%u: %s%s%s: %s", c->name, line, c->service ? c->service : "",
		       c->service && *path ? "." : "", path, text);
	if (c->left_out.data)
		niwa_clean_line(c->left_out.data + begin);
	niwa_text_add(&c->left_out, "\n");
}

void niwa_compose_set(struct niwa_compose *c, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new_nocheck(object, key, value) < 0)
		c->no_memory = true;
}

void niwa_compose_append(struct niwa_compose *c, json_t *list, json_t *value)
{
	if (json_array_append_new(list, value) < 0)
		c->no_memory = true;
}

json_t *niwa_compose_group(struct niwa_compose *c, const char *key)
{
	if (!json_object_get(c->app, key))
		niwa_compose_set(c, c->app, key, json_object());
	return json_object_get(c->app, key);
}

/* "my_App" of tenant shop → "my-app.shop" */
static void set_name(struct niwa_compose *c)
{
	struct niwa_text name = {0};

	for (const char *s = c->service; *s; s++)
		niwa_text_addf(&name, "%c", *s == '_' ? '-' : *s >= 'A' && *s <= 'Z' ? *s - 'A' + 'a' : *s);
	niwa_text_addf(&name, ".%s", c->tenant);
	niwa_compose_set(c, c->app, "name", name.failed ? NULL : json_string(name.data));
	niwa_text_fini(&name);
}

struct verdict {
	char path[NIWA_KEY_PATH_MAX];
	char msg[300];
	bool any;
};

static void keep_first(const char *path, const char *msg, void *arg)
{
	struct verdict *v = arg;

	if (v->any)
		return;
	v->any = true;
	(void)snprintf(v->path, sizeof(v->path), "%s", path);
	(void)snprintf(v->msg, sizeof(v->msg), "%s", msg);
}

/* Leaves out what the schema refuses, one key at a time. True when an app remains. */
static bool make_valid(struct niwa_compose *c)
{
	json_t *files = json_incref(json_object_get(c->app, "env_files"));
	bool valid = false;

	(void)json_object_del(c->app, "env_files"); /* read when the app file is */
	for (size_t tries = 0; tries <= niwa_schema_app.count && !c->no_memory; tries++) {
		NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
		struct verdict v = {0};
		struct niwa_reader r = {.report = keep_first, .arg = &v};
		int result = niwa_app_read(&r, c->app, &spec);

		valid = result == 0;
		c->no_memory |= result == -ENOMEM;
		if (result == 0 || result == -ENOMEM)
			break;
		niwa_compose_note(c, "", "left out: %s: %s", v.path, v.msg);
		v.path[strcspn(v.path, ".[")] = '\0';
		if (json_object_del(c->app, v.path) < 0)
			break; /* a missing key: nothing left to take away */
	}
	if (files)
		niwa_compose_set(c, c->app, "env_files", files);
	return valid;
}

static void import_service(struct niwa_compose *c, const struct niwa_yaml_pair *pair, json_t *apps)
{
	json_t *raw, *json;

	c->service = pair->key->text;
	c->node = pair->value;
	if (c->node->type != NIWA_YAML_MAP || c->node->nodes > SERVICE_NODES) {
		niwa_compose_note(c, "", "left out: not a service, or too large a one");
		return;
	}
	raw = niwa_yaml_to_json(c->node);
	json = raw ? niwa_compose_interpolate(c, raw) : NULL;
	c->json = json;
	c->app = json_object();
	if (!json || !c->app) {
		c->no_memory = true;
	} else {
		set_name(c);
		niwa_compose_carry(c);
		if (!json_object_get(c->app, "image"))
			niwa_compose_note(c, "", "the app is left out: without an image there is nothing to run");
		else if (!json_object_get(c->app, "ports"))
			niwa_compose_note(c, "", "the app is left out: without a port no connection could wake it");
		else if (!make_valid(c))
			niwa_compose_note(c, "", "the app is left out");
		else
			niwa_compose_append(c, apps, json_incref(c->app));
	}
	json_decref(c->app);
	json_decref(json);
	json_decref(raw);
}

/* A second app of a name. */
static void mend_names(struct niwa_compose *c, struct niwa_claims *claims, json_t *apps)
{
	for (size_t i = 0; i < json_array_size(apps); i++) {
		const char *name = json_string_value(json_object_get(json_array_get(apps, i), "name"));
		uint32_t before;
		int r = niwa_claims_name(claims, name, i, 1, &before);

		c->no_memory |= r == -ENOMEM;
		if (r != -EEXIST)
			continue;
		niwa_compose_note(c, "services", "two are named '%.200s'; the second is left out", name);
		(void)json_array_remove(apps, i--);
	}
}

/* A port of the host that is published twice. */
static void mend_ports(struct niwa_compose *c, struct niwa_claims *claims, const json_t *app)
{
	static const struct niwa_key key = {.kind = &niwa_kind_publish};
	json_t *port;
	size_t i;

	json_array_foreach(json_object_get(app, "ports"), i, port)
	{
		const char *text = json_string_value(json_object_get(port, "publish"));
		struct niwa_publish publish;
		uint32_t before;

		if (!text || key.kind->parse(&key, text, &publish) < 0 ||
		    niwa_claims_port(claims, &publish, 1, &before) != -EEXIST)
			continue;
		niwa_compose_note(c, "services", "%s is published twice; left out at %.200s", text,
				  json_string_value(json_object_get(app, "name")));
		(void)json_object_del(port, "publish");
	}
}

/* Folders that several apps write to. writers: folder → the first volume. */
static void mend_volumes(struct niwa_compose *c, json_t *writers, const json_t *app)
{
	json_t *volume;
	size_t i;

	json_array_foreach(json_object_get(app, "volumes"), i, volume)
	{
		const char *from = json_string_value(json_object_get(volume, "from"));
		json_t *other = json_object_get(writers, from);

		if (json_object_get(volume, "read_only"))
			continue;
		if (!other) {
			niwa_compose_set(c, writers, from, json_incref(volume));
			continue;
		}
		niwa_compose_set(c, volume, "shared", json_true());
		niwa_compose_set(c, other, "shared", json_true());
		niwa_compose_note(c, "services",
				  "%.200s is written to by several: shared: true; never do so with a database", from);
	}
}

/* What is right in each app but not in all together. */
static void mend_together(struct niwa_compose *c, json_t *apps)
{
	NIWA_AUTO(niwa_claims_free) struct niwa_claims *claims = niwa_claims_new();
	json_t *writers = json_object(), *app;
	size_t i;

	c->service = NULL;
	if (!claims || !writers) {
		c->no_memory = true;
	} else {
		mend_names(c, claims, apps);
		json_array_foreach(apps, i, app)
		{
			mend_ports(c, claims, app);
			mend_volumes(c, writers, app);
		}
	}
	json_decref(writers);
}

static void note_top(struct niwa_compose *c, const struct niwa_yaml_node *root)
{
	for (uint32_t i = 0; i < root->count; i++) {
		const char *key = root->pairs[i].key->text;

		if (strcmp(key, "networks") == 0 || strcmp(key, "secrets") == 0 || strcmp(key, "configs") == 0 ||
		    strcmp(key, "include") == 0)
			niwa_compose_note(c, key, "left out: niwa has no such thing");
	}
}

/* The last note says why the last service was left out. */
static int no_apps(struct niwa_compose *c, struct niwa_error *err)
{
	char *last;

	if (c->left_out.len > 0)
		c->left_out.data[--c->left_out.len] = '\0';
	last = c->left_out.data ? strrchr(c->left_out.data, '\n') : NULL;
	last = last ? last + 1 : c->left_out.data;
	return niwa_fail(err, NIWA_CALLER, 0, "%s: no service can become an app%s%s", c->name,
			 last && *last ? ", the last: " : "", last ?: "");
}

static int import_root(struct niwa_compose *c, const struct niwa_yaml_node *root, char **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text out = {0};
	struct niwa_file_text file = {.name = "the imported app file", .path = "/"};
	json_t *apps = json_array(), *loaded = NULL;
	int r = -ENOMEM;

	c->node = root;
	note_top(c, root);
	for (uint32_t i = 0; apps && i < c->services->count && !c->no_memory; i++)
		import_service(c, &c->services->pairs[i], apps);
	c->node = root;
	if (apps)
		mend_together(c, apps);
	if (!apps || c->no_memory || c->left_out.failed) {
		json_decref(apps);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "import %s", c->name);
	}
	if (json_array_size(apps) == 0) {
		r = no_apps(c, err);
	} else {
		niwa_compose_write(apps, c->name, c->tenant, &out);
		file.text = out.data;
		file.len = out.len;
		r = out.failed ? niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "import %s", c->name)
			       : niwa_file_load_text(&file, NULL, NULL, &loaded, err);
	}
	if (r == 0)
		*ret = NIWA_TAKE(out.data);
	json_decref(loaded);
	json_decref(apps);
	return r;
}

/* The tenant: given, or the project's name, or the folder's. */
static void choose_tenant(const struct niwa_yaml_node *root, const char *folder, const char *given, char *buf,
			  size_t size)
{
	const struct niwa_yaml_node *name = niwa_yaml_get(root, "name");
	const char *from = given;
	size_t used = 0;

	if (!from && name && name->type == NIWA_YAML_TEXT)
		from = name->text;
	if (!from)
		from = strrchr(folder, '/') + 1;
	for (; *from && used < size - 1 && used < 63; from++) {
		char l = *from >= 'A' && *from <= 'Z' ? (char)(*from - 'A' + 'a') : *from;

		if ((l >= 'a' && l <= 'z') || (l >= '0' && l <= '9') || (l == '.' && given))
			buf[used++] = l;
		else if (used > 0 && buf[used - 1] != '-')
			buf[used++] = '-';
	}
	while (used > 0 && buf[used - 1] == '-')
		used--;
	buf[used] = '\0';
	if (used == 0)
		(void)snprintf(buf, size, "imported");
}

/* The folder of the Compose file, absolute. */
static int folder_of(const char *path, char *buf, struct niwa_error *err)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	if (strcmp(path, "-") == 0 || !slash)
		(void)snprintf(folder, sizeof(folder), ".");
	else
		(void)snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (!realpath(folder, buf))
		return niwa_fail(err, NIWA_CALLER, errno, "find folder '%s'", folder);
	return 0;
}

/* .env beside the file; that it is not there is nothing special. */
static json_t *read_variables(const char *folder)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/.env", folder);
	json_t *env = NULL;
	int r;

	if (!path)
		return NULL;
	r = niwa_env_file_read(path, &env, NULL);
	return r == 0 ? env : r == -ENOMEM ? NULL : json_object();
}

int niwa_compose_import_text(const struct niwa_compose_file *file, char **ret_yaml, char **ret_left_out,
			     struct niwa_error *err)
{
	NIWA_AUTO(niwa_yaml_free) struct niwa_yaml *yaml = NULL;
	struct niwa_compose c = {.name = file->name, .folder = file->folder};
	const struct niwa_yaml_node *root;
	char tenant[64];
	json_t *variables;
	int r = niwa_yaml_parse(file->name, file->text, file->len, &yaml, err);

	if (r < 0)
		return r;
	root = niwa_yaml_root(yaml);
	c.services = niwa_yaml_get(root, "services");
	if (!c.services || c.services->type != NIWA_YAML_MAP)
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: services: missing; allowed: a Compose file with a map of services", c.name);
	choose_tenant(root, file->folder, file->tenant, tenant, sizeof(tenant));
	variables = read_variables(file->folder);
	if (!variables)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "import %s", c.name);
	c.tenant = tenant;
	c.variables = variables;
	niwa_text_add(&c.left_out, "");
	r = import_root(&c, root, ret_yaml, err);
	json_decref(variables);
	if (r == 0)
		*ret_left_out = NIWA_TAKE(c.left_out.data);
	niwa_text_fini(&c.left_out);
	return r;
}

int niwa_compose_import(const char *path, const char *tenant, char **ret_yaml, char **ret_left_out,
			struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	char folder[PATH_MAX];
	struct niwa_compose_file file = {
		.name = strcmp(path, "-") == 0 ? "(standard input)" : path,
		.folder = folder,
		.tenant = tenant,
	};
	int r = niwa_yaml_read_file(path, COMPOSE_MAX, &text, &file.len, err);

	if (r == 0)
		r = folder_of(path, folder, err);
	if (r < 0)
		return r;
	file.text = text;
	return niwa_compose_import_text(&file, ret_yaml, ret_left_out, err);
}
