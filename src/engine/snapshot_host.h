/* SPDX-License-Identifier: MIT
 *
 * Snapshots on this host: whether it can make them, the store they are in, and at niwad's start the images on disk,
 * which find their apps. Without them everything else works; the engine's no_snapshots says why there are none.
 */
#ifndef NIWA_ENGINE_SNAPSHOT_HOST_H
#define NIWA_ENGINE_SNAPSHOT_HOST_H

#include "engine/engine_private.h"
#include "snapshot/key.h"
#include "snapshot/store.h"

struct niwa_snapshots {
	struct niwa_store store;
	struct niwa_store_limits limits;
	struct niwa_key_host platform;
	int criu, cache, empty; /* the binary; CRIU's cache on a tmpfs; an empty folder in it */
	uint64_t check;         /* CRIU's look at the kernel while it runs */
	unsigned checks;        /* how many there were */
	bool scanned;           /* what is on disk is known */
	struct niwa_scan *scan; /* it was read, and is dealt with now */
	bool awaited;           /* and if it is not, nobody waits for it any more */
	sd_event_source *patience;
	bool noting;         /* a thread writes counts and times of images */
	unsigned note_count; /* that wait for it */
	STAILQ_HEAD(, niwa_note) notes;
	unsigned listing;  /* number of the last list that was asked for */
	bool putting_away; /* a thread removes images */
	STAILQ_HEAD(, niwa_put_away) put_aways;
};

/* At the start of niwad. Without CRIU, or without room for images, nothing fails: e->no_snapshots says why. */
void niwa_snapshots_open(struct niwa_engine *e);
/* After adoption: CRIU looks at the kernel, then images on disk find their apps. */
void niwa_snapshots_begin(struct niwa_engine *e);
void niwa_snapshots_close(struct niwa_engine *e);
/* Which apps have an image is known, or it took too long (images_wait): until then those that have kept their memory,
 * and those that nobody waits for, are not started. */
bool niwa_snapshots_are_known(const struct niwa_engine *e);

#endif
