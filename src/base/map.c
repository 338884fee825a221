/* SPDX-License-Identifier: MIT
 *
 * Open addressing with linear probing and tombstones; grows at three quarters. Each put after that moves some entries
 * of the old table to the new one, so that none takes as long as all of them would.
 */
#include "base/map.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/memory.h"

struct slot {
	uint64_t key; /* the key, or the address of the string */
	void *value;  /* NULL: empty or deleted */
	uint32_t hash;
	bool deleted;
};

struct table {
	struct slot *slots;
	size_t size, used; /* used counts tombstones too */
};

struct niwa_map {
	enum niwa_map_kind kind;
	size_t count;
	struct table now, old; /* old: no slots unless the map has grown a moment ago */
	size_t moved;          /* slots of old that are empty now */
};

#define LARGE_SLOTS 16384 /* 400 KB */
#define MOVE_SLOTS  32    /* a put: the old table is empty long before the new one is full */

static uint64_t seed(void)
{
	static uint64_t value;

	if (!value) {
		if (getrandom(&value, sizeof(value), 0) != sizeof(value))
			value = (uint64_t)(uintptr_t)&value;
		value |= 1;
	}
	return value;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ (x >> 33);
}

static uint32_t hash_of(const struct niwa_map *map, uint64_t key)
{
	uint64_t h = seed();

	if (map->kind == NIWA_MAP_U64)
		return (uint32_t)mix(key ^ h);
	for (const unsigned char *s = (const unsigned char *)(uintptr_t)key; *s; s++)
		h = (h ^ *s) * UINT64_C(0x100000001b3);
	return (uint32_t)mix(h);
}

static bool same(const struct niwa_map *map, uint64_t a, uint64_t b)
{
	if (map->kind == NIWA_MAP_U64)
		return a == b;
	return strcmp((const char *)(uintptr_t)a, (const char *)(uintptr_t)b) == 0;
}

static struct slot *find_in(const struct niwa_map *map, const struct table *table, uint64_t key, uint32_t hash)
{
	for (size_t i = hash & (table->size - 1);; i = (i + 1) & (table->size - 1)) {
		struct slot *s = &table->slots[i];

		if (!s->value && !s->deleted)
			return NULL;
		if (s->value && s->hash == hash && same(map, s->key, key))
			return s;
	}
}

static struct slot *find(const struct niwa_map *map, uint64_t key, uint32_t hash)
{
	struct slot *s = find_in(map, &map->now, key, hash);

	return s || !map->old.slots ? s : find_in(map, &map->old, key, hash);
}

static void insert(struct table *table, const struct slot *entry)
{
	size_t i = entry->hash & (table->size - 1);

	while (table->slots[i].value)
		i = (i + 1) & (table->size - 1);
	if (!table->slots[i].deleted)
		table->used++;
	table->slots[i] = *entry;
}

static void move_some(struct niwa_map *map)
{
	for (size_t n = 0; n < MOVE_SLOTS && map->moved < map->old.size; n++) {
		struct slot *s = &map->old.slots[map->moved++];

		if (s->value) {
			insert(&map->now, s);
			*s = (struct slot){.deleted = true}; /* others lie behind it */
		}
	}
	if (map->moved < map->old.size)
		return;
	free(map->old.slots);
	map->old = (struct table){0};
}

static int grow(struct niwa_map *map)
{
	struct table table = {.size = map->now.size};

	assert(!map->old.slots);
	if (map->count * 2 >= table.size)
		table.size *= 2;
	table.slots = niwa_zalloc(table.size * sizeof(struct slot));
	if (!table.slots)
		return -ENOMEM;
	map->old = map->now;
	map->now = table;
	map->moved = 0;
	return 0;
}

struct niwa_map *niwa_map_new(enum niwa_map_kind kind)
{
	struct niwa_map *map = niwa_zalloc(sizeof(*map));

	if (!map)
		return NULL;
	map->kind = kind;
	map->now.size = 16;
	map->now.slots = niwa_zalloc(map->now.size * sizeof(struct slot));
	if (!map->now.slots)
		niwa_map_free(&map);
	return map;
}

void niwa_map_free(struct niwa_map **map)
{
	if (!*map)
		return;
	free((*map)->now.slots);
	free((*map)->old.slots);
	free(*map);
	*map = NULL;
}

void niwa_map_free_some(struct niwa_map **map, unsigned *budget)
{
	if (*map && (*map)->now.size > LARGE_SLOTS)
		*budget = 0;
	niwa_map_free(map);
}

size_t niwa_map_count(const struct niwa_map *map)
{
	return map->count;
}

int niwa_map_put(struct niwa_map *map, uint64_t key, void *value)
{
	uint32_t hash = hash_of(map, key);

	if (find(map, key, hash))
		return -EEXIST;
	if ((map->now.used + 1) * 4 > map->now.size * 3 && grow(map) < 0)
		return -ENOMEM;
	if (map->old.slots)
		move_some(map);
	insert(&map->now, &(struct slot){.key = key, .value = value, .hash = hash});
	map->count++;
	return 0;
}

void *niwa_map_get(const struct niwa_map *map, uint64_t key)
{
	struct slot *s = find(map, key, hash_of(map, key));

	return s ? s->value : NULL;
}

void *niwa_map_del(struct niwa_map *map, uint64_t key)
{
	struct slot *s = find(map, key, hash_of(map, key));
	void *value;

	if (!s)
		return NULL;
	value = s->value;
	*s = (struct slot){.deleted = true};
	map->count--;
	return value;
}

int niwa_map_put_str(struct niwa_map *map, const char *key, void *value)
{
	return niwa_map_put(map, (uint64_t)(uintptr_t)key, value);
}

void *niwa_map_get_str(const struct niwa_map *map, const char *key)
{
	return niwa_map_get(map, (uint64_t)(uintptr_t)key);
}

void *niwa_map_del_str(struct niwa_map *map, const char *key)
{
	return niwa_map_del(map, (uint64_t)(uintptr_t)key);
}

void *niwa_map_next(const struct niwa_map *map, size_t *pos)
{
	while (*pos < map->now.size + map->old.size) {
		size_t i = (*pos)++;
		void *value = i < map->now.size ? map->now.slots[i].value : map->old.slots[i - map->now.size].value;

		if (value)
			return value;
	}
	return NULL;
}
