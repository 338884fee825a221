/* SPDX-License-Identifier: MIT
 *
 * What the engine knows of snapshots: whether this host can make them, whether an app may have one and why not, the
 * image an app has and whether it pays to use it. Taking one is dump.h, waking from one restore.h. An image is a cache:
 * whatever is wrong with it, it is dropped with the reason and the app is started.
 */
#ifndef NIWA_ENGINE_SNAPSHOT_H
#define NIWA_ENGINE_SNAPSHOT_H

#include "engine/engine_private.h"
#include "snapshot/manifest.h"
#include "snapshot/store.h"

/* Of this host. */
struct niwa_snapshots {
	struct niwa_store store;
	struct niwa_store_limits limits;
	struct niwa_key_host platform;
	int criu, cache, empty; /* the binary; CRIU's cache on a tmpfs; an empty folder in it */
	uint64_t check;         /* CRIU's look at the kernel while it runs */
	unsigned checks;        /* how many there were */
	bool scanned;           /* what is on disk is known */
	bool noting;            /* a thread writes counts and times of images */
	unsigned note_count;    /* that wait for it */
	STAILQ_HEAD(, niwa_note) notes;
	bool putting_away; /* a thread removes images */
	STAILQ_HEAD(, niwa_put_away) put_aways;
};

/* Of an app, once there is something to know; or of all apps that share an image (share.h). */
struct niwa_app_snapshot {
	struct niwa_snapshot_key key; /* of the image, or of the start that could not be dumped */
	bool usable;                  /* the store has it */
	bool moment;                  /* of the moment of sleep: used once */
	bool refused;                 /* no dump of a start with this key is tried again */
	bool taking;
	bool unchecked, wanted_anew; /* rebuild.h */
	bool shared, making;         /* making: a template is there (template.h) */
	bool settled;                /* the `usable` that the states of those who share it follow */
	unsigned sharers, failed;    /* failed: restores one after the other, of whichever app */
	unsigned told;               /* while a list is made */
	unsigned cold_since;         /* cold starts since the last restore was measured */
	uint64_t like;               /* the app of which it was taken, or like whose it was; 0: not known */
	uint32_t week;               /* wakes in the week before niwad started; shared: and since */
	unsigned late;               /* restores in a row that were not done in time */
	/* Of dumps, after one for which there was no room. */
	uint64_t pause_us, not_before_us;
	uint64_t bytes, taken_us, still_us;
	uint64_t cold_us[NIWA_STORE_SAMPLES], restored_us[NIWA_STORE_SAMPLES]; /* newest first */
	uint64_t restores, failures, last_restore_us;
	char reason[NIWA_STORE_REASON_MAX]; /* why there is none, or the last failure */
};

/* Of an instance that may be dumped, or is restored. */
struct niwa_instance_snapshot {
	struct niwa_snapshot_key key; /* of its start */
	bool restoring;               /* CRIU has not succeeded yet */
	struct niwa_store_image image;
	struct niwa_instance_restore restore;
	char folder[NIWA_KEY_HEX + 1]; /* of the image that it was restored from */
	char layer_path[600], shm_path[600];
	uint64_t criu;
	struct niwa_dump *dump; /* dump.h; under way */
	sd_event_source *timer; /* the next try of a dump */
	uint64_t warm_ticket;
	unsigned warm_next;
	uint64_t warm_began_us, warm_took_us; /* the first of them */
	bool stop_wanted;                     /* when the dump under way is over */
	bool adopted;                         /* and its key was not compared with that of a start of today */
};

/* At the start of niwad. Without CRIU, or without room for images, nothing fails: e->no_snapshots says why. */
void niwa_snapshots_open(struct niwa_engine *e);
/* After adoption: CRIU looks at the kernel, then images on disk find their apps. */
void niwa_snapshots_begin(struct niwa_engine *e);
void niwa_snapshots_close(struct niwa_engine *e);

/* Why no image of this app is made, "" when one may be. Returns buf. */
const char *niwa_snapshot_refusal(const struct niwa_engine *e, const struct niwa_app_spec *spec, char *buf,
				  size_t size);
/* The text for people: why there is no image, why it is not used, "" when it is. */
const char *niwa_snapshot_why_not(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_app_spec *spec,
				  char *buf, size_t size);
