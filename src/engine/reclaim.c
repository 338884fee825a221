/* SPDX-License-Identifier: MIT
 *
 * One walk over the instances: what is ending is counted, and of those that may be saved the one that has been quiet
 * longest is chosen. What serves somebody, or was declared never to be saved, is left alone.
 */
#include "engine/reclaim.h"

#include "base/clock.h"
#include "engine/leave.h"
#include "engine/sleep.h"

#define QUIET_US (2 * NIWA_SEC) /* of an app that is not frozen */
#define TRIES    4

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

	if (app->current != i || app->fresh || app->template || app->resident || i->execs ||
	    i->life != NIWA_LIFE_SERVING || !i->spec || !i->spec->sleep.save_us || !TAILQ_EMPTY(&app->waiters))
		return UINT64_MAX;
	if (!frozen && (app->state != NIWA_RUNNING || now - i->active_us < QUIET_US || niwa_sleep_owes_answer(i)))
		return UINT64_MAX;
	return i->active_us;
}

/* Used first after `after`: those before it could not be put away. */
static struct niwa_instance *choose(struct niwa_engine *e, const struct niwa_tenant *tenant, uint64_t after)
{
	struct niwa_instance *i, *best = NULL;
	uint64_t now = niwa_now_us(), best_us = UINT64_MAX;

	LIST_FOREACH(i, &e->instance_list, link)
	{
		uint64_t at;

		if ((tenant && i->tenant != tenant) || i->active_us <= after || i->active_us >= best_us)
			continue;
		at = used_us(i, now);
		if (at < best_us) {
			best_us = at;
			best = i;
		}
	}
	return best;
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
	struct niwa_instance *i;
	uint64_t after = 0;
	unsigned going;

	if (going_bytes(e, tenant, &going) >= bytes && going)
		return true;
	for (unsigned n = 0; n < TRIES && (i = choose(e, tenant, after)); n++) {
		after = i->active_us;
		if (niwa_leave_idle(e, i, NIWA_LEAVE_SLEEPS,
				    tenant ? "its tenant is at its limit" : "memory is wanted") == 0)
			return true;
	}
	return going;
}
