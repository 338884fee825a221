/* SPDX-License-Identifier: MIT
 *
 * A wake from an image: an ordinary start whose last step is CRIU. Whatever goes wrong, the image is dropped with the
 * reason, what was half made is killed, and the app is started for the same waiters.
 */
#ifndef NIWA_ENGINE_RESTORE_H
#define NIWA_ENGINE_RESTORE_H

#include "engine/engine_private.h"

/* The instance, made to be restored into, has been started: CRIU's turn, as soon as what it only reads was compared. */
void niwa_restore_begin(struct niwa_engine *e, struct niwa_instance *i);
/* It was. differs: how; the image is void then. NULL: it is good. */
void niwa_restore_compared(struct niwa_engine *e, struct niwa_instance *i, const char *differs);
/* Its memory is not wanted any more: the app, which is restoring, is started for those who wait. */
void niwa_restore_give_up(struct niwa_engine *e, struct niwa_instance *i);
/* The instance of a restoring app has failed or ended by itself; it is not the current one afterwards. */
void niwa_restore_failed(struct niwa_engine *e, struct niwa_instance *i, const char *reason);
bool niwa_restore_is_under_way(const struct niwa_instance *i);

#endif
