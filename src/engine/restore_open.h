/* SPDX-License-Identifier: MIT
 *
 * Opening the image of a restore, beside the loop: what an app's volumes hold, the image itself, the files that were
 * mapped or open. All of that is on disks, which may be slow. The instance is made meanwhile and has its folders, so
 * nobody else writes to its volumes; keep does not know of it yet. What the app only reads is compared while keep
 * starts the instance (restore.h).
 */
#ifndef NIWA_ENGINE_RESTORE_OPEN_H
#define NIWA_ENGINE_RESTORE_OPEN_H

#include "engine/engine_private.h"

/* 0: niwa_instance_opened will be called. A failure here or there that is the image's fault has dropped it. An image of
 * a moment of sleep is withdrawn, durably, before that call. */
int niwa_restore_open(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err);

#endif
