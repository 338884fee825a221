/* SPDX-License-Identifier: MIT
 *
 * Removal of trees off the loop: a thread of its own, which touches nothing but the paths it was given.
 */
#ifndef NIWA_ENGINE_TRASH_H
#define NIWA_ENGINE_TRASH_H

#include "base/error.h"

struct niwa_trash; /* opaque */

int niwa_trash_new(struct niwa_trash **ret, struct niwa_error *err);
/* Waits for what is queued. */
void niwa_trash_free(struct niwa_trash **trash);
/* The tree is removed some time later. A missing one is fine. */
void niwa_trash_put(struct niwa_trash *trash, const char *path);

#endif
