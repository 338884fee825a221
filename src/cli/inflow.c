/* SPDX-License-Identifier: MIT
 *
 * A terminal's lines, copied to a pipe.
 */
#include "cli/inflow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define AGAIN_MS 300 /* the kernel does not tell when the terminal is ours again */

struct niwa_inflow {
	int to; /* -1: over */
	size_t len;
	char data[4096]; /* a line at most, as the kernel has it */
};

/* Reading in the background would stop us. */
static bool is_ours(void)
{
	struct termios t;
	pid_t front = tcgetpgrp(STDIN_FILENO);

	if (front > 0 && front != getpgrp())
		return false;
	return tcgetattr(STDIN_FILENO, &t) == 0 && (t.c_lflag & ICANON);
}

int niwa_inflow_new(struct niwa_inflow **ret, int *ret_end, struct niwa_error *err)
{
	NIWA_AUTO(niwa_inflow_free) struct niwa_inflow *f = niwa_zalloc(sizeof(*f));
	NIWA_AUTO_FD end = -1;
	int ends[2], r;

	if (!f)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read the terminal");
	f->to = -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "make a pipe for the command's input");
	end = ends[0];
	f->to = ends[1];
	r = niwa_fd_nonblock(f->to);
	if (r == 0 && fchmod(end, 0666) < 0) /* as that of outflow.c: it may be opened by name */
		r = -errno;
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "make a pipe for the command's input");
	*ret_end = NIWA_TAKE_FD(end);
	*ret = NIWA_TAKE(f);
	return 0;
}

void niwa_inflow_free(struct niwa_inflow **flow)
{
	struct niwa_inflow *f = *flow;

	if (!f)
		return;
	niwa_fd_close(&f->to);
	explicit_bzero(f->data, sizeof(f->data));
	free(f);
	*flow = NULL;
}

int niwa_inflow_poll(const struct niwa_inflow *flow, struct pollfd *ret)
{
	*ret = (struct pollfd){.fd = -1};
	if (!flow || flow->to < 0)
		return -1;
	if (flow->len) {
		*ret = (struct pollfd){.fd = flow->to, .events = POLLOUT};
		return -1;
	}
	if (!is_ours())
		return AGAIN_MS;
	*ret = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	return -1;
}

static void take(struct niwa_inflow *f)
{
	struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
	ssize_t n;

	if (!is_ours() || poll(&ready, 1, 0) <= 0)
		return;
	n = read(STDIN_FILENO, f->data, sizeof(f->data));
	if (n > 0)
		f->len = (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		niwa_fd_close(&f->to); /* Ctrl-D, or the terminal is gone */
}

static void give(struct niwa_inflow *f)
{
	ssize_t n = write(f->to, f->data, f->len);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		niwa_fd_close(&f->to); /* nobody reads */
		f->len = 0;
	}
	if (n <= 0)
		return;
	f->len -= (size_t)n;
	memmove(f->data, f->data + n, f->len);
}

void niwa_inflow_move(struct niwa_inflow *flow)
{
	if (!flow || flow->to < 0)
		return;
	if (flow->len == 0)
		take(flow);
	if (flow->len)
		give(flow);
}
