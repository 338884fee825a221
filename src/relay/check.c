/* SPDX-License-Identifier: MIT
 *
 * HTTP ready checks: GET a path of a starting instance, look at the status line, say so to the engine. One socket
 * and one deadline each; nothing of the body is read.
 */
#include "relay/relay_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "relay/http.h"

#define DEADLINE_MS 5000 /* when the engine names none */

struct niwa_check {
	struct niwa_relay *relay;
	struct niwa_check *next;
	sd_event_source *io, *timer;
	uint64_t ticket;
	int fd, error;
	unsigned repeats;
	bool sent;
	enum niwa_proxy_version proxy;
	uint64_t until_us;
	struct niwa_http_status status;
	uint32_t to;
	uint16_t to_port;
	char text[256]; /* path and host; then the result */
};

static void check_close(struct niwa_check *k)
{
	k->io = sd_event_source_disable_unref(k->io);
	k->timer = sd_event_source_disable_unref(k->timer);
	if (k->fd >= 0) {
		niwa_fd_close(&k->fd);
		k->relay->fds--;
	}
}

static void unlink_check(struct niwa_check **list, struct niwa_check *k)
{
	for (; *list; list = &(*list)->next) {
		if (*list == k) {
			*list = k->next;
			k->next = NULL;
			return;
		}
	}
}

static void finish(struct niwa_check *k, int error, const char *text)
{
	struct niwa_relay *r = k->relay;

	unlink_check(&r->checks, k);
	check_close(k);
	k->error = error;
	(void)snprintf(k->text, sizeof(k->text), "%s", text);
	k->next = r->checked;
	r->checked = k;
}

static bool prepare_request(const struct niwa_check *k, char *buf, size_t size, size_t *ret_len)
{
	char to[INET_ADDRSTRLEN], host[INET_ADDRSTRLEN + 8];
	const char *blank = strchr(k->text, ' ');
	int path_len = blank ? (int)(blank - k->text) : (int)strlen(k->text);
	int n;

	if (k->text[0] != '/')
		return false;
	for (const char *s = k->text; *s; s++)
		if (*s < ' ' || *s == 0x7f)
			return false;
	(void)snprintf(host, sizeof(host), "%s:%u", inet_ntop(AF_INET, &k->to, to, sizeof(to)), k->to_port);
	n = snprintf(buf, size,
		     "GET %.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: niwa-ready-check\r\nConnection: close\r\n\r\n",
		     path_len, k->text, blank ? blank + 1 : host);
	*ret_len = (size_t)n;
	return n > 0 && (size_t)n < size;
}

static void ask(struct niwa_check *k)
{
	uint8_t request[512 + NIWA_PROXY_HEADER_MAX];
	size_t begun = niwa_proxy_header(k->proxy, NULL, request);
	socklen_t len = sizeof(int);
	int error = 0;
	size_t n;

	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		finish(k, error, strerrordesc_np(error));
		return;
	}
	if (!prepare_request(k, (char *)request + begun, sizeof(request) - begun, &n)) {
		finish(k, EINVAL, "the path does not begin with '/' or has control characters");
		return;
	}
	/* A new connection's buffer takes this whole. */
	n += begun;
	if (send(k->fd, request, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n) {
		finish(k, errno ? errno : EPIPE, "the request could not be sent");
		return;
	}
	k->sent = true;
	(void)sd_event_source_set_io_events(k->io, EPOLLIN);
	(void)sd_event_source_set_time(k->timer, k->until_us);
}

static void judge(struct niwa_check *k, const uint8_t *data, size_t len)
{
	char text[64];

	switch (niwa_http_feed(&k->status, data, len)) {
	case NIWA_HTTP_MORE:
		break;
	case NIWA_HTTP_BAD:
		finish(k, EPROTO, "the answer is not HTTP/1");
		break;
	case NIWA_HTTP_DONE:
		(void)snprintf(text, sizeof(text), "answered %u", k->status.code);
		finish(k, k->status.code >= 200 && k->status.code < 400 ? 0 : EBADMSG, text);
		break;
	}
}

static int on_check(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct niwa_check *k = arg;
	uint8_t buf[256];
	ssize_t n;

	if (!k->sent) {
		ask(k);
		return 0;
	}
	n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n > 0)
		judge(k, buf, (size_t)n);
	else if (n == 0)
		finish(k, EPROTO, "closed before a status line");
	else if (errno != EAGAIN && errno != EINTR)
		finish(k, errno, strerrordesc_np(errno));
	return 0;
}

