/* SPDX-License-Identifier: MIT
 *
 * Copying a tree from descriptor to descriptor. The app stands still meanwhile, so nothing changes under the copy.
 */
#include "engine/layer_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"

#define XATTR_NAMES_MAX 4096
#define XATTR_MAX       4096
#define CHUNK           ((off_t)4 << 20) /* between two looks at the clock */

struct work {
	const struct niwa_layer_copy *copy;
	unsigned depth, entries; /* left */
	int image;               /* what the image has in place of the folder being written; -1: nothing */
	struct niwa_error *err;
};

static int fail(struct work *w, const char *what, const char *name)
{
	return niwa_fail(w->err, NIWA_TEMPORARY, errno, "%s '%.200s' of the writable layer", what, name);
}

static uint32_t id(const struct work *w, uint32_t of)
{
	return of >= w->copy->id_base && of - w->copy->id_base < 65536 ? of - w->copy->id_base : 65534;
}

/* Of the overlay's own attributes only these two mean something under another upper folder. */
static bool is_wanted(const struct work *w, const char *name)
{
	if (strncmp(name, "user.overlay.", 13) != 0)
		return strncmp(name, "user.", 5) == 0;
	return w->copy->overlay &&
	       (strcmp(name, "user.overlay.opaque") == 0 || strcmp(name, "user.overlay.redirect") == 0);
}

/* An image that leaves these out gives a file to others than the app did. */
static const char *what_is_lost(const char *name)
{
	if (strncmp(name, "system.posix_acl_", 17) == 0)
		return "an access list";
	return strcmp(name, "security.capability") == 0 ? "capabilities" : NULL;
}

