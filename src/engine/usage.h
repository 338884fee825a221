/* SPDX-License-Identifier: MIT
 *
 * CPU, memory and connections of the apps that have an instance. Reading one takes some 50 us and there may be
 * thousands, so rounds go through all of them half a millisecond a turn of the loop; what is asked for is answered from
 * the round that was finished last. Those that stand still are read seldom. No rounds are made while nobody asks.
 */
#ifndef NIWA_ENGINE_USAGE_H
#define NIWA_ENGINE_USAGE_H

#include "engine/engine_private.h"
#include "engine/usage_rank.h"

/* The last finished round; of the caller until the next turn of the loop. */
struct niwa_usage_round {
	uint64_t number; /* 0: there was none yet */
	uint64_t began_us, ended_us;
	struct niwa_usage_row *rows, *tenants; /* by app, by tenant */
	size_t count, size, tenant_count, tenant_size;
	struct niwa_usage_row total;
	uint64_t memory[NIWA_STATE_COUNT];
};
const struct niwa_usage_round *niwa_usage_last(const struct niwa_engine *e); /* NULL: nobody ever asked */
uint64_t niwa_usage_cpu_total_us(const struct niwa_engine *e); /* of all instances since niwad started, roughly */

/* For two minutes from now on a round is made each ten seconds. */
void niwa_usage_want(struct niwa_engine *e);

typedef void niwa_usage_fn(struct niwa_engine *e, void *arg);
/* Calls fn in a later turn, when a round later than `after` has ended; after 0: when there is one
 * that is not older than three seconds; one is made at once, but not sooner
 * than 200 ms after the one before. -ENOMEM: fn is not called. */
int niwa_usage_then(struct niwa_engine *e, uint64_t after, niwa_usage_fn *fn, void *arg);

/* The instance is being taken out of engine.instance_list. */
void niwa_usage_gone(struct niwa_engine *e, const struct niwa_instance *i);

#endif
