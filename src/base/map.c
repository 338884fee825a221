/* SPDX-License-Identifier: MIT
 *
 * Open addressing with linear probing and tombstones; grows at three quarters.
 */
#include "base/map.h"

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

struct niwa_map {
	enum niwa_map_kind kind;
	struct slot *slots;
	size_t size, count, used; /* used counts tombstones too */
};

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

static struct slot *find(const struct niwa_map *map, uint64_t key, uint32_t hash)
{
	for (size_t i = hash & (map->size - 1);; i = (i + 1) & (map->size - 1)) {
		struct slot *s = &map->slots[i];

		if (!s->value && !s->deleted)
			return NULL;
		if (s->value && s->hash == hash && same(map, s->key, key))
			return s;
	}
}

static void insert(struct niwa_map *map, uint64_t key, void *value, uint32_t hash)
{
	size_t i = hash & (map->size - 1);

	while (map->slots[i].value)
		i = (i + 1) & (map->size - 1);
	if (!map->slots[i].deleted)
		map->used++;
	map->slots[i] = (struct slot){.key = key, .value = value, .hash = hash};
	map->count++;
}

static int grow(struct niwa_map *map)
{
	struct slot *old = map->slots;
	size_t old_size = map->size, size = map->size;

	if (map->count * 2 >= size)
		size *= 2;
	map->slots = niwa_zalloc(size * sizeof(struct slot));
	if (!map->slots) {
		map->slots = old;
		return -ENOMEM;
	}
	map->size = size;
	map->count = map->used = 0;
	for (size_t i = 0; i < old_size; i++)
		if (old[i].value)
			insert(map, old[i].key, old[i].value, old[i].hash);
	free(old);
	return 0;
}

struct niwa_map *niwa_map_new(enum niwa_map_kind kind)
{
	struct niwa_map *map = niwa_zalloc(sizeof(*map));

	if (!map)
		return NULL;
	map->kind = kind;
	map->size = 16;
	map->slots = niwa_zalloc(map->size * sizeof(struct slot));
	if (!map->slots)
		niwa_map_free(&map);
	return map;
}

void niwa_map_free(struct niwa_map **map)
{
	if (!*map)
		return;
	free((*map)->slots);
	free(*map);
	*map = NULL;
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
	if ((map->used + 1) * 4 > map->size * 3 && grow(map) < 0)
		return -ENOMEM;
	insert(map, key, value, hash);
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
	while (*pos < map->size) {
		void *value = map->slots[(*pos)++].value;

		if (value)
			return value;
	}
	return NULL;
}
