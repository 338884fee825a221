/* SPDX-License-Identifier: MIT
 *
 * Apps that say `snapshot: shared` and start alike have one image and one struct niwa_app_snapshot together. Alike
 * means that their keys of scope SHARED are the same: name, environment, tenant, addresses and the sources of volumes
 * do not count. The image is taken of a template only (template.h), never of one of them.
 *
 * Which apps belong together is found by a walk in small turns, after niwad has started and after a change; and by
 * each start, whose key has to be made anyway. A record lives as long as somebody shares it or its image is on disk.
 */
#ifndef NIWA_ENGINE_SHARE_H
#define NIWA_ENGINE_SHARE_H

#include "engine/engine_private.h"
#include "engine/snapshot.h"

/* What the app's record asks for. An app whose memory is kept (sleep.keep) has images of its own. */
bool niwa_share_is_wanted(const struct niwa_app_spec *spec);
/* The app was declared, or changed. */
void niwa_share_declared(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec);
/* Its start has this key: from now on it has the record of that key. 0 or -ENOMEM. */
int niwa_share_join(struct niwa_engine *e, struct niwa_app *app, const struct niwa_snapshot_key *key,
		    struct niwa_error *err);
/* It has none any more. */
void niwa_share_leave(struct niwa_app *app);
/* What its key is now; which record it has is found out if it is not known. */
int niwa_share_key(struct niwa_engine *e, struct niwa_app *app, struct niwa_snapshot_key *ret, struct niwa_error *err);
void niwa_share_look(struct niwa_engine *e, struct niwa_app *app);

/* Whoever used a record does not any more: it goes, if nobody shares it and nothing is on disk. */
void niwa_share_unused(struct niwa_engine *e, struct niwa_app_snapshot *s);
/* This image of scope SHARED is on disk. */
void niwa_share_on_disk(struct niwa_engine *e, const struct niwa_store_entry *entry);
/* Soon all apps that share are looked at: records are found, states follow what is known. */
void niwa_share_walk(struct niwa_engine *e);
/* NULL: nobody shares it. */
struct niwa_app_snapshot *niwa_share_find(const struct niwa_engine *e, const struct niwa_snapshot_key *key);
/* One of those who share it, not a template. */
struct niwa_app *niwa_share_any(struct niwa_engine *e, const struct niwa_app_snapshot *s);

#endif
