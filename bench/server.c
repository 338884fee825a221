/* SPDX-License-Identifier: MIT
 *
 * The trivial server of the benchmarks: static, one thread, answers each request with its pid and the moment of its
 * first instruction (CLOCK_MONOTONIC, microseconds). `server --now` only prints that moment.
 *
 *   server PORT [MIB [MS]]     before it listens it fills so much memory and waits so long, as larger ones do
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64

static char keep[256], close_after[256];
static size_t keep_len, close_len;

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void make_answers(uint64_t began_us)
{
	char body[96];
	int len = snprintf(body, sizeof(body), "%d %" PRIu64 "\n", (int)getpid(), began_us);

	keep_len = (size_t)snprintf(keep, sizeof(keep), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len, body);
	close_len = (size_t)snprintf(close_after, sizeof(close_after),
				     "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len, body);
}

/* Requests of the benchmarks come in one piece. */
static void serve(int fd)
{
	char request[4096];
	ssize_t n = recv(fd, request, sizeof(request), 0);
	int last = n <= 0 || memmem(request, (size_t)n, "Connection: close", 17) != NULL;

	if (n > 0)
		(void)send(fd, last ? close_after : keep, last ? close_len : keep_len, MSG_NOSIGNAL);
	if (last)
		(void)close(fd);
}

static int open_listener(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 4096) < 0) {
		perror("listen");
		exit(1);
	}
	return fd;
}

/* Memory that it keeps, no page of it empty. */
static int fill(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	for (size_t at = 0; at < bytes; at += 64)
		p[at] = (char)(at >> 12 | 1);
	return 0;
}

static void end(int sig)
{
	(void)sig;
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t began_us = now_us();
	struct epoll_event ev = {.events = EPOLLIN}, events[EVENTS];
	int listener, epoll, n, fd;

	if (argc == 2 && strcmp(argv[1], "--now") == 0)
		return printf("%" PRIu64 "\n", began_us) < 0;
	if (argc < 2 || argc > 4) {
		(void)fprintf(stderr, "usage: server PORT [MIB [MS]]\n");
		return 2;
	}
	if (argc > 2 && atoi(argv[2]) > 0 && fill((size_t)atoi(argv[2]) << 20) < 0)
		return 1;
	if (argc > 3)
		(void)usleep((useconds_t)atoi(argv[3]) * 1000);
	(void)signal(SIGTERM, end);
	make_answers(began_us);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	listener = open_listener((uint16_t)atoi(argv[1]));
	ev.data.fd = listener;
	(void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
	/* the freezer interrupts epoll_wait, as SIGSTOP and SIGCONT do: see signal(7) */
	while ((n = epoll_wait(epoll, events, EVENTS, -1)) >= 0 || errno == EINTR) {
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd != listener) {
				serve(events[i].data.fd);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
				ev.data.fd = fd;
				(void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
			}
		}
	}
	return 1;
}
