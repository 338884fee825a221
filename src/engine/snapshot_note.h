/* SPDX-License-Identifier: MIT
 *
 * What becomes of an image (it was restored, its app was started instead) is noted beside it on disk, off the loop.
 * Notes are hints: when there is no room for one it is left out.
 */
#ifndef NIWA_ENGINE_SNAPSHOT_NOTE_H
#define NIWA_ENGINE_SNAPSHOT_NOTE_H

#include "engine/engine_private.h"
#include "snapshot/store.h"

struct niwa_snapshots;

void niwa_snapshot_note(struct niwa_engine *e, const struct niwa_snapshot_key *key, const struct niwa_store_note *what);
/* The end of niwad: what waits is not written. */
void niwa_snapshot_notes_forget(struct niwa_snapshots *s);

#endif
