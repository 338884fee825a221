/* SPDX-License-Identifier: MIT
 *
 * Instances that may be dumped, or are restored: the key of their start, what their plan needs of an image, and the
 * image's files that a restored one has mounted.
 */
#ifndef NIWA_ENGINE_SNAPSHOT_START_H
#define NIWA_ENGINE_SNAPSHOT_START_H

#include "engine/engine_private.h"
#include "snapshot/store.h"

struct niwa_instance_snapshot {
	struct niwa_snapshot_key key; /* of its start */
	bool restoring;               /* CRIU has not succeeded yet */
	bool comparing, begin_wanted; /* what it only reads is still walked; the instance waits for that */
	struct niwa_store_image image;
	struct niwa_instance_restore restore;
	char folder[NIWA_KEY_HEX + 1]; /* of the image that it was restored from */
	char layer_path[600], shm_path[600];
	uint64_t criu;
	struct niwa_dump *dump; /* dump.h; under way */
	uint64_t reaped;        /* dumpable.c: what was known of it before CRIU */
	sd_event_source *timer; /* the next try of a dump */
	uint64_t try_pause_us;  /* before it, where the last one came at a wrong moment */
	uint64_t warm_ticket;
	unsigned warm_next;
	uint64_t warm_began_us, warm_took_us; /* the first of them */
	bool stop_wanted;                     /* when the dump under way is over */
	bool adopted;                         /* and its key was not compared with that of a start of today */
};

/* What the key of an instance's start is; volumes: of niwa_volume_print for kind MOMENT, else NULL. */
int niwa_snapshot_key_of(struct niwa_engine *e, const struct niwa_app_spec *spec, const struct niwa_instance_params *p,
			 const char *volumes, struct niwa_snapshot_key *ret, struct niwa_error *err);
/* Completes what a plan is made of: below niwa-init, and from the image that was opened for it (restore_open.h). */
int niwa_snapshot_prepare(struct niwa_engine *e, struct niwa_instance *i, struct niwa_instance_params *p,
			  struct niwa_error *err);
/* Where the files of an image are that an instance sees, by the name of its folder. */
void niwa_snapshot_paths(const struct niwa_engine *e, struct niwa_instance_snapshot *s, const char *folder);
/* The instance ends: what it holds of images is given back. */
void niwa_snapshot_instance_gone(struct niwa_engine *e, struct niwa_instance *i);
/* The restored instance has (or had) files of its image mounted: they are not removed as long as it lives. Held by
 * niwa-keep, so also while no niwad is there. */
void niwa_snapshot_hold(struct niwa_engine *e, const struct niwa_instance *i);
void niwa_snapshot_let_go(struct niwa_engine *e, const struct niwa_instance *i);
/* Adoption: keep holds such files for this instance. */
void niwa_snapshot_held(struct niwa_engine *e, const char *name);

#endif
