/* SPDX-License-Identifier: MIT
 *
 * One table of Compose keys says what carries each over, or why it is not.
 */
#include "spec/compose_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "spec/env_file_private.h"
#include "spec/schema_private.h"

/* "nginx:1.25" → "nginx-1.25": the name under which the image is to be imported. */
static void carry_image(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *image = json_string_value(value), *slash = image ? strchr(image, '/') : NULL;
	char name[129];
	size_t used = 0;

	if (!image || !*image) {
		niwa_compose_note(c, key, "left out: not the name of an image");
		return;
	}
	/* A registry has a dot or a port in its name. */
	if (slash && memchr(image, '.', (size_t)(slash - image)))
		image = slash + 1;
	if (strncmp(image, "library/", 8) == 0)
		image += 8;
	for (; *image && used < sizeof(name) - 1; image++)
		name[used++] = strchr("/:@", *image) ? '-' : *image;
	name[used] = '\0';
	niwa_compose_set(c, c->app, "image", json_string(name));
	niwa_compose_note(c, key, "import it first: niwa image import %s docker://%s", name, json_string_value(value));
}

static json_t *words_of(struct niwa_compose *c, const char *key, const json_t *value)
{
	json_t *words;

	if (json_is_array(value))
		return json_incref((json_t *)value);
	if (!json_is_string(value)) {
		if (!json_is_null(value))
			niwa_compose_note(c, key, "left out: not a command");
		return NULL;
	}
	words = niwa_compose_split(json_string_value(value));
	c->no_memory |= !words;
	return words;
}

/* entrypoint and command together, whichever comes first in the file. */
static void carry_command(struct niwa_compose *c, const char *key, const json_t *value)
{
	const json_t *entrypoint = json_object_get(c->json, "entrypoint");
	json_t *all, *words;

	(void)value;
	if (json_object_get(c->app, "command"))
		return;
	all = json_array();
	words = entrypoint ? words_of(c, "entrypoint", entrypoint) : NULL;
	if (words && json_array_extend(all, words) < 0)
		c->no_memory = true;
	json_decref(words);
	words = json_object_get(c->json, "command") ? words_of(c, "command", json_object_get(c->json, "command"))
						    : NULL;
	if (words && json_array_extend(all, words) < 0)
		c->no_memory = true;
	json_decref(words);
	if (json_array_size(all) > 0 && !entrypoint)
		niwa_compose_note(c, key,
				  "it is the whole command here: put the image's entrypoint in front, if it has one");
	if (json_array_size(all) > 0)
		niwa_compose_set(c, c->app, "command", json_incref(all));
	json_decref(all);
}

/* What a variable says of another service: its name is longer here. */
static void note_names(struct niwa_compose *c, const char *path, const char *text)
{
	for (uint32_t i = 0; i < c->services->count; i++) {
		const char *name = c->services->pairs[i].key->text;
		const char *at = strstr(text, name), *end;

		if (!*name || !at || strcmp(name, c->service) == 0)
			continue;
		end = at + strlen(name);
		if ((at != text && !strchr("/@,", at[-1])) || !strchr(":/,", *end))
			continue;
		niwa_compose_note(c, path, "names service '%.64s'; its address is %.64s.%s.niwa.internal here", name,
				  name, c->tenant);
	}
}

static void add_env(struct niwa_compose *c, const char *path, const char *name, const char *text)
{
	if (!text) {
		niwa_compose_note(c, path, "left out: its value comes from the shell");
		return;
	}
	note_names(c, path, text);
	niwa_compose_set(c, niwa_compose_group(c, "env"), name, json_string(text));
}

static void carry_environment(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *name;
	json_t *item;
	size_t i;

	json_object_foreach((json_t *)value, name, item)
	{
		char path[160];

		(void)snprintf(path, sizeof(path), "%s.%.120s", key, name);
		if (niwa_is_env_key(name, strlen(name)))
			add_env(c, path, name, json_string_value(item));
		else
			niwa_compose_note(c, path, "left out: not a name for a variable");
	}
	json_array_foreach(value, i, item)
	{
		const char *text = json_string_value(item) ?: "", *equals = strchr(text, '=');
		size_t len = equals ? (size_t)(equals - text) : strlen(text);
		char path[48], variable[256];

		(void)snprintf(path, sizeof(path), "%s[%zu]", key, i);
		(void)snprintf(variable, sizeof(variable), "%.*s", (int)(len < 255 ? len : 255), text);
		if (niwa_is_env_key(variable, strlen(variable)))
			add_env(c, path, variable, equals ? equals + 1 : NULL);
		else
			niwa_compose_note(c, path, "left out: not a name for a variable");
	}
}

