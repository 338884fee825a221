/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of growing and shrinking.
 */
#include "engine/scale_plan.h"

#include <assert.h>
#include <stdbool.h>

/* The instances are to be filled to three quarters only, so that one more is not wanted at once again. */
static bool fit(uint32_t full, uint64_t all, size_t count)
{
	return count > 0 && (!full || all * 4 <= (uint64_t)full * count * 3);
}

static void sum(const struct niwa_scale_load *loads, size_t count, uint64_t *ret_connections, uint64_t *ret_cpu)
{
	*ret_connections = *ret_cpu = 0;
	for (size_t n = 0; n < count; n++) {
		*ret_connections += loads[n].connections;
		*ret_cpu += loads[n].cpu_centi;
	}
}

enum niwa_scale_verdict niwa_scale_judge(const struct niwa_scale_rule *rule, const struct niwa_scale_load *loads,
					 size_t count, uint64_t now_us, uint64_t *fits_since_us)
{
	uint64_t connections, cpu;
	bool full, fits;

	sum(loads, count, &connections, &cpu);
	full = (rule->connections && connections >= (uint64_t)rule->connections * count) ||
	       (rule->cpu_centi && cpu >= (uint64_t)rule->cpu_centi * count);
	fits = fit(rule->connections, connections, count - 1) && fit(rule->cpu_centi, cpu, count - 1);
	if (!fits)
		*fits_since_us = 0;
	else if (!*fits_since_us)
		*fits_since_us = now_us;
	if (count > rule->max)
		return NIWA_SCALE_FEWER;
	if (full)
		return count < rule->max ? NIWA_SCALE_MORE : NIWA_SCALE_STAYS;
	if (!fits || now_us - *fits_since_us < rule->quiet_us)
		return NIWA_SCALE_STAYS;
	*fits_since_us = now_us; /* the next one has a time of its own */
	return NIWA_SCALE_FEWER;
}

void niwa_scale_share(const struct niwa_scale_rule *rule, const struct niwa_scale_load *loads, size_t count,
		      unsigned buckets, unsigned *ret_shares)
{
	uint64_t room[NIWA_SCALE_MAX + 1], all = 0;
	unsigned given = 0;

	assert(count > 0 && count <= NIWA_SCALE_MAX + 1);
	for (size_t n = 0; n < count; n++) {
		room[n] = rule->connections > loads[n].connections ? rule->connections - loads[n].connections : 0;
		all += room[n];
	}
	for (size_t n = 0; n < count; n++) {
		ret_shares[n] = (unsigned)(all ? buckets * room[n] / all : buckets / count);
		given += ret_shares[n];
	}
	for (size_t n = 0; given < buckets; n = (n + 1) % count) { /* what rounding has left */
		if (all && !room[n])
			continue;
		ret_shares[n]++;
		given++;
	}
}

void niwa_scale_assign(const unsigned *shares, size_t count, int *owners, size_t buckets)
{
	unsigned left[NIWA_SCALE_MAX + 1];
	size_t next = 0;

	assert(count > 0 && count <= NIWA_SCALE_MAX + 1);
	for (size_t n = 0; n < count; n++)
		left[n] = shares[n];
	for (size_t b = 0; b < buckets; b++) {
		if (owners[b] >= 0 && (size_t)owners[b] < count && left[owners[b]])
			left[owners[b]]--;
		else
			owners[b] = -1;
	}
	for (size_t b = 0; b < buckets; b++) {
		while (owners[b] < 0 && next < count && !left[next])
			next++;
		if (owners[b] >= 0 || next == count)
			continue;
		owners[b] = (int)next;
		left[next]--;
	}
}

uint32_t niwa_scale_cpu(uint32_t base, uint32_t max, uint32_t now, uint32_t used, uint64_t quiet_us, uint64_t now_us,
			uint64_t *idle_since_us)
{
	if (!base || max <= base)
		return base;
	if (used < now / 4 && !*idle_since_us)
		*idle_since_us = now_us;
	else if (used >= now / 4)
		*idle_since_us = 0;
	if ((uint64_t)used * 10 >= (uint64_t)now * 9)
		return now > max / 2 ? max : now * 2;
	if (*idle_since_us && now_us - *idle_since_us >= quiet_us)
		return base;
	return now;
}
