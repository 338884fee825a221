/* SPDX-License-Identifier: MIT
 *
 * The two protocols: echo, and enough HTTP/1.1 for curl, wrk and tests, with keep-alive.
 */
#include "echo.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 8192

/* Each path with what it does; arguments in the query. */
static const struct {
	const char *path;
	path_fn *fn;
} paths[] = {
	{"/", say_facts},         /* request, client, server, host, pid */
	{"/id", say_id},          /* ids, capabilities, seccomp of this process */
	{"/env", say_env},        /* its environment */
	{"/read", read_path},     /* path= */
	{"/write", write_path},   /* path= text= : adds a line */
	{"/walk", walk_paths},    /* path= max= : every file that it can open */
	{"/connect", connect_to}, /* to=ADDRESS:PORT [from=ADDRESS] [ms=] : says GET /, tells the answer */
	{"/memory", eat_memory},  /* bytes= */
	{"/cpu", eat_cpu},        /* ms= threads= */
	{"/fork", fork_all},      /* max= ms= : processes that live for ms */
	{"/files", open_all},     /* max= */
	{"/disk", fill_disk},     /* path= bytes= */
	{"/log", write_log},      /* lines= bytes= : to standard error */
	{"/exit", die},           /* status= ; without it: a crash */
	{"/slow", say_facts},     /* ms= */
	{"/big", NULL},           /* bytes= */
	{"/reset", NULL},         /* the connection is reset */
	{"/hang", NULL},          /* no answer, ever */
};

static void send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

void serve_echo(int fd)
{
	char buf[16384];
	ssize_t n;

	if (settings.banner) {
		pause_ms(settings.slow_ms);
		(void)dprintf(fd, "%s\r\n", settings.banner);
	}
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		pause_ms(settings.slow_ms);
		send_all(fd, buf, (size_t)n);
	}
}

const char *query_text(const struct request *r, const char *key, char *buf, size_t size)
{
	size_t len = strlen(key), n = 0;
	const char *s = r->query;

	buf[0] = '\0';
	while (s && (strncmp(s, key, len) != 0 || s[len] != '=')) {
		s = strchr(s, '&');
		s = s ? s + 1 : NULL;
	}
	if (!s)
		return buf;
	for (s += len + 1; *s && *s != '&' && n + 1 < size; s++) {
		unsigned hex;

		if (*s == '%' && isxdigit((unsigned char)s[1]) && sscanf(s + 1, "%2x", &hex) == 1) {
			buf[n++] = (char)hex;
			s += 2;
		} else {
			buf[n++] = *s == '+' ? ' ' : *s;
		}
	}
	buf[n] = '\0';
	return buf;
}

long query_number(const struct request *r, const char *key, long fallback)
{
	char buf[32];

	return query_text(r, key, buf, sizeof(buf))[0] ? atol(buf) : fallback;
}

static void send_head(int fd, const char *status, size_t len, bool keep)
{
	char head[256];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n",
			 status, len, keep ? "keep-alive" : "close");

	send_all(fd, head, (size_t)n);
}

static void send_big(int fd, size_t left, bool keep)
{
	static const char zeros[65536];

	send_head(fd, "200 OK", left, keep);
	while (left > 0) {
		size_t n = left < sizeof(zeros) ? left : sizeof(zeros);

		send_all(fd, zeros, n);
		left -= n;
	}
}

static void reset_on_close(int fd)
{
	struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void wait_for_end(int fd)
{
	char buf[256];

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

/* Paths that are no texts. True: the connection is to be closed. */
static bool answer_raw(const struct request *r, bool keep)
{
	if (strcmp(r->path, "/big") == 0) {
		send_big(r->fd, (size_t)query_number(r, "bytes", 1 << 20), keep);
		return !keep;
	}
	if (strcmp(r->path, "/reset") == 0)
		reset_on_close(r->fd);
	else
		wait_for_end(r->fd);
	return true;
}

/* Head and body in one piece: one packet. */
static void send_text(int fd, const char *status, const char *body, size_t len, bool keep)
{
	char *whole = NULL;
	size_t whole_len = 0;
	FILE *out = open_memstream(&whole, &whole_len);

	if (!out)
		return;
	(void)fprintf(out, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n",
		      status, len, keep ? "keep-alive" : "close");
	(void)fwrite(body, 1, len, out); /* may have zeros in it */
	(void)fclose(out);
	send_all(fd, whole, whole_len);
	free(whole);
}

static bool answer(const struct request *r, bool keep)
{
	const char *status = "404 Not Found";
	char *body = NULL;
	size_t len = 0;
	FILE *out;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (strcmp(paths[i].path, r->path) != 0)
			continue;
		pause_ms(settings.slow_ms + (strcmp(r->path, "/slow") == 0 ? query_number(r, "ms", 1000) : 0));
		if (!paths[i].fn)
			return answer_raw(r, keep);
		out = open_memstream(&body, &len);
		if (!out)
			return true;
		paths[i].fn(r, out);
		(void)fclose(out);
		status = "200 OK";
		break;
	}
	send_text(r->fd, status, body ? body : "", len, keep);
	free(body);
	return !keep;
}

/* Reads one head into buf; its length, or 0. */
static size_t read_head(int fd, char *buf, size_t *have)
{
	for (;;) {
		char *end;
		ssize_t n;

		buf[*have] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (end)
			return (size_t)(end - buf) + 4;
		if (*have == HEAD_MAX)
			return 0;
		n = recv(fd, buf + *have, HEAD_MAX - *have, 0);
		if (n <= 0)
			return 0;
		*have += (size_t)n;
	}
}

void serve_http(int fd)
{
	char buf[HEAD_MAX + 1], *path, *end;
	struct request r = {.fd = fd};
	size_t have = 0, len;
	bool keep;

	(void)getpeername(fd, (struct sockaddr *)&r.client, &(socklen_t){sizeof(r.client)});
	(void)getsockname(fd, (struct sockaddr *)&r.server, &(socklen_t){sizeof(r.server)});
	while ((len = read_head(fd, buf, &have)) > 0) {
		buf[len - 1] = '\0';
		keep = strstr(buf, " HTTP/1.1") && !strcasestr(buf, "connection: close");
		path = strchr(buf, ' ');
		end = path ? strpbrk(path + 1, " \r") : NULL;
		if (!end)
			return;
		*end = '\0';
		r.path = path + 1;
		r.query = strchr(r.path, '?');
		if (r.query)
			*r.query++ = '\0';
		if (answer(&r, keep))
			return;
		have -= len;
		memmove(buf, buf + len, have);
	}
}
