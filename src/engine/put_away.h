/* SPDX-License-Identifier: MIT
 *
 * Images that nobody may be woken from any more, because the app was removed, is another tenant's, or has a newer one:
 * they are removed off the loop. What is forgotten here is found by the next niwad (snapshot_host.c). One that
 * somebody still holds loses its name, and is collected when it was let go.
 */
#ifndef NIWA_ENGINE_PUT_AWAY_H
#define NIWA_ENGINE_PUT_AWAY_H

#include "engine/engine_private.h"
#include "snapshot/store.h"

struct niwa_snapshots;

/* At once, in a thread of its own. */
void niwa_snapshot_remove(struct niwa_engine *e, const struct niwa_snapshot_key *key);
/* One of many, each after the other. */
void niwa_put_away(struct niwa_engine *e, const struct niwa_snapshot_key *key);
/* This niwad restores nothing, so whoever it starts goes on without the memory that was kept: all of that goes, lest
 * the next niwad gives it back to who has lived since. */
void niwa_put_away_moments(struct niwa_engine *e);
/* The end of niwad: what waits is not removed. */
void niwa_put_away_forget(struct niwa_snapshots *s);
/* The app was removed, or is another tenant's now: its own image goes. */
void niwa_snapshot_owner_gone(struct niwa_engine *e, struct niwa_app *app);
/* What dead users of images have left is removed, some time later. */
void niwa_snapshots_collect(struct niwa_engine *e);

/* Their place on disk was needed; what is known of them follows. Empties the list. */
void niwa_put_away_told(struct niwa_engine *e, struct niwa_store_evicted *evicted);

#endif
