/* SPDX-License-Identifier: MIT
 *
 * Volumes of a Compose service. Named volumes become folders of the host.
 */
#include "spec/compose_private.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "spec/app.h"
#include "spec/schema_private.h"

/* "./data" below the Compose file's folder; "." and ".." at the front are resolved. To be freed, or NULL. */
static char *host_path(struct niwa_compose *c, const char *source)
{
	struct niwa_text path = {0};

	if (*source == '/')
		return niwa_strdup(source);
	niwa_text_add(&path, c->folder);
	while (*source && !path.failed) {
		size_t len = strcspn(source, "/");

		if (len == 2 && strncmp(source, "..", 2) == 0) {
			while (path.len > 0 && path.data[path.len - 1] != '/')
				path.len--;
			path.len -= path.len > 0;
			path.data[path.len] = '\0';
		} else if (len > 0 && !(len == 1 && *source == '.')) {
			niwa_text_add(&path, "/");
			niwa_text_add_bytes(&path, source, len);
		}
		source += len + (source[len] == '/');
	}
	if (path.failed)
		niwa_text_fini(&path);
	return path.data;
}

static bool is_path(const char *source)
{
	return *source == '/' || *source == '.';
}

static void add_volume(struct niwa_compose *c, const char *path, const char *source, const char *target, bool read_only)
{
	NIWA_AUTO(niwa_free_ptr) char *from = NULL;
	json_t *volumes = json_object_get(c->app, "volumes"), *volume;

	from = is_path(source) ? host_path(c, source) : niwa_asprintf("%s/%s", NIWA_VOLUMES_DIR, source);
	if (!from) {
		c->no_memory = true;
		return;
	}
	if (strstr(source, "docker.sock")) {
		niwa_compose_note(c, path, "left out: there is no Docker daemon behind niwa");
		return;
	}
	if (!niwa_is_volume_source(from) || !niwa_is_volume_target(target)) {
		niwa_compose_note(c, path, "left out: niwa does not mount '%.200s' at '%.100s'", from, target);
		return;
	}
	if (json_array_size(volumes) >= NIWA_VOLUMES_MAX) {
		niwa_compose_note(c, path, "left out: an app has at most %d volumes", NIWA_VOLUMES_MAX);
		return;
	}
	if (!is_path(source))
		niwa_compose_note(c, path, "the named volume is the folder %.200s now; copy its content there", from);
	volume = json_object();
	if (!volumes) {
		volumes = json_array();
		niwa_compose_set(c, c->app, "volumes", volumes);
	}
	niwa_compose_append(c, volumes, volume);
	niwa_compose_set(c, volume, "from", json_string(from));
	niwa_compose_set(c, volume, "to", json_string(target));
	if (read_only)
		niwa_compose_set(c, volume, "read_only", json_true());
}

/* "SOURCE:TARGET", "SOURCE:TARGET:OPTIONS", "TARGET" */
static void add_short(struct niwa_compose *c, const char *path, const char *text)
{
	NIWA_AUTO(niwa_free_ptr) char *copy = niwa_strdup(text);
	char *target, *options;
	bool read_only = false;

	if (!copy) {
		c->no_memory = true;
		return;
	}
	target = strchr(copy, ':');
	if (!target) {
		niwa_compose_note(c, path,
				  "left out: a volume without a name; what is written there is gone with the "
				  "instance");
		return;
	}
	*target++ = '\0';
	options = strchr(target, ':');
	if (options) {
		*options++ = '\0';
		for (char *save = NULL, *o = strtok_r(options, ",", &save); o; o = strtok_r(NULL, ",", &save))
			read_only |= strcmp(o, "ro") == 0;
	}
	add_volume(c, path, copy, target, read_only);
}

static void add_long(struct niwa_compose *c, const char *path, const json_t *item)
{
	const char *type = json_string_value(json_object_get(item, "type"));
	const char *source = json_string_value(json_object_get(item, "source"));
	const char *target = json_string_value(json_object_get(item, "target"));
	const char *read_only = json_string_value(json_object_get(item, "read_only"));

	if (type && strcmp(type, "bind") != 0 && strcmp(type, "volume") != 0)
		niwa_compose_note(c, path, "left out: niwa has no volumes of type %.32s", type);
	else if (!source || !*source || !target)
		niwa_compose_note(c, path, "left out: a volume without source or target");
	else
		add_volume(c, path, source, target, read_only && strcmp(read_only, "true") == 0);
}

void niwa_compose_volumes(struct niwa_compose *c, const char *key, const json_t *value)
{
	json_t *item;
	size_t i;

	if (!json_is_array(value) && !json_is_null(value))
		niwa_compose_note(c, key, "left out: not a list");
	json_array_foreach(value, i, item)
	{
		char path[48];

		(void)snprintf(path, sizeof(path), "%s[%zu]", key, i);
		if (json_is_string(item) && *json_string_value(item))
			add_short(c, path, json_string_value(item));
		else if (json_is_object(item))
			add_long(c, path, item);
		else
			niwa_compose_note(c, path, "left out: not a volume");
	}
}
