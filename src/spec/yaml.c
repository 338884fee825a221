/* SPDX-License-Identifier: MIT
 *
 * Builds the tree from libyaml's events. Recursion is bounded by NIWA_YAML_DEPTH_MAX. Nodes come from an arena;
 * an alias is a second pointer to its node.
 */
#include "spec/yaml_private.h"

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/text.h"

#define CHUNK_BYTES (64 * 1024)

struct chunk {
	struct chunk *next;
	size_t used, size;
	max_align_t data[];
};

struct niwa_yaml {
	struct chunk *chunks;
	const struct niwa_yaml_node *root;
};

struct builder {
	struct niwa_yaml *yaml;
	yaml_parser_t parser;
	const char *name; /* of the file */
	const char *data;
	size_t len;
	struct niwa_map *anchors; /* name → node */
	uint32_t created;
	struct niwa_error *err;
};

static void *arena_alloc(struct niwa_yaml *yaml, size_t size)
{
	struct chunk *chunk = yaml->chunks;

	size = (size + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;

		chunk = niwa_zalloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->size = room;
		chunk->next = yaml->chunks;
		yaml->chunks = chunk;
	}
	chunk->used += size;
	return (char *)chunk->data + chunk->used - size;
}

void niwa_yaml_free(struct niwa_yaml **yaml)
{
	if (!*yaml)
		return;
	while ((*yaml)->chunks) {
		struct chunk *next = (*yaml)->chunks->next;

		free((*yaml)->chunks);
		(*yaml)->chunks = next;
	}
	free(*yaml);
	*yaml = NULL;
}

const struct niwa_yaml_node *niwa_yaml_root(const struct niwa_yaml *yaml)
{
	return yaml->root;
}

static int no_memory(struct builder *b)
{
	return niwa_fail(b->err, NIWA_TEMPORARY, ENOMEM, "read %s", b->name);
}

static uint32_t line_of(yaml_mark_t mark)
{
	return (uint32_t)mark.line + 1;
}

static int bad(struct builder *b, uint32_t line, const char *what)
{
	return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: %s", b->name, line, what);
}

/* What libyaml says, with the line, and a hint where its words lead nowhere. */
static int parser_failed(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	uint32_t line = line_of(p->problem_mark);
	const char *problem = p->problem ? p->problem : "not YAML";
	char byte = p->problem_mark.index < b->len ? b->data[p->problem_mark.index] : '\0';

	if (p->error == YAML_MEMORY_ERROR)
		return no_memory(b);
	if (p->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < p->problem_offset && i < b->len; i++)
			line += b->data[i] == '\n';
		return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: not text: %s; allowed: UTF-8", b->name, line, problem);
	}
	return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: not YAML: %s%s%s%s", b->name, line, problem,
			 p->context ? " " : "", p->context ? p->context : "",
			 byte == '\t' ? " (tabs cannot indent: use spaces)" : "");
}

static int next_event(struct builder *b, yaml_event_t *event)
{
	return yaml_parser_parse(&b->parser, event) ? 0 : parser_failed(b);
}

static struct niwa_yaml_node *node_new(struct builder *b, enum niwa_yaml_type type, yaml_mark_t mark)
{
	struct niwa_yaml_node *node = arena_alloc(b->yaml, sizeof(*node));

	if (!node)
		return NULL;
	node->type = type;
	node->line = line_of(mark);
	node->nodes = 1;
	node->height = 1;
	return node;
}

/* Counts a child. The bound is checked by the caller, once a container is complete. */
static void node_grow(struct niwa_yaml_node *node, const struct niwa_yaml_node *child)
{
	if (__builtin_add_overflow(node->nodes, child->nodes, &node->nodes))
		node->nodes = UINT32_MAX;
	if (child->height >= node->height)
		node->height = child->height + 1;
}

static int check_bounds(struct builder *b, const struct niwa_yaml_node *node, unsigned level)
{
	if (node->nodes > NIWA_YAML_NODES_MAX)
		return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: too much: more than %u values, aliases expanded",
				 b->name, node->line, NIWA_YAML_NODES_MAX);
	if (level + node->height > NIWA_YAML_DEPTH_MAX + 1)
		return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: nested deeper than %d levels", b->name, node->line,
				 NIWA_YAML_DEPTH_MAX);
	return 0;
}

