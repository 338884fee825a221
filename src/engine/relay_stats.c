/* SPDX-License-Identifier: MIT
 *
 * Who waits for the relay's counters: one question for all of them, one deadline from the first of them.
 */
#include "engine/relay_stats.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/relay_client.h"

#define DEADLINE_US (200 * NIWA_MS)

struct ask {
	SLIST_ENTRY(ask) link;
	niwa_relay_stats_fn *fn;
	void *arg;
};

struct niwa_relay_asks {
	SLIST_HEAD(, ask) list; /* bounded by the calls that connections may have unanswered */
	sd_event_source *deadline;
};

static int on_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	(void)s, (void)usec;
	niwa_relay_stats_came(arg);
	return 0;
}

/* Asks, unless that was done for somebody else who still waits. */
static int begin(struct niwa_engine *e)
{
	struct niwa_relay_asks *asks = e->relay_asks;
	int r;

	if (!asks && !(asks = e->relay_asks = niwa_zalloc(sizeof(*asks))))
		return -ENOMEM;
	if (asks->deadline)
		return 0;
	r = sd_event_add_time_relative(e->event, &asks->deadline, CLOCK_MONOTONIC, DEADLINE_US, NIWA_MS, on_deadline,
				       e);
	if (r >= 0)
		niwa_relay_ask_stats(e);
	return r;
}

void niwa_relay_stats_then(struct niwa_engine *e, niwa_relay_stats_fn *fn, void *arg)
{
	struct ask *ask = e->relay ? niwa_zalloc(sizeof(*ask)) : NULL;

	if (!ask || begin(e) < 0) {
		free(ask);
		fn(e, arg);
		return;
	}
	*ask = (struct ask){.fn = fn, .arg = arg};
	SLIST_INSERT_HEAD(&e->relay_asks->list, ask, link);
}

void niwa_relay_stats_came(struct niwa_engine *e)
{
	struct niwa_relay_asks *asks = e->relay_asks;
	struct ask *ask, *next;

	if (!asks)
		return;
	asks->deadline = sd_event_source_disable_unref(asks->deadline);
	ask = SLIST_FIRST(&asks->list);
	SLIST_INIT(&asks->list); /* who asks again in his callback asks anew */
	for (; ask; ask = next) {
		next = SLIST_NEXT(ask, link);
		ask->fn(e, ask->arg);
		free(ask);
	}
}
