/* SPDX-License-Identifier: MIT
 *
 * A connection's life: the states, the only setter, and one table that says what each event does in each state. An
 * arm that is missing means that the event is ignored there (messages that cross on the way). Nothing is freed here.
 */
#include "relay/relay_private.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

_Static_assert(sizeof(struct niwa_conn) <= 272, "a held connection has to stay small");

#define BIT(state) (1u << NIWA_CONN_##state)
#define ENDS       (BIT(ANSWERING) | BIT(DEAD))

static const struct {
	const char *name;
	unsigned may; /* states that may follow */
	bool waiting; /* counts for limits.waiting */
} states[NIWA_CONN_STATES] = {
	[NIWA_CONN_NEW] = {"new", BIT(ASKING) | ENDS},
	[NIWA_CONN_ASKING] = {"asking", BIT(ASKING) | BIT(WAITING) | BIT(HELD) | BIT(QUEUED) | BIT(CONNECTING) | ENDS,
			      true},
	[NIWA_CONN_WAITING] = {"waiting", BIT(ASKING) | BIT(WAITING) | BIT(HELD) | BIT(QUEUED) | BIT(CONNECTING) | ENDS,
			       true},
	[NIWA_CONN_HELD] = {"held", BIT(ASKING) | BIT(HELD) | BIT(QUEUED) | BIT(CONNECTING) | ENDS, true},
	[NIWA_CONN_QUEUED] = {"queued", BIT(ASKING) | BIT(HELD) | BIT(QUEUED) | BIT(CONNECTING) | ENDS, true},
	[NIWA_CONN_CONNECTING] = {"connecting", BIT(ASKING) | BIT(HELD) | BIT(CONNECTING) | BIT(SPLICED) | ENDS, true},
	[NIWA_CONN_SPLICED] = {"spliced", BIT(LINGERING) | BIT(DEAD)},
	[NIWA_CONN_ANSWERING] = {"answering", BIT(LINGERING) | BIT(DEAD)},
	[NIWA_CONN_LINGERING] = {"lingering", BIT(DEAD)},
	[NIWA_CONN_DEAD] = {"dead", 0},
};

const char *niwa_conn_state_name(enum niwa_conn_state state)
{
	return states[state].name;
}

bool niwa_conn_may(enum niwa_conn_state from, enum niwa_conn_state to)
{
	return states[from].may & (1u << to);
}

static void log_move(const struct niwa_conn *c, enum niwa_conn_state to)
{
	char service[INET_ADDRSTRLEN], client[INET6_ADDRSTRLEN];

	if (!c->relay->log_moves)
		return;
	niwa_log(NIWA_LOG_DEBUG, NULL, "%s:%u from %s:%u ticket=%llu %s -> %s",
		 inet_ntop(AF_INET, &c->service, service, sizeof(service)), c->port, niwa_client_addr_text(c, client),
		 c->client_port, (unsigned long long)c->ticket, states[c->state].name, states[to].name);
}

static void fd_queue_add(struct niwa_conn *c)
{
	struct niwa_relay *r = c->relay;

	c->in_fd_queue = true;
	c->next_queued = NULL;
	c->prev_queued = r->queued_last;
	if (r->queued_last)
		r->queued_last->next_queued = c;
	else
		r->queued_first = c;
	r->queued_last = c;
}

static void fd_queue_del(struct niwa_conn *c)
{
	struct niwa_relay *r = c->relay;

	if (c->prev_queued)
		c->prev_queued->next_queued = c->next_queued;
	else
		r->queued_first = c->next_queued;
	if (c->next_queued)
		c->next_queued->prev_queued = c->prev_queued;
	else
		r->queued_last = c->prev_queued;
	c->next_queued = c->prev_queued = NULL;
	c->in_fd_queue = false;
}

void niwa_conn_set(struct niwa_conn *c, enum niwa_conn_state state, uint64_t at_us)
{
	struct niwa_relay *r = c->relay;

	assert(niwa_conn_may(c->state, state));
	if (c->state != state)
		log_move(c, state);
	if (c->in_fd_queue && state != NIWA_CONN_QUEUED)
		fd_queue_del(c);
	r->counters[NIWA_COUNT_WAITING] += (uint64_t)states[state].waiting - (uint64_t)states[c->state].waiting;
	if (c->source && (state == NIWA_CONN_SPLICED || state == NIWA_CONN_DEAD)) {
		niwa_source_put(r, c->source);
		c->source = NULL;
	}
	c->state = (uint8_t)state;
	if (state == NIWA_CONN_QUEUED && !c->in_fd_queue)
		fd_queue_add(c);
	niwa_relay_arm(r, c, at_us);
}

