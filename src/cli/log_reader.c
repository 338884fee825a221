/* SPDX-License-Identifier: MIT
 *
 * Reading a log that is renamed to .1 when it is full. The open descriptor is read to its end before the new file
 * is taken, so no line is lost; inotify only says when to look, the files say what there is.
 */
#include "cli/log_reader.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "cli/log_filter.h"

#define BLOCK 65536

struct niwa_log_reader {
	char path[PATH_MAX], folder[PATH_MAX];
	int fd;      /* NAME.log, -1: not there */
	int inotify; /* -1: not followed, or only looked at from time to time */
	struct niwa_log_filter filter;
};

static int open_log(const char *path, int *ret, struct niwa_error *err)
{
	*ret = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret >= 0 || errno == ENOENT)
		return 0;
	return niwa_fail(err, NIWA_PERMANENT, errno, "open the log '%s' (use sudo)", path);
}

int niwa_log_reader_open(const char *path, enum niwa_log_mode mode, struct niwa_log_reader **ret,
			 struct niwa_error *err)
{
	NIWA_AUTO(niwa_log_reader_free) struct niwa_log_reader *l = niwa_zalloc(sizeof(*l));
	char copy[PATH_MAX];
	int r;

	if (!l)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read the log '%s'", path);
	l->fd = l->inotify = -1;
	if (strlen(path) + 3 > sizeof(l->path))
		return niwa_fail(err, NIWA_PERMANENT, ENAMETOOLONG, "open the log '%s'", path);
	(void)snprintf(l->path, sizeof(l->path), "%s", path);
	(void)snprintf(copy, sizeof(copy), "%s", path);
	(void)snprintf(l->folder, sizeof(l->folder), "%s", dirname(copy));
	if (mode == NIWA_LOG_FOLLOW) { /* before the file is opened: nothing is missed between */
		l->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		if (l->inotify >= 0 &&
		    inotify_add_watch(l->inotify, l->folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM) < 0)
			niwa_fd_close(&l->inotify); /* too many watches: look once a second */
	}
	r = open_log(l->path, &l->fd, err);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(l);
	return 0;
}

void niwa_log_reader_free(struct niwa_log_reader **reader)
{
	struct niwa_log_reader *l = *reader;

	if (!l)
		return;
	niwa_fd_close(&l->fd);
	niwa_fd_close(&l->inotify);
	free(l);
	*reader = NULL;
}

static int write_out(int fd, const char *data, size_t len, struct niwa_error *err)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "write the log");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* To a terminal: nothing an app said may steer it. */
static int write_safe(struct niwa_log_reader *l, int fd, const char *data, size_t len, struct niwa_error *err)
{
	char text[4096];

	while (len) {
		size_t taken = len, n = niwa_log_filter(&l->filter, data, &taken, text, sizeof(text));
		int r = write_out(fd, text, n, err);

		if (r < 0)
			return r;
		data += taken;
		len -= taken;
	}
	return 0;
}

/* Copies from the descriptor's position to the end. */
static int copy_rest(struct niwa_log_reader *l, int fd, int out_fd, struct niwa_error *err)
{
	static char buf[BLOCK];
	bool terminal = isatty(out_fd);

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));
		int r;

		if (n < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "read the log");
		if (n == 0)
			return 0;
		r = terminal ? write_safe(l, out_fd, buf, (size_t)n, err) : write_out(out_fd, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
}

/* Where the last *lines lines begin; *lines becomes how many are missing when the file has fewer. */
static off_t find_tail(int fd, uint64_t *lines)
{
	static char buf[BLOCK];
	off_t end = lseek(fd, 0, SEEK_END), at = end;
	uint64_t seen = 0;

	if (end <= 0 || !*lines)
		return end < 0 ? 0 : end;
	while (at > 0) {
		size_t want = at < BLOCK ? (size_t)at : BLOCK;

		if (pread(fd, buf, want, at - (off_t)want) != (ssize_t)want)
			break; /* it was cut under us: from the start then */
		for (size_t i = want; i-- > 0;) {
			off_t here = at - (off_t)want + (off_t)i;

			if (buf[i] != '\n' || here == end - 1 || ++seen < *lines)
				continue;
			*lines = 0;
			return here + 1;
		}
		at -= (off_t)want;
	}
	*lines -= seen + 1; /* the first line has no newline before it */
	return 0;
}

int niwa_log_reader_tail(struct niwa_log_reader *reader, uint64_t lines, int out_fd, struct niwa_error *err)
{
	NIWA_AUTO_FD old = -1;
	char path[PATH_MAX + 8];
	off_t start = 0, old_start;
	int r = 0;

	if (reader->fd >= 0)
		start = find_tail(reader->fd, &lines);
	if (lines) {
		(void)snprintf(path, sizeof(path), "%s.1", reader->path);
		r = open_log(path, &old, err);
		if (r < 0)
			return r;
	}
	if (old >= 0) {
		old_start = find_tail(old, &lines);
		if (lseek(old, old_start, SEEK_SET) >= 0)
			r = copy_rest(reader, old, out_fd, err);
	}
	if (r == 0 && reader->fd >= 0 && lseek(reader->fd, start, SEEK_SET) >= 0)
		r = copy_rest(reader, reader->fd, out_fd, err);
	return r;
}

/* True when the name leads to another file than the open one, or to a shorter one. */
static bool was_replaced(const struct niwa_log_reader *l)
{
	struct stat named, opened;

	if (stat(l->path, &named) < 0)
		return false; /* between the rename and the new file */
	if (l->fd < 0 || fstat(l->fd, &opened) < 0)
		return true;
	return named.st_ino != opened.st_ino || named.st_dev != opened.st_dev;
}

static int rewind_if_cut(struct niwa_log_reader *l)
{
	struct stat st;
	off_t at = lseek(l->fd, 0, SEEK_CUR);

	if (fstat(l->fd, &st) < 0 || at < 0)
		return -errno;
	return st.st_size < at && lseek(l->fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int catch_up(struct niwa_log_reader *l, int out_fd, struct niwa_error *err)
{
	for (;;) {
		/* in this order: what was written before the renaming is in the open file by now */
		bool replaced = was_replaced(l);
		int fd = -1, r = 0;

		if (l->fd >= 0) {
			r = rewind_if_cut(l);
			if (r == 0)
				r = copy_rest(l, l->fd, out_fd, err);
		}
		if (r < 0 || !replaced)
			return r;
		r = open_log(l->path, &fd, err);
		if (r < 0)
			return r;
		niwa_fd_close(&l->fd);
		l->fd = fd;
		if (fd < 0)
			return 0;
	}
}

int niwa_log_reader_follow(struct niwa_log_reader *reader, unsigned timeout_ms, int out_fd, struct niwa_error *err)
{
	struct pollfd p = {.fd = reader->inotify, .events = POLLIN};
	char events[4096];
	int n = poll(&p, 1, (int)timeout_ms);

	if (n < 0 && errno != EINTR)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "wait for the log");
	while (n > 0 && read(reader->inotify, events, sizeof(events)) > 0)
		;
	return catch_up(reader, out_fd, err);
}
