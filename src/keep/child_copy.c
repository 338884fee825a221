/* SPDX-License-Identifier: MIT
 *
 * Operations of the child on saved files: the folder that is sent back so that it can be saved, and the copy of a
 * saved one into the new instance. The copy runs with the rights of the instance's root and on the instance's file
 * system: its limits hold. Links are never followed. No allocation: what is needed a level is on the stack.
 */
#include "keep/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

#define LEVELS_MAX 8
#define ENTRIES    4096 /* bytes of a folder read at a time */

struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short len;
	unsigned char type;
	char name[];
};

int keep_child_folder(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD fd = open(op->s, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : keep_child_send(s, (int)op->a, fd);
}

/* One run of data; shared memory has holes, which stay holes. */
static int copy_run(int from, int to, off_t at, off_t end)
{
	if (lseek(to, at, SEEK_SET) < 0)
		return -errno;
	while (at < end) {
		ssize_t n = sendfile(to, from, &at, (size_t)(end - at));

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* it became shorter */
	}
	return 0;
}

static int copy_data(int from, int to, off_t size)
{
	off_t at = 0;

	if (ftruncate(to, size) < 0)
		return -errno;
	while (at < size) {
		off_t end;
		int r;

		at = lseek(from, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : -errno; /* a hole up to the end */
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		r = copy_run(from, to, at, end);
		if (r < 0)
			return r;
		at = end;
	}
	return 0;
}

/* Last: what is written changes times, and a new owner takes set-id bits away. */
static int same_owner(int to, const struct stat *st)
{
	const struct timespec times[] = {st->st_atim, st->st_mtim};

	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0 || futimens(to, times) < 0)
		return -errno;
	return 0;
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
	NIWA_AUTO_FD from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	NIWA_AUTO_FD to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (from < 0 || to < 0)
		return -errno;
	r = copy_data(from, to, st->st_size);
	return r < 0 ? r : same_owner(to, st);
}

static int copy_link(int from_dir, int to_dir, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (symlinkat(target, to_dir, name) < 0 ||
	    fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int copy_fifo(int to_dir, const char *name, const struct stat *st)
{
	if (mknodat(to_dir, name, S_IFIFO | 0600, 0) < 0 ||
	    fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

static int copy_folder(int from, int to, unsigned level);

static int copy_below(int from_dir, int to_dir, const char *name, const struct stat *st, unsigned level)
{
	NIWA_AUTO_FD from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	NIWA_AUTO_FD to = -1;
	int r;

	if (from < 0 || mkdirat(to_dir, name, 0700) < 0)
		return -errno;
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return -errno;
	r = copy_folder(from, to, level + 1);
	return r < 0 ? r : same_owner(to, st);
}

/* Sockets are left out: who bound one makes it again. */
static int copy_entry(int from, int to, const char *name, unsigned level)
{
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return copy_file(from, to, name, &st);
	case S_IFDIR:
		return copy_below(from, to, name, &st, level);
	case S_IFLNK:
		return copy_link(from, to, name, &st);
	case S_IFIFO:
		return copy_fifo(to, name, &st);
	case S_IFSOCK:
		return 0;
	default:
		return -EINVAL;
	}
}

static int copy_folder(int from, int to, unsigned level)
{
	char entries[ENTRIES] __attribute__((aligned(8)));
	long n;

	if (level > LEVELS_MAX)
		return -ELOOP;
	while ((n = syscall(SYS_getdents64, from, entries, sizeof(entries))) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(entries + at);
			int r = copy_entry(from, to, e->name, level);

			if (r < 0)
				return r;
			at += e->len;
		}
	return n < 0 ? -errno : 0;
}

int keep_child_copy(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int tree = keep_slot(s, op->a);
	NIWA_AUTO_FD from = tree < 0 ? -1 : openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD to = open(op->s, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (tree < 0)
		return tree;
	if (from < 0 || to < 0)
		return -errno;
	return copy_folder(from, to, 1);
}
