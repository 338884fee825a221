/* SPDX-License-Identifier: MIT
 *
 * niwa-init COMMAND [ARG...]: a tiny pid 1 for apps that ask for one. It starts the command as the leader of a session,
 * forwards signals to it, reaps orphans and ends with the command's status (128 + signal when it was killed).
 * niwa-init --adopt PID: the same for a process that somebody else makes, which becomes its child when that one ends
 * (CRIU, restoring a snapshot). Until then signals are dropped: who restores kills the whole group when it fails.
 * Static, no allocation.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/standard.h"

#define USAGE "usage: niwa-init COMMAND [ARG...] | --adopt PID"

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
	(void)setsid();                                  /* a new process leads no group yet, so it cannot fail */
	(void)sigprocmask(SIG_SETMASK, unblocked, NULL); /* fails only for bad arguments */
	(void)execvp(argv[0], argv);
	complain(argv[0]);
	_exit(errno == ENOENT ? 127 : 126);
}

static void never_runs(int sig)
{
	(void)sig;
}

/* Waited for, never handled: but a first process without handlers looks as if it let signals pass unheard, and whoever
 * stops it would tell all the others instead. Executed programs have none of them. */
static void claim_signals(void)
{
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		(void)signal(sig, never_runs); /* not SIGKILL, SIGSTOP and the two of the C library */
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

/* A process that is not ours is not the command yet, or not any more. */
static void forward(pid_t command, int sig)
{
	siginfo_t info;

	if (waitid(P_PID, (id_t)command, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		(void)kill(command, sig); /* gone: its status follows */
}

/* The pid to adopt; 0: there is a command to start; -1: neither. */
static pid_t to_adopt(int argc, char **argv)
{
	char *end = NULL;
	long pid;

	if (argc < 2)
		return -1;
	if (strcmp(argv[1], "--adopt") != 0)
		return 0;
	pid = argc == 3 ? strtol(argv[2], &end, 10) : -1;
	return pid > 1 && pid <= INT_MAX && *end == '\0' ? (pid_t)pid : -1;
}

int main(int argc, char **argv)
{
	pid_t command = to_adopt(argc, argv);
	sigset_t all, before;
	int sig, result;

	if (niwa_standard_hold() < 0)
		return 126;
	if (command < 0) {
		errno = EINVAL;
		complain(USAGE);
		return 2;
	}
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &before);
	if (command == 0) {
		command = fork();
		if (command < 0) {
			complain("fork");
			return 126;
		}
		if (command == 0)
			run(argv + 1, &before);
	}
	claim_signals();
	for (;;) {
		if (sigwait(&all, &sig) != 0)
			continue;
		if (sig != SIGCHLD) {
			forward(command, sig);
			continue;
		}
		result = reap(command);
		if (result >= 0)
			return result;
	}
}
