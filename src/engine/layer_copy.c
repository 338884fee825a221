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

#include "base/fd.h"
#include "base/memory.h"

#define XATTR_NAMES_MAX 4096
#define XATTR_MAX       4096

struct work {
	const struct niwa_layer_copy *copy;
	unsigned depth, entries; /* left */
	uint64_t bytes;          /* left */
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

static int copy_xattrs(struct work *w, int from, int to, const char *name)
{
	char names[XATTR_NAMES_MAX], value[XATTR_MAX];
	ssize_t len = flistxattr(from, names, sizeof(names)), n;

	for (const char *at = names; len > 0 && at < names + len; at += strlen(at) + 1) {
		if (!is_wanted(w, at))
			continue;
		n = fgetxattr(from, at, value, sizeof(value));
		if (n < 0 || fsetxattr(to, at, value, (size_t)n, 0) < 0)
			return fail(w, "copy an attribute of", name);
	}
	return 0;
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

static int copy_file(struct work *w, int from_dir, int to_dir, const char *name, const struct stat *st)
{
	NIWA_AUTO_FD from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
	NIWA_AUTO_FD to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t n = 1;

	if (from < 0 || to < 0)
		return fail(w, "copy", name);
	if ((uint64_t)st->st_blocks * 512 > w->bytes)
		return niwa_fail(w->err, NIWA_PERMANENT, EFBIG, "the writable layer is larger than an image may be");
	w->bytes -= (uint64_t)st->st_blocks * 512;
	while (n > 0)
		n = sendfile(to, from, NULL, 1 << 24);
	if (n < 0)
		return fail(w, "copy", name);
	return finish(w, from, to, st, name);
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
	} else if (S_ISCHR(st->st_mode) && st->st_rdev == 0 && w->copy->overlay) {
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
	struct stat st;

	if (w->entries-- == 0)
		return niwa_fail(w->err, NIWA_PERMANENT, E2BIG, "more than %d files in the writable layer",
				 NIWA_LAYER_ENTRIES);
	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, "look at", name);
	if (S_ISREG(st.st_mode))
		return copy_file(w, from_dir, to_dir, name, &st);
	if (!S_ISDIR(st.st_mode))
		return copy_other(w, from_dir, to_dir, name, &st);
	if (mkdirat(to_dir, name, 0700) < 0)
		return fail(w, "make", name);
	from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || to < 0)
		return fail(w, "open", name);
	return copy_folder(w, from, to, &st, name);
}

static int copy_folder(struct work *w, int from, int to, const struct stat *st, const char *name)
{
	const struct dirent *entry;
	int r = 0, fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		r = fail(w, "read", name);
		niwa_fd_close(&fd);
		return r;
	}
	if (w->depth-- == 0)
		r = niwa_fail(w->err, NIWA_PERMANENT, E2BIG, "folders of the writable layer are nested too deeply");
	while (r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = copy_entry(w, from, to, entry->d_name);
	w->depth++;
	(void)closedir(dir);
	return r < 0 ? r : finish(w, from, to, st, name);
}

int niwa_layer_copy(const struct niwa_layer_copy *copy, struct niwa_error *err)
{
	struct work w = {.copy = copy,
			 .depth = NIWA_LAYER_DEPTH,
			 .entries = NIWA_LAYER_ENTRIES,
			 .bytes = copy->bytes,
			 .err = err};
	struct stat st;

	if (fstat(copy->from, &st) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "look at the writable layer");
	return copy_folder(&w, copy->from, copy->to, &st, "/");
}
