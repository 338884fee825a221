/* SPDX-License-Identifier: MIT
 *
 * Operations of the child on its mounts and files.
 */
#include "keep/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

int keep_child_private(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

int keep_child_mount(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	const char *type = op->bytes, *data = type + strlen(type) + 1;

	return mount(op->s, op->t, type, (unsigned long)op->a, *data ? data : NULL) < 0 ? -errno : 0;
}

int keep_child_move_mount(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int fd = keep_slot(s, op->a);

	if (fd < 0)
		return fd;
	return move_mount(fd, "", AT_FDCWD, op->s, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0 ? -errno : 0;
}

/* The old root ends up stacked on the new one: "." then finds it, while "/" already means the new root. */
int keep_child_detach(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return chdir("/") < 0 || umount2(".", MNT_DETACH) < 0 ? -errno : 0;
}

int keep_child_pivot(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	if (chdir(op->s) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (op->a)
		return chdir("/") < 0 ? -errno : 0;
	return keep_child_detach(s, op, message);
}

int keep_child_dir(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	char parent[PATH_MAX];
	size_t len = strlen(op->s);
	int r;

	if (mkdir(op->s, (mode_t)op->a) < 0) {
		if (errno == EEXIST)
			return 0;
		if (errno != ENOENT || len >= sizeof(parent))
			return -errno;
		memcpy(parent, op->s, len + 1);
		*strrchr(parent, '/') = '\0'; /* there is one: niwa_plan_check looked */
		r = *parent ? niwa_mkdir_p(parent, 0755, NULL) : -ENOENT;
		if (r < 0)
			return r;
		if (mkdir(op->s, (mode_t)op->a) < 0)
			return -errno;
	}
	if (op->b == 0 && op->c == 0)
		return 0;
	return lchown(op->s, (uid_t)op->b, (gid_t)op->c) < 0 ? -errno : 0;
}

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int keep_child_file(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD fd = -1;

	if (unlink(op->s) < 0 && errno != ENOENT)
		return -errno;
	fd = open(op->s, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)op->a);
	return fd < 0 ? -errno : write_all(fd, op->t);
}

int keep_child_symlink(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	if (unlink(op->t) < 0 && errno != ENOENT)
		return -errno;
	return symlink(op->s, op->t) < 0 ? -errno : 0;
}

int keep_child_mask(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct stat st;

	if (stat(op->s, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return mount("tmpfs", op->s, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			     "size=0,mode=0555,nr_inodes=1") < 0
			       ? -errno
			       : 0;
	return mount("/dev/null", op->s, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/* A clone of the tree with one more attribute is put over it: unlike a remount this need not repeat the flags that
 * are locked in a user namespace. */
int keep_child_read_only(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	NIWA_AUTO_FD tree = open_tree(AT_FDCWD, op->s, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (tree < 0)
		return errno == ENOENT ? 0 : -errno;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0 ||
	    move_mount(tree, "", AT_FDCWD, op->s, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
		return -errno;
	return 0;
}

int keep_child_put(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int r = niwa_file_write(op->s, op->t);

	return op->a ? 0 : r;
}
