/* SPDX-License-Identifier: MIT
 *
 * Messages to and from the engine. What has to be sent is kept as bits in the connection and written when the
 * socket takes it, so the queue needs no memory of its own and cannot outgrow the bound of connections.
 */
#include "relay/relay_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/ipc.h"

#define MESSAGES_A_TURN 64

/* ---- out ---- */

void niwa_engine_tell(struct niwa_conn *c, enum niwa_relay_type type)
{
	struct niwa_relay *r = c->relay;

	if (r->engine_lost)
		return;
	c->messages |= (uint8_t)(1u << type);
	if (c->in_out_queue)
		return;
	c->in_out_queue = true;
	c->next_out = NULL;
	if (r->out_last)
		r->out_last->next_out = c;
	else
		r->out_first = c;
	r->out_last = c;
	r->out_count++;
}

void niwa_engine_untell(struct niwa_conn *c, enum niwa_relay_type type)
{
	c->messages &= (uint8_t) ~(1u << type); /* stays in the queue; nothing is sent for it */
}

static void compose(const struct niwa_conn *c, enum niwa_relay_type type, struct niwa_relay_msg *m)
{
	*m = (struct niwa_relay_msg){.type = type, .ticket = c->ticket, .service = c->service, .port = c->port};
	m->client = c->client;
	m->client_port = c->client_port;
	m->accepted_us = c->accepted_us;
	if (type == NIWA_RELAY_OPEN && c->six)
		(void)niwa_client_addr_text(c, m->text);
	if (type == NIWA_RELAY_OPEN)
		m->flags = (c->six ? NIWA_RELAY_V6 : 0) | (c->has_bytes ? NIWA_RELAY_BYTES : 0) |
			   (c->again ? NIWA_RELAY_AGAIN : 0);
	if (type == NIWA_RELAY_RESULT || type == NIWA_RELAY_GONE)
		m->error = c->error;
	if (type == NIWA_RELAY_RESULT || type == NIWA_RELAY_CLOSED) {
		m->to = c->to;
		m->to_port = c->to_port;
		m->connected_us = c->connected_us;
	}
	if (type == NIWA_RELAY_CLOSED) {
		m->error = c->closed_error;
		m->first_byte_us = c->first_byte_us;
		m->bytes_in = c->bytes[NIWA_IN];
		m->bytes_out = c->bytes[NIWA_OUT];
	}
}

static void sent(struct niwa_conn *c, enum niwa_relay_type type)
{
	niwa_engine_untell(c, type);
	if (type == NIWA_RELAY_OPEN) {
		c->told = true;
		c->told_bytes = c->has_bytes;
		c->again = false;
	}
}

/* Nobody will answer them any more: they are told so at once, in their protocol. */
static void give_up_waiting(struct niwa_relay *r)
{
	struct niwa_conn *c;
	size_t pos = 0;

	while ((c = niwa_map_next(r->tickets, &pos))) /* changes no entry of the map, see hello() */
		if (c->state != NIWA_CONN_CONNECTING && niwa_conn_handles(c->state, NIWA_EVENT_HELLO))
			niwa_conn_event(c, NIWA_EVENT_DEADLINE, NULL);
}

static void lost(struct niwa_relay *r, const char *why)
{
	if (r->engine_lost)
		return;
	r->engine_lost = true;
	niwa_log(NIWA_LOG_ERR, NULL,
		 "the engine's socket has ended (%s): no app can be woken; niwad starts a new relay", why);
	(void)sd_event_source_set_enabled(r->engine_io, SD_EVENT_OFF);
	niwa_relay_drain(r, "no engine");
	give_up_waiting(r);
}

/* 0, -EAGAIN: later; after any other error nothing is ever sent again. */
static int send_one(struct niwa_relay *r, const struct niwa_relay_msg *m)
{
	int ret = niwa_ipc_send(r->engine, m, sizeof(*m), NULL, 0);

	if (ret == -EAGAIN || ret == -ENOBUFS || ret == -ENOMEM)
		return -EAGAIN;
	if (ret < 0)
		lost(r, strerrordesc_np(-ret));
	return ret;
}