static void add_env_file(struct niwa_compose *c, const char *path, const json_t *item)
{
	const char *file = json_string_value(json_is_object(item) ? json_object_get(item, "path") : item);
	NIWA_AUTO(niwa_free_ptr) char *full = NULL;
	struct niwa_error err = {0};
	json_t *env = NULL, *files;

	if (!file) {
		niwa_compose_note(c, path, "left out: not the path of a file");
		return;
	}
	full = *file == '/' ? niwa_strdup(file)
			    : niwa_asprintf("%s/%s", c->folder, strncmp(file, "./", 2) == 0 ? file + 2 : file);
	if (!full) {
		c->no_memory = true;
		return;
	}
	if (niwa_env_file_read(full, &env, &err) < 0) {
		c->no_memory |= err.code == ENOMEM;
		niwa_compose_note(c, path, "left out: %s", err.msg);
		return;
	}
	json_decref(env);
	files = json_object_get(c->app, "env_files");
	if (!files) {
		files = json_array();
		niwa_compose_set(c, c->app, "env_files", files);
	}
	niwa_compose_append(c, files, json_string(full));
}

static void carry_env_file(struct niwa_compose *c, const char *key, const json_t *value)
{
	json_t *item;
	size_t i;

	if (!json_is_array(value))
		add_env_file(c, key, value);
	json_array_foreach(value, i, item)
	{
		char path[48];

		(void)snprintf(path, sizeof(path), "%s[%zu]", key, i);
		add_env_file(c, path, item);
	}
}

static void carry_as(struct niwa_compose *c, const char *key, const json_t *value, const char *to)
{
	if (json_is_string(value))
		niwa_compose_set(c, c->app, to, json_incref((json_t *)value));
	else
		niwa_compose_note(c, key, "left out: not a text");
}

static void carry_user(struct niwa_compose *c, const char *key, const json_t *value)
{
	carry_as(c, key, value, "user");
}

static void carry_working_dir(struct niwa_compose *c, const char *key, const json_t *value)
{
	carry_as(c, key, value, "workdir");
}

static void carry_init(struct niwa_compose *c, const char *key, const json_t *value)
{
	carry_as(c, key, value, "init");
}

static void carry_in(struct niwa_compose *c, const char *key, const json_t *value, const char *group, const char *to)
{
	if (json_is_string(value))
		niwa_compose_set(c, niwa_compose_group(c, group), to, json_incref((json_t *)value));
	else
		niwa_compose_note(c, key, "left out: not a text");
}

static void carry_stop_signal(struct niwa_compose *c, const char *key, const json_t *value)
{
	carry_in(c, key, value, "stop", "signal");
}

static void carry_stop_grace(struct niwa_compose *c, const char *key, const json_t *value)
{
	carry_in(c, key, value, "stop", "grace");
}

static void carry_restart(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *policy = json_string_value(value) ?: "";

	if (strcmp(policy, "always") == 0 || strcmp(policy, "unless-stopped") == 0)
		niwa_compose_set(c, niwa_compose_group(c, "restart"), "policy", json_string("always"));
	else if (strncmp(policy, "on-failure", 10) == 0)
		niwa_compose_set(c, niwa_compose_group(c, "restart"), "policy", json_string("on-failure"));
	else if (strcmp(policy, "no") != 0)
		niwa_compose_note(c, key, "left out: not a policy that niwa knows");
}

