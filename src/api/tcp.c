/* SPDX-License-Identifier: MIT
 *
 * Questions over TCP (RFC 7766): any number on a connection, answered in their order. Bounds: connections (the one that
 * was silent longest makes room), time without a whole question, bytes of a question; who does not read is not read
 * from.
 */
#include "api/api_private.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"

#define QUERY_MAX 2048
#define BACKLOG   256
#define PREFIX    2     /* bytes of a length */
#define UNREAD    16384 /* bytes of answers that the kernel keeps of a connection */

struct conn {
	struct niwa_tcp *tcp;
	int fd;
	sd_event_source *source;
	uint64_t asked_us; /* last; or when it came */
	size_t in_len, out_len, out_sent;
	uint8_t in[PREFIX + QUERY_MAX], out[PREFIX + NIWA_DNS_ROOM];
	TAILQ_ENTRY(conn) link;
};

struct niwa_tcp {
	struct niwa_api *api;
	int fd;
	sd_event_source *source, *timer;
	unsigned count;
	TAILQ_HEAD(conns, conn) conns; /* the one that asked longest ago first */
};

static void conn_free(struct conn *c)
{
	struct niwa_tcp *t = c->tcp;

	TAILQ_REMOVE(&t->conns, c, link);
	t->count--;
	(void)sd_event_source_disable_unref(c->source);
	niwa_fd_close(&c->fd);
	free(c);
}

/* The oldest decides. */
static void arm(struct niwa_tcp *t)
{
	const struct conn *first = TAILQ_FIRST(&t->conns);

	if (first)
		(void)sd_event_source_set_time(t->timer, first->asked_us + t->api->settings.tcp_idle_us);
	(void)sd_event_source_set_enabled(t->timer, first ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_tcp *t = arg;
	struct conn *c;

	(void)s, (void)usec;
	while ((c = TAILQ_FIRST(&t->conns)) && c->asked_us + t->api->settings.tcp_idle_us <= niwa_now_us())
		conn_free(c);
	arm(t);
	return 0;
}

/* 0, or negative: the connection is over. */
static int flush(struct conn *c)
{
	ssize_t n;

	while (c->out_sent < c->out_len) {
		n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->out_sent += (size_t)n;
	}
	c->out_len = c->out_sent = 0;
	return 0;
}

static size_t length_at(const uint8_t *bytes)
{
	return (size_t)bytes[0] << 8 | bytes[1];
}

/* The first question, if it is there. 1: it was answered; 0: wait; negative: the connection is over. */
static int answer_one(struct conn *c)
{
	struct niwa_tcp *t = c->tcp;
	size_t len, answer;

	if (c->in_len < PREFIX || c->out_len)
		return 0;
	len = length_at(c->in);
	if (len > QUERY_MAX)
		return -EMSGSIZE;
	if (c->in_len < PREFIX + len)
		return 0;
	answer = niwa_dns_answer(&t->api->dns, c->in + PREFIX, len, c->out + PREFIX, NIWA_DNS_ROOM);
	if (answer == 0)
		return -EPROTO;
	niwa_api_count(t->api, c->out + PREFIX);
	t->api->counts.tcp++;
	c->out[0] = (uint8_t)(answer >> 8);
	c->out[1] = (uint8_t)answer;
	c->out_len = PREFIX + answer;
	c->in_len -= PREFIX + len;
	memmove(c->in, c->in + PREFIX + len, c->in_len);
	c->asked_us = niwa_now_us();
	TAILQ_REMOVE(&t->conns, c, link);
	TAILQ_INSERT_TAIL(&t->conns, c, link);
	return flush(c) < 0 ? -EPIPE : 1;
}

static int receive(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ESHUTDOWN;
	c->in_len += (size_t)n;
	niwa_watch_catch_up(c->tcp->api);
	return 0;
}

static int on_conn(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct conn *c = arg;
	struct niwa_tcp *t = c->tcp;
	int r = 0;

	(void)fd;
	if (revents & EPOLLOUT)
		r = flush(c);
	if (r == 0 && (revents & EPOLLIN) && c->in_len < sizeof(c->in))
		r = receive(c);
	while (r >= 0 && (r = answer_one(c)) > 0)
		;
	if (r < 0 || (revents & (EPOLLERR | EPOLLHUP)))
		conn_free(c);
	else
		(void)sd_event_source_set_io_events(s, c->out_len ? EPOLLOUT : EPOLLIN);
	arm(t);
	return 0;
}

static int conn_new(struct niwa_tcp *t, int fd)
{
	struct conn *c = niwa_zalloc(sizeof(*c));
	int unread = UNREAD;

	if (!c)
		return -ENOMEM;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &unread, sizeof(unread));
	if (sd_event_add_io(t->api->event, &c->source, fd, EPOLLIN, on_conn, c) < 0) {
		free(c);
		return -ENOMEM;
	}
	c->tcp = t;
	c->fd = fd;
	c->asked_us = niwa_now_us();
	TAILQ_INSERT_TAIL(&t->conns, c, link);
	t->count++;
	return 0;
}

static int on_listener(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_tcp *t = arg;
	NIWA_AUTO_FD conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)s, (void)revents;
	if (conn < 0 && errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
		return 0;
	if ((conn < 0 || t->count >= t->api->settings.tcp_connections) && t->count)
		conn_free(TAILQ_FIRST(&t->conns));
	if (conn >= 0 && conn_new(t, conn) == 0)
		conn = -1;
	arm(t);
	return 0;
}

int niwa_tcp_open(struct niwa_api *api, enum niwa_door door, struct niwa_error *err)
{
	const struct sockaddr_in *at = &api->settings.listen[door];
	struct niwa_tcp *t = niwa_zalloc(sizeof(*t));
	int one = 1, r;

	api->tcp[door] = t;
	if (!t)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "TCP");
	t->api = api;
	TAILQ_INIT(&t->conns);
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t->fd < 0 || setsockopt(t->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(t->fd, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(t->fd, BACKLOG) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "TCP");
	r = sd_event_add_io(api->event, &t->source, t->fd, EPOLLIN, on_listener, t);
	if (r >= 0)
		r = sd_event_source_set_priority(t->source, niwa_door_priority(door));
	if (r >= 0)
		r = sd_event_add_time(api->event, &t->timer, CLOCK_MONOTONIC, 0, 100 * NIWA_MS, on_timer, t);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "TCP");
	arm(t);
	return 0;
}

void niwa_tcp_close(struct niwa_api *api, enum niwa_door door)
{
	struct niwa_tcp *t = api->tcp[door];
	struct conn *c;

	if (!t)
		return;
	while ((c = TAILQ_FIRST(&t->conns)))
		conn_free(c);
	(void)sd_event_source_disable_unref(t->source);
	(void)sd_event_source_disable_unref(t->timer);
	niwa_fd_close(&t->fd);
	free(t);
	api->tcp[door] = NULL;
}
