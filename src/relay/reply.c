/* SPDX-License-Identifier: MIT
 *
 * The end of a connection that cannot be served: an answer in the port's protocol, then a lingering close, so that
 * the answer is not overtaken by a reset because of bytes that nobody read (RFC 9112 section 9.6). Also the reset
 * that waits until what was delivered before has left.
 */
#include "relay/relay_private.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "relay/answer.h"

static uint64_t after_ms(uint32_t ms)
{
	return niwa_now_us() + ms * NIWA_MS;
}

static void reset(struct niwa_conn *c)
{
	c->relay->counters[NIWA_COUNT_REFUSED]++;
	c->reset = true;
	niwa_conn_die(c, ECONNRESET);
}

void niwa_reply(struct niwa_conn *c, const char *text)
{
	const struct niwa_answer answer = {
		.protocol = niwa_listen_protocol(c), .kind = c->kind, .retry_after_s = c->retry_after_s, .text = text};
	char buf[NIWA_ANSWER_MAX];
	size_t len = niwa_answer_format(&answer, buf, sizeof(buf));

	niwa_conn_close_side(c, NIWA_INSTANCE);
	if (len == 0 || niwa_splice_keep(c, NIWA_OUT, buf, len) < 0) {
		reset(c);
		return;
	}
	c->relay->counters[NIWA_COUNT_ANSWERED]++;
	c->listens = answer.protocol != NIWA_PROTO_POSTGRES;
	c->postgres = (struct niwa_postgres){0};
	niwa_conn_set(c, NIWA_CONN_ANSWERING, after_ms(c->relay->limits.linger_ms));
	niwa_reply_bytes(c);
}

/* Returns true when the client listens now; else it is dead or more has to come. */
static bool read_startup(struct niwa_conn *c)
{
	uint8_t buf[1024];

	for (;;) {
		ssize_t n = recv(c->fd[NIWA_CLIENT], buf, sizeof(buf), MSG_DONTWAIT);
		size_t at = 0, used;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0) {
			niwa_conn_die(c, 0);
			return false;
		}
		while (at < (size_t)n) {
			enum niwa_postgres_said said =
				niwa_postgres_feed(&c->postgres, buf + at, (size_t)n - at, &used);

			at += used;
			if (said == NIWA_POSTGRES_STARTUP)
				return true;
			if (said == NIWA_POSTGRES_MORE)
				continue;
			if (said != NIWA_POSTGRES_ENCRYPT ||
			    send(c->fd[NIWA_CLIENT], "N", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
				reset(c);
				return false;
			}
		}
	}
}

void niwa_reply_bytes(struct niwa_conn *c)
{
	int r;

	if (!c->listens) {
		c->listens = read_startup(c);
		if (!c->listens)
			return;
	}
	r = niwa_splice_flush_spill(c, NIWA_OUT);
	if (r == 0)
		niwa_linger(c);
	else if (r != -EAGAIN)
		niwa_conn_die(c, -r);
}

void niwa_linger(struct niwa_conn *c)
{
	(void)shutdown(c->fd[NIWA_CLIENT], SHUT_WR); /* fails when the client is gone: seen by the next line */
	c->discarded = 0;
	niwa_conn_set(c, NIWA_CONN_LINGERING, after_ms(c->relay->limits.linger_ms));
	niwa_linger_bytes(c);
}

void niwa_linger_bytes(struct niwa_conn *c)
{
	int fd = c->fd[NIWA_CLIENT] >= 0 ? c->fd[NIWA_CLIENT] : c->fd[NIWA_INSTANCE];
	static char buf[16384]; /* never looked at */

	while (c->discarded <= c->relay->limits.linger_bytes) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		c->discarded += (uint32_t)n;
	}
	niwa_conn_die(c, c->closed_error);
}

static bool send_queue_empty(const struct niwa_conn *c)
{
	int fd = c->fd[NIWA_CLIENT] >= 0 ? c->fd[NIWA_CLIENT] : c->fd[NIWA_INSTANCE], bytes = 0;

	return fd < 0 || ioctl(fd, SIOCOUTQ, &bytes) < 0 || bytes == 0;
}

void niwa_reset_after_drain(struct niwa_conn *c)
{
	c->reset = true;
	if (send_queue_empty(c)) {
		niwa_conn_die(c, c->closed_error);
		return;
	}
	c->discarded = 0;
	c->held_until_us = after_ms(c->relay->limits.linger_ms);
	niwa_conn_set(c, NIWA_CONN_LINGERING, niwa_now_us() + NIWA_RELAY_DRAIN_POLL_US);
}

void niwa_linger_deadline(struct niwa_conn *c)
{
	uint64_t now = niwa_now_us();

	if (!c->reset || now >= c->held_until_us || send_queue_empty(c))
		niwa_conn_die(c, c->closed_error);
	else
		niwa_relay_arm(c->relay, c, now + NIWA_RELAY_DRAIN_POLL_US);
}