static int flush_conn(struct niwa_relay *r, struct niwa_conn *c)
{
	static const enum niwa_relay_type order[] = {NIWA_RELAY_OPEN, NIWA_RELAY_RESULT, NIWA_RELAY_GONE,
						     NIWA_RELAY_CLOSED};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(order); i++) {
		struct niwa_relay_msg m;
		int ret;

		if (!(c->messages & (1u << order[i])))
			continue;
		compose(c, order[i], &m);
		ret = send_one(r, &m);
		if (ret < 0)
			return ret;
		sent(c, order[i]);
	}
	return 0;
}

static int flush_checks(struct niwa_relay *r)
{
	struct niwa_relay_msg m;
	int ret = 0;

	while (ret == 0 && niwa_check_message(r, &m)) {
		ret = send_one(r, &m);
		if (ret == 0)
			niwa_check_sent(r);
	}
	return ret;
}

static int flush_stats(struct niwa_relay *r)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_STATS, .limits = r->limits};
	int ret;

	if (!r->want_stats)
		return 0;
	memcpy(m.counters, r->counters, sizeof(m.counters));
	ret = send_one(r, &m);
	if (ret == 0)
		r->want_stats = false;
	return ret;
}

/* Before anything else: until it is read nobody accepts. */
static int flush_draining(struct niwa_relay *r)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_DRAINING};
	int ret;

	if (!r->want_draining)
		return 0;
	ret = send_one(r, &m);
	if (ret == 0)
		r->want_draining = false;
	return ret;
}

static void take_first(struct niwa_relay *r)
{
	struct niwa_conn *c = r->out_first;

	r->out_first = c->next_out;
	if (!r->out_first)
		r->out_last = NULL;
	c->next_out = NULL;
	c->in_out_queue = false;
	r->out_count--;
	niwa_relay_may_reap(c);
}

static void want_writable(struct niwa_relay *r, bool want)
{
	if (want == r->out_blocked || r->engine_lost)
		return;
	r->out_blocked = want;
	(void)sd_event_source_set_io_events(r->engine_io, EPOLLIN | (want ? (uint32_t)EPOLLOUT : 0));
}

void niwa_engine_flush(struct niwa_relay *r)
{
	int ret = 0;

	if (!r->engine_lost) {
		ret = flush_draining(r);
		if (ret == 0)
			ret = flush_checks(r);
		if (ret == 0)
			ret = flush_stats(r);
	}
	while (ret == 0 && r->out_first) {
		if (!r->engine_lost)
			ret = flush_conn(r, r->out_first);
		if (ret == 0 || r->engine_lost) {
			r->out_first->messages = 0;
			take_first(r);
			ret = 0;
		}
	}
	want_writable(r, ret == -EAGAIN);
	niwa_listen_update(r);
}

/* ---- in ---- */

static void hello(struct niwa_relay *r, const struct niwa_relay_msg *m)
{
	struct niwa_conn *c;
	size_t pos = 0, asked = 0;

	niwa_relay_apply_limits(r, &m->limits);
	niwa_client_addr_hello(r, m);
	r->want_draining = r->draining; /* perhaps nobody has heard of it yet */
	/* HELLO changes no entry of the map: connections are freed at the end of the turn. */
	while ((c = niwa_map_next(r->tickets, &pos))) {
		asked += niwa_conn_handles(c->state, NIWA_EVENT_HELLO);
		niwa_conn_event(c, NIWA_EVENT_HELLO, NULL);
	}
	niwa_log(NIWA_LOG_INFO, NULL, "an engine says hello: %zu connections wait for it, %llu are open", asked,
		 (unsigned long long)r->counters[NIWA_COUNT_OPEN]);
}

static void listen_on(struct niwa_relay *r, const struct niwa_relay_msg *m, int *fds, size_t count)
{
	int ret;

	if (r->draining)
		return;
	if (count != 1) {
		niwa_log(NIWA_LOG_ERR, NULL, "LISTEN for host port %u came with %zu descriptors, 1 is needed",
			 m->host_port, count);
		return;
	}
	if ((m->flags & NIWA_RELAY_V6) && niwa_listen_has6(r))
		return;
	ret = niwa_listen_add(r, NIWA_TAKE_FD(fds[0]), m->flags & NIWA_RELAY_V6 ? NULL : m);
	if (ret < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "listen on published port %u: %s", m->host_port,
			 ret == -EINVAL ? "the descriptor is not a listening TCP socket" : strerrordesc_np(-ret));
}

