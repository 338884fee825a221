/* SPDX-License-Identifier: MIT
 *
 * Descriptors and small files.
 */
#include "base/fault.h"
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void niwa_fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd); /* the kernel frees it in every case */
	*fd = -1;
	errno = saved;
}

int niwa_fd_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

ssize_t niwa_file_read(const char *path, char *buf, size_t size)
{
	NIWA_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(fd, buf + used, size - used);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
		if (used == size)
			return -EFBIG;
	}
	buf[used] = '\0';
	return (ssize_t)used;
}

int niwa_file_write(const char *path, const char *text)
{
	NIWA_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int sync_file(int fd)
{
	int r = niwa_fault("file.sync");

	return r == 0 && fsync(fd) < 0 ? -errno : r;
}

enum lasting { FOR_THIS_BOOT, FOR_EVER };

static int replace(const char *path, const void *data, size_t len, mode_t mode, enum lasting lasting,
		   struct niwa_error *err)
{
	char tmp[PATH_MAX];
	NIWA_AUTO_FD fd = -1;
	int r;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "write '%s'", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "create '%s'", tmp);
	r = write_all(fd, data, len);
	if (r == 0 && lasting == FOR_EVER)
		r = sync_file(fd);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(tmp); /* best effort: the next write truncates it */
		return niwa_fail(err, NIWA_TEMPORARY, -r, "write '%s'", path);
	}
	return 0;
}

int niwa_file_replace(const char *path, const void *data, size_t len, mode_t mode, struct niwa_error *err)
{
	return replace(path, data, len, mode, FOR_EVER, err);
}

int niwa_file_replace_volatile(const char *path, const void *data, size_t len, mode_t mode, struct niwa_error *err)
{
	return replace(path, data, len, mode, FOR_THIS_BOOT, err);
}

int niwa_mkdir_p(const char *path, mode_t mode, struct niwa_error *err)
{
	char buf[PATH_MAX];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(buf))
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "create folder '%s'", path);
	memcpy(buf, path, len + 1);
	for (char *p = buf + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(buf, mode) < 0 && errno != EEXIST)
			return niwa_fail(err, NIWA_PERMANENT, errno, "create folder '%s'", buf);
		*p = c;
		if (c == '\0')
			return 0;
	}
}

static int remove_entries(int dirfd, dev_t dev);

static int remove_entry(int dirfd, const char *name, dev_t dev)
{
	struct stat st;
	int r;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_dev != dev)
		return -EXDEV;
	if (S_ISDIR(st.st_mode)) {
		int sub = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (sub < 0)
			return -errno;
		r = remove_entries(sub, dev); /* closes sub */
		if (r < 0)
			return r;
	}
	if (unlinkat(dirfd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int remove_entries(int dirfd, dev_t dev)
{
	DIR *dir = fdopendir(dirfd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		niwa_fd_close(&dirfd);
		return -ENOMEM;
	}
	while (r == 0 && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = remove_entry(dirfd, e->d_name, dev);
	(void)closedir(dir);
	return r;
}

int niwa_remove_tree(const char *path, struct niwa_error *err)
{
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : niwa_fail(err, NIWA_PERMANENT, errno, "look at '%s'", path);
	r = remove_entry(AT_FDCWD, path, st.st_dev);
	return r < 0 ? niwa_fail(err, NIWA_PERMANENT, -r, "remove '%s'", path) : 0;
}
