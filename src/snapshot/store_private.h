/* SPDX-License-Identifier: MIT
 *
 * What the files of the store share: walks over a snapshot's tree, its two text files, names and locks.
 */
#ifndef NIWA_SNAPSHOT_STORE_PRIVATE_H
#define NIWA_SNAPSHOT_STORE_PRIVATE_H

#include "snapshot/store.h"

#define PREFIX_NEW  ".new-"
#define PREFIX_USED ".used-"
#define PREFIX_OLD  ".old-"
#define STORE_NAME  24 /* of a folder that is no key: prefix and number */

#define TREE_DEPTH   64                      /* folders in folders */
#define TREE_ENTRIES NIWA_MANIFEST_PARTS_MAX /* of one tree */
#define SMALL_BYTES  (64 * 1024)             /* a file up to here is hashed by a quick check */

/* ---- store_tree.c: folders of a snapshot ---- */

struct store_tree {
	uint64_t bytes; /* on disk */
	uint32_t entries;
};
/* Walks snapshot/folder, which is synced: blocks are known then. Every regular file is hashed and becomes a part of the
 * manifest. */
int store_tree_take(int snapshot, const char *folder, struct niwa_manifest *manifest, struct store_tree *ret,
		    struct niwa_error *err);
/* Bytes on disk of whatever is there; what cannot be read counts as nothing. */
uint64_t store_tree_bytes(int parent, const char *name);
int store_tree_check(int snapshot, const struct niwa_manifest *manifest, enum niwa_store_check check,
		     struct niwa_error *err);

/* ---- store_stats.c ---- */

void store_stats_read(int snapshot, struct niwa_store_stats *ret); /* all 0 when there are none */
int store_stats_write(int snapshot, const struct niwa_store_stats *stats, struct niwa_error *err);
void store_stats_roll(struct niwa_store_stats *stats, uint32_t today); /* days go by */
uint32_t store_today(void);

/* ---- store.c ---- */

/* A point of base/fault.h, with its error. */
int store_fault(const char *point, struct niwa_error *err);
/* Takes a name that nobody has: mkdir, or rename of `from` where it is given. */
int store_new_name(const struct niwa_store *store, const char *prefix, const char *from, char ret[STORE_NAME],
		   struct niwa_error *err);
int store_open_folder(int parent, const char *name); /* or -errno */
/* Removes a folder nobody holds. 0; 1: it is held, nothing was done; -errno. */
int store_delete(const struct niwa_store *store, const char *name, struct niwa_error *err);
int store_read_manifest(int snapshot, const struct niwa_snapshot_key *key, struct niwa_manifest *ret,
			struct niwa_error *err);
/* Is the folder that was opened by that name still the one that has it? */
bool store_is_still(const struct niwa_store *store, const char *name, int dir);
/* Locks a snapshot for removal, without waiting. 0: *ret_dir and *ret_images hold it; 1: it is held; -errno. A folder
 * without images/ leaves -1 there. */
int store_lock(const struct niwa_store *store, const char *name, int *ret_dir, int *ret_images);

#endif
