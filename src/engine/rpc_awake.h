/* SPDX-License-Identifier: MIT
 *
 * The part of app.show that says why an app is awake.
 */
#ifndef NIWA_ENGINE_RPC_AWAKE_H
#define NIWA_ENGINE_RPC_AWAKE_H

#include "engine/engine_private.h"

/* What keeps it from sleeping: [{why, until?, at?, count?}], see docs/rpc.md. NULL: it is not running. */
json_t *niwa_rpc_awake(struct niwa_app *app);

#endif
