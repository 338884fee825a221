/* SPDX-License-Identifier: MIT
 *
 * The user's terminal. Crashes restore it in a handler; signals that the program handles itself restore it in their
 * own way and call niwa_terminal_restore.
 */
#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "base/memory.h"

static struct termios before, during;
static volatile sig_atomic_t changed_fd = -1;

void niwa_terminal_restore(void)
{
	int fd = changed_fd;

	if (fd < 0)
		return;
	changed_fd = -1;
	(void)tcsetattr(fd, TCSADRAIN, &before); /* nothing to be done when the terminal is gone */
}

static void on_crash(int sig)
{
	niwa_terminal_restore();
	(void)raise(sig); /* SA_RESETHAND: now it kills */
}

static void guard(void)
{
	static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	static bool done;
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};

	if (done)
		return;
	done = true;
	(void)atexit(niwa_terminal_restore); /* fails only without memory; then the normal path restores */
	for (size_t i = 0; i < NIWA_ARRAY_LEN(crashes); i++)
		(void)sigaction(crashes[i], &action, NULL);
}

static int change(int fd, const struct termios *wanted)
{
	during = *wanted;
	guard();
	changed_fd = fd;
	if (tcsetattr(fd, TCSADRAIN, wanted) < 0) {
		changed_fd = -1;
		return -errno;
	}
	return 0;
}

int niwa_terminal_raw(int fd)
{
	struct termios wanted;

	if (tcgetattr(fd, &before) < 0)
		return errno == ENOTTY ? 0 : -errno;
	wanted = before;
	cfmakeraw(&wanted);
	return change(fd, &wanted);
}

int niwa_terminal_keys(int fd)
{
	struct termios wanted;

	if (tcgetattr(fd, &before) < 0)
		return errno == ENOTTY ? 0 : -errno;
	wanted = before;
	wanted.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
	wanted.c_cc[VMIN] = 0;
	wanted.c_cc[VTIME] = 0;
	return change(fd, &wanted);
}

void niwa_terminal_suspend(void)
{
	struct termios again = during;
	int fd = changed_fd;

	niwa_terminal_restore();
	(void)raise(SIGSTOP);
	if (fd >= 0)
		(void)change(fd, &again);
}
