/* SPDX-License-Identifier: MIT
 *
 * The governor: how deeply an idle app sleeps, and when to look again. A pure function of what is known of the app: how
 * long it has been quiet, the gaps between its visits so far, what each depth holds and what a visitor waits there, the
 * declared times, the price of memory. The engine and niwa-sim ask the same function.
 *
 * It looks for the least sum of two expected costs until the next visit: that of memory held, and that of the visitor's
 * waiting. Both are counted in microseconds of waiting: holding 1 GiB for `worth` costs as much as a second of it. The
 * declared times are bounds: so much quiet at the latest. Nothing deeper than frozen comes before the time of freezing.
 * Of an app of which too little is known the declared times are the answer. See adr/013.
 */
#ifndef NIWA_GOVERNOR_GOVERNOR_H
#define NIWA_GOVERNOR_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#include "governor/gaps.h"

enum niwa_depth {
	NIWA_DEPTH_AWAKE,
	NIWA_DEPTH_FROZEN,
	NIWA_DEPTH_PAGED,
	NIWA_DEPTH_SAVED, /* or stopped: nothing is held */
	NIWA_DEPTH_COUNT,
};

/* Why an answer is what it is. */
enum niwa_governor_why {
	NIWA_GOVERNOR_BOUND,  /* the declared time */
	NIWA_GOVERNOR_LEARNT, /* its visits so far: what is held costs more than the next visitor's waiting */
};

struct niwa_governor_question {
	enum niwa_depth now;
	uint64_t quiet_us;
	const struct niwa_gaps *gaps;           /* NULL: the declared times only */
	uint64_t declared_us[NIWA_DEPTH_COUNT]; /* 0: never so deep; of awake: not used */
	bool can_page;                          /* there is swap */
	uint64_t held_bytes[NIWA_DEPTH_COUNT];  /* saved: 0 */
	uint64_t waiting_us[NIWA_DEPTH_COUNT];  /* of a visitor; does not shrink with depth */
	uint64_t paging_us;                     /* what it costs to page the app, CPU */
	uint64_t worth_us;                      /* see above; 0: memory costs nothing, the declared times only */
	unsigned scarcity;                      /* 0 to 1000: how short memory is; the price rises up to tenfold */
};

struct niwa_governor_answer {
	enum niwa_depth next; /* deeper than `now`: go there; else stay */
	uint64_t again_us;    /* when to ask again if it stays quiet; 0: never, nothing deeper is left */
	enum niwa_governor_why why;
};

void niwa_governor_ask(const struct niwa_governor_question *question, struct niwa_governor_answer *ret);

/* What would be lost by saving the app now, for each MiB that is got by it: microseconds of waiting, times the chance
 * of a visit in the next minutes. Under pressure those with the least go first. */
double niwa_governor_value(const struct niwa_governor_question *question);

#endif
