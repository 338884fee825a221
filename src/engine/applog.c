/* SPDX-License-Identifier: MIT
 *
 * Log files of apps.
 */
#include "engine/applog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/trash.h"

#define LINE_MAX_BYTES (64 * 1024) /* by so much a line that began within the bound may outgrow it */
#define NAME_LONGEST                                                                                                   \
	(NAME_MAX - 6)        /* with ".log.1"; a longer name is cut, and the app's number makes it its own: ... */
#define NAME_KEPT 200         /* ... '~' is in no name */
#define REMOVED   ".removed-" /* nor does one begin with a dot */
#define CHUNK     4096
#define TURN_MAX  (128 * 1024)      /* bytes written for one app in one turn of the loop, then ... */
#define PAUSE_US  (10 * NIWA_MS)    /* ... a pause */
#define DRAIN_MAX (4 * 1024 * 1024) /* bytes written at the end of an instance: a pipe of 64 KiB of short lines */

/* One for all instances of an app: during an overlap two of them print into the same file. */
struct niwa_applog {
	struct niwa_app *app; /* NULL: the file is not this app's any more, what comes is lost */
	unsigned users;       /* instances */
	int fd;               /* -1: could not be opened; tried again with the next instance and the next line */
	uint64_t size;
	uint64_t in_line; /* the instance whose last byte was not a newline; 0: a line ended */
};

void niwa_applog_path(const struct niwa_engine *e, const struct niwa_app *app, char *buf, size_t size)
{
	if (strlen(app->name) <= NAME_LONGEST)
		(void)snprintf(buf, size, "%s/%s.log", e->config.log_dir, app->name);
	else
		(void)snprintf(buf, size, "%s/%.*s~%" PRIu64 ".log", e->config.log_dir, NAME_KEPT, app->name, app->id);
}

static int open_file(struct niwa_engine *e, struct niwa_applog *log, struct niwa_error *err)
{
	char path[PATH_MAX];
	struct stat st;

	niwa_applog_path(e, log->app, path, sizeof(path));
	log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (log->fd < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the log '%s'", path);
	log->size = fstat(log->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	if (e->log_group && st.st_gid != e->log_group && fchown(log->fd, (uid_t)-1, e->log_group) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "give the log '%s' to group niwa: %s", path, strerror(errno));
	return 0;
}

int niwa_applog_open(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_applog *log = i->app->log;

	if (i->tenant != i->app->tenant) /* adopted, and the app is another tenant's since */
		return 0;
	if (!log) {
		log = niwa_zalloc(sizeof(*log));
		if (!log)
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open the log of %s", i->app->name);
		log->app = i->app;
		log->fd = -1;
		i->app->log = log;
	}
	log->users++;
	i->log = log;
	return log->fd < 0 ? open_file(e, log, err) : 0;
}

void niwa_applog_close(struct niwa_instance *i)
{
	struct niwa_applog *log = i->log;

	i->log = NULL;
	if (!log || --log->users)
		return;
	if (log->app)
		log->app->log = NULL;
	niwa_fd_close(&log->fd);
	free(log);
}

/* Out of the way at once, so that the next app of this name begins a file of its own; removed off the loop. */
static void discard(struct niwa_engine *e, const char *path, uint64_t id, const char *suffix)
{
	char to[PATH_MAX];

	(void)snprintf(to, sizeof(to), "%s/" REMOVED "%" PRIu64 "%s", e->config.log_dir, id, suffix);
	if (rename(path, to) == 0)
		niwa_trash_put(e->trash, to);
	else if (errno != ENOENT)
		niwa_log(NIWA_LOG_ERR, NULL, "remove the log '%s': %s", path, strerror(errno));
}

void niwa_applog_forget(struct niwa_engine *e, struct niwa_app *app)
{
	char path[PATH_MAX], old[PATH_MAX + 2];

	if (app->log) {
		niwa_fd_close(&app->log->fd);
		app->log->app = NULL;
		app->log = NULL;
	}
	niwa_applog_path(e, app, path, sizeof(path));
	(void)snprintf(old, sizeof(old), "%s.1", path);
	discard(e, path, app->id, "");
	discard(e, old, app->id, ".1");
}

int niwa_applog_collect(struct niwa_engine *e)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir(e->config.log_dir);

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, REMOVED, strlen(REMOVED)) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", e->config.log_dir, entry->d_name);
		niwa_trash_put(e->trash, path);
		e->counts.leftovers++;
	}
	(void)closedir(dir);
	return 0;
}

static void roll_over(struct niwa_engine *e, struct niwa_applog *log)
{
	static struct niwa_log_limit limit;
	char path[PATH_MAX], old[PATH_MAX + 2];
	struct niwa_error err;

	niwa_applog_path(e, log->app, path, sizeof(path));
	(void)snprintf(old, sizeof(old), "%s.1", path);
	if (rename(path, old) < 0 && errno != ENOENT && log->fd >= 0) {
		if (niwa_log_allow(&limit, 1, 10 * NIWA_SEC))
			niwa_log(NIWA_LOG_ERR, NULL, "rename the log '%s': %s; it begins anew", path, strerror(errno));
		if (ftruncate(log->fd, 0) == 0) /* the bound is kept in every case */
			log->size = 0;
		return;
	}
	niwa_fd_close(&log->fd);
	if (open_file(e, log, &err) < 0 && niwa_log_allow(&limit, 1, 10 * NIWA_SEC))
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
}

