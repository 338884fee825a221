/* SPDX-License-Identifier: MIT
 *
 * YAML text → a tree with line numbers. Scalars stay text: who reads the tree knows what should be there. Refused:
 * duplicate keys, keys that are not text, tags beyond YAML's own, a second document, and more values or deeper
 * nesting than a bound, counted after aliases were expanded. Merge keys (<<) are followed. One allocation lifetime:
 * the tree is freed whole.
 */
#ifndef NIWA_SPEC_YAML_PRIVATE_H
#define NIWA_SPEC_YAML_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"

#define NIWA_YAML_NODES_MAX (8u * 1024 * 1024) /* keys and values of a file, aliases expanded */
#define NIWA_YAML_DEPTH_MAX 32

enum niwa_yaml_type { NIWA_YAML_TEXT, NIWA_YAML_LIST, NIWA_YAML_MAP };

struct niwa_yaml_node;
struct niwa_yaml_pair {
	const struct niwa_yaml_node *key, *value;
};
struct niwa_yaml_node {
	enum niwa_yaml_type type;
	uint32_t line;   /* from 1 */
	uint32_t nodes;  /* in it, itself counted, aliases expanded */
	uint32_t count;  /* of items, pairs, or bytes of text */
	uint16_t height; /* 1: holds nothing */
	bool plain;      /* a text without quotes */
	union {
		const char *text; /* terminated, holds no NUL */
		const struct niwa_yaml_node *const *items;
		const struct niwa_yaml_pair *pairs;
	};
};

struct niwa_yaml; /* owns a tree */

/* name is for messages: "blog.yaml:3: ...". -EINVAL for what is wrong in the text, -ENOMEM. */
int niwa_yaml_parse(const char *name, const char *data, size_t len, struct niwa_yaml **ret, struct niwa_error *err);
void niwa_yaml_free(struct niwa_yaml **yaml);
const struct niwa_yaml_node *niwa_yaml_root(const struct niwa_yaml *yaml); /* NULL: an empty file */

/* The value at a key of a map; NULL: not there, or not a map. */
const struct niwa_yaml_node *niwa_yaml_get(const struct niwa_yaml_node *map, const char *key);
/* True for a value that was left empty (`env:`). */
bool niwa_yaml_is_empty(const struct niwa_yaml_node *node);
/* New reference; every text a JSON string, an empty value null. NULL: out of memory. */
json_t *niwa_yaml_to_json(const struct niwa_yaml_node *node);
/* The line of "ports[0].protocol" below node, or of what comes nearest to it. *ret_found: all of it is there. */
uint32_t niwa_yaml_line(const struct niwa_yaml_node *node, const char *path, bool *ret_found);

/* A whole file, at most max bytes; "-": standard input. *ret is terminated and to be freed. */
int niwa_yaml_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct niwa_error *err);

#endif
