/* SPDX-License-Identifier: MIT
 *
 * The past of apps over restarts of niwad, in the store. It is written lazily: those that were visited since are
 * written together each history_write, some hundred a transaction, one transaction at a time, and what is left when
 * niwad ends in order. A crash loses what came after the last write. It is read when an app is first awake after a
 * start, so that those that sleep cost nothing.
 */
#ifndef NIWA_ENGINE_PAST_STORE_H
#define NIWA_ENGINE_PAST_STORE_H

#include "engine/engine_private.h"

void niwa_past_open(struct niwa_engine *e);
/* Commits what was not written yet; the store has to be closed after it, before the engine goes. */
void niwa_past_close(struct niwa_engine *e);
/* What the store knows, into a past that is new. */
void niwa_past_load(struct niwa_app_past *past);
/* It has changed. */
void niwa_past_touch(struct niwa_app_past *past);
/* The app goes. */
void niwa_past_forget(struct niwa_app_past *past);

#endif