/* "512m", "1gb", "64k", "1024b" → "512M" ... */
static void carry_memory(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *text = json_string_value(value) ?: "";
	size_t digits = strspn(text, "0123456789.");
	char unit = text[digits] >= 'a' && text[digits] <= 'z' ? (char)(text[digits] - 'a' + 'A') : text[digits];
	char size[64];

	if (digits == 0 || digits > 32 || (unit && !strchr("BKMGT", unit)) ||
	    (unit && text[digits + 1] && strcasecmp(text + digits + 1, "b") != 0)) {
		niwa_compose_note(c, key, "left out: not a size that niwa knows");
		return;
	}
	if (unit == 'B')
		unit = '\0';
	(void)snprintf(size, sizeof(size), "%.*s%c", (int)digits, text, unit);
	niwa_compose_set(c, niwa_compose_group(c, "limits"), "memory", json_string(size));
}

static void carry_cpus(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *text = json_string_value(value) ?: "";
	uint32_t centi;
	char percent[64];

	/* The same digits as a percentage, then a hundred times that. */
	(void)snprintf(percent, sizeof(percent), "%.60s%%", text);
	if (niwa_parse_percent(percent, &centi) < 0 || centi == 0) {
		niwa_compose_note(c, key, "left out: not a number of CPUs");
		return;
	}
	(void)snprintf(percent, sizeof(percent), "%u%%", centi);
	niwa_compose_set(c, niwa_compose_group(c, "limits"), "cpu", json_string(percent));
}

static void carry_pids(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *text = json_string_value(value) ?: "";

	if (strcmp(text, "-1") == 0 || strcmp(text, "0") == 0)
		niwa_compose_set(c, niwa_compose_group(c, "limits"), "processes", json_string("none"));
	else
		carry_in(c, key, value, "limits", "processes");
}

static void carry_ulimits(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *name;
	json_t *item;

	json_object_foreach((json_t *)value, name, item)
	{
		char path[96];

		(void)snprintf(path, sizeof(path), "%s.%.64s", key, name);
		if (strcmp(name, "nofile") != 0)
			niwa_compose_note(c, path, "left out: niwa limits only nofile, as limits.open_files");
		else
			carry_in(c, path, json_is_object(item) ? json_object_get(item, "soft") : item, "limits",
				 "open_files");
	}
}

static void carry_deploy_limits(struct niwa_compose *c, const char *path, const json_t *limits)
{
	const char *name;
	json_t *item;

	json_object_foreach((json_t *)limits, name, item)
	{
		char at[192];

		(void)snprintf(at, sizeof(at), "%s.%.64s", path, name);
		if (strcmp(name, "memory") == 0)
			carry_memory(c, at, item);
		else if (strcmp(name, "cpus") == 0)
			carry_cpus(c, at, item);
		else if (strcmp(name, "pids") == 0)
			carry_pids(c, at, item);
		else
			niwa_compose_note(c, at, "left out: niwa has no such limit");
	}
}

static void carry_deploy(struct niwa_compose *c, const char *key, const json_t *value)
{
	const char *name, *inner;
	json_t *item, *part;

	json_object_foreach((json_t *)value, name, item)
	{
		char path[96];

		(void)snprintf(path, sizeof(path), "%s.%.64s", key, name);
		if (strcmp(name, "resources") != 0) {
			niwa_compose_note(c, path, "left out: niwa decides by itself how many run, where and when");
			continue;
		}
		json_object_foreach(item, inner, part)
		{
			(void)snprintf(path, sizeof(path), "%s.resources.%.64s", key, inner);
			if (strcmp(inner, "limits") == 0)
				carry_deploy_limits(c, path, part);
			else
				niwa_compose_note(c, path, "left out: niwa sets limits, nothing is reserved");
		}
	}
}

/* The URL in a check, as "curl -f http://localhost:8080/health". */
static void carry_healthcheck(struct niwa_compose *c, const char *key, const json_t *value)
{
	const json_t *test = json_object_get(value, "test");
	const char *url = json_string_value(test), *path;
	json_t *ready, *item;
	size_t i;

	json_array_foreach(test, i, item) if (json_is_string(item) && strstr(json_string_value(item), "http://")) url =
		json_string_value(item);
	url = url ? strstr(url, "http://") : NULL;
	if (!url) {
		niwa_compose_note(c, key, "left out: niwa waits for the first port to be listened on; see ready");
		return;
	}
	url += strlen("http://");
	path = url + strcspn(url, ":/ \"'|;)");
	ready = niwa_compose_group(c, "ready");
	if (*path == ':') {
		size_t digits = strspn(path + 1, "0123456789");
		char port[16];

		(void)snprintf(port, sizeof(port), "%.*s", (int)(digits < 15 ? digits : 15), path + 1);
		niwa_compose_set(c, ready, "port", json_string(port));
		path += 1 + digits;
	} else {
		niwa_compose_set(c, ready, "port", json_string("80"));
	}
	if (*path == '/')
		niwa_compose_set(c, ready, "http", json_stringn(path, strcspn(path, " \"'|;)")));
	else
		niwa_compose_set(c, ready, "http", json_string("/"));
	niwa_compose_note(c, key, "only its path is used, to find out that the app is ready");
}