struct niwa_source *niwa_source_get(struct niwa_relay *r, uint64_t addr)
{
	struct niwa_source *s = niwa_map_get(r->sources, addr);

	if (!s) {
		s = niwa_zalloc(sizeof(*s));
		if (!s)
			return NULL;
		s->addr = addr;
		if (niwa_map_put(r->sources, addr, s) < 0) {
			free(s);
			return NULL;
		}
	}
	s->count++;
	return s;
}

void niwa_source_put(struct niwa_relay *r, struct niwa_source *s)
{
	if (--s->count)
		return;
	(void)niwa_map_del(r->sources, s->addr);
	free(s);
}

struct niwa_conn *niwa_conn_new(struct niwa_relay *r, int fd)
{
	struct niwa_conn *c = niwa_zalloc(sizeof(*c));

	if (!c || niwa_deadlines_reserve(&r->deadlines, (uint32_t)r->counters[NIWA_COUNT_OPEN] + 1) < 0)
		goto fail;
	c->relay = r;
	c->ticket = r->last_ticket + 1;
	if (niwa_map_put(r->tickets, c->ticket, c) < 0)
		goto fail;
	r->last_ticket++;
	r->counters[NIWA_COUNT_OPEN]++;
	r->fds++;
	c->fd[NIWA_CLIENT] = fd;
	c->fd[NIWA_INSTANCE] = -1;
	c->accepted_us = niwa_now_us();
	return c;
fail:
	free(c);
	(void)close(fd);
	return NULL;
}

int niwa_conn_watch(struct niwa_conn *c, int side)
{
	/* The side travels in the lowest bit of the pointer. Edges: one registration for the socket's whole life. */
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 .data.u64 = (uint64_t)(uintptr_t)c | (uint64_t)side};

	if (epoll_ctl(c->relay->epoll, EPOLL_CTL_ADD, c->fd[side], &ev) < 0)
		return -errno;
	return 0;
}

void niwa_conn_close_side(struct niwa_conn *c, int side)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (c->fd[side] < 0)
		return;
	if (c->reset)
		(void)setsockopt(c->fd[side], SOL_SOCKET, SO_LINGER, &now, sizeof(now)); /* else an ordinary close */
	niwa_fd_close(&c->fd[side]);
	c->relay->fds--;
}

static void log_access(const struct niwa_conn *c, int error)
{
	char service[INET_ADDRSTRLEN], client[INET6_ADDRSTRLEN], to[INET_ADDRSTRLEN];
	uint64_t now = niwa_now_us();

	if (!c->relay->log_moves)
		return;
	niwa_log(NIWA_LOG_DEBUG, NULL,
		 "%s:%u from %s:%u to %s:%u state=%s held_us=%llu took_us=%llu in=%llu out=%llu%s%s",
		 inet_ntop(AF_INET, &c->service, service, sizeof(service)), c->port, niwa_client_addr_text(c, client),
		 c->client_port, inet_ntop(AF_INET, &c->to, to, sizeof(to)), c->to_port, states[c->state].name,
		 (unsigned long long)((c->connected_us ? c->connected_us : now) - c->accepted_us),
		 (unsigned long long)(now - c->accepted_us), (unsigned long long)c->bytes[NIWA_IN],
		 (unsigned long long)c->bytes[NIWA_OUT], error ? " error=" : "", error ? strerror(error) : "");
}

void niwa_conn_die(struct niwa_conn *c, int error)
{
	if (c->state == NIWA_CONN_DEAD)
		return;
	log_access(c, error);
	niwa_splice_release(c);
	niwa_conn_close_side(c, NIWA_CLIENT);
	niwa_conn_close_side(c, NIWA_INSTANCE);
	niwa_engine_untell(c, NIWA_RELAY_OPEN);
	if (c->connected_us) {
		c->closed_error = error;
		niwa_engine_tell(c, NIWA_RELAY_CLOSED);
	} else if (c->told && !c->answered) {
		niwa_engine_untell(c, NIWA_RELAY_RESULT);
		c->error = error == ETIMEDOUT ? ETIMEDOUT : 0;
		niwa_engine_tell(c, NIWA_RELAY_GONE);
	}
	niwa_conn_set(c, NIWA_CONN_DEAD, 0);
	niwa_relay_may_reap(c);
}

