/* SPDX-License-Identifier: MIT
 *
 * The replay. Nothing runs in steps: between two visits the governor says when to ask it again.
 */
#include "sim/replay.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define GIB_HOURS (3600e6 * 1073741824.0)

struct replay {
	const struct niwa_trace *trace;
	const struct niwa_sim_policy *policy;
	struct niwa_sim_result result;
	uint64_t *waits;
	double byte_us;
};

/* From 0 to 1, the same for the same name and use. FNV-1a. */
static double share(const char *name, uint64_t use)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ use;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return (double)((h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 11) / 9007199254740992.0;
}

static struct niwa_governor_question question_of(const struct replay *r, const struct niwa_sim_apps *apps,
						 const char *name)
{
	double size = apps->alike ? 1 : exp2(2 * share(name, 1) - 1),
	       slow = apps->alike ? 1 : exp2(4 * share(name, 2) - 2);
	uint64_t bytes = (uint64_t)((double)apps->bytes * size), wake = (uint64_t)((double)apps->wake_us * slow);
	struct niwa_governor_question q = {
		.can_page = r->policy->swap,
		.worth_us = r->policy->worth_us,
		.held_bytes = {bytes, bytes, (uint64_t)((double)bytes * apps->paged), 0},
		.waiting_us = {0, apps->thaw_us, apps->page_us, wake},
		.paging_us = bytes >> 11, /* 2 GiB a second */
	};

	memcpy(q.declared_us, r->policy->declared_us, sizeof(q.declared_us));
	return q;
}

/* Nobody comes for so long: holds, and goes deeper. q->now and q->quiet_us are left as they are then. */
static void be_quiet(struct replay *r, struct niwa_governor_question *q, uint64_t gap_us)
{
	struct niwa_governor_answer a;

	for (q->quiet_us = 0; q->quiet_us < gap_us;) {
		uint64_t step = gap_us - q->quiet_us;

		niwa_governor_ask(q, &a);
		if (a.next > q->now) {
			r->result.pagings += a.next == NIWA_DEPTH_PAGED;
			q->now = a.next;
			continue;
		}
		if (a.again_us && a.again_us < step)
			step = a.again_us;
		r->byte_us += (double)q->held_bytes[q->now] * (double)step;
		q->quiet_us += step;
	}
}

static void replay_app(struct replay *r, const struct niwa_sim_apps *apps, const struct niwa_visit *visits,
		       size_t count)
{
	struct niwa_governor_question q = question_of(r, apps, r->trace->names[visits->app]);
	uint64_t last = visits->at_us, ready = 0;
	struct niwa_gaps gaps = {0};

	q.gaps = r->policy->learns ? &gaps : NULL;
	q.now = NIWA_DEPTH_SAVED;
	for (size_t n = 0; n < count; n++) {
		uint64_t at = visits[n].at_us;

		if (n)
			be_quiet(r, &q, at - last);
		if (n)
			niwa_gaps_add(&gaps, at - last);
		if (at >= ready) { /* else it is waking, for somebody before */
			r->result.wakes[q.now]++;
			ready = at + q.waiting_us[q.now];
		}
		r->waits[r->result.visits++] = ready - at;
		q.now = NIWA_DEPTH_AWAKE;
		last = at;
	}
	be_quiet(r, &q, r->trace->end_us > last ? r->trace->end_us - last : 0);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t percentile(const struct replay *r, double part)
{
	size_t at = (size_t)ceil((double)r->result.visits * part);

	return r->waits[at ? at - 1 : 0];
}

int niwa_sim_replay(const struct niwa_trace *trace, const struct niwa_sim_apps *apps,
		    const struct niwa_sim_policy *policy, struct niwa_sim_result *ret, struct niwa_error *err)
{
	struct replay r = {.trace = trace, .policy = policy, .waits = niwa_zalloc(trace->count * sizeof(uint64_t))};
	double sum = 0;

	if (!r.waits)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "replay %zu visits", trace->count);
	for (size_t from = 0, to; from < trace->count; from = to) {
		for (to = from + 1; to < trace->count && trace->visits[to].app == trace->visits[from].app;)
			to++;
		replay_app(&r, apps, &trace->visits[from], to - from);
	}
	for (size_t n = 0; n < trace->count; n++)
		sum += (double)r.waits[n];
	qsort(r.waits, trace->count, sizeof(*r.waits), by_size);
	r.result.gib_hours = r.byte_us / GIB_HOURS;
	r.result.mean_us = sum / (double)trace->count;
	r.result.p50_us = percentile(&r, 0.5);
	r.result.p99_us = percentile(&r, 0.99);
	r.result.p999_us = percentile(&r, 0.999);
	r.result.most_us = r.waits[trace->count - 1];
	free(r.waits);
	*ret = r.result;
	return 0;
}
