/* SPDX-License-Identifier: MIT
 *
 * A second look at an app file, for its lines only.
 */
#include "spec/file_place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/file.h"
#include "yaml_private.h"

struct niwa_file_places {
	struct niwa_yaml *yaml;
	const struct niwa_yaml_node *apps, *defaults;
};

void niwa_file_places_free(struct niwa_file_places **places)
{
	if (*places)
		niwa_yaml_free(&(*places)->yaml);
	free(*places);
	*places = NULL;
}

struct niwa_file_places *niwa_file_places_open(const char *path)
{
	NIWA_AUTO(niwa_file_places_free) struct niwa_file_places *p = niwa_zalloc(sizeof(*p));
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	const struct niwa_yaml_node *root;
	size_t len;

	if (!p || strcmp(path, "-") == 0 || niwa_yaml_read_file(path, NIWA_FILE_MAX, &text, &len, NULL) < 0 ||
	    niwa_yaml_parse(path, text, len, &p->yaml, NULL) < 0)
		return NULL;
	root = niwa_yaml_root(p->yaml);
	if (!root || root->type != NIWA_YAML_MAP)
		return NULL;
	p->apps = niwa_yaml_get(root, "apps");
	p->defaults = niwa_yaml_get(root, "defaults");
	return p->apps && p->apps->type == NIWA_YAML_LIST ? NIWA_TAKE(p) : NULL;
}

static bool says(const struct niwa_yaml_node *map, const char *key, const char *text)
{
	const struct niwa_yaml_node *value = niwa_yaml_get(map, key);
	size_t len = strlen(text);

	/* folders may be written with a slash at their end */
	return value && value->type == NIWA_YAML_TEXT && strncmp(value->text, text, len) == 0 &&
	       value->text[len + strspn(value->text + len, "/")] == '\0';
}

/* Volumes of a record are sorted; the file has them in another order perhaps. */
static void key_in_file(const struct niwa_yaml_node *app, const json_t *record, const char *key, char *buf, size_t size)
{
	const struct niwa_yaml_node *volumes = niwa_yaml_get(app, "volumes");
	const char *to, *rest = strchr(key, ']');
	unsigned n;

	(void)snprintf(buf, size, "%s", key);
	if (!rest || sscanf(key, "volumes[%u]", &n) != 1 || !volumes || volumes->type != NIWA_YAML_LIST)
		return;
	to = json_string_value(json_object_get(json_array_get(json_object_get((json_t *)record, "volumes"), n), "to"));
	for (uint32_t i = 0; to && i < volumes->count; i++)
		if (says(volumes->items[i], "to", to))
			(void)snprintf(buf, size, "volumes[%u%s", i, rest);
}

uint32_t niwa_file_places_find(const struct niwa_file_places *places, const json_t *record, const char *key,
			       char ret_key[NIWA_PLACE_MAX])
{
	const char *name = json_string_value(json_object_get((json_t *)record, "name"));
	char at[NIWA_PLACE_MAX - 20];

	for (uint32_t i = 0; name && i < places->apps->count; i++) {
		const struct niwa_yaml_node *app = places->apps->items[i];
		bool found, in_defaults = false;
		uint32_t line, other = 0;

		if (!says(app, "name", name))
			continue;
		key_in_file(app, record, key, at, sizeof(at));
		line = niwa_yaml_line(app, at, &found);
		if (!found && places->defaults)
			other = niwa_yaml_line(places->defaults, at, &in_defaults);
		if (in_defaults)
			(void)snprintf(ret_key, NIWA_PLACE_MAX, "defaults.%s", at);
		else
			(void)snprintf(ret_key, NIWA_PLACE_MAX, "apps[%u].%s", i, at);
		return in_defaults ? other : line;
	}
	return 0;
}
