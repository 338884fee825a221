/* SPDX-License-Identifier: MIT
 *
 * Leases: the file, the line of the socket.
 */
#include "engine/busy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/openat2.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/instance.h"
#include "engine/schedule.h"
#include "engine/sleep.h"

#define FILE_NAME  "run/niwa/busy"
#define TEXT_BYTES 32
#define LINE       "BUSY="
#define RETAG_US   (10 * NIWA_SEC) /* a lease that grows by less is not told to keep again */

static bool parse(const char *text, uint64_t *ret_us)
{
	char copy[TEXT_BYTES];
	size_t len = strcspn(text, " \t\r\n");

	if (len == 0 || len >= sizeof(copy) || text[len + strspn(text + len, " \t\r\n")])
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return niwa_parse_duration(copy, ret_us) == 0;
}

static uint64_t bounded(const struct niwa_instance *i, uint64_t us)
{
	uint64_t max = i->engine->config.lease_max_us;

	return us < max ? us : max;
}

static int open_below(int root, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC | O_NOFOLLOW,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
	long fd = syscall(SYS_openat2, root, FILE_NAME, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static bool ended(const struct niwa_instance *i)
{
	struct pollfd p = {.fd = i->pidfd, .events = POLLIN};

	return i->pidfd < 0 || poll(&p, 1, 0) != 0;
}

/* The root that its processes see; a number that belongs to another process by now is not believed. */
static int open_root(const struct niwa_instance *i)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/root", (int)i->pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && ended(i))
		niwa_fd_close(&fd);
	return fd;
}

static bool read_text(int root, char *text, size_t size)
{
	NIWA_AUTO_FD fd = open_below(root, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	len = read(fd, text, size - 1);
	if (len < 0 || (size_t)len == size - 1)
		return false;
	text[len] = '\0';
	return strlen(text) == (size_t)len;
}

/* What is left of the time that was written, counted from when. A file from the future has just been written. */
static uint64_t left_of(const struct niwa_instance *i, uint64_t us, const struct timespec *written)
{
	uint64_t now = niwa_realtime_us(),
		 at = (uint64_t)written->tv_sec * NIWA_SEC + (uint64_t)written->tv_nsec / 1000;
	uint64_t age = written->tv_sec >= 0 && at < now ? now - at : 0;

	us = bounded(i, us);
	return us > age ? us - age : 0;
}

/* True: the file is another one than at the last look. */
static bool look_at_file(struct niwa_instance *i)
{
	NIWA_AUTO_FD root = open_root(i), file = -1;
	struct niwa_busy *l = &i->busy;
	char text[TEXT_BYTES];
	struct stat st;
	uint64_t us;

	if (root >= 0)
		file = open_below(root, O_PATH);
	if (file < 0 || fstat(file, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size >= TEXT_BYTES)
		return false;
	if (l->changed.tv_sec == st.st_ctim.tv_sec && l->changed.tv_nsec == st.st_ctim.tv_nsec &&
	    l->inode == st.st_ino && l->size == st.st_size)
		return false;
	l->changed = st.st_ctim;
	l->inode = st.st_ino;
	l->size = st.st_size;
	us = read_text(root, text, sizeof(text)) && parse(text, &us) ? left_of(i, us, &st.st_mtim) : 0;
	l->file_until_us = us ? niwa_now_us() + us : 0;
	return true;
}

static uint64_t known_until(const struct niwa_instance *i, const char **ret_why)
{
	const struct niwa_busy *b = &i->busy;
	uint64_t lease = b->file_until_us > b->told_until_us ? b->file_until_us : b->told_until_us;
	uint64_t until = i->app->current == i ? niwa_schedule_busy_until(i->app, ret_why) : 0;

	if (lease <= until)
		return until;
	*ret_why = "lease";
	return lease;
}

uint64_t niwa_busy_until(struct niwa_instance *i, const char **ret_why)
{
	const char *why = "";

	(void)look_at_file(i);
	return known_until(i, ret_why ? ret_why : &why);
}

bool niwa_busy_is_known(const struct niwa_instance *i)
{
	const char *why;

	return known_until(i, &why) > niwa_now_us();
}

bool niwa_is_busy(struct niwa_instance *i)
{
	return niwa_busy_until(i, NULL) > niwa_now_us();
}

bool niwa_busy_is_new(struct niwa_instance *i)
{
	return look_at_file(i) && i->busy.file_until_us > niwa_now_us();
}

void niwa_busy_told(struct niwa_engine *e, struct niwa_instance *i, uint64_t us)
{
	struct niwa_busy *l = &i->busy;
	uint64_t until = us ? niwa_now_us() + bounded(i, us) : 0;

	l->told_until_us = until;
	if (until > l->tagged_until_us + RETAG_US || until < l->tagged_until_us) {
		(void)niwa_fault("niwad.busy-tag");
		l->tagged_until_us = until; /* a niwad after this one knows of it */
		niwa_instance_write_tag(e, i);
	}
	if (until && i->app->current == i && niwa_state_is_awake((enum niwa_state)i->app->state) &&
	    i->app->state != NIWA_RUNNING)
		niwa_sleep_thaw(e, i, "it is busy"); /* it said so before it stood still */
}

bool niwa_busy_read(const char *text, size_t len, uint64_t *ret_us)
{
	const char *at = text, *end = text + len, *line;
	bool found = false;
	uint64_t n;
	char copy[TEXT_BYTES];

	for (; at < end; at = line + 1) { /* the last one counts */
		size_t size;

		line = memchr(at, '\n', (size_t)(end - at));
		if (!line)
			line = end;
		size = (size_t)(line - at);
		if (size <= strlen(LINE) || memcmp(at, LINE, strlen(LINE)) != 0)
			continue;
		size -= strlen(LINE);
		if (size >= sizeof(copy) || memchr(at + strlen(LINE), '\0', size))
			continue;
		memcpy(copy, at + strlen(LINE), size);
		copy[size] = '\0';
		if (parse(copy, &n)) {
			*ret_us = n;
			found = true;
		}
	}
	return found;
}
