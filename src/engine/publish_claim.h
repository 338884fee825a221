/* SPDX-License-Identifier: MIT
 *
 * Published ports of a transaction. While it is being filled each port is tried; before its commit all are compared
 * with those of apps that the transaction does not touch, and with those of commits under way. So a port may move from
 * one app to another in one transaction, and no two apps ever hold one port in the store.
 */
#ifndef NIWA_ENGINE_PUBLISH_CLAIM_H
#define NIWA_ENGINE_PUBLISH_CLAIM_H

#include "engine/engine_private.h"

struct niwa_publish_claims;
struct niwa_refusal; /* publish.h */

/* An app of the transaction. *claims is made when it is NULL and there is something to remember. */
int niwa_publish_claim_put(struct niwa_engine *e, struct niwa_publish_claims **claims, const struct niwa_app_spec *spec,
			   struct niwa_refusal *at, struct niwa_error *err);
/* An app that the transaction removes. */
int niwa_publish_claim_remove(struct niwa_engine *e, struct niwa_publish_claims **claims, const char *app,
			      struct niwa_error *err);
/* Before the commit; from then until niwa_publish_claims_free no other transaction gets these ports. NULL is fine. */
int niwa_publish_claims_settle(struct niwa_engine *e, struct niwa_publish_claims *claims, unsigned *budget,
			       struct niwa_refusal *at, struct niwa_error *err);
void niwa_publish_claims_free(struct niwa_engine *e, struct niwa_publish_claims **claims);
/* Up to *budget records of it; *claims is NULL when it is gone. */
void niwa_publish_claims_free_some(struct niwa_engine *e, struct niwa_publish_claims **claims, unsigned *budget);

#endif
