/* SPDX-License-Identifier: MIT
 *
 * niwa-relay's counters of this moment: it is asked, and what is waiting for them goes on when they have come, or soon
 * without them. engine.relay_counters are those that came last.
 */
#ifndef NIWA_ENGINE_RELAY_STATS_H
#define NIWA_ENGINE_RELAY_STATS_H

#include "engine/engine_private.h"

typedef void niwa_relay_stats_fn(struct niwa_engine *e, void *arg);

/* Calls fn once: in this call when nobody can be asked, else when the counters are there or 200 ms have passed. */
void niwa_relay_stats_then(struct niwa_engine *e, niwa_relay_stats_fn *fn, void *arg);
/* The relay has told them. */
void niwa_relay_stats_came(struct niwa_engine *e);

#endif
