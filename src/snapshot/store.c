/* SPDX-License-Identifier: MIT
 *
 * The store's folder: opening it, names, locks, removal.
 */
#include "snapshot/store_private.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "snapshot/refuse.h"

#define NAMES_MAX 100000

int store_fault(const char *point, struct niwa_error *err)
{
	int r = niwa_fault(point);

	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "fault %s", point) : 0;
}

int store_open_folder(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int niwa_store_open(const char *state_dir, struct niwa_store *ret, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = -1;
	char path[PATH_MAX];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s/snapshots", state_dir) >= sizeof(path))
		return niwa_fail(err, NIWA_PERMANENT, ENAMETOOLONG, "folder of snapshots");
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return niwa_fail(err, NIWA_PERMANENT, errno, "create folder '%s'", path);
	fd = store_open_folder(AT_FDCWD, path);
	if (fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, -fd, "open folder '%s'", path);
	if (fstat(fd, &st) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "look at '%s'", path);
	if (st.st_uid != geteuid())
		return niwa_fail(err, NIWA_PERMANENT, EPERM, "'%s' belongs to user %u, who could exchange images", path,
				 st.st_uid);
	/* In them is the memory of apps, with every secret they had read. */
	if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "set the mode of '%s'", path);
	ret->dir = NIWA_TAKE_FD(fd);
	return 0;
}

void niwa_store_close(struct niwa_store *store)
{
	niwa_fd_close(&store->dir);
}

int store_new_name(const struct niwa_store *store, const char *prefix, const char *from, char ret[STORE_NAME],
		   struct niwa_error *err)
{
	static _Atomic(unsigned) last; /* thousands may be held at a time; they are not tried one by one each time */

	for (unsigned i = 0; i < NAMES_MAX; i++) {
		char name[STORE_NAME];
		int r;

		(void)snprintf(name, sizeof(name), "%s%u", prefix, atomic_fetch_add(&last, 1) % NAMES_MAX + 1);
		r = from ? renameat2(store->dir, from, store->dir, name, RENAME_NOREPLACE)
			 : mkdirat(store->dir, name, 0700);
		if (r == 0) {
			memcpy(ret, name, sizeof(name));
			return 0;
		}
		if (errno != EEXIST && errno != ENOTEMPTY)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "snapshots: make '%s'", name);
	}
	return niwa_fail(err, NIWA_TEMPORARY, EBUSY, "snapshots: %d folders '%s*'", NAMES_MAX, prefix);
}

/* Between the opening and the lock its owner may have renamed it, and another one made a folder of that name. */
bool store_is_still(const struct niwa_store *store, const char *name, int dir)
{
	struct stat mine, named;

	return fstat(dir, &mine) == 0 && fstatat(store->dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       named.st_ino == mine.st_ino;
}

int store_lock(const struct niwa_store *store, const char *name, int *ret_dir, int *ret_images)
{
	NIWA_AUTO_FD dir = store_open_folder(store->dir, name), images = -1;

	if (dir < 0)
		return dir;
	if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 1 : -errno;
	if (!store_is_still(store, name, dir))
		return -ENOENT;
	images = store_open_folder(dir, "images");
	if (images < 0 && images != -ENOENT)
		return images;
	if (images >= 0 && flock(images, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 1 : -errno;
	*ret_dir = NIWA_TAKE_FD(dir);
	*ret_images = images < 0 ? -1 : NIWA_TAKE_FD(images);
	return 0;
}

int store_delete(const struct niwa_store *store, const char *name, struct niwa_error *err)
{
	NIWA_AUTO_FD dir = -1, images = -1;
	char path[64 + STORE_NAME];
	int r = store_lock(store, name, &dir, &images);

	if (r == -ENOENT)
		return 0;
	if (r != 0)
		return r > 0 ? r : niwa_fail(err, NIWA_TEMPORARY, -r, "snapshots: remove '%s'", name);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", store->dir, name);
	(void)niwa_fault("snapshot.removing");
	r = niwa_remove_tree(path, err);
	if (r == 0)
		(void)niwa_fault("snapshot.removed");
	return r;
}

int niwa_store_remove(const struct niwa_store *store, const struct niwa_snapshot_key *key, struct niwa_error *err)
{
	char name[STORE_NAME];
	int r = store_new_name(store, PREFIX_OLD, key->hex, name, err);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = store_delete(store, name, err);
	return r > 0 ? 0 : r; /* held: collected later */
}

int store_read_manifest(int snapshot, const struct niwa_snapshot_key *key, struct niwa_manifest *ret,
			struct niwa_error *err)
{
	NIWA_AUTO_FD fd = openat(snapshot, "manifest", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	NIWA_AUTO(niwa_free_ptr) char *data = NULL;
	struct niwa_manifest manifest = {0};
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT)
		return niwa_snapshot_refuse(err, EBADMSG, "it has no manifest");
	if (fd < 0 || fstat(fd, &st) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open a manifest");
	if (!S_ISREG(st.st_mode) || st.st_size > NIWA_MANIFEST_MAX)
		return niwa_snapshot_refuse(err, EBADMSG, "its manifest is no file, or too long");
	data = niwa_zalloc((size_t)st.st_size + 1);
	if (!data)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read a manifest");
	if (pread(fd, data, (size_t)st.st_size, 0) != st.st_size)
		return niwa_fail(err, NIWA_TEMPORARY, EIO, "read a manifest");
	r = niwa_manifest_read(data, (size_t)st.st_size, &manifest, err);
	if (r == 0 && strcmp(manifest.key.hex, key->hex) != 0) {
		niwa_manifest_fini(&manifest);
		r = niwa_snapshot_refuse(err, EBADMSG, "its manifest is of another key");
	}
	if (r == 0)
		*ret = manifest;
	return r;
}
