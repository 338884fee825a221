/* SPDX-License-Identifier: MIT
 *
 * Folders that the records of a transaction write to. Before its commit they are compared with those of apps that the
 * transaction does not touch, and with those of commits under way: in the store no two apps write to one folder,
 * unless both say `shared`. So a folder may go from one app to another in one transaction. Paths are compared;
 * folder.h, which comes to it when an instance is made, knows the folders themselves.
 */
#ifndef NIWA_ENGINE_FOLDER_CLAIM_H
#define NIWA_ENGINE_FOLDER_CLAIM_H

#include "engine/engine_private.h"

struct niwa_folder_claims;
struct niwa_refusal; /* publish.h */

/* An app of the transaction. *claims is made when it is NULL and there is something to remember. */
int niwa_folder_claim_put(struct niwa_engine *e, struct niwa_folder_claims **claims, const struct niwa_app_spec *spec,
			  struct niwa_refusal *at, struct niwa_error *err);
/* An app that the transaction removes. */
int niwa_folder_claim_remove(struct niwa_engine *e, struct niwa_folder_claims **claims, const char *app,
			     struct niwa_error *err);
/* Before the commit; from then until niwa_folder_claims_free no other transaction gets these folders. NULL is fine. */
int niwa_folder_claims_settle(struct niwa_engine *e, struct niwa_folder_claims *claims, unsigned *budget,
			      struct niwa_refusal *at, struct niwa_error *err);
void niwa_folder_claims_free(struct niwa_engine *e, struct niwa_folder_claims **claims);
/* Up to *budget records of it; *claims is NULL when it is gone. */
void niwa_folder_claims_free_some(struct niwa_engine *e, struct niwa_folder_claims **claims, unsigned *budget);

/* The folders of an app in the registry: what its record says now, or none (spec NULL). 0 or -ENOMEM. */
int niwa_folder_declare(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec);

#endif
