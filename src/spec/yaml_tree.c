/* SPDX-License-Identifier: MIT
 *
 * Reading a YAML tree: values, lines, JSON; and reading the file it comes from.
 */
#include "spec/yaml_private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"

const struct niwa_yaml_node *niwa_yaml_get(const struct niwa_yaml_node *map, const char *key)
{
	if (!map || map->type != NIWA_YAML_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->count; i++)
		if (strcmp(map->pairs[i].key->text, key) == 0)
			return map->pairs[i].value;
	return NULL;
}

bool niwa_yaml_is_empty(const struct niwa_yaml_node *node)
{
	return node->type == NIWA_YAML_TEXT && node->plain && node->count == 0;
}

static json_t *map_to_json(const struct niwa_yaml_node *node)
{
	json_t *map = json_object();

	for (uint32_t i = 0; map && i < node->count; i++) {
		const struct niwa_yaml_pair *pair = &node->pairs[i];

		if (json_object_setn_new_nocheck(map, pair->key->text, pair->key->count,
						 niwa_yaml_to_json(pair->value)) < 0) {
			json_decref(map);
			return NULL;
		}
	}
	return map;
}

static json_t *list_to_json(const struct niwa_yaml_node *node)
{
	json_t *list = json_array();

	for (uint32_t i = 0; list && i < node->count; i++)
		if (json_array_append_new(list, niwa_yaml_to_json(node->items[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

json_t *niwa_yaml_to_json(const struct niwa_yaml_node *node)
{
	if (niwa_yaml_is_empty(node))
		return json_null();
	switch (node->type) {
	case NIWA_YAML_TEXT:
		return json_stringn_nocheck(node->text, node->count); /* libyaml has checked that it is UTF-8 */
	case NIWA_YAML_LIST:
		return list_to_json(node);
	case NIWA_YAML_MAP:
		return map_to_json(node);
	}
	return NULL;
}

/* The pair with the longest key that the path begins with; *rest is moved behind it. */
static const struct niwa_yaml_pair *pair_on_path(const struct niwa_yaml_node *map, const char **rest)
{
	const struct niwa_yaml_pair *best = NULL;
	size_t best_len = 0;

	for (uint32_t i = 0; i < map->count; i++) {
		const struct niwa_yaml_node *key = map->pairs[i].key;

		if (key->count < best_len || strncmp(*rest, key->text, key->count) != 0 ||
		    !strchr(".[", (*rest)[key->count]))
			continue;
		best = &map->pairs[i];
		best_len = key->count;
	}
	*rest += best_len;
	return best;
}

uint32_t niwa_yaml_line(const struct niwa_yaml_node *node, const char *path, bool *ret_found)
{
	uint32_t line = node->line;

	while (*path) {
		const struct niwa_yaml_pair *pair = NULL;
		char *end = NULL;

		if (*path == '[' && node->type == NIWA_YAML_LIST) {
			unsigned long index = strtoul(path + 1, &end, 10);

			if (*end != ']' || index >= node->count)
				break;
			node = node->items[index];
			line = node->line;
			path = end + 1;
			continue;
		}
		path += *path == '.';
		if (node->type == NIWA_YAML_MAP)
			pair = pair_on_path(node, &path);
		if (!pair)
			break;
		node = pair->value;
		line = pair->key->line;
	}
	*ret_found = *path == '\0';
	return line;
}

/* Reads up to max bytes and the end of the file. */
static int read_all(int fd, size_t max, struct niwa_text *text)
{
	char buf[64 * 1024];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return text->failed ? -ENOMEM : 0;
		if (text->len + (size_t)n > max)
			return -EFBIG;
		niwa_text_add_bytes(text, buf, (size_t)n);
	}
}

int niwa_yaml_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct niwa_error *err)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text text = {0};
	NIWA_AUTO_FD opened = -1;
	int r, fd = STDIN_FILENO;

	if (strcmp(path, "-") != 0) {
		opened = fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			return niwa_fail(err, NIWA_CALLER, errno, "open '%s'", path);
	}
	niwa_text_add(&text, "");
	r = read_all(fd, max, &text);
	if (r == -EFBIG)
		return niwa_fail(err, NIWA_CALLER, EFBIG, "read '%s': more than %zu bytes", path, max);
	if (r < 0)
		return niwa_fail(err, NIWA_CALLER, -r, "read '%s'", path);
	*ret_len = text.len;
	*ret = NIWA_TAKE(text.data);
	return 0;
}
