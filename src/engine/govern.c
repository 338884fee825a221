/* SPDX-License-Identifier: MIT
 *
 * Questions to the governor. What was not measured yet is assumed; with the declared times alone that changes nothing.
 */
#include "engine/govern.h"

#include <string.h>

#include "base/clock.h"
#include "engine/past.h"
#include "engine/past_store.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"

#define ASSUMED_BYTES     (UINT64_C(64) << 20)
#define ASSUMED_WAKE_US   (400 * NIWA_MS)
#define ASSUMED_THAW_US   NIWA_MS
#define SWAP_AGAIN_US     (30 * NIWA_SEC)
#define PAGED_PART        5    /* a fifth is not paged: shared, or needed at once */
#define PAGE_IN_BYTES_US  1024 /* a microsecond, when it is woken */
#define PAGE_OUT_BYTES_US 2048

void niwa_govern_visit(struct niwa_app *app, uint64_t at_us)
{
	struct niwa_app_past *past = niwa_app_past(app);

	if (!past)
		return;
	if (past->visited_us && at_us > past->visited_us)
		niwa_gaps_add(&past->gaps, at_us - past->visited_us);
	if (at_us <= past->visited_us)
		return;
	past->visited_us = at_us;
	niwa_past_touch(past);
}

void niwa_govern_measure(struct niwa_engine *e, struct niwa_instance *i)
{
	i->held_bytes = niwa_sleep_memory(e, i);
}

bool niwa_govern_can_page(const struct niwa_engine *e, uint64_t bytes)
{
	return e->config.page_budget_bytes && e->memory.swap_free_bytes > bytes;
}

/* How long a visitor waits if the app is not there at all: as it was measured, in the way it would be woken. */
static uint64_t wake_us(const struct niwa_app *app)
{
	const struct niwa_app_snapshot *s = app->snapshot;
	uint64_t us = 0;

	if (s && s->usable)
		us = niwa_store_median(s->restored_us);
	if (!us && app->past)
		us = app->past->woke_us;
	return us ? us : ASSUMED_WAKE_US;
}

static enum niwa_depth depth_of(enum niwa_state state)
{
	return state == NIWA_PAGED ? NIWA_DEPTH_PAGED : state == NIWA_FROZEN ? NIWA_DEPTH_FROZEN : NIWA_DEPTH_AWAKE;
}

static void make_question(struct niwa_engine *e, const struct niwa_instance *i, uint64_t quiet_us,
			  struct niwa_governor_question *q)
{
	uint64_t bytes = i->held_bytes ? i->held_bytes : ASSUMED_BYTES, wake = wake_us(i->app);
	uint64_t page_in = ASSUMED_THAW_US + bytes / PAGED_PART / PAGE_IN_BYTES_US;

	*q = (struct niwa_governor_question){
		.now = depth_of((enum niwa_state)i->app->state),
		.quiet_us = quiet_us,
		.gaps = i->app->past ? &i->app->past->gaps : NULL,
		.declared_us = {0, i->spec->sleep.freeze_us, i->spec->sleep.page_us, i->spec->sleep.save_us},
		.can_page = !i->page_failed && niwa_govern_can_page(e, bytes),
		.held_bytes = {bytes, bytes, bytes / PAGED_PART, 0},
		.paging_us = bytes / PAGE_OUT_BYTES_US,
		.worth_us = e->config.wait_worth_us,
		.scarcity = e->pressure.scarcity,
	};
	q->waiting_us[NIWA_DEPTH_FROZEN] = ASSUMED_THAW_US;
	q->waiting_us[NIWA_DEPTH_PAGED] = page_in;
	q->waiting_us[NIWA_DEPTH_SAVED] = wake > page_in ? wake : page_in;
}

void niwa_govern_ask(struct niwa_engine *e, const struct niwa_instance *i, uint64_t quiet_us,
		     struct niwa_governor_answer *ret)
{
	struct niwa_governor_question q;

	make_question(e, i, quiet_us, &q);
	niwa_governor_ask(&q, ret);
	if (q.now == NIWA_DEPTH_FROZEN && q.declared_us[NIWA_DEPTH_PAGED] && !q.can_page && !i->page_failed &&
	    e->memory.swap_bytes && (!ret->again_us || ret->again_us > SWAP_AGAIN_US))
		ret->again_us = SWAP_AGAIN_US; /* it is full now */
}

const char *niwa_govern_why(const struct niwa_governor_answer *answer, const char *declared)
{
	return answer->why == NIWA_GOVERNOR_LEARNT ? "quiet, and not expected soon" : declared;
}

double niwa_govern_value(struct niwa_engine *e, const struct niwa_instance *i)
{
	struct niwa_governor_question q;
	uint64_t now = niwa_now_us();

	make_question(e, i, now > i->active_us ? now - i->active_us : 0, &q);
	if (!q.gaps || niwa_gaps_count(q.gaps) < NIWA_GAPS_ENOUGH) { /* of strangers the age decides, and the size */
		q.gaps = NULL;
		q.waiting_us[NIWA_DEPTH_SAVED] = ASSUMED_WAKE_US;
	}
	return niwa_governor_value(&q);
}
