/* SPDX-License-Identifier: MIT
 *
 * The world of the child that handles foreign images. Built while it is still root, left behind for good by
 * entering the user namespace.
 */
#include "container/image_import_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/image_import.h"
#include "container/seccomp_profile.h"

/* Folders of people and of other services, which no import needs. Empty for the child. */
static const char *const hidden[] = {"/home", "/root", "/srv", "/mnt", "/media", "/opt", "/var"};

static int write_map(pid_t pid, const char *file, uint32_t id_base)
{
	char path[64], map[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	(void)snprintf(map, sizeof(map), "0 %u 65536\n", id_base);
	return niwa_file_write(path, map);
}

int sandbox_user_ns(uint32_t id_base)
{
	int ends[2], r, fd = -1;
	char path[64], ready;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		ready = unshare(CLONE_NEWUSER) < 0 ? (char)errno : 0;
		(void)!write(ends[1], &ready, 1); /* the reader sees the end else */
		(void)close(ends[0]);
		(void)!read(ends[1], &ready, 1); /* until the namespace is open in the parent */
		_exit(0);
	}
	(void)close(ends[1]);
	r = pid < 0 ? -errno : read(ends[0], &ready, 1) == 1 ? -ready : -EIO;
	if (r == 0)
		r = write_map(pid, "uid_map", id_base);
	if (r == 0)
		r = write_map(pid, "gid_map", id_base);
	if (r == 0) {
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	(void)close(ends[0]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	return r < 0 ? r : fd;
}

int sandbox_mount(const char *path, int user_ns, uint64_t attributes)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes,
		.propagation = MS_PRIVATE,
		.userns_fd = (uint64_t)user_ns,
	};
	NIWA_AUTO_FD fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return NIWA_TAKE_FD(fd);
}

static int attach(int fd, const char *target)
{
	return move_mount(fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int make_file(const char *path)
{
	NIWA_AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : 0;
}

static int hide(const struct sandbox *s)
{
	static const char data[] = "size=64k,mode=0755";

	for (size_t i = 0; i < NIWA_ARRAY_LEN(hidden); i++)
		if (mount("tmpfs", hidden[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, data) < 0 && errno != ENOENT)
			return -errno;
	/* names are looked up through what may lie in /run; without network nothing there is of use */
	if (!s->network && mount("tmpfs", "/run", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, data) < 0)
		return -errno;
	return 0;
}

static int build_tree(const struct sandbox *s)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, .propagation = MS_PRIVATE};
	int r;

	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	r = hide(s);
	if (r < 0)
		return r;
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=1777") < 0 || chdir("/tmp") < 0 ||
	    mkdir(SANDBOX_WORK, 0755) < 0)
		return -errno;
	r = attach(s->work, SANDBOX_WORK);
	if (r < 0 || s->source < 0)
		return r;
	if (s->source_is_file)
		r = make_file(SANDBOX_SOURCE);
	else if (mkdir(SANDBOX_SOURCE, 0755) < 0)
		r = -errno;
	return r < 0 ? r : attach(s->source, SANDBOX_SOURCE);
}

static int load_filter(void)
{
	struct sock_fprog prog;
	const void *bytes;
	uint32_t len;
	int r = niwa_seccomp_profile(&bytes, &len, NULL);

	if (r < 0)
		return r;
	prog.len = (unsigned short)(len / sizeof(struct sock_filter));
	prog.filter = (struct sock_filter *)(uintptr_t)bytes;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

/* From here on a user that owns nothing of the host. */
static int drop(const struct sandbox *s)
{
	struct rlimit files = {.rlim_cur = NIWA_IMPORT_FILE_MAX, .rlim_max = NIWA_IMPORT_FILE_MAX}, core = {0};

	if (setrlimit(RLIMIT_FSIZE, &files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		return -errno;
	if (setns(s->user_ns, CLONE_NEWUSER) < 0 || syscall(SYS_setgroups, 0, NULL) < 0 ||
	    syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* changing the user has cleared it */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return load_filter();
}

int sandbox_enter(const struct sandbox *s, const char **ret_what)
{
	int keep = s->status, r;

	(void)umask(022);
	*ret_what = "build the sandbox's tree";
	r = build_tree(s);
	if (r < 0)
		return r;
	*ret_what = "give up rights";
	r = drop(s);
	if (r < 0)
		return r;
	/* descriptors of the host: standard ones and the status pipe stay */
	*ret_what = "close descriptors";
	if (dup2(keep, 3) < 0 || close_range(4, ~0u, 0) < 0)
		return -errno;
	return fcntl(3, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}
