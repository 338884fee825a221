/* SPDX-License-Identifier: MIT
 *
 * What is declared of tenants: limits over all of their apps. Kept of each tenant that has some, also without an app.
 */
#ifndef NIWA_ENGINE_TENANT_LIMIT_H
#define NIWA_ENGINE_TENANT_LIMIT_H

#include "engine/engine_private.h"

/* At the start of niwad: what the store has. */
int niwa_tenant_limits_load(struct niwa_engine *e, struct niwa_error *err);
/* text: of niwa_tenant_to_json; NULL: there are none any more. They hold at once where that can be. False: they are
 * what they were. */
bool niwa_tenant_limits_set(struct niwa_engine *e, const char *tenant, const char *text);
/* A tenant that has its first app gets what is declared of it. */
void niwa_tenant_limits_find(struct niwa_engine *e, struct niwa_tenant *tenant);
/* As niwa_tenant_to_json, also of one that nobody knows. */
json_t *niwa_tenant_limits_record(const struct niwa_engine *e, const char *name);
/* {limits: {...}, uses: {...}}; NULL: it has none. */
json_t *niwa_tenant_limits_show(struct niwa_engine *e, const struct niwa_tenant *tenant);
/* It has as many instances as it may. */
bool niwa_tenant_is_full(const struct niwa_tenant *tenant);

#endif
