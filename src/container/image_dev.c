/* SPDX-License-Identifier: MIT
 *
 * STATE_DIR/dev: one /dev for all instances, with real device nodes (a user namespace can make none of its own),
 * mounted read-only. Made and mended in place, because instances have it mounted.
 */
#include "container/image_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

static const struct {
	const char *name;
	unsigned major, minor;
} nodes[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

static const struct {
	const char *name, *target;
} links[] = {
	{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

static const char *const folders[] = {"pts", "shm"};

static int make_node(int dir, size_t i)
{
	dev_t dev = makedev(nodes[i].major, nodes[i].minor);
	struct stat st;

	if (fstatat(dir, nodes[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISCHR(st.st_mode) && st.st_rdev == dev && (st.st_mode & 07777) == 0666)
			return 0;
		if (unlinkat(dir, nodes[i].name, 0) < 0)
			return -errno;
	}
	if (mknodat(dir, nodes[i].name, S_IFCHR | 0666, dev) < 0 || fchmodat(dir, nodes[i].name, 0666, 0) < 0)
		return -errno;
	return 0;
}

static int make_link(int dir, size_t i)
{
	char have[64];
	ssize_t n = readlinkat(dir, links[i].name, have, sizeof(have));

	if (n == (ssize_t)strlen(links[i].target) && memcmp(have, links[i].target, (size_t)n) == 0)
		return 0;
	if (unlinkat(dir, links[i].name, 0) < 0 && errno != ENOENT)
		return -errno;
	return symlinkat(links[i].target, dir, links[i].name) < 0 ? -errno : 0;
}

static int fill(int dir, const char **ret_name)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(nodes); i++) {
		*ret_name = nodes[i].name;
		r = make_node(dir, i);
	}
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(links); i++) {
		*ret_name = links[i].name;
		r = make_link(dir, i);
	}
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(folders); i++) {
		*ret_name = folders[i];
		if (mkdirat(dir, folders[i], 0755) < 0 && errno != EEXIST)
			r = -errno;
	}
	return r;
}

int image_build_dev(const char *state_dir, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/dev", state_dir);
	NIWA_AUTO_FD dir = -1, test = -1;
	const char *name = "";
	int r;

	if (!path)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "build /dev");
	r = niwa_mkdir_p(path, 0755, err);
	if (r < 0)
		return r;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fchmod(dir, 0755) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open '%s'", path);
	r = fill(dir, &name);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "make '%s/%s'", path, name);
	test = openat(dir, "null", O_RDWR | O_CLOEXEC);
	if (test < 0)
		return niwa_fail(
			err, NIWA_PERMANENT, errno,
			"use the device '%s/null' (is the file system mounted nodev? then choose another state-dir)",
			path);
	return 0;
}
