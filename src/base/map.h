/* SPDX-License-Identifier: MIT
 *
 * An open-addressing hash table from a 64-bit key or a string to a pointer. Intrusive in nothing:
 * values and string keys are borrowed and must outlive their entry. Not for adversarial keys
 * from the network: string keys are hashed with a per-process random seed.
 */
#ifndef NIWA_BASE_MAP_H
#define NIWA_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct niwa_map; /* opaque */

enum niwa_map_kind { NIWA_MAP_U64, NIWA_MAP_STRING };

struct niwa_map *niwa_map_new(enum niwa_map_kind kind); /* NULL: out of memory */
void niwa_map_free(struct niwa_map **map);              /* not the values */
/* The same; a large one takes as long as the rest of a turn may: *budget is 0 then. */
void niwa_map_free_some(struct niwa_map **map, unsigned *budget);
size_t niwa_map_count(const struct niwa_map *map);

/* Returns 0, -EEXIST when the key is there, -ENOMEM. value must not be NULL. */
int niwa_map_put(struct niwa_map *map, uint64_t key, void *value);
void *niwa_map_get(const struct niwa_map *map, uint64_t key); /* NULL: not there */
void *niwa_map_del(struct niwa_map *map, uint64_t key);       /* the value that was there, or NULL */

int niwa_map_put_str(struct niwa_map *map, const char *key, void *value);
void *niwa_map_get_str(const struct niwa_map *map, const char *key);
void *niwa_map_del_str(struct niwa_map *map, const char *key);

/* Walk: start with *pos = 0; returns the next value or NULL. Entries may be deleted while walking
 * (also the current one), not added. */
void *niwa_map_next(const struct niwa_map *map, size_t *pos);

#endif
