/* SPDX-License-Identifier: MIT
 *
 * Memory pressure is watched: each second how much the host has available and how long it stalled for memory. While it
 * is short, idle apps are put away one by one, the least needed first, so that the kernel does not have to kill one
 * that serves somebody.
 */
#ifndef NIWA_ENGINE_PRESSURE_H
#define NIWA_ENGINE_PRESSURE_H

#include "engine/engine_private.h"

/* Called each second. */
void niwa_pressure_look(struct niwa_engine *e);
void niwa_pressure_close(struct niwa_engine *e);

#endif
