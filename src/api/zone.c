/* SPDX-License-Identifier: MIT
 *
 * One map of keys to nodes. A node is there as long as it has an address or a node below it.
 */
#include "api/zone.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/memory.h"

#define LABEL_MAX 63

struct node {
	uint32_t addr, below; /* below: nodes that are one label longer */
	bool named;           /* has an address */
	bool round;           /* set in the round of begin and end that has this value */
	char key[];
};

struct niwa_zone {
	struct niwa_map *nodes; /* owns them */
	size_t key_max, named;
	bool round;
};

struct niwa_zone *niwa_zone_new(size_t domain_len)
{
	struct niwa_zone *zone = niwa_zalloc(sizeof(*zone));

	if (!zone)
		return NULL;
	zone->key_max = domain_len < NIWA_ZONE_KEY_MAX ? NIWA_ZONE_KEY_MAX - 1 - domain_len : 0;
	zone->nodes = niwa_map_new(NIWA_MAP_STRING);
	if (!zone->nodes)
		niwa_zone_free(&zone);
	return zone;
}

void niwa_zone_free(struct niwa_zone **zone)
{
	struct niwa_zone *z = *zone;
	struct node *node;
	size_t pos = 0;

	*zone = NULL;
	if (!z)
		return;
	while (z->nodes && (node = niwa_map_next(z->nodes, &pos)))
		free(node);
	niwa_map_free(&z->nodes);
	free(z);
}

size_t niwa_zone_count(const struct niwa_zone *zone)
{
	return zone->named;
}

static bool is_named_by(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

int niwa_zone_key(const char *name, char *out)
{
	size_t len = 0, label;

	do {
		for (label = 0; is_named_by(name[label]); label++)
			if (label == LABEL_MAX)
				return -EINVAL;
		if (label == 0 || (name[label] && name[label] != '.') || len + 1 + label >= NIWA_ZONE_KEY_MAX - 1)
			return -EINVAL;
		out[len++] = (char)label;
		memcpy(out + len, name, label);
		len += label;
		name += label;
	} while (*name++);
	out[len] = '\0';
	return (int)len;
}

static const char *parent_of(const char *key)
{
	return key + 1 + key[0];
}

/* Takes away what has neither an address nor anything below. */
static void prune(struct niwa_zone *zone, struct node *node)
{
	while (node && !node->named && !node->below) {
		struct node *parent = niwa_map_get_str(zone->nodes, parent_of(node->key));

		(void)niwa_map_del_str(zone->nodes, node->key);
		free(node);
		if (parent)
			parent->below--;
		node = parent;
	}
}

/* The node with this key, made where it is missing, with all above it. NULL: out of memory. At most 127 labels deep. */
static struct node *reach(struct niwa_zone *zone, const char *key)
{
	struct node *node = niwa_map_get_str(zone->nodes, key), *parent = NULL;
	size_t len = strlen(key);

	if (node)
		return node;
	if (*parent_of(key) && !(parent = reach(zone, parent_of(key))))
		return NULL;
	node = niwa_zalloc(sizeof(*node) + len + 1);
	if (node)
		memcpy(node->key, key, len + 1);
	if (!node || niwa_map_put_str(zone->nodes, node->key, node) < 0) {
		free(node);
		prune(zone, parent);
		return NULL;
	}
	if (parent)
		parent->below++;
	return node;
}

int niwa_zone_set(struct niwa_zone *zone, const char *name, uint32_t addr)
{
	char key[NIWA_ZONE_KEY_MAX];
	int len = niwa_zone_key(name, key);
	struct node *node;
	bool same;

	if (len < 0 || (size_t)len > zone->key_max)
		return -EINVAL;
	node = reach(zone, key);
	if (!node)
		return -ENOMEM;
	same = node->named && node->addr == addr;
	zone->named += !node->named;
	node->named = true;
	node->addr = addr;
	node->round = zone->round;
	return same;
}

static void drop(struct niwa_zone *zone, struct node *node)
{
	node->named = false;
	zone->named--;
	prune(zone, node);
}

int niwa_zone_remove(struct niwa_zone *zone, const char *name)
{
	char key[NIWA_ZONE_KEY_MAX];
	struct node *node;

	if (niwa_zone_key(name, key) < 0)
		return -EINVAL;
	node = niwa_map_get_str(zone->nodes, key);
	if (!node || !node->named)
		return 1;
	drop(zone, node);
	return 0;
}

void niwa_zone_begin(struct niwa_zone *zone)
{
	struct node *node;
	size_t pos = 0;

	/* One that was begun and not ended: what it has set is as old as the rest. */
	while ((node = niwa_map_next(zone->nodes, &pos)))
		node->round = zone->round;
	zone->round = !zone->round;
}

void niwa_zone_end(struct niwa_zone *zone)
{
	struct node *node;
	size_t pos = 0;

	while ((node = niwa_map_next(zone->nodes, &pos)))
		if (node->named && node->round != zone->round)
			drop(zone, node);
}

enum niwa_zone_found niwa_zone_find(const struct niwa_zone *zone, const char *key, uint32_t *ret_addr)
{
	const struct node *node = niwa_map_get_str(zone->nodes, key);

	if (!node)
		return NIWA_ZONE_NOTHING;
	*ret_addr = node->addr;
	return node->named ? NIWA_ZONE_ADDRESS : NIWA_ZONE_BETWEEN;
}
