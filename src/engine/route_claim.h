/* SPDX-License-Identifier: MIT
 *
 * Names of routes that a transaction wants. Before its commit they are compared with those of apps that it does not
 * touch, and with those of commits under way: in the store no two apps have one name, and none is called as another's
 * route. So a domain may move from one app to another in one transaction.
 */
#ifndef NIWA_ENGINE_ROUTE_CLAIM_H
#define NIWA_ENGINE_ROUTE_CLAIM_H

#include "engine/engine_private.h"

struct niwa_route_claims;
struct niwa_refusal; /* publish.h */

/* An app of the transaction. *claims is made when it is NULL and there is something to remember. */
int niwa_route_claim_put(struct niwa_engine *e, struct niwa_route_claims **claims, const struct niwa_app_spec *spec,
			 struct niwa_refusal *at, struct niwa_error *err);
/* An app that the transaction removes. */
int niwa_route_claim_remove(struct niwa_engine *e, struct niwa_route_claims **claims, const char *app,
			    struct niwa_error *err);
/* Before the commit; from then until niwa_route_claims_free no other transaction gets these names. NULL is fine. Looks
 * at up to *budget of them and takes that off it; 1: there are more, to be called again. */
int niwa_route_claims_settle(struct niwa_engine *e, struct niwa_route_claims *claims, unsigned *budget,
			     struct niwa_refusal *at, struct niwa_error *err);
void niwa_route_claims_free(struct niwa_engine *e, struct niwa_route_claims **claims);
/* Up to *budget records of it; *claims is NULL when it is gone. */
void niwa_route_claims_free_some(struct niwa_engine *e, struct niwa_route_claims **claims, unsigned *budget);

#endif