static const struct {
	const char *key;
	void (*carry)(struct niwa_compose *c, const char *key, const json_t *value);
	const char *why; /* it is not carried over */
} keys[] = {
	{"image", carry_image, NULL},
	{"command", carry_command, NULL},
	{"entrypoint", carry_command, NULL},
	{"environment", carry_environment, NULL},
	{"env_file", carry_env_file, NULL},
	{"ports", niwa_compose_ports, NULL},
	{"expose", niwa_compose_expose, NULL},
	{"volumes", niwa_compose_volumes, NULL},
	{"user", carry_user, NULL},
	{"working_dir", carry_working_dir, NULL},
	{"init", carry_init, NULL},
	{"restart", carry_restart, NULL},
	{"stop_signal", carry_stop_signal, NULL},
	{"stop_grace_period", carry_stop_grace, NULL},
	{"mem_limit", carry_memory, NULL},
	{"cpus", carry_cpus, NULL},
	{"pids_limit", carry_pids, NULL},
	{"ulimits", carry_ulimits, NULL},
	{"deploy", carry_deploy, NULL},
	{"healthcheck", carry_healthcheck, NULL},
	{"build", NULL, "niwa builds no images: build it elsewhere and import it"},
	{"depends_on", NULL, "not needed: a connection wakes what it goes to"},
	{"links", NULL, "not needed: apps of one tenant reach each other by name"},
	{"networks", NULL, "apps of one tenant reach each other; see egress and ports[].allow"},
	{"network_mode", NULL, "every app has a network of its own"},
	{"container_name", NULL, "the app's name takes its place"},
	{"hostname", NULL, "the app's name takes its place"},
	{"domainname", NULL, "the app's name takes its place"},
	{"labels", NULL,
	 "they are for other programs; what niwa ls and niwa rm find apps by is labels, see niwa.yaml(5)"},
	{"annotations", NULL, "niwa has no such thing"},
	{"logging", NULL, "see niwa logs"},
	{"privileged", NULL, "no app of niwa is privileged"},
	{"cap_add", NULL, "the set of capabilities is fixed"},
	{"cap_drop", NULL, "the set of capabilities is fixed, and short"},
	{"security_opt", NULL, "no_new_privs and the seccomp list are always on"},
	{"devices", NULL, "apps get no devices of the host"},
	{"tmpfs", NULL, "the writable layer is gone with the instance anyway"},
	{"secrets", NULL, "mount the file as a volume, read_only: true"},
	{"configs", NULL, "mount the file as a volume, read_only: true"},
	{"profiles", NULL, "every app of the file is declared"},
	{"extends", NULL, "write the keys of the other service here"},
	{"scale", NULL, "one instance runs; see rotate"},
	{"mem_reservation", NULL, "niwa sets limits, nothing is reserved"},
	{"dns", NULL, "instances ask niwa"},
	{"extra_hosts", NULL, "instances ask niwa for names"},
};

void niwa_compose_carry(struct niwa_compose *c)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)c->json, name, value)
	{
		size_t i = 0;

		if (strncmp(name, "x-", 2) == 0)
			continue;
		while (i < NIWA_ARRAY_LEN(keys) && strcmp(keys[i].key, name) != 0)
			i++;
		if (i == NIWA_ARRAY_LEN(keys))
			niwa_compose_note(c, name, "left out: niwa has no such key");
		else if (keys[i].carry)
			keys[i].carry(c, name, value);
		else
			niwa_compose_note(c, name, "left out: %s", keys[i].why);
	}
	niwa_compose_guess_ports(c, json_string_value(json_object_get(c->json, "image")));
}
