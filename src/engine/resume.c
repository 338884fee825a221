/* SPDX-License-Identifier: MIT
 *
 * Adopted instances go on where they were. Of each app the newest serving instance serves and the newest one that is
 * not ready yet becomes ready; whatever else lives drains or stops. So a niwad that was killed between two steps of a
 * rotation leaves neither two that serve nor none.
 */
#include "engine/resume.h"

#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/ready.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/wake.h"

static void choose(struct niwa_instance **slot, struct niwa_instance *i)
{
	if (!*slot || ((*slot)->adopting && (*slot)->id < i->id))
		*slot = i;
}

static void choose_all(struct niwa_engine *e)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	{
		if (!i->adopting || i->app->removed)
			continue;
		if (i->life == NIWA_LIFE_SERVING && !i->copy)
			choose(&i->app->current, i);
		else if (!i->copy_to_be && (i->life == NIWA_LIFE_CLONING || i->life == NIWA_LIFE_STARTED))
			choose(&i->app->fresh, i);
	}
}

/* The first one died, and nobody had taken its place yet. */
static void choose_among_copies(struct niwa_engine *e)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	{
		if (!i->adopting || i->app->removed || !i->copy || i->life != NIWA_LIFE_SERVING || i->app->current)
			continue;
		i->copy = false;
		i->app->current = i;
	}
}

/* New connections do not come to it any more, those under way try again elsewhere. */
static void drain(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_error err;

	niwa_sleep_release(e, i);
	if (niwa_net_flush_unreplied(e->net, i->mark, &err) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "%s", err.msg);
	niwa_rotate_drain(e, i);
}

/* Its record has changed, and what it was made from is not known any more: it gets no new connection. Where two may
 * live beside each other it drains; else the fresh one follows when it has ended. */
static void replace(struct niwa_engine *e, struct niwa_instance *i)
{
	bool asleep = niwa_group_freeze_asked(e, i->id) > 0;
	struct niwa_app *app = i->app;

	niwa_awake_leave(e, i);
	if (niwa_rotate_made_for(i) && niwa_rotate_declared(i->spec)) { /* the record as it was, and as it is */
		app->current = NULL;
		drain(e, i);
		if (!asleep && !app->fresh)
			niwa_wake_start(e, app, "changed");
		return;
	}
	niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
	if (!asleep) /* connections that it has just accepted get their moment */
		niwa_app_set_state(e, app, NIWA_RUNNING, "adopted");
	app->rotate_wanted = !asleep;
	niwa_leave_stop(e, i, "changed");
}

static void resume_frozen(struct niwa_engine *e, struct niwa_instance *i)
{
	niwa_app_set_state(e, i->app, NIWA_FREEZING, "adopted");
	i->in_frozen = true;
	if (niwa_group_is_frozen(e, i->id) <= 0) {
		niwa_sleep_thaw(e, i, "a freeze under way was given up");
	} else if (niwa_sleep_owes_answer(i)) { /* bytes that came between the decision and the freezer */
		niwa_sleep_thaw(e, i, "somebody waits for its answer");
	} else {
		niwa_app_set_state(e, i->app, NIWA_FROZEN, "adopted");
		niwa_sleep_resume_frozen(e, i);
	}
}

static void resume_serving(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;

	if (app->current != i) {
		bool copy = i->copy;

		i->copy = false;
		if (!copy || !niwa_scale_adopt(e, i))
			drain(e, i);
		return;
	}
	i->in_awake = true;
	if (i->generation != app->generation) {
		replace(e, i);
		return;
	}
	if (!i->stages.ready_us)
		i->stages.ready_us = i->stages.executed_us;
	niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
	niwa_app_set_state(e, app, NIWA_RUNNING, "adopted");
	niwa_sleep_watch(e, i);
	niwa_rotate_arm(e, i);
	if (niwa_group_freeze_asked(e, i->id) > 0)
		resume_frozen(e, i);
}

static void supersede(struct niwa_engine *e, struct niwa_instance *i)
{
	i->killed = true;
	if (!i->app->current) { /* somebody waited for it */
		i->app->current = i;
		i->app->rotate_wanted = true;
		niwa_app_set_state(e, i->app, NIWA_STARTING, "adopted");
	}
	niwa_leave_stop(e, i, "superseded");
}

static void resume_starting(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;
	bool chosen = app->fresh == i;

	if (chosen)
		app->fresh = NULL;
	if (i->copy_to_be && i->generation == app->generation && niwa_scale_adopt_growing(i)) {
		if (i->life == NIWA_LIFE_STARTED)
			niwa_ready_begin(e, i);
		return;
	}
	i->copy_to_be = false;
	if (!chosen || i->restored || i->generation != app->generation ||
	    (app->current && niwa_app_has_own_data(i->spec))) {
		supersede(e, i);
		return;
	}
	if (app->current) {
		app->fresh = i;
	} else {
		app->current = i;
		niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
	}
	if (i->life == NIWA_LIFE_STARTED)
		niwa_ready_begin(e, i);
}

static void resume_stopping(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;

	i->life = NIWA_LIFE_SERVING; /* the signal is sent again: it may not have been */
	if (!app->current) {
		app->current = i;
		app->rotate_wanted = i->follow;
		niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
	}
	niwa_leave_stop(e, i, "was stopping");
}

/* What is left of its grace is still its own. */
static void resume_removed(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "adopt"};

	niwa_log(NIWA_LOG_INFO, &ctx, "its app is not declared any more; it ends");
	if (i->life == NIWA_LIFE_STOPPING)
		i->life = NIWA_LIFE_SERVING; /* the signal is sent again: it may not have been */
	niwa_leave_stop(e, i, "removed");
}

static void resume(struct niwa_engine *e, struct niwa_instance *i)
{
	i->adopting = false;
	i->copy = i->copy && i->life == NIWA_LIFE_SERVING && !i->app->removed;
	if (i->app->removed) {
		resume_removed(e, i);
		return;
	}
	switch (i->life) {
	case NIWA_LIFE_SERVING:
		resume_serving(e, i);
		break;
	case NIWA_LIFE_CLONING:
	case NIWA_LIFE_STARTED:
		resume_starting(e, i);
		break;
	case NIWA_LIFE_DRAINING:
		drain(e, i);
		break;
	case NIWA_LIFE_STOPPING:
		resume_stopping(e, i);
		break;
	case NIWA_LIFE_GONE:
		break;
	}
}

void niwa_resume_all(struct niwa_engine *e)
{
	static const enum niwa_phase_of_life order[] = {NIWA_LIFE_SERVING, NIWA_LIFE_STARTED, NIWA_LIFE_CLONING,
							NIWA_LIFE_DRAINING, NIWA_LIFE_STOPPING};

	choose_all(e);
	choose_among_copies(e);
	for (size_t n = 0; n < NIWA_ARRAY_LEN(order); n++) {
		struct niwa_instance *i = LIST_FIRST(&e->instance_list), *next;

		for (; i; i = next) {
			next = LIST_NEXT(i, link);
			if (i->adopting && i->life == order[n])
				resume(e, i);
		}
	}
}