static void put(struct niwa_applog *log, const char *data, size_t len)
{
	static struct niwa_log_limit limit;
	ssize_t n;

	if (log->fd < 0 || len == 0)
		return;
	n = write(log->fd, data, len);
	if (n < 0) { /* a full disk loses lines, it does not stop the app */
		if (niwa_log_allow(&limit, 1, 10 * NIWA_SEC))
			niwa_log(NIWA_LOG_ERR, NULL, "write the log of %s: %s", log->app->name, strerror(errno));
		return;
	}
	log->size += (size_t)n;
}

/* A line that begins beyond the bound begins the next file; one that does not end is ended. */
static void begin_line(struct niwa_engine *e, struct niwa_applog *log, struct niwa_text *out, const char *when)
{
	if ((log->fd < 0 || log->size + out->len > e->config.log_max_bytes) && !out->failed) {
		put(log, out->data, out->len);
		out->len = 0;
		roll_over(e, log);
	}
	niwa_text_add(out, when);
	niwa_text_add(out, " ");
}

/* Does the line that is open go on? One of another instance is ended, and one that has no end. */
static bool goes_on(struct niwa_engine *e, const struct niwa_applog *log, uint64_t instance, size_t waiting)
{
	return log->in_line == instance && log->size + waiting <= e->config.log_max_bytes + LINE_MAX_BYTES;
}

/* Returns how many bytes that became: short lines grow by their time. */
static size_t put_lines(struct niwa_engine *e, struct niwa_instance *i, const char *data, size_t len)
{
	struct niwa_applog *log = i->log;
	struct niwa_text out = {0};
	size_t written = 0;
	char when[32];

	if (!log || !log->app)
		return len;
	(void)niwa_time_format(niwa_realtime_us(), when, sizeof(when));
	while (len > 0) {
		const char *nl = memchr(data, '\n', len);
		size_t n = nl ? (size_t)(nl - data) + 1 : len;

		if (log->in_line && !goes_on(e, log, i->id, out.len)) {
			niwa_text_add(&out, "\n");
			log->in_line = 0;
		}
		if (!log->in_line)
			begin_line(e, log, &out, when);
		niwa_text_add_bytes(&out, data, n);
		log->in_line = nl ? 0 : i->id;
		written += n + (nl ? sizeof(when) : 0);
		data += n;
		len -= n;
	}
	if (!out.failed)
		put(log, out.data, out.len);
	niwa_text_fini(&out);
	return written;
}

/* Reads until max bytes were written. Returns 0 at the end of the pipe, 1 when it is empty, 2 at the bound. */
static int read_some(struct niwa_engine *e, struct niwa_instance *i, size_t max)
{
	char data[CHUNK];

	for (size_t done = 0; done < max;) {
		ssize_t n = read(i->log_fd, data, sizeof(data));

		if (n < 0)
			return 1;
		if (n == 0)
			return 0;
		done += put_lines(e, i, data, (size_t)n);
	}
	return 2;
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	i->log_pause = sd_event_source_disable_unref(i->log_pause);
	(void)sd_event_source_set_enabled(i->log_source, SD_EVENT_ON);
	return 0;
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_instance *i = arg;

	(void)fd, (void)revents;
	int r = read_some(i->engine, i, TURN_MAX);

	if (r == 0)
		(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	/* who prints faster waits: the loop and the disk are everybody's */
	if (r == 2 && sd_event_add_time_relative(i->engine->event, &i->log_pause, CLOCK_MONOTONIC, PAUSE_US, NIWA_MS,
						 on_pause_over, i) >= 0)
		(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	return 0;
}

void niwa_applog_watch(struct niwa_engine *e, struct niwa_instance *i)
{
	if (i->log_fd < 0 || i->log_source)
		return;
	(void)niwa_fd_nonblock(i->log_fd);
	if (sd_event_add_io(e->event, &i->log_source, i->log_fd, EPOLLIN, on_readable, i) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: the log of %s is not read", i->app->name);
		return;
	}
	(void)sd_event_source_set_priority(i->log_source, SD_EVENT_PRIORITY_IDLE); /* wakes go first */
}

void niwa_applog_drain(struct niwa_engine *e, struct niwa_instance *i)
{
	if (i->log_fd >= 0)
		(void)read_some(e, i, DRAIN_MAX);
}

void niwa_applog_last_line(struct niwa_engine *e, const struct niwa_instance *i, char *buf, size_t size)
{
	char path[PATH_MAX], tail[256], quoted[150], *line, *end;
	NIWA_AUTO_FD fd = -1;
	uint64_t written = i->log && i->log->app ? i->log->size : 0;
	off_t at = written > sizeof(tail) - 1 ? (off_t)(written - (sizeof(tail) - 1)) : 0;
	ssize_t n;

	buf[0] = '\0';
	if (!written)
		return;
	niwa_applog_path(e, i->app, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, tail, sizeof(tail) - 1, at);
	if (n <= 0)
		return;
	tail[n] = '\0';
	end = tail + n;
	while (end > tail && end[-1] == '\n')
		*--end = '\0';
	line = strrchr(tail, '\n');
	line = line ? line + 1 : tail;
	if (strlen(line) > 28) /* without its time */
		line += 28;
	(void)snprintf(buf, size, "; its last line was '%s'", niwa_quote(line, strlen(line), quoted, sizeof(quoted)));
}
