/* SPDX-License-Identifier: MIT
 *
 * Memory is wanted, by a start that does not fit (start.h): something idle is put to sleep more deeply, at once.
 */
#ifndef NIWA_ENGINE_RECLAIM_H
#define NIWA_ENGINE_RECLAIM_H

#include "engine/engine_private.h"

/* Puts one idle app away, the one that is wanted least; none while what is going away already will be enough. May be
 * called often: it does one at a time. tenant: of this one alone, however little its apps use; NULL: of any. False:
 * nobody is idle, and nobody is going away; true: it is worth another try. */
bool niwa_reclaim(struct niwa_engine *e, uint64_t bytes, const struct niwa_tenant *tenant);

#endif