/* The app would be woken from its image. */
bool niwa_snapshot_is_wanted(const struct niwa_app *app);
/* There is one, and starting the app was measured to be no slower. */
bool niwa_snapshot_is_slower(const struct niwa_app *app);
/* Never NULL unless memory is out. */
struct niwa_app_snapshot *niwa_snapshot_of(struct niwa_app *app);
void niwa_app_snapshot_free(struct niwa_app *app);

/* What the key of an instance's start is; volumes: of niwa_volume_print for kind MOMENT, else NULL. */
int niwa_snapshot_key_of(struct niwa_engine *e, const struct niwa_app_spec *spec, const struct niwa_instance_params *p,
			 const char *volumes, struct niwa_snapshot_key *ret, struct niwa_error *err);
/* Its memory is kept when it sleeps (sleep.keep: memory). */
bool niwa_snapshot_hibernates(const struct niwa_engine *e, const struct niwa_app_spec *spec);
/* What dead users of images have left is removed, some time later. */
void niwa_snapshots_collect(struct niwa_engine *e);
/* The restored instance has (or had) files of its image mounted: they are not removed as long as it lives. Held by
 * niwa-keep, so also while no niwad is there. */
void niwa_snapshot_hold(struct niwa_engine *e, const struct niwa_instance *i);
void niwa_snapshot_let_go(struct niwa_engine *e, const struct niwa_instance *i);
/* Adoption: keep holds such files for this instance. */
void niwa_snapshot_held(struct niwa_engine *e, const char *name);

/* Completes what a plan is made of: below niwa-init, and from the image that was opened for it (restore_open.h). */
int niwa_snapshot_prepare(struct niwa_engine *e, struct niwa_instance *i, struct niwa_instance_params *p,
			  struct niwa_error *err);
/* Where the files of an image are that an instance sees, by the name of its folder. */
void niwa_snapshot_paths(const struct niwa_engine *e, struct niwa_instance_snapshot *s, const char *folder);
/* The instance ends: what it holds of images is given back. */
void niwa_snapshot_instance_gone(struct niwa_engine *e, struct niwa_instance *i);

/* A restore of the app failed, or it ended at once. An image of its own is dropped; one that it shares when others fail
 * too: whoever spoils his own instance must not take it from the others. */
void niwa_snapshot_failed(struct niwa_engine *e, struct niwa_app *app, const char *reason);
/* There is no image for now (no room): each try stops the app, so the pause before the next one doubles, and holds for
 * the app's next instances too. */
void niwa_snapshot_later(struct niwa_app_snapshot *s, const char *reason);
/* None is made of this start of it, which is as good as others; the next one may have one. */
void niwa_snapshot_not_now(const struct niwa_instance *i, const struct niwa_error *err);
/* The image is void. The app's state follows when it sleeps. */
void niwa_snapshot_drop(struct niwa_engine *e, struct niwa_app *app, const char *reason);
/* Its files go, off the loop. */
void niwa_snapshot_remove(struct niwa_engine *e, const struct niwa_snapshot_key *key);
/* What the store knows of it. */
void niwa_snapshot_found(struct niwa_app_snapshot *s, const struct niwa_store_entry *entry);
/* It was restored. */
void niwa_snapshot_restored(struct niwa_app *app);
/* A wake by a cold start or a restore took so long, to the first byte of the answer: what is ready at once may still
 * have to load what the first request wants. */
void niwa_snapshot_measured(struct niwa_engine *e, struct niwa_app *app, bool restored, uint64_t us);
/* The app is stopped and has an image that is wanted: it is saved. Or the other way round. Those who share the image
 * follow soon; settle_one: only this app. */
void niwa_snapshot_settle(struct niwa_engine *e, struct niwa_app *app, const char *why);
void niwa_snapshot_settle_one(struct niwa_engine *e, struct niwa_app *app, const char *why);

/* Where the files of the host are that an instance sees. Descriptors are opened. */
#define NIWA_ROOTS_MAX (NIWA_VOLUMES_MAX + 6)
struct niwa_roots {
	struct niwa_manifest_root root[NIWA_ROOTS_MAX];
	size_t count;
	uint64_t trees; /* by position: those that the app only reads, and others may write to (volume_print.h) */
	char *text[NIWA_ROOTS_MAX];
};
int niwa_roots_open(const struct niwa_instance_params *p, struct niwa_roots *ret, struct niwa_error *err);
void niwa_roots_close(struct niwa_roots *roots);

#endif