/* The engine's answers about one connection. */
static bool conn_message(struct niwa_relay *r, const struct niwa_relay_msg *m)
{
	static const struct {
		enum niwa_relay_type type;
		enum niwa_conn_event event;
	} events[] = {
		{NIWA_RELAY_WAIT, NIWA_EVENT_WAIT},     {NIWA_RELAY_HOLD, NIWA_EVENT_HOLD},
		{NIWA_RELAY_READY, NIWA_EVENT_READY},   {NIWA_RELAY_FAIL, NIWA_EVENT_FAIL},
		{NIWA_RELAY_REFUSE, NIWA_EVENT_REFUSE},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(events); i++) {
		struct niwa_conn *c;

		if (events[i].type != m->type)
			continue;
		c = niwa_map_get(r->tickets, m->ticket);
		if (c)
			niwa_conn_event(c, events[i].event, m);
		return true;
	}
	return false;
}

static void handle(struct niwa_relay *r, const struct niwa_relay_msg *m, int *fds, size_t count)
{
	if (conn_message(r, m))
		return;
	switch (m->type) {
	case NIWA_RELAY_HELLO:
		hello(r, m);
		break;
	case NIWA_RELAY_LISTEN:
		listen_on(r, m, fds, count);
		break;
	case NIWA_RELAY_UNLISTEN:
		niwa_listen_remove(r, m);
		break;
	case NIWA_RELAY_CHECK:
		niwa_check_start(r, m);
		break;
	case NIWA_RELAY_ASK_STATS:
		r->want_stats = true;
		break;
	case NIWA_RELAY_DRAIN:
		niwa_relay_drain(r, "the engine asks for it");
		break;
	default:
		if (niwa_log_allow(&r->log_engine, 3, 60 * NIWA_SEC))
			niwa_log(NIWA_LOG_WARN, NULL, "a message of unknown type %u from the engine was ignored",
				 m->type);
	}
}

static void bad_size(struct niwa_relay *r, ssize_t n)
{
	if (niwa_log_allow(&r->log_engine, 3, 60 * NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, NULL,
			 "a message of %zd bytes from the engine was ignored, %zu are right: is niwad of another "
			 "version?",
			 n, sizeof(struct niwa_relay_msg));
}

static int on_engine(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct niwa_relay *r = arg;

	/* a socket that became writable is flushed at the end of the turn */
	for (int i = 0; i < MESSAGES_A_TURN && !r->engine_lost; i++) {
		int fds[NIWA_IPC_FDS_MAX];
		size_t count = 0;
		struct niwa_relay_msg m;
		ssize_t n = niwa_ipc_recv(fd, &m, sizeof(m), fds, &count);

		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n == sizeof(m))
			handle(r, &m, fds, count);
		else if (n > 0 || n == -EMSGSIZE || (n == 0 && !(events & EPOLLHUP)))
			bad_size(r, n);
		else
			lost(r, n ? strerrordesc_np((int)-n) : "end of file");
		for (size_t k = 0; k < count; k++)
			niwa_fd_close(&fds[k]);
	}
	return 0;
}

int niwa_engine_attach(struct niwa_relay *r, struct niwa_error *err)
{
	int type = 0, ret;
	socklen_t len = sizeof(type);

	if (getsockopt(r->engine, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "the engine's socket (descriptor %d)", r->engine);
	if (type != SOCK_SEQPACKET)
		return niwa_fail(err, NIWA_PERMANENT, 0, "the engine's socket (descriptor %d) is not SOCK_SEQPACKET",
				 r->engine);
	ret = niwa_fd_nonblock(r->engine);
	if (ret >= 0)
		ret = sd_event_add_io(r->event, &r->engine_io, r->engine, EPOLLIN, on_engine, r);
	if (ret < 0)
		return niwa_fail(err, NIWA_PERMANENT, -ret, "watch the engine's socket");
	return 0;
}
