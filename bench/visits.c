/* SPDX-License-Identifier: MIT
 *
 * Visitors who come when they come, whether or not those before them have been answered. Reads "MICROSECONDS PORT HOST"
 * lines, ordered by time; at each moment one connects to the port of 127.0.0.1, asks for the host and reads the answer.
 * Prints for each, in the order of the ends, "LINE STATUS MICROSECONDS MOMENT-OF-CONNECT BODY", moments of
 * CLOCK_MONOTONIC; status 0: no whole answer, and why.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_US 60000000
#define HOST_MAX    256
#define ANSWER_MAX  4096
#define EVENTS      256

struct visit {
	uint64_t at_us, began_us;
	uint16_t port;
	char host[HOST_MAX];
	int fd;
	bool asked;
	char *answer;
	size_t len;
	struct visit *next; /* that is under way; they end in about this order */
};

static struct visit *visits, *open_first, *open_last;
static size_t count, done;
static int epoll;

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void end(struct visit *v, const char *why)
{
	uint64_t took = now_us() - v->began_us;
	const char *body = v->answer ? strstr(v->answer, "\r\n\r\n") : NULL;
	int status = 0;

	if (!why && (!body || sscanf(v->answer, "HTTP/1.%*c %d", &status) != 1))
		why = "no whole answer";
	(void)printf("%zu %d %" PRIu64 " %" PRIu64 " %.*s\n", (size_t)(v - visits), why ? 0 : status, took, v->began_us,
		     why ? 100 : (int)strcspn(body + 4, "\r\n"), why ? why : body + 4);
	if (v->fd >= 0)
		(void)close(v->fd);
	v->fd = -1;
	free(v->answer);
	v->answer = NULL;
	done++;
}

static void begin(struct visit *v)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(v->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = v};

	v->began_us = now_us();
	v->answer = calloc(1, ANSWER_MAX + 1);
	v->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!v->answer || v->fd < 0 ||
	    (connect(v->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, v->fd, &ev) < 0) {
		end(v, strerror(errno));
		return;
	}
	if (open_last)
		open_last->next = v;
	else
		open_first = v;
	open_last = v;
}

static void ask(struct visit *v)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = v};
	char request[HOST_MAX + 64];
	int len =
		snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", v->host);

	if (send(v->fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		end(v, strerror(errno));
	else
		(void)epoll_ctl(epoll, EPOLL_CTL_MOD, v->fd, &ev);
	v->asked = true;
}

static void on_event(struct visit *v)
{
	ssize_t n;

	if (!v->asked) {
		ask(v);
		return;
	}
	n = recv(v->fd, v->answer + v->len, ANSWER_MAX - v->len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		v->len += (size_t)n;
	if (n <= 0 || v->len == ANSWER_MAX)
		end(v, n < 0 ? strerror(errno) : NULL);
}

static void give_up(uint64_t now)
{
	while (open_first && (open_first->fd < 0 || now > open_first->began_us + DEADLINE_US)) {
		if (open_first->fd >= 0)
			end(open_first, "no answer in time");
		open_first = open_first->next;
	}
	if (!open_first)
		open_last = NULL;
}

static void read_all(void)
{
	size_t size = 0;
	char line[HOST_MAX + 64];
	struct visit v = {.fd = -1};

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%" SCNu64 " %hu %255s", &v.at_us, &v.port, v.host) != 3)
			exit(2);
		if (count == size) {
			size = size ? 2 * size : 1024;
			visits = realloc(visits, size * sizeof(*visits));
			if (!visits)
				exit(1);
		}
		visits[count++] = v;
	}
}

int main(void)
{
	struct epoll_event events[EVENTS];
	struct timespec wait;
	uint64_t since, now;
	size_t next = 0;
	int n;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	read_all();
	since = now_us();
	while (done < count) {
		now = now_us();
		while (next < count && now - since >= visits[next].at_us)
			begin(&visits[next++]);
		give_up(now);
		now = now_us() - since;
		wait = (struct timespec){.tv_nsec = 100000000};
		if (next < count && visits[next].at_us < now + 100000)
			wait.tv_nsec = visits[next].at_us > now ? (long)(visits[next].at_us - now) * 1000 : 0;
		n = epoll_pwait2(epoll, events, EVENTS, &wait, NULL);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr);
	}
	return 0;
}
