/* SPDX-License-Identifier: MIT
 *
 * The best so far in order; most rows are less than the last of them, and cost one comparison.
 */
#include "engine/usage_rank.h"

#include <errno.h>
#include <string.h>

#include "engine/state.h"

static const char *const names[NIWA_USAGE_KEYS] = {[NIWA_USAGE_CPU] = "cpu",
						   [NIWA_USAGE_MEMORY] = "memory",
						   [NIWA_USAGE_WAKES] = "wakes",
						   [NIWA_USAGE_CONNECTIONS] = "connections",
						   [NIWA_USAGE_STATE] = "state"};

const char *niwa_usage_key_name(enum niwa_usage_key key)
{
	return names[key];
}

int niwa_usage_key_by_name(const char *name)
{
	for (int k = 0; k < NIWA_USAGE_KEYS; k++)
		if (strcmp(names[k], name) == 0)
			return k;
	return -EINVAL;
}

static uint64_t liveliness(enum niwa_state state)
{
	if (state == NIWA_RUNNING)
		return 3;
	if (state == NIWA_PAGED)
		return 0;
	return state == NIWA_FROZEN ? 1 : 2;
}

static uint64_t value(const struct niwa_usage_row *r, enum niwa_usage_key key)
{
	switch (key) {
	case NIWA_USAGE_CPU:
		return r->cpu_centi;
	case NIWA_USAGE_MEMORY:
		return r->memory_bytes;
	case NIWA_USAGE_WAKES:
		return r->wakes;
	case NIWA_USAGE_CONNECTIONS:
		return r->connections;
	case NIWA_USAGE_STATE:
		return liveliness((enum niwa_state)r->state);
	case NIWA_USAGE_KEYS:
		break;
	}
	return 0;
}

static bool is_before(const struct niwa_usage_row *a, const struct niwa_usage_row *b, enum niwa_usage_key key)
{
	if (value(a, key) != value(b, key))
		return value(a, key) > value(b, key);
	if (a->cpu_centi != b->cpu_centi)
		return a->cpu_centi > b->cpu_centi;
	if (a->memory_bytes != b->memory_bytes)
		return a->memory_bytes > b->memory_bytes;
	return a->app < b->app;
}

static bool passes(const struct niwa_usage_row *r, const struct niwa_usage_filter *f)
{
	return (!f->of_tenant || r->tenant == f->tenant) && (!f->in_state || r->state == f->state);
}

/* Where it belongs among the first n. */
static size_t place_of(const struct niwa_usage_row *rows, size_t at, enum niwa_usage_key key, const uint32_t *best,
		       size_t n)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (is_before(&rows[at], &rows[best[mid]], key))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

size_t niwa_usage_rank(const struct niwa_usage_row *rows, size_t count, const struct niwa_usage_filter *filter,
		       size_t limit, uint32_t *ret)
{
	size_t n = 0;

	if (limit > NIWA_USAGE_RANKED_MAX)
		limit = NIWA_USAGE_RANKED_MAX;
	for (size_t i = 0; i < count && limit; i++) {
		size_t at;

		if (!passes(&rows[i], filter) || (n == limit && !is_before(&rows[i], &rows[ret[n - 1]], filter->key)))
			continue;
		at = place_of(rows, i, filter->key, ret, n);
		n += n < limit;
		memmove(ret + at + 1, ret + at, (n - at - 1) * sizeof(*ret));
		ret[at] = (uint32_t)i;
	}
	return n;
}

void niwa_usage_add(struct niwa_usage_row *sum, const struct niwa_usage_row *row)
{
	sum->cpu_centi += row->cpu_centi;
	sum->cpu_us += row->cpu_us;
	sum->memory_bytes += row->memory_bytes;
	sum->wakes += row->wakes;
	sum->connections += row->connections;
	sum->instances += row->instances;
	sum->running += row->running;
	sum->asleep += row->asleep;
}
