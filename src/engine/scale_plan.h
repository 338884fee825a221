/* SPDX-License-Identifier: MIT
 *
 * When an app gets one instance more or less, and which part of the new connections each gets. Pure: numbers in,
 * numbers out; scale.c measures and acts.
 */
#ifndef NIWA_ENGINE_SCALE_PLAN_H
#define NIWA_ENGINE_SCALE_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "spec/app.h"

/* One instance that serves. */
struct niwa_scale_load {
	unsigned connections;
	uint32_t cpu_centi; /* a moving mean */
};

struct niwa_scale_rule {
	unsigned max, connections; /* connections, cpu_centi: of one that is full; 0: not counted */
	uint32_t cpu_centi;
	uint64_t quiet_us;
};

enum niwa_scale_verdict { NIWA_SCALE_STAYS, NIWA_SCALE_MORE, NIWA_SCALE_FEWER };

/* fits_since_us: since when all of it would fit in one instance less; 0: it does not. Kept by the caller. */
enum niwa_scale_verdict niwa_scale_judge(const struct niwa_scale_rule *rule, const struct niwa_scale_load *loads,
					 size_t count, uint64_t now_us, uint64_t *fits_since_us);

/* How many of `buckets` each of the instances gets (at least 1, at most NIWA_SCALE_MAX of them): as many as it has room
 * for connections; what is full gets none, unless all are. The shares sum up to `buckets`. */
void niwa_scale_share(const struct niwa_scale_rule *rule, const struct niwa_scale_load *loads, size_t count,
		      unsigned buckets, unsigned *ret_shares);

/* Gives each bucket an owner by the shares, and moves as few as possible. owner: the number of the instance, or -1. */
void niwa_scale_assign(const unsigned *shares, size_t count, int *owners, size_t buckets);

/* The limit of an instance's CPU, between that of its record (base) and max: all of it used, twice as much; hardly a
 * quarter of it used for quiet_us, base again. idle_since_us as above. */
uint32_t niwa_scale_cpu(uint32_t base, uint32_t max, uint32_t now, uint32_t used, uint64_t quiet_us, uint64_t now_us,
			uint64_t *idle_since_us);

#endif
