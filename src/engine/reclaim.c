/* SPDX-License-Identifier: MIT
 *
 * One walk over the instances, of the host or of a tenant: what is ending is counted, and of those that may be saved
 * the one is chosen that is needed least for its size (govern.h); of those that are alike, who has been quiet longest.
 * What serves somebody, or was declared never to be saved, is left alone. Whether somebody has a connection is asked
 * only of who was chosen; who has stands behind all others for a while.
 */
#include "engine/reclaim.h"

#include "base/clock.h"
#include "engine/busy.h"
#include "engine/govern.h"
#include "engine/leave.h"
#include "engine/scale.h"
#include "engine/sleep.h"

#define QUIET_US   (2 * NIWA_SEC) /* of an app that is not frozen */
#define TRIES      4
#define TRIED_US   (60 * NIWA_SEC) /* as long as one that could not be put away is remembered */
#define AGAIN_US   NIWA_SEC        /* when it may be worth another try */
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

	if (app->current != i || app->fresh || niwa_scale_is_grown(app) || app->template || app->resident || i->execs ||
	    niwa_busy_is_known(i) || i->life != NIWA_LIFE_SERVING || !i->spec || !i->spec->sleep.save_us ||
	    !TAILQ_EMPTY(&app->waiters))
		return UINT64_MAX;
	if (!frozen && (app->state != NIWA_RUNNING || now - i->active_us < QUIET_US))
		return UINT64_MAX;
	return i->active_us;
}

/* What would be lost by putting it away decides; where that is about the same, who was quiet longest. */
struct victim {
	struct niwa_instance *instance;
	uint64_t used_us, tried_us;
	double value;
};

static bool goes_before(const struct victim *a, const struct victim *b)
{
	if (!b->instance)
		return true;
	if (a->tried_us != b->tried_us)
		return a->tried_us < b->tried_us;
	if (a->value * ALIKE < b->value)
		return true;
	return a->value < b->value * ALIKE && a->used_us < b->used_us;
}

static struct niwa_instance *first_of(struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	return tenant ? LIST_FIRST(&tenant->instance_list) : LIST_FIRST(&e->instance_list);
}

static struct niwa_instance *next_of(const struct niwa_instance *i, const struct niwa_tenant *tenant)
{
	return tenant ? LIST_NEXT(i, tenant_link) : LIST_NEXT(i, link);
}

/* Of those whose number leaves this rest when divided by `parts`. */
static struct niwa_instance *choose_of(struct niwa_engine *e, const struct niwa_tenant *tenant, uint64_t parts,
				       uint64_t rest)
{
	struct victim best = {0};
	uint64_t now = niwa_now_us();

	for (struct niwa_instance *i = first_of(e, tenant); i; i = next_of(i, tenant)) {
		struct victim one = {.instance = i};

		if (i->id % parts != rest)
			continue;
		one.used_us = used_us(i, now);
		if (one.used_us == UINT64_MAX)
			continue;
		one.value = niwa_govern_value(e, i);
		one.tried_us = now - i->tried_us < TRIED_US ? i->tried_us : 0;
		if (goes_before(&one, &best))
			best = one;
	}
	return best.instance;
}

/* To value each of ten thousand would take longer than a turn of the loop may: a part of them is looked at, another one
 * each time, as long as somebody is found in it. */
static struct niwa_instance *choose(struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	size_t count = tenant ? tenant->instances : niwa_map_count(e->instances);
	uint64_t parts = count / VALUED_MAX + 1;
	struct niwa_instance *i = NULL;

	for (uint64_t n = 0; n < parts && !i; n++)
		i = choose_of(e, tenant, parts, e->reclaim_part++ % parts);
	return i;
}

static uint64_t going_bytes(struct niwa_engine *e, const struct niwa_tenant *tenant, unsigned *ret_count)
{
	uint64_t sum = 0;

	*ret_count = 0;
	for (const struct niwa_instance *i = first_of(e, tenant); i; i = next_of(i, tenant)) {
		if (!is_going(i))
			continue;
		++*ret_count;
		sum += niwa_sleep_memory(e, i);
	}
	return sum;
}

static bool put_away(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	if (i->app->state == NIWA_RUNNING && niwa_sleep_owes_answer(i))
		return false;
	return niwa_leave_idle(e, i, NIWA_LEAVE_SLEEPS, why) == 0;
}

bool niwa_reclaim(struct niwa_engine *e, uint64_t bytes, const struct niwa_tenant *tenant)
{
	uint64_t now = niwa_now_us();
	bool worth_it = false;
	struct niwa_instance *i;
	unsigned going;

	if (going_bytes(e, tenant, &going) >= bytes && going)
		return true;
	for (unsigned n = 0; n < TRIES; n++) {
		i = choose(e, tenant);
		if (!i || i->tried_us >= now)
			break;
		if (put_away(e, i, tenant ? "its tenant is at its limit" : "memory is wanted"))
			return true;
		worth_it = worth_it || now - i->tried_us >= AGAIN_US;
		i->tried_us = niwa_now_us();
	}
	return going || worth_it; /* others are tried the next time */
}