static uint64_t after_ms(uint32_t ms)
{
	return niwa_now_us() + ms * NIWA_MS;
}

static void ask(struct niwa_conn *c, uint64_t at_us)
{
	niwa_engine_tell(c, NIWA_RELAY_OPEN);
	niwa_conn_set(c, NIWA_CONN_ASKING, at_us);
}

void niwa_conn_begin(struct niwa_conn *c)
{
	ask(c, after_ms(c->relay->limits.ask_ms));
}

/* ---- events: the client ---- */

static void note_bytes(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	c->has_bytes = true;
}

static void first_byte(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	c->has_bytes = true;
	if (!c->told_bytes)
		ask(c, after_ms(c->relay->limits.ask_ms));
}

static void leave(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	niwa_conn_die(c, 0);
}

static void pump(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	niwa_splice_pump(c);
}

static void reply_news(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	niwa_reply_bytes(c);
}

static void linger_news(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	niwa_linger_bytes(c);
}

/* ---- events: connecting ---- */

static void connect_failed(struct niwa_conn *c, int error)
{
	niwa_conn_close_side(c, NIWA_INSTANCE);
	if (c->orphan) { /* the engine that is there now does not know this ticket */
		c->orphan = false;
		c->again = true;
		ask(c, c->held_until_us);
		return;
	}
	c->error = error;
	niwa_engine_tell(c, NIWA_RELAY_RESULT);
	niwa_conn_set(c, NIWA_CONN_HELD, c->held_until_us);
}

