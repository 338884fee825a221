/* SPDX-License-Identifier: MIT
 *
 * Pieces of answers that several methods give.
 */
#ifndef NIWA_ENGINE_RPC_SHOW_H
#define NIWA_ENGINE_RPC_SHOW_H

#include "engine/engine_private.h"

json_t *niwa_rpc_stages(const struct niwa_stages *s);
/* Texts about what the operator should know of the app: data outside volumes, record newer than the instance, ... */
json_t *niwa_rpc_warnings(struct niwa_engine *e, struct niwa_app *app);

/* Adds "limits", as they hold, and "set", what of them was set over the record (rpc_set.c). */
void niwa_rpc_show_limits(const struct niwa_app *app, const struct niwa_app_spec *spec, json_t *r);

/* What is known of the app's image (rpc_snapshot.c). */
json_t *niwa_rpc_snapshot(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_app_spec *spec);

#endif
