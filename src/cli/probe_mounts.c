/* SPDX-License-Identifier: MIT
 *
 * Probes: user namespaces, the new mount calls, idmapped mounts, overlay. They run in a mount namespace of their own;
 * what they make on disk is one folder that they remove.
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "cli/probe_list.h"
#include "cli/proc_number.h"

/* A process in a new user namespace with `count` ids from `first` mapped to 0. It waits for SIGKILL. -errno. */
static pid_t hold_userns(uint64_t first, uint64_t count)
{
	char path[64], map[64];
	int ready[2], r;
	char byte = 0;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		r = unshare(CLONE_NEWUSER) < 0 ? errno : 0;
		byte = (char)r;
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	niwa_fd_close(&ready[1]);
	r = pid < 0 ? -errno : 0;
	if (r == 0 && (read(ready[0], &byte, 1) != 1 || byte))
		r = byte ? -byte : -EIO;
	niwa_fd_close(&ready[0]);
	(void)snprintf(map, sizeof(map), "0 %llu %llu", (unsigned long long)first, (unsigned long long)count);
	for (int i = 0; i < 2 && r == 0; i++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, i ? "gid_map" : "uid_map");
		r = niwa_file_write(path, map);
	}
	if (r < 0 && pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	return r < 0 ? r : pid;
}

static void release_userns(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

void niwa_probe_userns(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t max = niwa_proc_number("/proc/sys/user/max_user_namespaces", UINT64_MAX);
	pid_t pid = hold_userns(host->lease_base, 65536);

	if (pid < 0) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "make a user namespace with ids %llu+65536: %s",
			       (unsigned long long)host->lease_base, strerror(-pid));
		if (max == 0)
			niwa_probe_mend(report, "sysctl -w user.max_user_namespaces=32768; for good: the same in "
						"/etc/sysctl.d/niwa.conf");
		else
			niwa_probe_mend(report, "run niwa as real root, not inside a container; the kernel needs "
						"CONFIG_USER_NS");
		return;
	}
	release_userns(pid);
	if (max < host->lease_count) {
		niwa_probe_say(report, NIWA_PROBE_WARN,
			       "only %llu user namespaces may exist, one is needed an instance",
			       (unsigned long long)max);
		niwa_probe_mend(report, "sysctl -w user.max_user_namespaces=%llu",
				(unsigned long long)host->lease_count * 2);
	} else if (niwa_proc_number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0 ||
		   niwa_proc_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1) {
		niwa_probe_say(report, NIWA_PROBE_OK, "yes; closed to ordinary users, which niwa does not mind");
	} else {
		niwa_probe_say(report, NIWA_PROBE_OK, "yes, up to %llu", (unsigned long long)max);
	}
}

void niwa_probe_mount_api(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID};
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "open_tree: %s", strerror(errno));
	else if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "mount_setattr: %s", strerror(errno));
	else if (syscall(SYS_move_mount, tree, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "move_mount: %s", strerror(errno));
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "all three");
}

/* state_dir or the nearest folder above it that exists. */
static void existing_folder(const char *path, char *buf, size_t size)
{
	char *slash;

	(void)snprintf(buf, size, "%s", path);
	while (access(buf, F_OK) < 0 && (slash = strrchr(buf, '/')) && slash != buf)
		*slash = '\0';
	if (access(buf, F_OK) < 0)
		(void)snprintf(buf, size, "/");
}

static int idmapped_clone(const char *path, pid_t holder)
{
	char ns[64];
	NIWA_AUTO_FD userns = -1;
	NIWA_AUTO_FD tree = -1;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};

	(void)snprintf(ns, sizeof(ns), "/proc/%d/ns/user", (int)holder);
	userns = open(ns, O_RDONLY | O_CLOEXEC);
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (userns < 0 || tree < 0)
		return -errno;
	attr.userns_fd = (uint64_t)userns;
	return syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

void niwa_probe_idmap(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char folder[256];
	pid_t holder = hold_userns(host->lease_base, 65536);
	int r;

	existing_folder(host->state_dir, folder, sizeof(folder));
	if (holder < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "needs a user namespace: %s", strerror(-holder));
		return;
	}
	r = idmapped_clone(folder, holder);
	release_userns(holder);
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "the file system of '%s' refuses: %s", folder, strerror(-r));
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "the file system of '%s' can", folder);
}

/* In a child that is root of its own user namespace. Returns an exit status: an errno. */
static int mount_overlay(const char *folder)
{
	char options[1024];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return errno;
	if (niwa_file_write("/proc/self/setgroups", "deny") < 0 || niwa_file_write("/proc/self/uid_map", "0 0 1") < 0 ||
	    niwa_file_write("/proc/self/gid_map", "0 0 1") < 0)
		return EPERM;
	(void)snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work,userxattr",
		       folder, folder, folder);
	if (chdir(folder) < 0 || mount("overlay", "merged", "overlay", 0, options) < 0)
		return errno;
	return mkdir("merged/new", 0700) < 0 || access("upper/new", F_OK) < 0 ? errno : 0;
}

static int try_overlay(const char *folder)
{
	static const char *const parts[] = {"lower", "upper", "work", "merged"};
	char path[512];
	int status = 0;
	pid_t pid;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(parts); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, parts[i]);
		if (mkdir(path, 0700) < 0)
			return -errno;
	}
	pid = fork();
	if (pid == 0)
		_exit(mount_overlay(folder));
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

void niwa_probe_overlay(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char folder[256], made[300];
	int r;

	existing_folder(host->state_dir, folder, sizeof(folder));
	(void)snprintf(made, sizeof(made), "%s/.niwa-doctor-XXXXXX", strcmp(folder, "/") ? folder : "");
	if (!mkdtemp(made)) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "make a folder in '%s': %s", folder, strerror(errno));
		return;
	}
	r = try_overlay(made);
	(void)niwa_remove_tree(made, NULL); /* a leftover folder is named so that its origin is plain */
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "mount an overlay with a writable layer in '%s': %s", folder,
			       strerror(-r));
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "works with its writable layer in '%s'", folder);
}