static int check_tag(struct builder *b, const yaml_char_t *tag, yaml_mark_t mark)
{
	static const char *const known[] = {"str", "int", "bool", "float", "null", "map", "seq"};
	static const char prefix[] = "tag:yaml.org,2002:";
	const char *s = (const char *)tag;
	char quoted[64];

	if (!s || strcmp(s, "!") == 0)
		return 0;
	if (strncmp(s, prefix, strlen(prefix)) == 0)
		for (size_t i = 0; i < NIWA_ARRAY_LEN(known); i++)
			if (strcmp(s + strlen(prefix), known[i]) == 0)
				return 0;
	return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: found tag '%s'; allowed: values without tags", b->name,
			 line_of(mark), niwa_quote(s, strlen(s), quoted, sizeof(quoted)));
}

/* Remembers an anchor, so that aliases find the node. Only complete nodes are remembered: an alias inside its own
 * anchor finds nothing. */
static int anchor_put(struct builder *b, const yaml_char_t *anchor, struct niwa_yaml_node *node)
{
	size_t size;
	char *name;

	if (!anchor)
		return 0;
	size = strlen((const char *)anchor) + 1;
	name = arena_alloc(b->yaml, size);
	if (!name)
		return no_memory(b);
	memcpy(name, anchor, size);
	(void)niwa_map_del_str(b->anchors, name); /* a later anchor of the same name replaces */
	return niwa_map_put_str(b->anchors, name, node) < 0 ? no_memory(b) : 0;
}

static int build_alias(struct builder *b, const yaml_event_t *event, struct niwa_yaml_node **ret)
{
	const char *name = (const char *)event->data.alias.anchor;
	char quoted[64];

	*ret = niwa_map_get_str(b->anchors, name);
	if (*ret)
		return 0;
	return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: alias '*%s' has no complete anchor before it", b->name,
			 line_of(event->start_mark), niwa_quote(name, strlen(name), quoted, sizeof(quoted)));
}

static int build_text(struct builder *b, const yaml_event_t *event, struct niwa_yaml_node **ret)
{
	size_t len = event->data.scalar.length;
	int r = check_tag(b, event->data.scalar.tag, event->start_mark);
	struct niwa_yaml_node *node;
	char *text;

	if (r < 0)
		return r;
	if (memchr(event->data.scalar.value, '\0', len))
		return bad(b, line_of(event->start_mark), "a text with a NUL byte in it");
	node = node_new(b, NIWA_YAML_TEXT, event->start_mark);
	text = arena_alloc(b->yaml, len + 1);
	if (!node || !text)
		return no_memory(b);
	memcpy(text, event->data.scalar.value, len);
	node->text = text;
	node->count = (uint32_t)len;
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !event->data.scalar.tag;
	r = anchor_put(b, event->data.scalar.anchor, node);
	*ret = node;
	return r;
}

static int build_node(struct builder *b, const yaml_event_t *event, unsigned level, struct niwa_yaml_node **ret);

/* The next event as a node; *ret is NULL when it is `end`. */
static int build_next(struct builder *b, yaml_event_type_t end, unsigned level, struct niwa_yaml_node **ret)
{
	yaml_event_t event;
	int r = next_event(b, &event);

	if (r < 0)
		return r;
	*ret = NULL;
	if (event.type != end)
		r = build_node(b, &event, level, ret);
	yaml_event_delete(&event);
	return r;
}

/* Moves what was collected into the arena. */
static int collect(struct builder *b, struct niwa_text *buf, const void **ret)
{
	void *copy = buf->failed ? NULL : arena_alloc(b->yaml, buf->len + 1);

	if (!copy)
		return no_memory(b);
	if (buf->len)
		memcpy(copy, buf->data, buf->len);
	*ret = copy;
	return 0;
}

