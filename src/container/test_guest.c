/* SPDX-License-Identifier: MIT
 *
 * What the tests of instances run in a folder image: a static program with a few verbs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Whoever connects gets one line and what it sent. */
static int serve(unsigned port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	char host[80] = "", buf[256];

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 64) < 0) {
		perror("serve");
		return 1;
	}
	(void)gethostname(host, sizeof(host) - 1);
	for (;;) {
		int c = accept(fd, NULL, NULL);
		ssize_t n = read(c, buf, sizeof(buf) - 1);

		buf[n > 0 ? n : 0] = '\0';
		(void)dprintf(c, "%s uid %d pid %d: %s\n", host, (int)getuid(), (int)getpid(), buf);
		(void)close(c);
	}
}

static int show(const char *path)
{
	char buf[16384];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0) {
		(void)printf("%s: %s\n", path, strerror(errno));
		return 1;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		(void)fwrite(buf, 1, (size_t)n, stdout);
	(void)close(fd);
	return 0;
}

static void owner(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		(void)printf("%s: %s\n", path, strerror(errno));
	else
		(void)printf("%s: %d:%d %o\n", path, (int)st.st_uid, (int)st.st_gid, (unsigned)st.st_mode & 07777);
}

static void make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	(void)printf("make %s: %s\n", path, fd < 0 ? strerror(errno) : "done");
	if (fd >= 0)
		(void)close(fd);
}

/* Writes MiB by MiB until an error, at most `max`. */
/* What is left of a full disk may take a part. */
static bool write_all(int fd, const char *data, size_t len)
{
	ssize_t n = 1;

	for (size_t at = 0; at < len && n > 0; at += (size_t)n)
		n = write(fd, data + at, len - at);
	return n > 0;
}

static void fill(const char *path, int max)
{
	static char block[1 << 20];
	int fd = open(path, O_WRONLY | O_CREAT, 0644), done = 0;

	for (; fd >= 0 && done < max; done++)
		if (!write_all(fd, block, sizeof(block)))
			break;
	(void)printf("fill %s: %d MiB, %s\n", path, done, done == max ? "all" : strerror(errno));
	if (fd >= 0)
		(void)close(fd);
}

/* Touches that many MiB of memory. */
static void use(int mib)
{
	for (int i = 0; i < mib; i++) {
		char *p = malloc(1 << 20);

		if (!p)
			break;
		memset(p, 1, 1 << 20);
		__asm__ volatile("" : : "r"(p) : "memory"); /* else clang sees that nobody reads it, and takes none */
	}
	(void)printf("used %d MiB\n", mib);
}

static void spawn(int count)
{
	int made = 0;

	for (; made < count; made++) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0) {
			(void)sleep(30);
			_exit(0);
		}
	}
	(void)printf("spawned %d: %s\n", made, made < count ? strerror(errno) : "all");
}

static void files(int count)
{
	int made = 0;

	while (made < count && open("/dev/null", O_RDONLY) >= 0)
		made++;
	(void)printf("opened %d: %s\n", made, made < count ? strerror(errno) : "all");
}

static void notify(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path ? path : "");
	(void)printf("notify: %s\n",
		     sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof(to)) == 7 ? "sent" : strerror(errno));
	(void)close(fd);
}

static void ids(void)
{
	gid_t groups[32];
	int n = getgroups(32, groups);
	char cwd[256] = "";

	(void)printf("ids %d:%d", (int)getuid(), (int)getgid());
	for (int i = 0; i < n; i++)
		(void)printf(" %d", (int)groups[i]);
	(void)printf(" pid %d sid %d cwd %s\n", (int)getpid(), (int)getsid(0), getcwd(cwd, sizeof(cwd)));
}

/* Verbs with at most one argument, one after the other. */
int main(int argc, char **argv)
{
	extern char **environ;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		const char *verb = argv[i], *arg = i + 1 < argc ? argv[i + 1] : "0";

		if (strcmp(verb, "ids") == 0) {
			ids();
			continue;
		}
		if (strcmp(verb, "notify") == 0) {
			notify();
			continue;
		}
		if (strcmp(verb, "env") == 0) {
			for (char **e = environ; *e; e++)
				(void)puts(*e);
			continue;
		}
		i++;
		if (strcmp(verb, "serve") == 0)
			return serve((unsigned)atoi(arg));
		else if (strcmp(verb, "show") == 0)
			(void)show(arg);
		else if (strcmp(verb, "owner") == 0)
			owner(arg);
		else if (strcmp(verb, "make") == 0)
			make(arg);
		else if (strcmp(verb, "fill") == 0)
			fill(arg, 64);
		else if (strcmp(verb, "use") == 0)
			use(atoi(arg));
		else if (strcmp(verb, "spawn") == 0)
			spawn(atoi(arg));
		else if (strcmp(verb, "files") == 0)
			files(atoi(arg));
		else if (strcmp(verb, "exit") == 0)
			return atoi(arg);
		else if (strcmp(verb, "sleep") == 0)
			(void)sleep((unsigned)atoi(arg));
		else
			(void)printf("no such verb: %s\n", verb);
	}
	return 0;
}
