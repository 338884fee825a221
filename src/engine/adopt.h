/* SPDX-License-Identifier: MIT
 *
 * What a starting niwad finds: instances and descriptors that niwa-keep holds, elements in the kernel, control
 * groups, layers, interfaces. What belongs to a known instance is taken over, the rest is collected: one table
 * of kinds of leftovers, a detector each.
 */
#ifndef NIWA_ENGINE_ADOPT_H
#define NIWA_ENGINE_ADOPT_H

#include "engine/engine_private.h"

/* One entry of keep's list. Takes the descriptors it wants by setting them to -1 in fds. */
void niwa_adopt_instance(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);
void niwa_adopt_stored(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);
/* What keep tells before the list is complete (or has told only in the list). Takes the descriptors. */
void niwa_adopt_defer(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);
/* The list is complete: the kernel's elements are made equal to what is known, leftovers are collected. */
void niwa_adopt_end(struct niwa_engine *e);

/* Makes the kernel's elements equal to what the engine knows (adoption, repair of a lost ruleset). */
int niwa_adopt_elements(struct niwa_engine *e, struct niwa_error *err);

#endif
