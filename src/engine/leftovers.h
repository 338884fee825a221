/* SPDX-License-Identifier: MIT
 *
 * Collecting what instances leave behind when nobody was there to do it.
 */
#ifndef NIWA_ENGINE_LEFTOVERS_H
#define NIWA_ENGINE_LEFTOVERS_H

#include "engine/engine_private.h"

/* Notes what will not be seen any more once the kernel's elements have been brought up to date. */
void niwa_leftovers_note(struct niwa_engine *e);
/* Whatever belongs to no known instance goes; processes that take a moment to die are looked after again. */
void niwa_leftovers_collect(struct niwa_engine *e);

#endif
