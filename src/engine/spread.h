/* SPDX-License-Identifier: MIT
 *
 * An app with several instances in the kernel's tables. As long as there is one, it is in `awake` and nothing of this
 * is used; with the second one its ports move to `scaled` and its buckets are given to them, in one transaction, and
 * back.
 */
#ifndef NIWA_ENGINE_SPREAD_H
#define NIWA_ENGINE_SPREAD_H

#include "engine/engine_private.h"
#include "engine/scale_plan.h"

struct niwa_spread {
	bool there; /* the kernel has it spread */
	size_t port_count;
	uint16_t ports[NIWA_PORTS_MAX];    /* in `scaled` */
	uint32_t six;                      /* bit n: ports[n] is in `scaled6`, too */
	uint32_t owners[NIWA_NET_BUCKETS]; /* private addresses; 0: nobody */
	unsigned next;                     /* bucket of the next connection that the relay brings */
};

/* True when the app's instances in the tables are niwa_spread_sync's business: it is spread, or is to be. */
bool niwa_spread_is_wanted(const struct niwa_app *app);
/* Makes the kernel have what in_awake of its instances says. */
int niwa_spread_sync(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err);
/* The same into a larger transaction that has emptied the tables: all of it. */
void niwa_spread_elements(struct niwa_app *app, struct niwa_net_txn *txn);
/* Instances of the app in the tables, the first one first; returns how many (at most NIWA_SCALE_MAX + 1). */
size_t niwa_spread_members(const struct niwa_app *app, struct niwa_instance **ret);

#endif
