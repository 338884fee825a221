/* SPDX-License-Identifier: MIT
 *
 * Images that became void while their apps slept, by an upgrade of the host, of CRIU or of an image, are made anew
 * before somebody waits for them: the apps that were woken most often first, one at a time, with pauses so long that
 * it takes a fifth of a CPU at most. So are images that apps share, for which a template is started.
 */
#ifndef NIWA_ENGINE_REBUILD_H
#define NIWA_ENGINE_REBUILD_H

#include "engine/engine_private.h"

/* All images are to be looked at: niwad has started, or an image of apps was changed. */
void niwa_rebuild_begin(struct niwa_engine *e);
/* There may be something to make. */
void niwa_rebuild_soon(struct niwa_engine *e);
/* Somebody waits for it: without a pause. */
void niwa_rebuild_now(struct niwa_engine *e);
/* The app was started because nothing else was there to wake it from: a template may be worth its while. */
void niwa_rebuild_visited(struct niwa_engine *e, struct niwa_app *app);

/* The app has ended: an image of it that became void while it was awake is made anew now. */
void niwa_rebuild_slept(struct niwa_engine *e, const struct niwa_app *app);

#endif
