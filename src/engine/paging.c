/* SPDX-License-Identifier: MIT
 *
 * Paging as the engine sees it: the budget, the one job of paging out, the jobs of fetching.
 */
#include "engine/paging.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/pages.h"
#include "engine/sleep.h"

#define MINUTE_US (60 * NIWA_SEC)
#define FETCH_US  NIWA_SEC

struct paging {
	struct niwa_engine *engine;
	uint64_t instance, began_us;
	const char *why;
	struct niwa_pages_job job;
};

static void fill(struct niwa_engine *e, uint64_t id, enum niwa_pages_way way, uint64_t for_us,
		 struct niwa_pages_job *job)
{
	niwa_group_procs(e, id, job->procs, sizeof(job->procs));
	job->way = way;
	job->deadline_us = niwa_now_us() + for_us;
	atomic_init(&job->stop, false);
}

/* The budget fills evenly: a minute's worth at most. */
static uint64_t budget(struct niwa_engine *e)
{
	uint64_t now = niwa_now_us(), since = now - e->page_budget_us, whole = e->config.page_budget_bytes;

	if (since > MINUTE_US)
		since = MINUTE_US;
	e->page_budget_left += (uint64_t)((double)whole * (double)since / (double)MINUTE_US);
	if (e->page_budget_left > whole)
		e->page_budget_left = whole;
	e->page_budget_us = now;
	return e->page_budget_left;
}

static int work(void *arg, struct niwa_error *err)
{
	struct paging *p = arg;
	int r = niwa_pages_move(&p->job);

	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "process_madvise") : 0;
}

/* The instance may have been thawed, or have ended, meanwhile. */
static void paged(int r, const struct niwa_error *err, void *arg)
{
	NIWA_AUTO(niwa_free_ptr) struct paging *p = arg;
	struct niwa_engine *e = p->engine;
	struct niwa_instance *i = niwa_map_get(e->instances, p->instance);
	struct niwa_log_ctx ctx = {.app = i ? i->app->name : NULL, .instance = p->instance, .doing = "page"};

	e->paging = NULL;
	e->page_budget_left -= p->job.asked_bytes < e->page_budget_left ? p->job.asked_bytes : e->page_budget_left;
	e->page_us += niwa_now_us() - p->began_us;
	if (!i || i->app->current != i || i->app->state != NIWA_FROZEN || atomic_load(&p->job.stop))
		return;
	if (r < 0 || !p->job.processes) {
		i->page_failed = true;
		niwa_log(NIWA_LOG_WARN, &ctx, "its memory stays: %s", err ? err->msg : "it has no process");
	} else if (!p->job.complete) {
		i->page_failed = true;
		niwa_log(NIWA_LOG_INFO, &ctx, "its memory was not paged within page_deadline");
	} else {
		e->pagings++;
		niwa_app_set_state(e, i->app, NIWA_PAGED, p->why);
	}
	niwa_sleep_resume_frozen(e, i);
}

int niwa_paging_begin(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	struct niwa_error err;
	struct paging *p;
	int r;

	if (e->paging || !niwa_group_tenant_has_swap(e, i, i->held_bytes) ||
	    budget(e) < (i->held_bytes < e->config.page_budget_bytes ? i->held_bytes : e->config.page_budget_bytes))
		return -EAGAIN;
	p = niwa_zalloc(sizeof(*p));
	if (!p)
		return -EAGAIN;
	p->engine = e;
	p->instance = i->id;
	p->began_us = niwa_now_us();
	p->why = why;
	fill(e, i->id, NIWA_PAGES_OUT, e->config.page_deadline_us, &p->job);
	r = niwa_background_run(e->event, work, paged, p, &err);
	if (r < 0) {
		free(p);
		return -EAGAIN;
	}
	e->paging = p;
	return 0;
}

void niwa_paging_stop(struct niwa_engine *e, const struct niwa_instance *i)
{
	if (e->paging && e->paging->instance == i->id)
		atomic_store(&e->paging->job.stop, true);
}

static void fetched(int r, const struct niwa_error *err, void *arg)
{
	(void)r, (void)err; /* a hint */
	free(arg);
}

void niwa_paging_fetch(struct niwa_engine *e, const struct niwa_instance *i)
{
	struct paging *p = niwa_zalloc(sizeof(*p));
	struct niwa_error err;

	if (!p)
		return;
	p->engine = e;
	p->instance = i->id;
	fill(e, i->id, NIWA_PAGES_IN, FETCH_US, &p->job);
	if (niwa_background_hurry(e->event, work, fetched, p, &err) < 0)
		free(p); /* too many at once */
}
