/* SPDX-License-Identifier: MIT
 *
 * Who writes to which folder of the host. A volume that is neither read-only nor shared has one instance at a time,
 * whatever app it belongs to: one that was removed and still takes its grace, one with another name, one that a niwad
 * before this one has started. Folders are told apart by device and inode.
 */
#ifndef NIWA_ENGINE_FOLDER_H
#define NIWA_ENGINE_FOLDER_H

#include "engine/engine_private.h"

/* Before the instance is made: it becomes a holder of the folders it may write to. -EINPROGRESS: another instance that
 * is ending (and one that only drains is told to end) holds one of them; -EBUSY: one that goes on does. Err says which;
 * then the instance holds nothing. */
int niwa_folder_take(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err);
/* An adopted instance holds what its tag says; without one, what its record says now. -ENOMEM */
int niwa_folder_adopt(struct niwa_instance *i, const struct niwa_tag *tag);
void niwa_folder_tag(const struct niwa_instance *i, struct niwa_tag *tag);
/* Its processes are gone. Starts that wait are tried again at the end of this turn of the loop. */
void niwa_folder_release(struct niwa_instance *i);
/* Something changed that starts may have waited for: the same. */
void niwa_folder_look_again(struct niwa_engine *e);

#endif
