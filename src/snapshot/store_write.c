/* SPDX-License-Identifier: MIT
 *
 * A snapshot being written: .new-N, which becomes its key when everything in it is on the disk.
 */
#include "snapshot/store_private.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "snapshot/refuse.h"

/* Made, and locked before a collector found it. 1: one did, try again. */
static int make_folder(const struct niwa_store *store, struct niwa_store_new *s, struct niwa_error *err)
{
	struct stat mine, named;
	int r = store_new_name(store, PREFIX_NEW, NULL, s->name, err);

	if (r < 0)
		return r;
	s->dir = store_open_folder(store->dir, s->name);
	if (s->dir == -ENOENT)
		return 1;
	if (s->dir < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -s->dir, "snapshots: open '%s'", s->name);
	if (flock(s->dir, LOCK_EX | LOCK_NB) == 0 && fstat(s->dir, &mine) == 0 &&
	    fstatat(store->dir, s->name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == mine.st_ino)
		return 0;
	niwa_fd_close(&s->dir);
	return 1;
}

/* 1: it is not the one that was made, which was collected before it was locked, but an image that another one took the
 * place of. */
static int make_folders(struct niwa_store_new *s, struct niwa_error *err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} folders[] = {{"images", 0755}, {"layer", 0755}, {"shm", 0700}};

	if (faccessat(s->dir, folders[0].name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		niwa_fd_close(&s->dir);
		return 1;
	}
	for (size_t i = 0; i < NIWA_ARRAY_LEN(folders); i++)
		if (mkdirat(s->dir, folders[i].name, 0700) < 0 ||
		    fchmodat(s->dir, folders[i].name, folders[i].mode, 0) < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "snapshots: create '%s/%s'", s->name,
					 folders[i].name);
	s->images = store_open_folder(s->dir, "images");
	return s->images < 0 ? niwa_fail(err, NIWA_TEMPORARY, -s->images, "snapshots: open '%s'", s->name) : 0;
}

static uint64_t image_limit(const struct niwa_store_limits *limits)
{
	return limits->image_bytes ? limits->image_bytes : NIWA_STORE_IMAGE_BYTES;
}

static int too_large(uint64_t bytes, const struct niwa_store_limits *limits, struct niwa_error *err)
{
	if (bytes <= image_limit(limits))
		return 0;
	return niwa_snapshot_refuse(err, EFBIG, "a snapshot of %llu MiB; one may have %llu MiB",
				    (unsigned long long)bytes >> 20, (unsigned long long)image_limit(limits) >> 20);
}

int niwa_store_begin(const struct niwa_store *store, const struct niwa_store_limits *limits, uint64_t expected_bytes,
		     struct niwa_store_new *ret, struct niwa_error *err)
{
	struct niwa_store_new s = {.dir = -1, .images = -1};
	int r = too_large(expected_bytes, limits, err);

	*ret = s;
	if (r == 0)
		r = niwa_store_make_room(store, limits, expected_bytes, NULL, &ret->evicted, err);
	if (r < 0)
		return r;
	s.evicted = ret->evicted;
	do {
		r = make_folder(store, &s, err);
		if (r == 0)
			r = make_folders(&s, err);
	} while (r > 0);
	if (r == 0)
		r = store_fault("snapshot.begun", err);
	if (r < 0) {
		niwa_store_abort(store, &s);
		return r;
	}
	*ret = s;
	return 0;
}

void niwa_store_abort(const struct niwa_store *store, struct niwa_store_new *s)
{
	struct niwa_error err;

	if (s->dir < 0)
		return;
	niwa_fd_close(&s->images);
	niwa_fd_close(&s->dir);
	(void)store_delete(store, s->name, &err); /* what stays is collected */
}

/* ---- committing ---- */

/* Everything that CRIU and the copy of the layer left: on the disk, measured, hashed. A file at a time each would have
 * to wait for the journal. */
static int take_trees(struct niwa_store_new *s, struct niwa_manifest *m, const struct niwa_store_limits *limits,
		      struct niwa_error *err)
{
	struct store_tree images, layer, shm;
	struct stat st;
	int r;

	if (fstatat(s->images, "inventory.img", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "snapshot: CRIU wrote no inventory.img");
	if (syncfs(s->dir) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot: sync");
	r = store_tree_take(s->dir, "images", m, &images, err);
	if (r == 0)
		r = store_tree_take(s->dir, "layer", m, &layer, err);
	if (r == 0)
		r = store_tree_take(s->dir, "shm", m, &shm, err);
	if (r == 0)
		r = too_large(images.bytes + layer.bytes + shm.bytes, limits, err);
	if (r < 0)
		return r;
	m->image_bytes = images.bytes;
	m->layer_bytes = layer.bytes;
	m->layer_entries = layer.entries;
	m->shm_bytes = shm.bytes;
	m->shm_entries = shm.entries;
	return store_fault("snapshot.images-synced", err);
}

static int write_manifest(struct niwa_store_new *s, const struct niwa_manifest *m, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = openat(s->dir, "manifest", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct niwa_text text = {0};
	size_t done = 0;
	int r;

	if (fd < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot: create its manifest");
	r = niwa_manifest_write(m, &text, err);
	while (r == 0 && done < text.len) {
		ssize_t n = write(fd, text.data + done, text.len - done);

		if (n < 0)
			r = niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot: write its manifest");
		else
			done += (size_t)n;
	}
	niwa_text_fini(&text);
	if (r == 0)
		r = store_fault("snapshot.manifest-written", err);
	if (r == 0 && fsync(fd) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot: sync its manifest");
	return r;
}

/* One that is replaced hands its counts on; the wake after which this one was taken is the first. */
static int seed_stats(const struct niwa_store *store, struct niwa_store_new *s, const struct niwa_manifest *m,
		      struct niwa_error *err)
{
	NIWA_AUTO_FD before = store_open_folder(store->dir, m->key.hex);
	struct niwa_store_stats stats = {0};

	if (before >= 0)
		store_stats_read(before, &stats);
	store_stats_roll(&stats, store_today());
	if (before < 0)
		stats.wakes[0] = 1;
	if (!stats.cold_us[0])
		stats.cold_us[0] = m->cold_us;
	return store_stats_write(s->dir, &stats, err);
}

static int fill(const struct niwa_store *store, const struct niwa_store_limits *limits, struct niwa_store_new *s,
		struct niwa_manifest *m, struct niwa_error *err)
{
	int r = take_trees(s, m, limits, err);

	if (r == 0)
		r = write_manifest(s, m, err);
	if (r == 0)
		r = seed_stats(store, s, m, err);
	if (r == 0 && fsync(s->dir) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot: sync");
	return r < 0 ? r : store_fault("snapshot.synced", err);
}

static int decide(const struct niwa_store_new *s, struct niwa_error *err)
{
	int open = NIWA_STORE_OPEN;

	if (!s->fate || atomic_compare_exchange_strong(s->fate, &open, NIWA_STORE_NAMED))
		return 0;
	return niwa_fail(err, NIWA_TEMPORARY, ECANCELED, "snapshot");
}

/* Puts it under its key. What was there has its name then, and goes: now, or as a leftover if somebody holds it. Others
 * may evict that meanwhile, and make a folder of the name, which they have locked. */
static int rename_to_key(const struct niwa_store *store, struct niwa_store_new *s, const struct niwa_snapshot_key *key,
			 struct niwa_error *err)
{
	struct niwa_error ignored;

	for (;;) {
		if (renameat2(store->dir, s->name, store->dir, key->hex, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			break;
		if (renameat2(store->dir, s->name, store->dir, key->hex, RENAME_EXCHANGE) == 0) {
			(void)store_delete(store, s->name, &ignored);
			return 0;
		}
		if (errno != ENOENT)
			break;
	}
	return niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot: rename to its key");
}

static int sync_store(const struct niwa_store *store, struct niwa_error *err)
{
	int r = store_fault("snapshot.renamed", err);

	if (r == 0 && fsync(store->dir) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "snapshots: sync");
	return r < 0 ? r : store_fault("snapshot.committed", err);
}

int niwa_store_commit(const struct niwa_store *store, const struct niwa_store_limits *limits, struct niwa_store_new *s,
		      struct niwa_manifest *m, struct niwa_error *err)
{
	struct niwa_error ignored;
	int r = fill(store, limits, s, m, err);

	if (r == 0)
		r = decide(s, err);
	if (r == 0)
		r = rename_to_key(store, s, &m->key, err);
	if (r < 0) {
		niwa_store_abort(store, s);
		return r;
	}
	niwa_fd_close(&s->images);
	niwa_fd_close(&s->dir);
	r = sync_store(store, err);
	if (r < 0)
		(void)niwa_store_remove(store, &m->key, &ignored);
	else /* those in use stay for now: the next one has to find room */
		(void)niwa_store_make_room(store, limits, 0, &m->key, &s->evicted, &ignored);
	return r;
}
