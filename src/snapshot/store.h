/* SPDX-License-Identifier: MIT
 *
 * The snapshots on disk: STATE_DIR/snapshots (0700)
 *
 *     KEY/manifest  KEY/stats  KEY/images/  KEY/layer/  KEY/shm/
 *     .new-N/   being written: not there yet       .used-N/  used once, to be removed     .old-N/  being removed
 *
 * A snapshot appears whole or not at all: everything is synced, then renamed, then the parent is synced. Locks are
 * flock(2) on folders, so they end with their holder: of images/ shared by who restores from it (the descriptor may be
 * passed on, the lock goes with it), of .new-N by who writes it. Nothing that is locked is removed; it is renamed away
 * and collected later.
 *
 * Every call here touches the disk and may take long: call it in a worker thread. There is no state but the folder and
 * the descriptor of it, so calls may run beside each other in any threads and processes. 0 or -errno and err.
 * Faults (base/fault.h): snapshot.begun, .images-synced, .manifest-written, .synced, .renamed, .committed, .using,
 * .used, .used-synced, .noting, .removing, .removed. docs/adr/007-snapshots.md is the reason of it all.
 */
#ifndef NIWA_SNAPSHOT_STORE_H
#define NIWA_SNAPSHOT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "snapshot/key.h"
#include "snapshot/manifest.h"

#define NIWA_STORE_BYTES       (UINT64_C(10) << 30) /* of all, when the configuration says nothing */
#define NIWA_STORE_IMAGE_BYTES (UINT64_C(1) << 30)  /* of one */
#define NIWA_STORE_DAYS        7                    /* wakes are counted so long */
#define NIWA_STORE_SAMPLES     5                    /* times of the last starts, for medians */
#define NIWA_STORE_REASON_MAX  160

struct niwa_store {
	int dir;
};
/* Makes the folder when it is missing, sets its mode, opens it. Removes nothing (niwa_store_collect does). */
int niwa_store_open(const char *state_dir, struct niwa_store *ret, struct niwa_error *err);
void niwa_store_close(struct niwa_store *store); /* a closed one is fine */

struct niwa_store_limits {
	uint64_t bytes;       /* of all snapshots; 0: NIWA_STORE_BYTES */
	uint64_t image_bytes; /* of one; 0: NIWA_STORE_IMAGE_BYTES */
	uint64_t free_bytes;  /* that must stay free on the file system; 0: no matter */
};

/* Images that had to go for another one, for whoever knows their apps. */
struct niwa_store_evicted {
	struct niwa_store_gone {
		struct niwa_snapshot_key key;
		uint64_t app_id; /* 0: of apps that share it, or not known */
	} * image;
	size_t count;
};
void niwa_store_evicted_fini(struct niwa_store_evicted *evicted);

/* --- taking one --- */

/* Whether an image that is being committed gets its name: whoever moves it away from OPEN first has decided. */
enum niwa_store_fate { NIWA_STORE_OPEN, NIWA_STORE_NAMED, NIWA_STORE_UNWANTED };

/* A snapshot being written. dir: .new-N, locked; images: .new-N/images for `criu dump`, empty, 0755. .new-N/layer
 * (0755) and .new-N/shm (0700) are there, empty, to be filled. */
struct niwa_store_new {
	char name[24];
	int dir, images;
	struct niwa_store_evicted evicted; /* by begin and commit, also when they fail; to be freed */
	_Atomic(int) *fate;                /* set by who may change his mind while it is committed; else NULL */
};
/* Makes room for expected_bytes first (as niwa_store_make_room). -ENOSPC (NIWA_TEMPORARY) when there is none, -EFBIG
 * when it is more than one may have. */
int niwa_store_begin(const struct niwa_store *store, const struct niwa_store_limits *limits, uint64_t expected_bytes,
		     struct niwa_store_new *ret, struct niwa_error *err);
/* Fills the manifest's parts (none before) and sizes, writes it, syncs, renames, syncs, and evicts others when there is
 * too much. One of the same key that is there already is replaced and keeps its counts. Afterwards, and after a
 * failure, *snapshot is closed (dir -1); a failure leaves nothing behind. -EFBIG: larger than one may be. -ECANCELED:
 * its fate was decided otherwise. Everything is synced by one pass of its file system, which has to write what others
 * have there too, so it may take seconds. */
int niwa_store_commit(const struct niwa_store *store, const struct niwa_store_limits *limits,
		      struct niwa_store_new *snapshot, struct niwa_manifest *manifest, struct niwa_error *err);
/* Removes what was written. One that is not open is fine. */
void niwa_store_abort(const struct niwa_store *store, struct niwa_store_new *snapshot);

/* --- using one --- */

/* Opened for a restore. Owns all. While `images` or a duplicate of it is open, nobody removes the files. */
struct niwa_store_image {
	struct niwa_manifest manifest;
	int dir, images, layer, shm; /* layer, shm: -1 when there is nothing in them */
	char name[NIWA_KEY_HEX + 1]; /* of its folder now: the key, or ".used-N" */
};
void niwa_store_image_init(struct niwa_store_image *image); /* empty: descriptors -1 */
void niwa_store_image_close(struct niwa_store_image *image);

