/* SPDX-License-Identifier: MIT
 *
 * The files that were mapped or open, looked up on the host: at the dump to note them, before a restore to compare.
 */
#include "snapshot/manifest.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/openat2.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/map.h"
#include "base/text.h"
#include "snapshot/image.h"
#include "snapshot/refuse.h"

#define LINKS_MAX 40 /* as the kernel has it */

/* What is left of path below the root, without a slash at its beginning; NULL: not below it. */
static const char *below(const char *path, const char *at)
{
	size_t n = strlen(at);

	while (n > 1 && at[n - 1] == '/')
		n--;
	if (n == 1)
		return path + 1;
	if (strncmp(path, at, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return NULL;
	return path + n + (path[n] == '/');
}

static const struct niwa_manifest_root *root_of(const struct niwa_manifest_root *roots, size_t count, const char *path,
						const char **ret_rest)
{
	const struct niwa_manifest_root *best = NULL;

	for (size_t i = 0; i < count; i++) {
		const char *rest = below(path, roots[i].at);

		if (rest && (!best || strlen(roots[i].at) >= strlen(best->at))) {
			best = &roots[i];
			*ret_rest = rest;
		}
	}
	return best;
}

/* The next component of *rest, copied; false at the end. */
static bool next_component(char **rest, char *ret, size_t size)
{
	size_t n;

	*rest += strspn(*rest, "/");
	n = strcspn(*rest, "/");
	if (n == 0 || n >= size)
		return false;
	memcpy(ret, *rest, n);
	ret[n] = '\0';
	*rest += n;
	return true;
}

/* What is before `done` in the path holds no link any more, so nothing leads out of the image. */
int niwa_manifest_place(int image, const char *to, char *ret, size_t size, struct niwa_error *err)
{
	char done[PATH_MAX] = "", rest[PATH_MAX], link[PATH_MAX], component[NAME_MAX + 1], *next = rest;
	unsigned links = 0;
	size_t len;

	if ((size_t)snprintf(rest, sizeof(rest), "%s", to) >= sizeof(rest))
		return niwa_fail(err, NIWA_PERMANENT, ENAMETOOLONG, "volume at '%.40s...'", to);
	while (next_component(&next, component, sizeof(component))) {
		char *end = done + strlen(done);
		ssize_t n;

		if (strcmp(component, ".") == 0)
			continue;
		if (strcmp(component, "..") == 0) {
			*(*done ? strrchr(done, '/') : end) = '\0';
			continue;
		}
		len = (size_t)(end - done);
		if ((size_t)snprintf(end, sizeof(done) - len, "/%s", component) >= sizeof(done) - len)
			return niwa_fail(err, NIWA_PERMANENT, ENAMETOOLONG, "volume at '%s'", to);
		n = readlinkat(image, done + 1, link, sizeof(link) - 1);
		if (n < 0)
			continue; /* no link, or not there */
		link[n] = '\0';
		if (++links > LINKS_MAX || strlen(next) + (size_t)n + 2 > sizeof(rest))
			return niwa_fail(err, NIWA_PERMANENT, ELOOP, "volume at '%s'", to);
		memmove(rest + n, next, strlen(next) + 1); /* which begins with a slash, or is the end */
		memcpy(rest, link, (size_t)n);
		next = rest;
		done[link[0] == '/' ? 0 : len] = '\0';
	}
	if (*next || (size_t)snprintf(ret, size, "%s", *done ? done : "/") >= size)
		return niwa_fail(err, NIWA_PERMANENT, ENAMETOOLONG, "volume at '%s'", to);
	return 0;
}

static int64_t nanoseconds(const struct timespec *t)
{
	int64_t ns;

	/* A file system may say anything; what does not fit is all the same time. */
	if (__builtin_mul_overflow((int64_t)t->tv_sec, INT64_C(1000000000), &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? -INT64_MAX : INT64_MAX;
	return ns;
}

/* 0 and the file as it is now; 1: not a regular file of one of the roots. */
static int look_up(const struct niwa_manifest_root *roots, size_t count, const char *path,
		   struct niwa_manifest_file *ret, struct niwa_error *err)
{
	struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
	const char *rest = NULL;
	const struct niwa_manifest_root *root = root_of(roots, count, path, &rest);
	NIWA_AUTO_FD fd = -1;
	struct stat st;

	if (!root || root->fd < 0)
		return 1;
	if (*rest) {
		fd = (int)syscall(SYS_openat2, root->fd, rest, &how, sizeof(how));
		if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EXDEV))
			return 1;
		if (fd < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "open '%s'", path);
	}
	if (fstat(*rest ? fd : root->fd, &st) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "look at '%s'", path);
	if (!S_ISREG(st.st_mode))
		return 1;
	ret->device = st.st_dev;
	ret->inode = st.st_ino;
	ret->size = (uint64_t)st.st_size;
	ret->mtime_ns = nanoseconds(&st.st_mtim);
	ret->ctime_ns = nanoseconds(&st.st_ctim);
	return 0;
}

/* Whether what it has in memory and what will be in the file later are two things. */
static int check_writes(const struct niwa_criu_file *file, const struct niwa_manifest_root *roots, size_t count,
			struct niwa_error *err)
{
	bool writes = (file->flags & O_ACCMODE) == O_RDWR ||
		      ((file->flags & O_ACCMODE) == O_WRONLY && !(file->flags & O_APPEND));
	const struct niwa_manifest_root *root;
	char path[NIWA_ERROR_MAX / 2];
	const char *rest;

	if ((file->mode && !S_ISREG(file->mode)) || (!writes && !file->written_in_memory))
		return 0;
	root = root_of(roots, count, file->path, &rest);
	if (!root || !root->writable)
		return 0;
	return niwa_snapshot_refuse(err, EBUSY, "'%s' of a writable volume is %s",
				    niwa_quote(file->path, strlen(file->path), path, sizeof(path)),
				    file->written_in_memory ? "mapped for writing" : "open for writing");
}

static bool is_compared(const struct niwa_criu_file *file)
{
	return (file->mode == 0 || S_ISREG(file->mode)) && (file->flags & O_ACCMODE) != O_WRONLY;
}

int niwa_manifest_look(struct niwa_manifest *m, const struct niwa_manifest_root *roots, size_t root_count,
		       const struct niwa_criu_files *files, struct niwa_error *err)
{
	NIWA_AUTO(niwa_map_free) struct niwa_map *seen = niwa_map_new(NIWA_MAP_STRING);
	int r = 0;

	if (!seen)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list of open files");
	for (size_t i = 0; r >= 0 && i < files->count; i++) {
		struct niwa_manifest_file file = {.path = files->file[i].path};

		if (m->kind == NIWA_KIND_READY)
			r = check_writes(&files->file[i], roots, root_count, err);
		if (r < 0 || !is_compared(&files->file[i]))
			continue;
		r = niwa_map_put_str(seen, file.path, file.path);
		if (r == -EEXIST) {
			r = 0;
			continue;
		}
		if (r < 0)
			return niwa_fail(err, NIWA_TEMPORARY, -r, "list of open files");
		r = look_up(roots, root_count, file.path, &file, err);
		if (r == 0)
			r = niwa_manifest_add_file(m, &file, err);
	}
	return r < 0 ? r : 0;
}

/* What changed, in a word; NULL: nothing. */
static const char *difference(const struct niwa_manifest_file *was, const struct niwa_manifest_file *is)
{
	if (was->device != is->device || was->inode != is->inode)
		return "was replaced";
	if (was->size != is->size)
		return "has another size";
	if (was->mtime_ns != is->mtime_ns)
		return "was written";
	return was->ctime_ns != is->ctime_ns ? "was changed" : NULL;
}

int niwa_manifest_compare(const struct niwa_manifest *m, const struct niwa_manifest_root *roots, size_t root_count,
			  struct niwa_error *err)
{
	for (size_t i = 0; i < m->file_count; i++) {
		struct niwa_manifest_file now = {.path = m->files[i].path};
		int r = look_up(roots, root_count, now.path, &now, err);
		const char *what = r == 0 ? difference(&m->files[i], &now) : "is gone";
		char path[NIWA_ERROR_MAX / 2];

		if (r < 0)
			return r;
		if (what)
			return niwa_snapshot_refuse(err, ESTALE, "'%s' %s since the snapshot was taken",
						    niwa_quote(now.path, strlen(now.path), path, sizeof(path)), what);
	}
	return 0;
}
