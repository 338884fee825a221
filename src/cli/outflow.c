/* SPDX-License-Identifier: MIT
 *
 * Pipes of a command's output, copied to our own descriptors.
 */
#include "cli/outflow.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define CHUNK 65536

struct stream {
	int from, to; /* from: -1: over */
	bool file;    /* to: takes any amount at once */
	bool ending;
	int left; /* ending: bytes still to be read */
	int error;
	size_t at, len; /* of data: read and not yet written */
	char data[CHUNK];
};

struct niwa_outflow {
	size_t count;
	struct stream streams[NIWA_OUTFLOW_STREAMS];
};

static bool is_one_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int open_stream(struct niwa_outflow *f, int to, const struct stat *st, int *ret_end)
{
	struct stream *s = &f->streams[f->count];
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*s = (struct stream){.from = ends[0], .to = to, .file = S_ISREG(st->st_mode)};
	*ret_end = ends[1];
	f->count++;
	r = niwa_fd_nonblock(ends[0]);
	/* The app's users are not us. Only who may trace a process that has the pipe gets at it by /proc. */
	if (r == 0 && fchmod(ends[1], 0666) < 0)
		r = -errno;
	return r;
}

int niwa_outflow_new(struct niwa_outflow **ret, int ret_ends[NIWA_OUTFLOW_STREAMS], struct niwa_error *err)
{
	NIWA_AUTO(niwa_outflow_free) struct niwa_outflow *f = niwa_zalloc(sizeof(*f));
	struct stat out, error;
	NIWA_AUTO_FD first = -1;
	NIWA_AUTO_FD second = -1;
	int r;

	if (!f)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read the command's output");
	if (fstat(STDOUT_FILENO, &out) < 0 || fstat(STDERR_FILENO, &error) < 0)
		return niwa_fail(err, NIWA_CALLER, errno, "standard output or error is closed");
	r = open_stream(f, STDOUT_FILENO, &out, &first);
	if (r == 0 && is_one_file(&out, &error)) {
		second = fcntl(first, F_DUPFD_CLOEXEC, 0);
		r = second < 0 ? -errno : 0;
	} else if (r == 0) {
		r = open_stream(f, STDERR_FILENO, &error, &second);
	}
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "make a pipe for the command's output");
	ret_ends[0] = NIWA_TAKE_FD(first);
	ret_ends[1] = NIWA_TAKE_FD(second);
	*ret = NIWA_TAKE(f);
	return 0;
}

void niwa_outflow_free(struct niwa_outflow **flow)
{
	struct niwa_outflow *f = *flow;

	if (!f)
		return;
	for (size_t i = 0; i < f->count; i++)
		niwa_fd_close(&f->streams[i].from);
	free(f);
	*flow = NULL;
}

void niwa_outflow_poll(const struct niwa_outflow *flow, struct pollfd ret[NIWA_OUTFLOW_STREAMS])
{
	for (size_t i = 0; i < NIWA_OUTFLOW_STREAMS; i++) {
		const struct stream *s = &flow->streams[i];

		ret[i] = (struct pollfd){.fd = -1};
		if (i < flow->count && s->len)
			ret[i] = (struct pollfd){.fd = s->to, .events = POLLOUT};
		else if (i < flow->count)
			ret[i] = (struct pollfd){.fd = s->from, .events = POLLIN};
	}
}

static void take(struct stream *s)
{
	size_t most = s->ending && s->left < CHUNK ? (size_t)s->left : CHUNK;
	ssize_t n = read(s->from, s->data, most);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		niwa_fd_close(&s->from);
		return;
	}
	s->at = 0;
	s->len = (size_t)n;
	s->left -= s->ending ? (int)n : 0;
	if (s->ending && s->left == 0)
		niwa_fd_close(&s->from);
}

/* Who cannot be written to is told to the command as the kernel would: its pipe has no reader any more. */
static void stop(struct stream *s, int error)
{
	s->error = error == EPIPE ? 0 : error;
	s->len = 0;
	niwa_fd_close(&s->from);
}

/* A pipe that is ready takes PIPE_BUF bytes; more might be waited for, deaf to signals. */
static void give(struct stream *s)
{
	struct pollfd ready = {.fd = s->to, .events = POLLOUT};
	ssize_t n;

	if (poll(&ready, 1, 0) <= 0)
		return;
	n = write(s->to, s->data + s->at, s->file || s->len < PIPE_BUF ? s->len : PIPE_BUF);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		stop(s, errno);
	if (n <= 0)
		return;
	s->at += (size_t)n;
	s->len -= (size_t)n;
}

void niwa_outflow_move(struct niwa_outflow *flow)
{
	for (size_t i = 0; i < flow->count; i++) {
		struct stream *s = &flow->streams[i];

		if (s->len == 0 && s->from >= 0)
			take(s);
		if (s->len)
			give(s);
	}
}

void niwa_outflow_end(struct niwa_outflow *flow)
{
	for (size_t i = 0; i < flow->count; i++) {
		struct stream *s = &flow->streams[i];

		s->ending = true;
		if (s->from < 0 || ioctl(s->from, FIONREAD, &s->left) < 0 || s->left == 0)
			niwa_fd_close(&s->from);
	}
}

bool niwa_outflow_done(const struct niwa_outflow *flow)
{
	for (size_t i = 0; i < flow->count; i++) {
		if (flow->streams[i].from >= 0 || flow->streams[i].len)
			return false;
	}
	return true;
}

int niwa_outflow_error(const struct niwa_outflow *flow, struct niwa_error *err)
{
	for (size_t i = 0; i < flow->count; i++) {
		if (flow->streams[i].error)
			return niwa_fail(err, NIWA_TEMPORARY, flow->streams[i].error, "write what the command printed");
	}
	return 0;
}
