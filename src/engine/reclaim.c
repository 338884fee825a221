/* SPDX-License-Identifier: MIT
 *
 * One walk over the instances: what is ending is counted, and of those that may be saved the one is chosen that is
 * needed least for its size (govern.h); of those that are alike, who has been quiet longest. What serves somebody, or
 * was declared never to be saved, is left alone.
 */
#include "engine/reclaim.h"

#include "base/clock.h"
#include "engine/busy.h"
#include "engine/govern.h"
#include "engine/leave.h"
#include "engine/sleep.h"

#define QUIET_US   (2 * NIWA_SEC) /* of an app that is not frozen */
#define TRIES      4
#define VALUED_MAX 2048
#define ALIKE      2 /* values that are not this many times another */

static bool is_going(const struct niwa_instance *i)
{
	return i->life == NIWA_LIFE_STOPPING ||
	       (i->app->current == i && (i->app->state == NIWA_STOPPING || i->app->state == NIWA_SAVING));
}

/* When it was used last; UINT64_MAX: it stays. */
static uint64_t used_us(const struct niwa_instance *i, uint64_t now)
{
	const struct niwa_app *app = i->app;
	bool frozen = app->state == NIWA_FROZEN || app->state == NIWA_PAGED;

	if (app->current != i || app->fresh || app->template || app->resident || i->execs || niwa_busy_is_known(i) ||
	    i->life != NIWA_LIFE_SERVING || !i->spec || !i->spec->sleep.save_us || !TAILQ_EMPTY(&app->waiters))
		return UINT64_MAX;
	if (!frozen && (app->state != NIWA_RUNNING || now - i->active_us < QUIET_US || niwa_sleep_owes_answer(i)))
		return UINT64_MAX;
	return i->active_us;
}

/* What would be lost by putting it away decides; where that is about the same, who was quiet longest. */
struct victim {
	struct niwa_instance *instance;
	uint64_t used_us;
	double value;
};

static bool goes_before(const struct victim *a, const struct victim *b)
{
	if (!b->instance || a->value * ALIKE < b->value)
		return true;
	return a->value < b->value * ALIKE && a->used_us < b->used_us;
}

static bool was_tried(struct niwa_instance *const *tried, unsigned count, const struct niwa_instance *i)
{
	for (unsigned n = 0; n < count; n++)
		if (tried[n] == i)
			return true;
	return false;
}

/* Of those whose number leaves this rest when divided by `parts`. */
static struct niwa_instance *choose_of(struct niwa_engine *e, const struct niwa_tenant *tenant,
				       struct niwa_instance *const *tried, unsigned count, uint64_t parts,
				       uint64_t rest)
{
	struct victim best = {0};
	uint64_t now = niwa_now_us();
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	{
		struct victim one = {.instance = i};

		if (i->id % parts != rest || (tenant && i->tenant != tenant) || was_tried(tried, count, i))
			continue;
		one.used_us = used_us(i, now);
		if (one.used_us == UINT64_MAX)
			continue;
		one.value = niwa_govern_value(e, i);
		if (goes_before(&one, &best))
			best = one;
	}
	return best.instance;
}

/* To value each of ten thousand would take longer than a turn of the loop may: a part of them is looked at, another one
 * each time, as long as somebody is found in it. */
static struct niwa_instance *choose(struct niwa_engine *e, const struct niwa_tenant *tenant,
				    struct niwa_instance *const *tried, unsigned count)
{
	uint64_t parts = niwa_map_count(e->instances) / VALUED_MAX + 1;
	struct niwa_instance *i = NULL;

	for (uint64_t n = 0; n < parts && !i; n++)
		i = choose_of(e, tenant, tried, count, parts, e->reclaim_part++ % parts);
	return i;
}

static uint64_t going_bytes(struct niwa_engine *e, const struct niwa_tenant *tenant, unsigned *ret_count)
{
	const struct niwa_instance *i;
	uint64_t sum = 0;

	*ret_count = 0;
	LIST_FOREACH(i, &e->instance_list, link)
	{
		if (!is_going(i) || (tenant && i->tenant != tenant))
			continue;
		++*ret_count;
		sum += niwa_sleep_memory(e, i);
	}
	return sum;
}

bool niwa_reclaim(struct niwa_engine *e, uint64_t bytes, const struct niwa_tenant *tenant)
{
	struct niwa_instance *i, *tried[TRIES];
	unsigned going;

	if (going_bytes(e, tenant, &going) >= bytes && going)
		return true;
	for (unsigned n = 0; n < TRIES && (i = choose(e, tenant, tried, n)); n++) {
		tried[n] = i;
		if (niwa_leave_idle(e, i, NIWA_LEAVE_SLEEPS,
				    tenant ? "its tenant is at its limit" : "memory is wanted") == 0)
			return true;
	}
	return going;
}
