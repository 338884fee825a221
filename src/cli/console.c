/* SPDX-License-Identifier: MIT
 *
 * The console of exec. Input is buffered (bounded) because a program that does not read must not keep us from
 * showing its output; output is written at once, the terminal is the user's own.
 */
#include "cli/console.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ipc.h"
#include "cli/signals.h"
#include "cli/terminal.h"

const int niwa_console_signals[] = {SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, 0};

struct console {
	int master;
	bool input_open;
	char in[4096];
	size_t in_len;
};

int niwa_console_receive(int sock, unsigned timeout_ms, struct niwa_error *err)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds = 0;
	char byte[64];
	ssize_t n;

	if (poll(&p, 1, (int)timeout_ms) <= 0)
		return niwa_fail(err, NIWA_TEMPORARY, ETIMEDOUT, "wait for the terminal inside the app");
	n = niwa_ipc_recv(sock, byte, sizeof(byte), fds, &nfds);
	if (n < 0)
		return niwa_fail(err, NIWA_TEMPORARY, (int)-n, "receive the terminal inside the app");
	if (nfds != 1) {
		while (nfds)
			niwa_fd_close(&fds[--nfds]);
		return niwa_fail(err, NIWA_TEMPORARY, 0, "the app gave no terminal (the command could not be started)");
	}
	return fds[0];
}

bool niwa_console_size(struct winsize *ret)
{
	return ioctl(STDIN_FILENO, TIOCGWINSZ, ret) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, ret) == 0;
}

static void copy_size(int master)
{
	struct winsize size;

	if (niwa_console_size(&size))
		(void)ioctl(master, TIOCSWINSZ, &size); /* a pty that is gone is seen by the next read */
}

static void end_of_input(struct console *c)
{
	struct termios t;

	c->input_open = false;
	if (c->in_len < sizeof(c->in) && tcgetattr(c->master, &t) == 0)
		c->in[c->in_len++] = (char)t.c_cc[VEOF]; /* what a user would type */
}

static void read_input(struct console *c)
{
	ssize_t n = read(STDIN_FILENO, c->in + c->in_len, sizeof(c->in) - c->in_len - 1);

	if (n > 0)
		c->in_len += (size_t)n;
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		end_of_input(c);
}

static void pass_input(struct console *c)
{
	ssize_t n = write(c->master, c->in, c->in_len);

	if (n <= 0)
		return;
	memmove(c->in, c->in + n, c->in_len - (size_t)n);
	c->in_len -= (size_t)n;
}

static int show_output(struct console *c, struct niwa_error *err)
{
	char buf[16384];
	ssize_t n = read(c->master, buf, sizeof(buf)), done = 0;

	if (n == 0 || (n < 0 && errno == EIO))
		return 1; /* the last user of the pty has closed it */
	if (n < 0)
		return errno == EAGAIN || errno == EINTR
			       ? 0
			       : niwa_fail(err, NIWA_TEMPORARY, errno, "read the app's terminal");
	while (done < n) {
		ssize_t w = write(STDOUT_FILENO, buf + done, (size_t)(n - done));

		if (w < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

			(void)poll(&p, 1, 1000);
			continue;
		}
		if (w < 0 && errno != EINTR)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "write to the terminal");
		done += w > 0 ? w : 0;
	}
	return 0;
}

/* The signal when it ends us, else 0. */
static int handle_signals(struct console *c, int signal_fd)
{
	int sig;

	while ((sig = niwa_signals_next(signal_fd))) {
		if (sig == SIGWINCH) {
			copy_size(c->master);
		} else if (sig == SIGTSTP) {
			niwa_terminal_suspend();
			copy_size(c->master);
		} else if (sig != SIGCONT) {
			niwa_terminal_restore();
			return sig;
		}
	}
	return 0;
}

static int turn(struct console *c, int signal_fd, struct niwa_error *err)
{
	struct pollfd p[] = {
		{.fd = c->master, .events = (short)(POLLIN | (c->in_len ? POLLOUT : 0))},
		{.fd = signal_fd, .events = POLLIN},
		{.fd = c->input_open && c->in_len < sizeof(c->in) - 1 ? STDIN_FILENO : -1, .events = POLLIN},
	};
	int r;

	if (poll(p, 3, -1) < 0 && errno != EINTR)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "wait for the terminal");
	r = handle_signals(c, signal_fd);
	if (r)
		return r;
	if (p[2].revents)
		read_input(c);
	if (c->in_len)
		pass_input(c);
	if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) {
		r = show_output(c, err);
		return r == 1 ? -ECANCELED : r; /* told apart from a signal's number */
	}
	return 0;
}

int niwa_console_run(int master, int signal_fd, struct niwa_error *err)
{
	struct console c = {.master = master, .input_open = true};
	int r = niwa_fd_nonblock(master);

	if (r == 0)
		r = niwa_terminal_raw(STDIN_FILENO);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "set up the terminal");
	copy_size(master);
	while (r == 0)
		r = turn(&c, signal_fd, err);
	niwa_terminal_restore();
	return r == -ECANCELED ? 0 : r;
}
