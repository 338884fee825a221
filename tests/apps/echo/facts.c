/* SPDX-License-Identifier: MIT
 *
 * Paths that tell: who answers, what it is allowed to do, what it can see and reach.
 */
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;

static void say_address(FILE *out, const char *what, const struct sockaddr_in *a)
{
	char text[INET_ADDRSTRLEN] = "?";

	(void)inet_ntop(AF_INET, &a->sin_addr, text, sizeof(text));
	(void)fprintf(out, "%s: %s:%u\n", what, text, ntohs(a->sin_port));
}

void say_facts(const struct request *r, FILE *out)
{
	char host[256] = "?";

	(void)gethostname(host, sizeof(host));
	(void)fprintf(out, "request: %s\n", r->path);
	say_address(out, "client", &r->client);
	say_address(out, "server", &r->server);
	(void)fprintf(out, "host: %s\npid: %d\n", host, (int)getpid());
}

static void copy_file(const char *path, FILE *out)
{
	char buf[4096];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		(void)fprintf(out, "error: open %s: %s\n", path, strerror(errno));
		return;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		(void)fwrite(buf, 1, (size_t)n, out);
	if (n < 0)
		(void)fprintf(out, "error: read %s: %s\n", path, strerror(errno));
	(void)close(fd);
}

void say_id(const struct request *r, FILE *out)
{
	copy_file("/proc/self/status", out);
	copy_file("/proc/self/uid_map", out);
	copy_file("/proc/self/gid_map", out);
	copy_file("/proc/self/limits", out);
}

void say_env(const struct request *r, FILE *out)
{
	for (char **e = environ; *e; e++)
		(void)fprintf(out, "%s\n", *e);
}

void read_path(const struct request *r, FILE *out)
{
	char path[4096];

	copy_file(query_text(r, "path", path, sizeof(path)), out);
}

void write_path(const struct request *r, FILE *out)
{
	char path[4096], text[4096];
	int fd = open(query_text(r, "path", path, sizeof(path)), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0 || dprintf(fd, "%s\n", query_text(r, "text", text, sizeof(text))) < 0)
		(void)fprintf(out, "error: write %s: %s\n", path, strerror(errno));
	else
		(void)fprintf(out, "written\n");
	if (fd >= 0)
		(void)close(fd);
}

/* nftw has no argument for its callback. */
static pthread_mutex_t walk_lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *walk_out;
static long walk_left;

static int walk_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	int fd;

	if (where->level == 1 && (strcmp(path, "/proc") == 0 || strcmp(path, "/sys") == 0))
		return FTW_SKIP_SUBTREE;
	if (kind != FTW_F || !S_ISREG(st->st_mode))
		return FTW_CONTINUE;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return FTW_CONTINUE;
	(void)close(fd);
	(void)fprintf(walk_out, "%s\n", path);
	return --walk_left == 0 ? FTW_STOP : FTW_CONTINUE;
}

void walk_paths(const struct request *r, FILE *out)
{
	char path[4096];

	(void)pthread_mutex_lock(&walk_lock);
	walk_out = out;
	walk_left = query_number(r, "max", 1000000);
	(void)nftw(query_text(r, "path", path, sizeof(path)), walk_one, 32, FTW_PHYS | FTW_ACTIONRETVAL);
	(void)pthread_mutex_unlock(&walk_lock);
}

static bool parse_address(const char *text, struct sockaddr_in *ret)
{
	char host[64];
	const char *colon = strchr(text, ':');

	(void)snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - text) : 63, text);
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(colon ? (uint16_t)atoi(colon + 1) : 0)};
	return inet_pton(AF_INET, host, &ret->sin_addr) == 1;
}

static int connect_from(const struct sockaddr_in *to, const struct sockaddr_in *from, long ms)
{
	struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), code;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	/* IP_FREEBIND needs no right: a source that is not ours */
	if (from && (setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one)) < 0 ||
		     bind(fd, (const struct sockaddr *)from, sizeof(*from)) < 0))
		goto failed;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0)
		return fd;
failed:
	code = errno;
	(void)close(fd);
	errno = code;
	return -1;
}

void connect_to(const struct request *r, FILE *out)
{
	char text[256], buf[4096];
	struct sockaddr_in to, from;
	bool has_from = parse_address(query_text(r, "from", text, sizeof(text)), &from);
	ssize_t n;
	int fd;

	if (!parse_address(query_text(r, "to", text, sizeof(text)), &to)) {
		(void)fprintf(out, "error: to=ADDRESS:PORT\n");
		return;
	}
	fd = connect_from(&to, has_from ? &from : NULL, query_number(r, "ms", 5000));
	if (fd < 0) {
		/* EINPROGRESS is what a connect() says whose time-out has passed */
		(void)fprintf(out, "error: connect: %s\n", errno == EINPROGRESS ? "timed out" : strerror(errno));
		return;
	}
	(void)dprintf(fd, "GET / HTTP/1.0\r\nHost: app\r\n\r\n");
	(void)fprintf(out, "connected\n");
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		(void)fwrite(buf, 1, (size_t)n, out);
	if (n < 0)
		(void)fprintf(out, "error: recv: %s\n", strerror(errno));
	(void)close(fd);
}
