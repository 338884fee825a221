/* SPDX-License-Identifier: MIT
 *
 * Who uses most: the greatest of many rows, and their sums by tenant. Pure. The rows lie one after the other in memory,
 * because all of them are looked at whenever somebody asks.
 */
#ifndef NIWA_ENGINE_USAGE_RANK_H
#define NIWA_ENGINE_USAGE_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an app or all apps of a tenant use. */
struct niwa_usage_row {
	uint64_t app;       /* id; of a tenant: of one of its apps */
	uint32_t tenant;    /* id */
	uint32_t cpu_centi; /* hundredths of a percent of one CPU, between the last two readings */
	uint64_t cpu_us;    /* counts up as long as its instances live */
	uint64_t memory_bytes, wakes;
	uint32_t connections, instances;
	uint32_t running, asleep; /* apps: in state running; with an instance that stands still */
	uint8_t state;            /* of an app */
};

enum niwa_usage_key {
	NIWA_USAGE_CPU,
	NIWA_USAGE_MEMORY,
	NIWA_USAGE_WAKES,
	NIWA_USAGE_CONNECTIONS,
	NIWA_USAGE_STATE, /* those that serve first, then what begins or ends, then what stands still */
	NIWA_USAGE_KEYS,
};
const char *niwa_usage_key_name(enum niwa_usage_key key);
int niwa_usage_key_by_name(const char *name); /* or -EINVAL */

struct niwa_usage_filter {
	enum niwa_usage_key key;
	bool of_tenant, in_state; /* only those of this tenant, in this state */
	uint32_t tenant;
	uint8_t state;
};

#define NIWA_USAGE_RANKED_MAX 200

/* Fills ret with the positions of the greatest, greatest first; equal ones by CPU, memory, id. Returns how many, at
 * most limit, at most NIWA_USAGE_RANKED_MAX. */
size_t niwa_usage_rank(const struct niwa_usage_row *rows, size_t count, const struct niwa_usage_filter *filter,
		       size_t limit, uint32_t *ret);

/* Adds what the row says to a sum; not its app, tenant and state. */
void niwa_usage_add(struct niwa_usage_row *sum, const struct niwa_usage_row *row);

#endif