static int build_items(struct builder *b, struct niwa_yaml_node *list, unsigned level)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text items = {0};
	const void *copy;
	int r;

	for (;;) {
		struct niwa_yaml_node *item;

		r = build_next(b, YAML_SEQUENCE_END_EVENT, level + 1, &item);
		if (r < 0)
			return r;
		if (!item)
			break;
		niwa_text_add_bytes(&items, &item, sizeof(item));
		node_grow(list, item);
		list->count++;
		r = check_bounds(b, list, level);
		if (r < 0)
			return r;
	}
	r = collect(b, &items, &copy);
	list->items = copy;
	return r;
}

static bool is_merge(const struct niwa_yaml_node *key)
{
	return key->plain && strcmp(key->text, "<<") == 0;
}

static const struct niwa_yaml_pair *find_pair(const struct niwa_text *pairs, const char *key)
{
	const struct niwa_yaml_pair *p = (const void *)pairs->data;

	for (size_t i = 0; i < pairs->len / sizeof(*p); i++)
		if (strcmp(p[i].key->text, key) == 0)
			return &p[i];
	return NULL;
}

/* The pairs of a map under construction; `index` finds keys once there are many. */
struct pairs {
	struct niwa_text buf;
	struct niwa_map *index;
};

static void pairs_fini(struct pairs *pairs)
{
	niwa_text_fini(&pairs->buf);
	niwa_map_free(&pairs->index);
}

#define INDEX_FROM 16

static const struct niwa_yaml_node *pairs_find(struct pairs *pairs, const char *key)
{
	const struct niwa_yaml_pair *pair;

	if (pairs->index)
		return niwa_map_get_str(pairs->index, key);
	pair = find_pair(&pairs->buf, key);
	return pair ? pair->key : NULL;
}

static int pairs_add(struct builder *b, struct pairs *pairs, struct niwa_yaml_node *map, struct niwa_yaml_pair pair)
{
	niwa_text_add_bytes(&pairs->buf, &pair, sizeof(pair));
	if (pairs->buf.failed)
		return no_memory(b);
	node_grow(map, pair.key);
	node_grow(map, pair.value);
	map->count++;
	if (map->count < INDEX_FROM)
		return 0;
	if (!pairs->index) {
		const struct niwa_yaml_pair *p = (const void *)pairs->buf.data;

		pairs->index = niwa_map_new(NIWA_MAP_STRING);
		for (size_t i = 0; pairs->index && i + 1 < map->count; i++)
			if (niwa_map_put_str(pairs->index, p[i].key->text, (void *)p[i].key) < 0)
				return no_memory(b);
	}
	if (!pairs->index || niwa_map_put_str(pairs->index, pair.key->text, (void *)pair.key) < 0)
		return no_memory(b);
	return 0;
}

