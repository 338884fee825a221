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
#include "engine/rpc.h"

#define DEADLINE_US (200 * NIWA_MS)

struct ask {
	STAILQ_ENTRY(ask) link;
	niwa_relay_stats_fn *fn;
	void *arg;
};

struct niwa_relay_asks {
	STAILQ_HEAD(asks, ask) waiting, due; /* bounded by the calls that connections may have unanswered */
	sd_event_source *deadline, *answer;
};

static int on_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	(void)s, (void)usec;
	niwa_relay_stats_came(arg);
	return 0;
}

/* One a turn: each makes a text of 30 KB. */
static int on_answer(sd_event_source *s, void *arg)
{
	struct niwa_engine *e = arg;
	struct ask *ask = STAILQ_FIRST(&e->relay_asks->due);

	if (!ask)
		return 0;
	STAILQ_REMOVE_HEAD(&e->relay_asks->due, link);
	if (!STAILQ_EMPTY(&e->relay_asks->due))
		(void)sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	ask->fn(e, ask->arg);
	free(ask);
	return 0;
}

static struct niwa_relay_asks *open_asks(struct niwa_engine *e)
{
	struct niwa_relay_asks *asks = niwa_zalloc(sizeof(*asks));

	if (!asks)
		return NULL;
	STAILQ_INIT(&asks->waiting);
	STAILQ_INIT(&asks->due);
	if (sd_event_add_defer(e->event, &asks->answer, on_answer, e) < 0) {
		free(asks);
		return NULL;
	}
	(void)sd_event_source_set_enabled(asks->answer, SD_EVENT_OFF);
	(void)sd_event_source_set_priority(asks->answer, NIWA_RPC_PRIORITY);
	return asks;
}

/* Asks, unless that was done for somebody else who still waits. */
static int begin(struct niwa_engine *e)
{
	struct niwa_relay_asks *asks = e->relay_asks;
	int r;

	if (!asks && !(asks = e->relay_asks = open_asks(e)))
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
	STAILQ_INSERT_TAIL(&e->relay_asks->waiting, ask, link);
}

void niwa_relay_stats_came(struct niwa_engine *e)
{
	struct niwa_relay_asks *asks = e->relay_asks;

	if (!asks)
		return;
	asks->deadline = sd_event_source_disable_unref(asks->deadline);
	STAILQ_CONCAT(&asks->due, &asks->waiting);
	if (!STAILQ_EMPTY(&asks->due))
		(void)sd_event_source_set_enabled(asks->answer, SD_EVENT_ONESHOT);
}
