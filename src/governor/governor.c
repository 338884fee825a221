/* SPDX-License-Identifier: MIT
 *
 * The governor's function. Time is cut at the edges of the histogram's buckets; from the last cut before the declared
 * time of saving backwards the least expected cost is known for each depth (dynamic programming over at most 36 x 2
 * cells). What is deeper is never left for what is less deep but by a visit.
 */
#include "governor/governor.h"

#define HORIZON_US  ((uint64_t)300 * 1000000) /* "the next minutes" of niwa_governor_value */
#define CUTS_MAX    (NIWA_GAPS_BUCKETS + 8)
#define NEVER       UINT64_MAX
#define STEEPEST    10.0 /* the price of memory that is at its reserve */
#define LEAST_AGAIN ((uint64_t)20000)

static uint64_t at_most(const struct niwa_governor_question *q, enum niwa_depth depth)
{
	if (!q->declared_us[depth] || (depth == NIWA_DEPTH_PAGED && !q->can_page))
		return NEVER;
	return q->declared_us[depth];
}

/* Nothing below frozen comes before this much quiet. */
static uint64_t floor_us(const struct niwa_governor_question *q)
{
	return q->declared_us[NIWA_DEPTH_FROZEN] ? q->declared_us[NIWA_DEPTH_FROZEN] : NIWA_GAPS_LEAST;
}

/* The deepest state that the declared times ask for now. Only a frozen app can be paged. */
static enum niwa_depth by_bounds(const struct niwa_governor_question *q)
{
	if (q->quiet_us >= at_most(q, NIWA_DEPTH_SAVED))
		return NIWA_DEPTH_SAVED;
	if (q->now >= NIWA_DEPTH_FROZEN && q->quiet_us >= at_most(q, NIWA_DEPTH_PAGED))
		return NIWA_DEPTH_PAGED;
	return q->quiet_us >= at_most(q, NIWA_DEPTH_FROZEN) ? NIWA_DEPTH_FROZEN : NIWA_DEPTH_AWAKE;
}

/* The next declared time that changes something for an app that is as deep as this. */
static uint64_t next_bound(const struct niwa_governor_question *q, enum niwa_depth depth)
{
	uint64_t next = NEVER;

	for (unsigned d = depth + 1u; d < NIWA_DEPTH_COUNT; d++) {
		uint64_t at = at_most(q, (enum niwa_depth)d);

		if (at > q->quiet_us && at < next)
			next = at;
	}
	return next;
}

/* Microseconds of waiting that holding so much for a microsecond is worth. */
static double price(const struct niwa_governor_question *q, enum niwa_depth depth)
{
	double steep = 1 + (STEEPEST - 1) * (double)(q->scarcity > 1000 ? 1000 : q->scarcity) / 1000;

	return steep * (double)q->held_bytes[depth] / (1 << 30) * 1e6 / (double)q->worth_us;
}

struct plan {
	unsigned count; /* of cuts */
	uint64_t cut_us[CUTS_MAX + 1];
	double cost[CUTS_MAX + 1][NIWA_DEPTH_COUNT]; /* at the cut, being so deep when it comes */
	enum niwa_depth best[CUTS_MAX + 1][NIWA_DEPTH_COUNT];
};

static void cut(struct plan *p, uint64_t at_us)
{
	if (p->count < CUTS_MAX && (!p->count || at_us > p->cut_us[p->count - 1]))
		p->cut_us[p->count++] = at_us;
}

/* Now, the edges after it, the bounds among them; up to the time of saving, or the end of what is known. */
static void make_cuts(const struct niwa_governor_question *q, struct plan *p)
{
	uint64_t end = at_most(q, NIWA_DEPTH_SAVED), page = at_most(q, NIWA_DEPTH_PAGED), least = floor_us(q);

	cut(p, q->quiet_us);
	for (unsigned n = 0; n <= NIWA_GAPS_BUCKETS; n++) {
		uint64_t edge = niwa_gaps_edge_us(n);
		uint64_t marks[2] = {least < page ? least : page, least < page ? page : least};

		for (unsigned m = 0; m < 2; m++)
			if (marks[m] > q->quiet_us && marks[m] < end && marks[m] <= edge)
				cut(p, marks[m]);
		if (edge >= end)
			break;
		if (edge > q->quiet_us)
			cut(p, edge);
	}
	p->cut_us[p->count] = end == NEVER ? niwa_gaps_edge_us(NIWA_GAPS_BUCKETS) : end;
	if (p->cut_us[p->count] <= p->cut_us[p->count - 1])
		p->cut_us[p->count] = p->cut_us[p->count - 1] + 1;
}

/* Expected cost from cut n to its next one and after it, staying as deep as this. */
static double stay(const struct niwa_governor_question *q, const struct plan *p, unsigned n, enum niwa_depth depth)
{
	double length = (double)(p->cut_us[n + 1] - p->cut_us[n]);
	double here = niwa_gaps_longer(q->gaps, p->cut_us[n]), there = niwa_gaps_longer(q->gaps, p->cut_us[n + 1]);
	double visit = here > 0 ? 1 - there / here : 0;

	return price(q, depth) * length * (1 - visit / 2) + visit * (double)q->waiting_us[depth] +
	       (1 - visit) * p->cost[n + 1][depth];
}