/* The keys of `from` that the map does not have itself. */
static int merge_map(struct builder *b, struct pairs *pairs, struct niwa_yaml_node *map,
		     const struct niwa_yaml_node *from)
{
	if (from->type != NIWA_YAML_MAP)
		return bad(b, map->line, "<<: found what is not a map; allowed: an alias of a map, or a list of them");
	for (uint32_t i = 0; i < from->count; i++) {
		int r = pairs_find(pairs, from->pairs[i].key->text) ? 0 : pairs_add(b, pairs, map, from->pairs[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int merge(struct builder *b, struct pairs *pairs, struct niwa_yaml_node *map, const struct niwa_yaml_node *from)
{
	int r = 0;

	if (from->type != NIWA_YAML_LIST)
		return merge_map(b, pairs, map, from);
	for (uint32_t i = 0; i < from->count && r == 0; i++)
		r = merge_map(b, pairs, map, from->items[i]);
	return r;
}

static int check_key(struct builder *b, struct pairs *pairs, const struct niwa_yaml_node *key)
{
	const struct niwa_yaml_node *before;
	char quoted[64];

	if (key->type != NIWA_YAML_TEXT)
		return bad(b, key->line, "found a list or a map as a key; allowed: a text");
	before = pairs_find(pairs, key->text);
	if (!before)
		return 0;
	return niwa_fail(b->err, NIWA_CALLER, 0, "%s:%u: key '%s' is here twice, first in line %u", b->name, key->line,
			 niwa_quote(key->text, key->count, quoted, sizeof(quoted)), before->line);
}

static int build_pairs(struct builder *b, struct niwa_yaml_node *map, unsigned level)
{
	NIWA_AUTO(pairs_fini) struct pairs pairs = {0};
	const struct niwa_yaml_node *merged = NULL;
	const void *copy;
	int r;

	for (;;) {
		struct niwa_yaml_node *key, *value;

		r = build_next(b, YAML_MAPPING_END_EVENT, level + 1, &key);
		if (r < 0 || !key)
			break;
		r = check_key(b, &pairs, key);
		if (r == 0)
			r = build_next(b, YAML_NO_EVENT, level + 1, &value);
		if (r < 0)
			return r;
		if (is_merge(key) && merged)
			return bad(b, key->line, "key '<<' is here twice; allowed: once, with a list of aliases");
		if (is_merge(key))
			merged = value;
		else
			r = pairs_add(b, &pairs, map, (struct niwa_yaml_pair){key, value});
		if (r == 0)
			r = check_bounds(b, map, level);
		if (r < 0)
			return r;
	}
	if (r == 0 && merged)
		r = merge(b, &pairs, map, merged);
	if (r == 0)
		r = check_bounds(b, map, level);
	if (r == 0)
		r = collect(b, &pairs.buf, &copy);
	if (r == 0)
		map->pairs = copy;
	return r;
}

static int build_container(struct builder *b, const yaml_event_t *event, unsigned level, struct niwa_yaml_node **ret)
{
	bool is_map = event->type == YAML_MAPPING_START_EVENT;
	const yaml_char_t *tag = is_map ? event->data.mapping_start.tag : event->data.sequence_start.tag;
	const yaml_char_t *anchor = is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
	struct niwa_yaml_node *node = node_new(b, is_map ? NIWA_YAML_MAP : NIWA_YAML_LIST, event->start_mark);
	int r;

	if (!node)
		return no_memory(b);
	r = check_tag(b, tag, event->start_mark);
	if (r == 0)
		r = check_bounds(b, node, level);
	if (r == 0)
		r = is_map ? build_pairs(b, node, level) : build_items(b, node, level);
	if (r == 0)
		r = anchor_put(b, anchor, node);
	*ret = node;
	return r;
}

static int build_node(struct builder *b, const yaml_event_t *event, unsigned level, struct niwa_yaml_node **ret)
{
	if (event->type == YAML_ALIAS_EVENT)
		return build_alias(b, event, ret);
	if (++b->created > NIWA_YAML_NODES_MAX)
		return bad(b, line_of(event->start_mark), "too much: more values than a file may hold");
	if (event->type == YAML_SCALAR_EVENT)
		return build_text(b, event, ret);
	return build_container(b, event, level, ret);
}

/* stream start, (document start, node, document end)?, stream end */
static int build_stream(struct builder *b)
{
	struct niwa_yaml_node *root = NULL;

	for (;;) {
		yaml_event_t event;
		int r = next_event(b, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_STREAM_END_EVENT) {
			yaml_event_delete(&event);
			b->yaml->root = root;
			return 0;
		}
		if (event.type == YAML_DOCUMENT_START_EVENT)
			r = root ? bad(b, line_of(event.start_mark), "a second document; allowed: one in a file")
				 : build_next(b, YAML_NO_EVENT, 1, &root);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
	}
}

int niwa_yaml_parse(const char *name, const char *data, size_t len, struct niwa_yaml **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_yaml_free) struct niwa_yaml *yaml = niwa_zalloc(sizeof(*yaml));
	struct builder b = {.yaml = yaml, .name = name, .data = data, .len = len, .err = err};
	int r;

	b.anchors = niwa_map_new(NIWA_MAP_STRING);
	if (!yaml || !b.anchors || !yaml_parser_initialize(&b.parser)) {
		niwa_map_free(&b.anchors);
		return no_memory(&b);
	}
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)data, len);
	r = build_stream(&b);
	yaml_parser_delete(&b.parser);
	niwa_map_free(&b.anchors);
	if (r == 0)
		*ret = NIWA_TAKE(yaml);
	return r;
}
