/* SPDX-License-Identifier: MIT
 *
 * The end of an instance whose processes are gone: everything borrowed for it is given back, in one place.
 */
#ifndef NIWA_ENGINE_COLLECT_H
#define NIWA_ENGINE_COLLECT_H

#include "engine/engine_private.h"

/* The object is buried at once, or when the last process of its groups is gone. What its kernel still has to deliver
 * outlives it, see farewell.h. */
void niwa_instance_end(struct niwa_engine *e, struct niwa_instance *i);

#endif