enum niwa_store_check {
	NIWA_STORE_QUICK, /* manifest; size of every file of images/; hash of those up to 64 KiB: about 1 ms */
	NIWA_STORE_WHOLE, /* hash of everything */
};
/* -ENOENT: there is none. -EBADMSG: it is damaged, and how; the caller drops it. The files of the image and volumes
 * are not compared here: niwa_manifest_compare. *ret as after niwa_store_image_init on failure. */
int niwa_store_use(const struct niwa_store *store, const struct niwa_snapshot_key *key, enum niwa_store_check check,
		   struct niwa_store_image *ret, struct niwa_error *err);
/* For kind MOMENT: the same, and it is no longer there afterwards, not even when the power fails now: renamed to
 * .used-N and synced before this returns. Exactly one of two callers gets it. Remove it with niwa_store_done. */
int niwa_store_use_once(const struct niwa_store *store, const struct niwa_snapshot_key *key,
			enum niwa_store_check check, struct niwa_store_image *ret, struct niwa_error *err);
/* Closes; removes the folder when it was used once and nobody else holds it. */
void niwa_store_done(const struct niwa_store *store, struct niwa_store_image *image);

/* --- looking after them --- */

/* What happened to a snapshot; kept in KEY/stats, not synced. Counts are hints: losing them is no harm. */
enum niwa_store_event {
	NIWA_STORE_RESTORED, /* us: duration of the wake; also counts as a wake */
	NIWA_STORE_COLD,     /* us: duration of a cold wake of an app with this key; also counts as a wake */
	NIWA_STORE_FAILED,   /* reason: why a restore failed */
	NIWA_STORE_SHARED,   /* count: how many apps have this key now */
};
struct niwa_store_note {
	enum niwa_store_event event;
	uint64_t us;
	uint32_t count;
	const char *reason; /* borrowed; cut and quoted */
};
/* -ENOENT when the snapshot is gone. */
int niwa_store_note(const struct niwa_store *store, const struct niwa_snapshot_key *key,
		    const struct niwa_store_note *note, struct niwa_error *err);

struct niwa_store_stats {
	uint64_t restores, failures;
	uint32_t wakes[NIWA_STORE_DAYS]; /* [0] today */
	uint32_t day;                    /* that wakes[0] is about: days since 1970 */
	uint32_t sharers;
	uint64_t last_restore_us;                 /* CLOCK_REALTIME, 0: never */
	uint64_t restored_us[NIWA_STORE_SAMPLES]; /* newest first, 0: fewer */
	uint64_t cold_us[NIWA_STORE_SAMPLES];     /* the first one is the manifest's */
	char last_failure[NIWA_STORE_REASON_MAX]; /* "" */
};
uint64_t niwa_store_median(const uint64_t samples[NIWA_STORE_SAMPLES]);         /* of those not 0; 0: none */
uint32_t niwa_store_week(const struct niwa_store_stats *stats, uint32_t today); /* wakes of the last seven days */

struct niwa_store_entry {
	struct niwa_snapshot_key key;
	char damaged[NIWA_STORE_REASON_MAX]; /* "": it is not; else only key, bytes and stats are filled */
	enum niwa_snapshot_kind kind;
	enum niwa_snapshot_scope scope;
	uint64_t bytes; /* on disk, everything */
	uint64_t taken_us, cold_us, still_us;
	char app[256]; /* of which it was taken */
	uint64_t app_id;
	uint32_t tenant_id;
	double value; /* milliseconds saved in the last week a MiB; the least is evicted first */
	struct niwa_store_stats stats;
};
struct niwa_store_list {
	struct niwa_store_entry *entry; /* sorted by key */
	size_t count;
	uint64_t bytes; /* of all, those being written or removed included */
};
/* Reads the manifests, not the images. */
int niwa_store_list(const struct niwa_store *store, struct niwa_store_list *ret, struct niwa_error *err);
/* Of those whose key comes after `after` the first ones, `limit` at most; no other manifest is read. bytes is theirs.
 */
int niwa_store_list_after(const struct niwa_store *store, const char *after, size_t limit, struct niwa_store_list *ret,
			  struct niwa_error *err);
void niwa_store_list_fini(struct niwa_store_list *list);

/* 0 when there is none. It is no longer found when this returns; files somebody restores from go later. */
int niwa_store_remove(const struct niwa_store *store, const struct niwa_snapshot_key *key, struct niwa_error *err);
/* Evicts the least valuable until bytes more have room within the limits; never `keep` (may be NULL) nor one in use.
 * -ENOSPC when that is not enough; none goes for a disk that stays too full without all of them. `evicted` (may be
 * NULL): those that went are added, also on failure. */
int niwa_store_make_room(const struct niwa_store *store, const struct niwa_store_limits *limits, uint64_t bytes,
			 const struct niwa_snapshot_key *keep, struct niwa_store_evicted *evicted,
			 struct niwa_error *err);
/* Removes what dead writers, used snapshots and interrupted removals left, and damaged snapshots. At start.
 * What somebody holds stays. ret_count (may be NULL): how many went. */
int niwa_store_collect(const struct niwa_store *store, unsigned *ret_count, struct niwa_error *err);
/* The same without a look at what has a key, which takes as long as there are images: a damaged one is found by who
 * uses it. */
int niwa_store_sweep(const struct niwa_store *store, struct niwa_error *err);

#endif