static int copy_xattrs(struct work *w, int from, int to, const char *name)
{
	char names[XATTR_NAMES_MAX], value[XATTR_MAX];
	ssize_t len = flistxattr(from, names, sizeof(names)), n;

	for (const char *at = names; len > 0 && at < names + len; at += strlen(at) + 1) {
		if (what_is_lost(at))
			return niwa_fail(w->err, NIWA_PERMANENT, 0,
					 "'%.200s' of the writable layer has %s, which an image does not keep", name,
					 what_is_lost(at));
		if (!is_wanted(w, at))
			continue;
		n = fgetxattr(from, at, value, sizeof(value));
		if (n < 0 || fsetxattr(to, at, value, (size_t)n, 0) < 0)
			return fail(w, "copy an attribute of", name);
	}
	return 0;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static bool is_in_image(const struct work *w, const char *name)
{
	struct stat st;

	return w->image >= 0 && fstatat(w->image, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_opaque(int fd)
{
	char value;

	return fgetxattr(fd, "user.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* What is below gives way to what lies over it, but for a folder that is seen through a folder. *ret: what was there.
 */
enum below { NOTHING, FOLDER, WHITEOUT };
static int make_way(struct work *w, int from, int to_dir, const char *name, enum below *ret)
{
	char path[64 + NAME_MAX];
	struct stat st;

	*ret = NOTHING;
	if (fstatat(to_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(w, "look at", name);
	if (!S_ISDIR(st.st_mode)) {
		if (S_ISREG(st.st_mode)) /* what it took is free again */
			*w->copy->bytes += (uint64_t)st.st_blocks * 512;
		*ret = is_whiteout(&st) ? WHITEOUT : NOTHING;
		return unlinkat(to_dir, name, 0) < 0 ? fail(w, "replace", name) : 0;
	}
	if (from >= 0 && !is_opaque(from)) {
		*ret = FOLDER;
		return 0;
	}
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", to_dir, name);
	return niwa_remove_tree(path, w->err);
}

/* Owner before mode: a change of owner takes set-user-id away. */
static int finish(struct work *w, int from, int to, const struct stat *st, const char *name)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (copy_xattrs(w, from, to, name) < 0)
		return -EIO;
	if (fchown(to, id(w, st->st_uid), id(w, st->st_gid)) < 0 || fchmod(to, st->st_mode & 07777) < 0 ||
	    futimens(to, times) < 0)
		return fail(w, "set the owner of", name);
	return 0;
}

static int too_late(struct work *w)
{
	if (!w->copy->deadline_us || niwa_now_us() < w->copy->deadline_us)
		return 0;
	return niwa_fail(w->err, NIWA_TEMPORARY, ETIMEDOUT, "the writable layer was not copied in time");
}

/* One run of data. */
static int copy_run(struct work *w, int from, int to, off_t at, off_t end, const char *name)
{
	uint64_t *left = w->copy->bytes;

	if (lseek(to, at, SEEK_SET) < 0)
		return fail(w, "copy", name);
	while (at < end) {
		ssize_t n;

		if (too_late(w) < 0)
			return -ETIMEDOUT;
		if (*left == 0)
			return niwa_fail(w->err, NIWA_PERMANENT, EFBIG,
					 "the writable layer is larger than an image may be");
		n = end - at < CHUNK ? end - at : CHUNK;
		n = sendfile(to, from, &at, (uint64_t)n < *left ? (size_t)n : (size_t)*left);
		if (n < 0)
			return fail(w, "copy", name);
		if (n == 0)
			break; /* it became shorter */
		*left -= (uint64_t)n;
	}
	return 0;
}

/* Holes stay holes: a file may claim terabytes that are nowhere. */
static int copy_data(struct work *w, int from, int to, off_t size, const char *name)
{
	off_t at = 0, end;
	int r = 0;

	if (ftruncate(to, size) < 0)
		return fail(w, "copy", name);
	while (r == 0 && at < size) {
		at = lseek(from, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : fail(w, "copy", name); /* a hole up to the end */
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			return fail(w, "copy", name);
		r = copy_run(w, from, to, at, end < size ? end : size, name);
		at = end;
	}
	return r;
}

static int copy_file(struct work *w, int from_dir, int to_dir, const char *name, const struct stat *st)
{
	NIWA_AUTO_FD from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
	NIWA_AUTO_FD to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (from < 0 || to < 0)
		return fail(w, "copy", name);
	r = copy_data(w, from, to, st->st_size, name);
	return r < 0 ? r : finish(w, from, to, st, name);
}

static int copy_other(struct work *w, int from_dir, int to_dir, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n;
	int r;

	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(from_dir, name, target, sizeof(target) - 1);
		if (n < 0)
			return fail(w, "copy", name);
		target[n] = '\0';
		r = symlinkat(target, to_dir, name);
	} else if (is_whiteout(st) && w->copy->overlay) {
		r = mknodat(to_dir, name, S_IFCHR, 0); /* a whiteout */
	} else if (S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode)) {
		r = mknodat(to_dir, name, st->st_mode, 0);
	} else {
		errno = EOPNOTSUPP;
		r = -1;
	}
	if (r < 0 || fchownat(to_dir, name, id(w, st->st_uid), id(w, st->st_gid), AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, "copy", name);
	return 0;
}

static int copy_folder(struct work *w, int from, int to, const struct stat *st, const char *name);

static int copy_entry(struct work *w, int from_dir, int to_dir, const char *name)
{
	NIWA_AUTO_FD from = -1;
	NIWA_AUTO_FD to = -1;
	enum below below = NOTHING;
	struct stat st;

	if (w->entries-- == 0)
		return niwa_fail(w->err, NIWA_PERMANENT, E2BIG, "more than %d files in the writable layer",
				 NIWA_LAYER_ENTRIES);
	if (too_late(w) < 0)
		return -ETIMEDOUT;
	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, "look at", name);
	if (S_ISDIR(st.st_mode)) {
		from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (from < 0)
			return fail(w, "open", name);
	}
	if (w->copy->over && make_way(w, from, to_dir, name, &below) < 0)
		return -EIO;
	if (is_whiteout(&st) && w->copy->over && !is_in_image(w, name)) /* it hides nothing, and would be listed */
		return 0;
	if (S_ISREG(st.st_mode) && st.st_nlink > 1) /* as files of a lower layer they would part at the first write */
		return niwa_fail(
			w->err, NIWA_PERMANENT, 0,
			"'%.200s' of the writable layer has %llu names (hard links), which an image does not keep",
			name, (unsigned long long)st.st_nlink);
	if (S_ISREG(st.st_mode))
		return copy_file(w, from_dir, to_dir, name, &st);
	if (!S_ISDIR(st.st_mode))
		return copy_other(w, from_dir, to_dir, name, &st);
	if (below != FOLDER && mkdirat(to_dir, name, 0700) < 0)
		return fail(w, "make", name);
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0 || (below == WHITEOUT && fsetxattr(to, "user.overlay.opaque", "y", 1, 0) < 0))
		return fail(w, "open", name);
	return copy_folder(w, from, to, &st, name);
}

static int copy_folder(struct work *w, int from, int to, const struct stat *st, const char *name)
{
	const struct dirent *entry;
	int image = w->image;
	int r = 0, fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		r = fail(w, "read", name);
		niwa_fd_close(&fd);
		return r;
	}
	if (w->depth-- == 0)
		r = niwa_fail(w->err, NIWA_PERMANENT, E2BIG, "folders of the writable layer are nested too deeply");
	w->image = image < 0 || is_opaque(to) ? -1 : openat(image, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	while (r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = copy_entry(w, from, to, entry->d_name);
	w->depth++;
	niwa_fd_close(&w->image);
	w->image = image;
	(void)closedir(dir);
	return r < 0 ? r : finish(w, from, to, st, name);
}

int niwa_layer_copy(const struct niwa_layer_copy *copy, struct niwa_error *err)
{
	struct work w = {.copy = copy,
			 .depth = NIWA_LAYER_DEPTH,
			 .entries = NIWA_LAYER_ENTRIES,
			 .image = copy->over ? copy->image : -1,
			 .err = err};
	struct stat st;

	if (fstat(copy->from, &st) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "look at the writable layer");
	return copy_folder(&w, copy->from, copy->to, &st, ".");
}