static bool may_be(const struct niwa_governor_question *q, uint64_t quiet_us, enum niwa_depth depth)
{
	return at_most(q, depth) != NEVER && quiet_us >= floor_us(q);
}

/* Fills row n: for each depth it may have come in, what is best from then on. */
static void choose(const struct niwa_governor_question *q, struct plan *p, unsigned n)
{
	bool page = may_be(q, p->cut_us[n], NIWA_DEPTH_PAGED), save = may_be(q, p->cut_us[n], NIWA_DEPTH_SAVED);
	bool must_page = page && p->cut_us[n] >= at_most(q, NIWA_DEPTH_PAGED);
	double frozen, paged, saved = (double)q->waiting_us[NIWA_DEPTH_SAVED];

	paged = stay(q, p, n, NIWA_DEPTH_PAGED);
	p->best[n][NIWA_DEPTH_PAGED] = save && saved < paged ? NIWA_DEPTH_SAVED : NIWA_DEPTH_PAGED;
	p->cost[n][NIWA_DEPTH_PAGED] = p->best[n][NIWA_DEPTH_PAGED] == NIWA_DEPTH_SAVED ? saved : paged;

	frozen = stay(q, p, n, NIWA_DEPTH_FROZEN);
	p->best[n][NIWA_DEPTH_FROZEN] = NIWA_DEPTH_FROZEN;
	p->cost[n][NIWA_DEPTH_FROZEN] = frozen;
	if (page && (must_page || paged + (double)q->paging_us < frozen)) {
		p->best[n][NIWA_DEPTH_FROZEN] = NIWA_DEPTH_PAGED;
		p->cost[n][NIWA_DEPTH_FROZEN] = paged + (double)q->paging_us;
	}
	if (save && saved < p->cost[n][NIWA_DEPTH_FROZEN]) {
		p->best[n][NIWA_DEPTH_FROZEN] = NIWA_DEPTH_SAVED;
		p->cost[n][NIWA_DEPTH_FROZEN] = saved;
	}
}

static void make_plan(const struct niwa_governor_question *q, struct plan *p)
{
	bool saves = at_most(q, NIWA_DEPTH_SAVED) != NEVER;

	make_cuts(q, p);
	for (unsigned d = NIWA_DEPTH_FROZEN; d <= NIWA_DEPTH_PAGED; d++)
		p->cost[p->count][d] = (double)q->waiting_us[saves ? NIWA_DEPTH_SAVED : d];
	for (unsigned n = p->count; n-- > 0;)
		choose(q, p, n);
}

/* What is known of the app decides. The declared times hold already. */
static void by_past(const struct niwa_governor_question *q, struct niwa_governor_answer *a)
{
	enum niwa_depth depth = a->next < NIWA_DEPTH_FROZEN ? NIWA_DEPTH_FROZEN : a->next, best;
	struct plan p = {0};

	make_plan(q, &p);
	best = p.best[0][depth];
	if (best == NIWA_DEPTH_PAGED && q->now < NIWA_DEPTH_FROZEN)
		best = a->next; /* it is frozen first */
	if (best > depth && best > a->next) {
		a->next = best;
		a->why = NIWA_GOVERNOR_LEARNT;
		return;
	}
	for (unsigned n = 1; n < p.count; n++)
		if (p.best[n][depth] > depth) {
			if (p.cut_us[n] - q->quiet_us < a->again_us || !a->again_us)
				a->again_us = p.cut_us[n] - q->quiet_us;
			return;
		}
}

void niwa_governor_ask(const struct niwa_governor_question *q, struct niwa_governor_answer *ret)
{
	struct niwa_governor_answer a = {.next = by_bounds(q), .why = NIWA_GOVERNOR_BOUND};
	uint64_t bound;

	if (a.next < q->now)
		a.next = q->now;
	bound = next_bound(q, a.next);
	a.again_us = bound == NEVER ? 0 : bound - q->quiet_us;
	if (a.next < NIWA_DEPTH_SAVED && q->gaps && q->worth_us && niwa_gaps_count(q->gaps) >= NIWA_GAPS_ENOUGH)
		by_past(q, &a);
	if (a.again_us && a.again_us < LEAST_AGAIN)
		a.again_us = LEAST_AGAIN;
	*ret = a;
}

double niwa_governor_value(const struct niwa_governor_question *q)
{
	static const struct niwa_gaps none;
	const struct niwa_gaps *gaps = q->gaps ? q->gaps : &none;
	uint64_t quiet = q->quiet_us > NIWA_GAPS_LEAST ? q->quiet_us : NIWA_GAPS_LEAST;
	double here = niwa_gaps_longer(gaps, quiet), there = niwa_gaps_longer(gaps, quiet + HORIZON_US);
	double mib = (double)q->held_bytes[q->now] / (1 << 20);
	uint64_t saved = q->waiting_us[NIWA_DEPTH_SAVED], now = q->waiting_us[q->now];

	return (here > 0 ? 1 - there / here : 0) * (double)(saved > now ? saved - now : 0) / (mib > 1 ? mib : 1);
}
