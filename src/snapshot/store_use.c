/* SPDX-License-Identifier: MIT
 *
 * Opening a snapshot for a restore, and what comes after.
 */
#include "snapshot/store_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "snapshot/refuse.h"

void niwa_store_image_init(struct niwa_store_image *image)
{
	*image = (struct niwa_store_image){.dir = -1, .images = -1, .layer = -1, .shm = -1};
}

void niwa_store_image_close(struct niwa_store_image *image)
{
	niwa_manifest_fini(&image->manifest);
	niwa_fd_close(&image->dir);
	niwa_fd_close(&image->images);
	niwa_fd_close(&image->layer);
	niwa_fd_close(&image->shm);
	niwa_store_image_init(image);
}

/* A folder that is being removed is as good as none. */
static int gone(const struct niwa_snapshot_key *key, int code, struct niwa_error *err)
{
	return niwa_fail(err, NIWA_PERMANENT, code == EWOULDBLOCK ? ENOENT : code, "snapshot %.12s", key->hex);
}

static int open_folders(const struct niwa_store *store, const struct niwa_snapshot_key *key,
			struct niwa_store_image *image, struct niwa_error *err)
{
	int r;

	r = image->dir = store_open_folder(store->dir, key->hex);
	if (r < 0)
		return gone(key, -r, err);
	r = image->images = store_open_folder(image->dir, "images");
	if (r == -ENOENT && !store_is_still(store, key->hex, image->dir))
		return gone(key, ENOENT, err);
	if (r == -ENOENT)
		return niwa_snapshot_refuse(err, EBADMSG, "snapshot %.12s: it has no images", key->hex);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "snapshot %.12s: open its images", key->hex);
	if (flock(image->images, LOCK_SH | LOCK_NB) < 0)
		return gone(key, errno, err);
	if (!store_is_still(store, key->hex, image->dir)) /* removed before it was locked */
		return gone(key, ENOENT, err);
	return 0;
}

static int open_rest(struct niwa_store_image *image, struct niwa_error *err)
{
	const struct {
		const char *name;
		uint32_t entries;
		int *fd;
	} rest[] = {{"layer", image->manifest.layer_entries, &image->layer},
		    {"shm", image->manifest.shm_entries, &image->shm}};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(rest); i++) {
		if (rest[i].entries == 0)
			continue;
		*rest[i].fd = store_open_folder(image->dir, rest[i].name);
		if (*rest[i].fd < 0)
			return niwa_snapshot_refuse(err, EBADMSG, "no folder %s", rest[i].name);
	}
	return 0;
}

int niwa_store_use(const struct niwa_store *store, const struct niwa_snapshot_key *key, enum niwa_store_check check,
		   struct niwa_store_image *ret, struct niwa_error *err)
{
	struct niwa_store_image image;
	int r;

	niwa_store_image_init(&image);
	niwa_store_image_init(ret);
	r = store_fault("snapshot.using", err);
	if (r == 0)
		r = open_folders(store, key, &image, err);
	if (r == 0) {
		r = store_read_manifest(image.dir, key, &image.manifest, err);
		if (r == 0)
			r = store_tree_check(image.dir, &image.manifest, check, err);
		if (r == 0)
			r = open_rest(&image, err);
		if (r < 0)
			r = niwa_fail_in(err, r, "snapshot %.12s", key->hex);
	}
	if (r < 0) {
		niwa_store_image_close(&image);
		return r;
	}
	memcpy(image.name, key->hex, sizeof(image.name));
	*ret = image;
	return 0;
}

/* Nobody else finds it from now on, and the power may fail. */
static int withdraw(const struct niwa_store *store, struct niwa_store_image *image, struct niwa_error *err)
{
	struct stat mine, named;
	char name[STORE_NAME];
	int r = store_new_name(store, PREFIX_USED, image->name, name, err);

	if (r < 0)
		return r;
	(void)snprintf(image->name, sizeof(image->name), "%s", name);
	r = store_fault("snapshot.used", err);
	if (r == 0 && fsync(store->dir) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "snapshots: sync");
	if (r == 0 && (fstat(image->dir, &mine) < 0 || fstatat(store->dir, name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
		       mine.st_ino != named.st_ino))
		r = niwa_fail(err, NIWA_TEMPORARY, EAGAIN, "snapshot %.12s: replaced meanwhile",
			      image->manifest.key.hex);
	return r < 0 ? r : store_fault("snapshot.used-synced", err);
}

int niwa_store_use_once(const struct niwa_store *store, const struct niwa_snapshot_key *key,
			enum niwa_store_check check, struct niwa_store_image *ret, struct niwa_error *err)
{
	struct niwa_store_image image;
	int r = niwa_store_use(store, key, check, &image, err);

	niwa_store_image_init(ret);
	if (r == 0)
		r = withdraw(store, &image, err);
	if (r < 0) {
		niwa_store_done(store, &image);
		return r;
	}
	*ret = image;
	return 0;
}

void niwa_store_done(const struct niwa_store *store, struct niwa_store_image *image)
{
	char name[sizeof(image->name)];
	struct niwa_error ignored;
	bool used = strncmp(image->name, PREFIX_USED, strlen(PREFIX_USED)) == 0;

	memcpy(name, image->name, sizeof(name));
	niwa_store_image_close(image);
	if (used)
		(void)store_delete(store, name, &ignored); /* what stays is collected */
}
