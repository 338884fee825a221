/* SPDX-License-Identifier: MIT
 *
 * What the tests of niwa-keep start: a static program that says what it finds. "WORD [ARG...]" pairs of commands in
 * one command line, executed in order, one line of output each.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static void ids(char **arg)
{
	gid_t groups[64];
	int n = getgroups(64, groups);

	(void)printf("ids %d %d", (int)getuid(), (int)getgid());
	for (int i = 0; i < n; i++)
		(void)printf(" %d", (int)groups[i]);
	(void)printf(" pid %d sid %d\n", (int)getpid(), (int)getsid(0));
}

static void owner(char **arg)
{
	struct stat st;

	if (lstat(arg[0], &st) < 0)
		(void)printf("owner %s: %s\n", arg[0], strerror(errno));
	else
		(void)printf("owner %s: %d %d %04o\n", arg[0], (int)st.st_uid, (int)st.st_gid, st.st_mode & 07777);
}

static void touch(char **arg)
{
	int fd = open(arg[0], O_WRONLY | O_CREAT, 0644);

	(void)printf("touch %s: %s\n", arg[0], fd < 0 ? strerror(errno) : "done");
	if (fd >= 0)
		(void)close(fd);
}

static void cat(char **arg)
{
	char buf[4096];
	int fd = open(arg[0], O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		(void)close(fd);
	if (n < 0) {
		(void)printf("cat %s: %s\n", arg[0], strerror(errno));
		return;
	}
	buf[n] = '\0';
	(void)printf("cat %s: %s\n", arg[0], buf);
}

/* Descriptors that are open: none but what the plan gave. */
static void fds(char **arg)
{
	(void)printf("fds");
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			(void)printf(" %d", fd);
	(void)printf("\n");
}

static void host(char **arg)
{
	char name[256] = "";

	(void)gethostname(name, sizeof(name) - 1);
	(void)printf("host %s\n", name);
}

static void address(char **arg)
{
	struct ifreq ifr = {0};
	struct sockaddr_in *sin = (void *)&ifr.ifr_addr;
	int sock = socket(AF_INET, SOCK_DGRAM, 0);

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", arg[0]);
	if (ioctl(sock, SIOCGIFADDR, &ifr) < 0)
		(void)printf("address %s: %s\n", arg[0], strerror(errno));
	else
		(void)printf("address %s: %s\n", arg[0], inet_ntoa(sin->sin_addr));
	(void)close(sock);
}

static void limits(char **arg)
{
	struct rlimit lim;
	sigset_t set;
	int blocked = 0;

	(void)getrlimit(RLIMIT_NOFILE, &lim);
	(void)sigprocmask(SIG_BLOCK, NULL, &set);
	for (int i = 1; i < 32; i++)
		blocked += sigismember(&set, i) == 1;
	(void)printf("limits files %ld privs %d seccomp %d blocked %d dumpable %d\n", (long)lim.rlim_cur,
		     prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP, 0, 0, 0, 0), blocked,
		     prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
}

static void sync_word(char **arg)
{
	errno = 0;
	(void)syscall(SYS_sync);
	(void)printf("sync %s\n", errno ? strerror(errno) : "done");
}

static void env(char **arg)
{
	const char *v = getenv(arg[0]);

	(void)printf("env %s=%s\n", arg[0], v ? v : "(unset)");
}

static void tty(char **arg)
{
	(void)printf("tty %d %d %d\n", isatty(0), isatty(1), tcgetsid(0) == getsid(0));
}

static void put(char **arg)
{
	int fd = atoi(arg[0]);

	(void)printf("put %s\n", write(fd, arg[1], strlen(arg[1])) < 0 ? strerror(errno) : "done");
}

static void leave(char **arg)
{
	(void)fflush(stdout);
	_exit(atoi(arg[0]));
}

static void die(char **arg)
{
	(void)fflush(stdout);
	(void)raise(atoi(arg[0]));
}

static void sleep_word(char **arg)
{
	(void)fflush(stdout);
	(void)sleep((unsigned)atoi(arg[0]));
}

/* A child that outlives us, to see who reaps it. */
static void orphan(char **arg)
{
	(void)fflush(stdout);
	if (fork() == 0) {
		(void)usleep(50000);
		_exit(0);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *word;
		int args;
		void (*fn)(char **arg);
	} words[] = {{"ids", 0, ids},        {"owner", 1, owner}, {"touch", 1, touch},      {"cat", 1, cat},
		     {"fds", 0, fds},        {"host", 0, host},   {"address", 1, address},  {"limits", 0, limits},
		     {"sync", 0, sync_word}, {"env", 1, env},     {"tty", 0, tty},          {"put", 2, put},
		     {"exit", 1, leave},     {"die", 1, die},     {"sleep", 1, sleep_word}, {"orphan", 0, orphan}};

	for (int at = 1; at < argc;) {
		size_t i = 0;

		while (i < sizeof(words) / sizeof(words[0]) && strcmp(words[i].word, argv[at]) != 0)
			i++;
		if (i == sizeof(words) / sizeof(words[0]) || at + words[i].args >= argc) {
			(void)fprintf(stderr, "test_probe: %s?\n", argv[at]);
			return 99;
		}
		words[i].fn(argv + at + 1);
		at += 1 + words[i].args;
	}
	return 0;
}
