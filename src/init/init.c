/* SPDX-License-Identifier: MIT
 *
 * niwa-init COMMAND [ARG...]: a tiny pid 1 for apps that ask for one. It starts the command, forwards signals to it,
 * reaps orphans and ends with the command's status (128 + signal when it was killed). Static, no allocation.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/standard.h"

static void complain(const char *what)
{
	const char *why = strerror(errno);
	char line[512] = "niwa-init: ";

	(void)strncat(line, what, 300);
	(void)strcat(line, ": ");
	(void)strncat(line, why, 100);
	(void)strcat(line, "\n");
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return; /* nobody to tell */
}

static _Noreturn void run(char **argv, const sigset_t *unblocked)
{
	(void)sigprocmask(SIG_SETMASK, unblocked, NULL); /* fails only for bad arguments */
	(void)execvp(argv[0], argv);
	complain(argv[0]);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Reaps what has ended; the command's own status, or -1 while it runs. */
static int reap(pid_t command)
{
	int status, result = -1;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == command)
			result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return result;
}

int main(int argc, char **argv)
{
	sigset_t all, before;
	int sig, result;
	pid_t command;

	if (niwa_standard_hold() < 0)
		return 126;
	if (argc < 2) {
		errno = EINVAL;
		complain("usage: niwa-init COMMAND [ARG...]");
		return 2;
	}
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &before);
	command = fork();
	if (command < 0) {
		complain("fork");
		return 126;
	}
	if (command == 0)
		run(argv + 1, &before);
	for (;;) {
		if (sigwait(&all, &sig) != 0)
			continue;
		if (sig != SIGCHLD) {
			(void)kill(command, sig); /* gone: its status follows */
			continue;
		}
		result = reap(command);
		if (result >= 0)
			return result;
	}
}