static void connected(struct niwa_conn *c)
{
	const int on = 1, none = 0, idle_s = 300, interval_s = 30, count = 4;
	struct niwa_relay *r = c->relay;

	if (niwa_client_addr_tell(c) < 0) {
		connect_failed(c, ENOMEM);
		return;
	}
	c->connected_us = c->active_us = niwa_now_us();
	c->orphan = false;
	c->error = 0;
	/* Options that only make it faster or tidier: a socket without them (a test's) works too. */
	(void)setsockopt(c->fd[NIWA_CLIENT], SOL_SOCKET, SO_BUF_LOCK, &none, sizeof(none));
	for (int side = NIWA_CLIENT; side <= NIWA_INSTANCE; side++) {
		(void)setsockopt(c->fd[side], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		(void)setsockopt(c->fd[side], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		(void)setsockopt(c->fd[side], IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
		(void)setsockopt(c->fd[side], IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
		(void)setsockopt(c->fd[side], IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
		c->readable[side] = c->writable[side] = true;
	}
	r->counters[NIWA_COUNT_SPLICED]++;
	niwa_engine_tell(c, NIWA_RELAY_RESULT);
	niwa_conn_set(c, NIWA_CONN_SPLICED, r->limits.idle_ms ? after_ms(r->limits.idle_ms) : 0);
	niwa_splice_pump(c);
}

static void check_connected(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	struct pollfd p = {.fd = c->fd[NIWA_INSTANCE], .events = POLLOUT};
	socklen_t len = sizeof(int);
	int error = 0;

	if (poll(&p, 1, 0) <= 0)
		return;
	if (getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error)
		connect_failed(c, error);
	else
		connected(c);
}

/* One SYN. An unanswered one is not waited for: the kernel repeats it after a second, and to an instance just started
 * the first may be lost (before Linux 6.8 the kernel learns late that a new veth is up). A socket that is closed before
 * its SYN is answered leaves nothing behind, so the app never sees more than one connection. */
static void try_connect(struct niwa_conn *c)
{
	uint64_t at_us = after_ms(NIWA_RELAY_REPEAT_MS << c->repeats);
	int fd = niwa_client_addr_dial(c);

	if (c->repeats == NIWA_RELAY_REPEATS || at_us > c->connect_until_us)
		at_us = c->connect_until_us;
	niwa_conn_set(c, NIWA_CONN_CONNECTING, at_us);
	if (fd < 0) {
		connect_failed(c, -fd);
		return;
	}
	c->fd[NIWA_INSTANCE] = fd;
	c->relay->fds++;
	if (niwa_conn_watch(c, NIWA_INSTANCE) < 0)
		connect_failed(c, ENOMEM);
	else
		check_connected(c, NULL); /* on this host it is usually there already */
}

static void start_connect(struct niwa_conn *c)
{
	c->connect_until_us = after_ms(c->relay->limits.connect_ms);
	if (c->connect_until_us > c->held_until_us)
		c->connect_until_us = c->held_until_us;
	c->repeats = 0;
	try_connect(c);
}

void niwa_conn_connect_queued(struct niwa_relay *r)
{
	while (r->queued_first && r->fds < r->fd_limit)
		start_connect(r->queued_first);
}

/* ---- events: the engine ---- */

static void learn_protocol(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	if (msg->protocol >= NIWA_PROTO_COUNT)
		return;
	c->protocol = (uint8_t)msg->protocol;
	c->protocol_known = true;
	niwa_listen_know(c->relay, c->service, c->port, msg->protocol);
}

static void wait_first_byte(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	uint32_t ms = msg->deadline_ms ? msg->deadline_ms : c->relay->limits.first_byte_ms;

	if (msg->protocol != NIWA_PROTO_TCP) /* 0 in a WAIT: not told */
		learn_protocol(c, msg);
	if (c->has_bytes && !c->told_bytes)
		ask(c, after_ms(c->relay->limits.ask_ms));
	else
		niwa_conn_set(c, NIWA_CONN_WAITING, after_ms(ms));
}

static void note_hold(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	learn_protocol(c, msg);
	c->retry_after_s = msg->retry_after_s;
	c->held_until_us = after_ms(msg->deadline_ms ? msg->deadline_ms : c->relay->limits.ask_ms);
	c->orphan = false; /* the engine knows the ticket again */
}

static void hold(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	note_hold(c, msg);
	niwa_conn_set(c, NIWA_CONN_HELD, c->held_until_us);
}

static void ready(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	c->to = msg->to;
	c->to_port = msg->to_port;
	niwa_client_addr_ready(c, msg);
	if (!c->held_until_us)
		c->held_until_us = after_ms(c->relay->limits.ask_ms);
	if (c->relay->fds < c->relay->fd_limit)
		start_connect(c);
	else
		niwa_conn_set(c, NIWA_CONN_QUEUED, c->held_until_us);
}

static void fail(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	char text[sizeof(msg->text)];

	memcpy(text, msg->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	learn_protocol(c, msg);
	c->kind = (uint8_t)(msg->kind <= NIWA_CALLER ? msg->kind : NIWA_TEMPORARY);
	c->retry_after_s = msg->retry_after_s;
	c->answered = true;
	niwa_reply(c, text);
}

static void refuse(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	c->relay->counters[NIWA_COUNT_REFUSED]++;
	c->answered = true;
	c->reset = true;
	niwa_conn_die(c, ECONNRESET);
}

/* The old engine's word is void. What was promised to the client stays: its deadline goes on. */
static void ask_again(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	uint64_t at_us = c->deadline.at_us;

	if (c->state == NIWA_CONN_WAITING)
		at_us = after_ms(c->relay->limits.ask_ms);
	c->again = true;
	c->told_bytes = false;
	niwa_engine_untell(c, NIWA_RELAY_RESULT);
	ask(c, at_us);
}

static void note_orphan(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	c->orphan = true;
	c->told_bytes = false;
}

/* ---- events: deadlines ---- */

static void give_up(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	c->error = ETIMEDOUT;
	niwa_engine_untell(c, NIWA_RELAY_OPEN);
	niwa_engine_untell(c, NIWA_RELAY_RESULT);
	if (c->told)
		niwa_engine_tell(c, NIWA_RELAY_GONE);
	c->answered = true;
	c->kind = NIWA_TEMPORARY;
	niwa_reply(c, "The service did not become ready in time; please try again");
}

static void silent(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	niwa_conn_die(c, ETIMEDOUT);
}

static void connect_deadline(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	if (c->repeats == NIWA_RELAY_REPEATS || niwa_now_us() >= c->connect_until_us) {
		connect_failed(c, ETIMEDOUT);
		return;
	}
	check_connected(c, NULL); /* the answer may have come in this very turn */
	if (c->state != NIWA_CONN_CONNECTING)
		return;
	niwa_conn_close_side(c, NIWA_INSTANCE);
	c->repeats++;
	try_connect(c);
}

static void idle(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	uint64_t bound_us = niwa_splice_idle_bound(c);

	if (bound_us && c->active_us + bound_us <= niwa_now_us())
		niwa_conn_die(c, ETIMEDOUT);
	else
		niwa_relay_arm(c->relay, c, bound_us ? c->active_us + bound_us : 0);
}

static void linger_deadline(struct niwa_conn *c, const struct niwa_relay_msg *msg)
{
	niwa_linger_deadline(c);
}

/* ---- the table ---- */

#define BEFORE_READY                                                                                                   \
	[NIWA_EVENT_END] = leave, [NIWA_EVENT_RESET] = leave, [NIWA_EVENT_HELLO] = ask_again,                          \
	[NIWA_EVENT_HOLD] = hold, [NIWA_EVENT_READY] = ready, [NIWA_EVENT_FAIL] = fail, [NIWA_EVENT_REFUSE] = refuse

static void (*const table[NIWA_CONN_STATES][NIWA_CONN_EVENTS])(struct niwa_conn *c,
							       const struct niwa_relay_msg *msg) = {
	[NIWA_CONN_ASKING] = {BEFORE_READY, [NIWA_EVENT_BYTES] = note_bytes, [NIWA_EVENT_WAIT] = wait_first_byte,
			      [NIWA_EVENT_DEADLINE] = give_up},
	[NIWA_CONN_WAITING] = {BEFORE_READY, [NIWA_EVENT_BYTES] = first_byte, [NIWA_EVENT_WAIT] = wait_first_byte,
			       [NIWA_EVENT_DEADLINE] = silent},
	[NIWA_CONN_HELD] = {BEFORE_READY, [NIWA_EVENT_BYTES] = note_bytes, [NIWA_EVENT_DEADLINE] = give_up},
	[NIWA_CONN_QUEUED] = {BEFORE_READY, [NIWA_EVENT_BYTES] = note_bytes, [NIWA_EVENT_DEADLINE] = give_up},
	[NIWA_CONN_CONNECTING] = {[NIWA_EVENT_BYTES] = note_bytes,
				  [NIWA_EVENT_END] = leave,
				  [NIWA_EVENT_RESET] = leave,
				  [NIWA_EVENT_INSTANCE] = check_connected,
				  [NIWA_EVENT_DEADLINE] = connect_deadline,
				  [NIWA_EVENT_HELLO] = note_orphan,
				  [NIWA_EVENT_HOLD] = note_hold,
				  [NIWA_EVENT_FAIL] = fail,
				  [NIWA_EVENT_REFUSE] = refuse},
	[NIWA_CONN_SPLICED] = {[NIWA_EVENT_BYTES] = pump,
			       [NIWA_EVENT_INSTANCE] = pump,
			       [NIWA_EVENT_DEADLINE] = idle,
			       [NIWA_EVENT_REFUSE] = refuse},
	[NIWA_CONN_ANSWERING] = {[NIWA_EVENT_BYTES] = reply_news, [NIWA_EVENT_DEADLINE] = leave},
	[NIWA_CONN_LINGERING] = {[NIWA_EVENT_BYTES] = linger_news,
				 [NIWA_EVENT_INSTANCE] = linger_news,
				 [NIWA_EVENT_DEADLINE] = linger_deadline},
};

bool niwa_conn_handles(enum niwa_conn_state state, enum niwa_conn_event event)
{
	return table[state][event] != NULL;
}

void niwa_conn_event(struct niwa_conn *c, enum niwa_conn_event event, const struct niwa_relay_msg *msg)
{
	if (table[c->state][event])
		table[c->state][event](c, msg);
}

/* What a waiting client did. Its bytes stay where they are. */
static enum niwa_conn_event look_at_client(const struct niwa_conn *c, uint32_t events)
{
	ssize_t n;
	char byte;

	if (events & (EPOLLERR | EPOLLHUP))
		return NIWA_EVENT_RESET;
	n = recv(c->fd[NIWA_CLIENT], &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n > 0)
		return NIWA_EVENT_BYTES;
	if (n == 0)
		return NIWA_EVENT_END;
	return errno == EAGAIN || errno == EINTR ? NIWA_CONN_EVENTS : NIWA_EVENT_RESET;
}

void niwa_conn_io(struct niwa_conn *c, int side, uint32_t events)
{
	enum niwa_conn_event event = NIWA_EVENT_BYTES;

	if (c->fd[side] < 0)
		return; /* closed earlier in this turn */
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable[side] = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		c->writable[side] = true;
	if (side == NIWA_INSTANCE)
		event = NIWA_EVENT_INSTANCE;
	else if (states[c->state].waiting)
		event = events & ~(uint32_t)EPOLLOUT ? look_at_client(c, events) : NIWA_CONN_EVENTS;
	if (event != NIWA_CONN_EVENTS)
		niwa_conn_event(c, event, NULL);
}
