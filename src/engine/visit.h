/* SPDX-License-Identifier: MIT
 *
 * A visitor before an app's door: whether it may wake the app (wake_policy.h), and the ports of a frozen app at which
 * that is asked. Those are not in `awake` while it is frozen: connections to them come by the relay.
 */
#ifndef NIWA_ENGINE_VISIT_H
#define NIWA_ENGINE_VISIT_H

#include "engine/engine_private.h"

/* 0: let it in. Else it is to be told to come back after so many seconds; counted and logged here. client: of an
 * instance or IPv4, network order, else 0; from: IPv4 mapped. */
uint32_t niwa_visit_refused(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_port *port, uint32_t client,
			    const struct in6_addr *from);
/* "10.0.0.7", "2001:db8::1"; buf of INET6_ADDRSTRLEN; returns buf. */
char *niwa_visitor_text(const struct in6_addr *addr, char *buf);

/* Bits (positions in the record of the instance) of ports that are asked about while it is frozen. */
uint32_t niwa_visit_guarded(const struct niwa_instance *i);
/* Brings its elements up to date with that: it is frozen, or was, or its app's record is another one. txn NULL: one of
 * its own. */
void niwa_visit_guard(struct niwa_engine *e, struct niwa_instance *i, struct niwa_net_txn *txn);

/* What was refused, for niwa show; NULL: nothing. */
json_t *niwa_visit_refusals(const struct niwa_app *app);

#endif
