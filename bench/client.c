/* SPDX-License-Identifier: MIT
 *
 * Measures connect -> first byte. Reads "ADDRESS PORT" lines; for each it connects, sends one HTTP request, waits for
 * the first bytes and prints "ADDRESS MICROSECONDS MOMENT-OF-CONNECT FIRST-LINE-OF-BODY", or "ADDRESS failed: WHY".
 *
 *   client            one after the other, an answer at once for each line
 *   client N          N at a time, until the input has been worked off
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS  30000
#define PARALLEL_MAX 4096

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

struct attempt { /* one connection */
	char addr[INET_ADDRSTRLEN];
	int fd;
	uint64_t began_us;
};

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void failed(struct attempt *t, const char *why)
{
	(void)printf("%s failed: %s\n", t->addr, why);
	if (t->fd >= 0)
		(void)close(t->fd);
	t->fd = -1;
}

/* 0: another line was read and its connection is under way or has failed (fd -1); -1: no more lines */
static int begin(struct attempt *t, int flags)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};
	char line[64];
	unsigned port;
	int one = 1;

	if (!fgets(line, sizeof(line), stdin) || sscanf(line, "%15s %u", t->addr, &port) != 2)
		return -1;
	sa.sin_port = htons((uint16_t)port);
	(void)inet_pton(AF_INET, t->addr, &sa.sin_addr);
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	(void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	t->began_us = now_us();
	if (connect(t->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS)
		failed(t, strerror(errno));
	return 0;
}

static void finish(struct attempt *t)
{
	char answer[1024];
	ssize_t n = recv(t->fd, answer, sizeof(answer) - 1, 0);
	uint64_t took_us = now_us() - t->began_us;
	char *body;

	if (n <= 0) {
		failed(t, n < 0 ? strerror(errno) : "closed without an answer");
		return;
	}
	answer[n] = '\0';
	body = strstr(answer, "\r\n\r\n");
	if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || !body) {
		failed(t, "not answered with 200");
		return;
	}
	body[4 + strcspn(body + 4, "\n")] = '\0';
	(void)printf("%s %" PRIu64 " %" PRIu64 " %s\n", t->addr, took_us, t->began_us, body + 4);
	(void)close(t->fd);
	t->fd = -1;
}

static int one_by_one(void)
{
	struct attempt t;

	while (begin(&t, 0) == 0) {
		if (t.fd >= 0 && send(t.fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
			failed(&t, strerror(errno));
		else if (t.fd >= 0)
			finish(&t);
		(void)fflush(stdout);
	}
	return 0;
}

static void ready(int epoll, struct attempt *t, uint32_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = t};

	if (what & EPOLLIN || what & (EPOLLERR | EPOLLHUP))
		finish(t);
	else if (send(t->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		failed(t, strerror(errno));
	else
		(void)epoll_ctl(epoll, EPOLL_CTL_MOD, t->fd, &ev);
}

/* The number under way after each free place was filled, as far as there are lines. */
static unsigned fill(int epoll, struct attempt *attempts, unsigned parallel)
{
	unsigned under_way = 0;

	for (unsigned i = 0; i < parallel; i++) {
		struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = &attempts[i]};

		while (attempts[i].fd < 0 && begin(&attempts[i], SOCK_NONBLOCK) == 0)
			if (attempts[i].fd >= 0)
				(void)epoll_ctl(epoll, EPOLL_CTL_ADD, attempts[i].fd, &ev);
		under_way += attempts[i].fd >= 0;
	}
	return under_way;
}

static int many(unsigned parallel)
{
	static struct attempt attempts[PARALLEL_MAX];
	struct epoll_event events[64];
	int epoll = epoll_create1(EPOLL_CLOEXEC), n;

	for (unsigned i = 0; i < parallel; i++)
		attempts[i].fd = -1;
	while (fill(epoll, attempts, parallel) > 0) {
		n = epoll_wait(epoll, events, 64, DEADLINE_MS);
		if (n <= 0) {
			(void)fprintf(stderr, "client: no answer in %d ms\n", DEADLINE_MS);
			return 1;
		}
		for (int i = 0; i < n; i++)
			ready(epoll, events[i].data.ptr, events[i].events);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int parallel = argc > 1 ? atoi(argv[1]) : 0;

	if (parallel < 0 || parallel > PARALLEL_MAX) {
		(void)fprintf(stderr, "usage: client [1..%d]\n", PARALLEL_MAX);
		return 2;
	}
	return parallel ? many((unsigned)parallel) : one_by_one();
}