static int try_connect(struct niwa_check *k);

static int on_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_check *k = arg;
	struct pollfd p = {.fd = k->fd, .events = POLLOUT};
	int error;

	if (!k->sent && poll(&p, 1, 0) > 0) {
		ask(k); /* the answer has come in this very turn */
		return 0;
	}
	if (k->sent || k->repeats == NIWA_RELAY_REPEATS || niwa_now_us() >= k->until_us) {
		finish(k, ETIMEDOUT, k->sent ? "no answer in time" : "no connection in time");
		return 0;
	}
	check_close(k);
	k->repeats++;
	error = try_connect(k);
	if (error)
		finish(k, error, strerrordesc_np(error));
	return 0;
}

/* One SYN, see try_connect() in conn.c. 0, or what the engine is told. */
static int try_connect(struct niwa_check *k)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = k->to, .sin_port = htons(k->to_port)};
	uint64_t at_us = niwa_now_us() + (NIWA_RELAY_REPEAT_MS << k->repeats) * NIWA_MS;
	struct niwa_relay *r = k->relay;

	if (k->repeats == NIWA_RELAY_REPEATS || at_us > k->until_us)
		at_us = k->until_us;
	k->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->fd < 0)
		return errno;
	r->fds++;
	if (connect(k->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS)
		return errno;
	if (sd_event_add_io(r->event, &k->io, k->fd, EPOLLOUT, on_check, k) < 0 ||
	    sd_event_add_time(r->event, &k->timer, CLOCK_MONOTONIC, at_us, NIWA_MS, on_deadline, k) < 0)
		return ENOMEM;
	return 0;
}

/* 0, or what the engine is told. */
static int begin(struct niwa_check *k, uint32_t deadline_ms)
{
	struct niwa_relay *r = k->relay;

	if (r->check_count > NIWA_RELAY_CHECKS || r->fds >= r->fd_limit)
		return EBUSY;
	k->until_us = niwa_now_us() + (deadline_ms ? deadline_ms : DEADLINE_MS) * NIWA_MS;
	return try_connect(k);
}

static void check_free(struct niwa_check *k)
{
	k->relay->check_count--;
	check_close(k);
	free(k);
}

void niwa_check_start(struct niwa_relay *r, const struct niwa_relay_msg *msg)
{
	struct niwa_check *k;
	int error;

	for (k = r->checks; k; k = k->next)
		if (k->ticket == msg->ticket)
			break;
	if (k) {
		unlink_check(&r->checks, k);
		check_free(k);
	}
	/* Beyond this even the results that nobody fetches take no more memory. */
	k = r->check_count < 2 * NIWA_RELAY_CHECKS ? niwa_zalloc(sizeof(*k)) : NULL;
	if (!k) {
		if (niwa_log_allow(&r->log_engine, 3, 60 * NIWA_SEC))
			niwa_log(NIWA_LOG_ERR, NULL, "a ready check is not made: %u are under way or unanswered",
				 r->check_count);
		return;
	}
	*k = (struct niwa_check){.relay = r,
				 .proxy = niwa_client_addr_version(msg),
				 .next = r->checks,
				 .ticket = msg->ticket,
				 .fd = -1,
				 .to = msg->to,
				 .to_port = msg->to_port};
	memcpy(k->text, msg->text, sizeof(k->text));
	k->text[sizeof(k->text) - 1] = '\0';
	r->checks = k;
	r->check_count++;
	error = begin(k, msg->deadline_ms);
	if (error)
		finish(k, error, strerrordesc_np(error));
}

bool niwa_check_message(struct niwa_relay *r, struct niwa_relay_msg *msg)
{
	const struct niwa_check *k = r->checked;

	if (!k)
		return false;
	*msg = (struct niwa_relay_msg){
		.type = NIWA_RELAY_CHECKED, .ticket = k->ticket, .to = k->to, .to_port = k->to_port, .error = k->error};
	memcpy(msg->text, k->text, sizeof(msg->text));
	return true;
}

void niwa_check_sent(struct niwa_relay *r)
{
	struct niwa_check *k = r->checked;

	r->checked = k->next;
	check_free(k);
}

void niwa_check_free_all(struct niwa_relay *r)
{
	for (struct niwa_check **list = &r->checks; list; list = list == &r->checks ? &r->checked : NULL) {
		while (*list) {
			struct niwa_check *k = *list;

			*list = k->next;
			check_free(k);
		}
	}
}
