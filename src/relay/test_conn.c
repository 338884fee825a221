/* SPDX-License-Identifier: MIT
 *
 * Every state with every event: a relay inside the test process, connections over socket pairs, brought into each
 * state by events alone. The table here says what has to come out; it is written from the protocol's description
 * (base/relay_protocol.h), not from conn.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ipc.h"
#include "base/memory.h"
#include "relay/relay_private.h"
#include "relay/test_rig.h"

struct world {
	struct niwa_relay *relay;
	int engine; /* our end */
	int client; /* our end of the connection */
	int server; /* listens and is never accepted from */
	uint16_t to_port;
	struct niwa_conn *conn;
	uint64_t ticket;
	uint64_t far_us; /* a deadline that does not come */
};

static void open_world(struct world *w)
{
	struct niwa_error err;
	int pair[2];

	*w = (struct world){.client = -1, .far_us = niwa_now_us() + 3600 * NIWA_SEC};
	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), errno);
	w->engine = pair[0];
	assert_int_equal(niwa_relay_new(-1, pair[1], &w->relay, &err), 0);
	w->server = rig_listen(htonl(INADDR_LOOPBACK), &w->to_port);
}

static void close_world(struct world *w)
{
	niwa_fd_close(&w->client);
	niwa_fd_close(&w->server);
	niwa_relay_free(&w->relay);
	niwa_fd_close(&w->engine);
}

static void new_conn(struct world *w)
{
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), errno);
	niwa_fd_close(&w->client);
	w->client = pair[0];
	w->conn = niwa_conn_new(w->relay, pair[1]);
	assert_non_null(w->conn);
	w->ticket = w->conn->ticket;
	w->conn->source = niwa_source_get(w->relay, 1);
	w->conn->protocol = NIWA_PROTO_HTTP;
	w->conn->protocol_known = true;
	w->conn->held_until_us = w->far_us;
}

static void event(struct world *w, enum niwa_conn_event e)
{
	struct niwa_relay_msg m = {.protocol = NIWA_PROTO_HTTP, .to = htonl(INADDR_LOOPBACK), .to_port = w->to_port};

	niwa_conn_event(w->conn, e, &m);
}

/* Fills the sending buffer towards the client, so that an answer cannot leave. */
static void fill_buffer(struct world *w)
{
	static const char junk[4096];

	while (send(w->conn->fd[NIWA_CLIENT], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
}

/* As READY does, but without the look that finds it connected already. */
static void begin_connect(struct world *w)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(w->to_port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	niwa_conn_set(w->conn, NIWA_CONN_CONNECTING, w->far_us);
	(void)connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	w->conn->fd[NIWA_INSTANCE] = fd;
	w->relay->fds++;
}

static void reach(struct world *w, enum niwa_conn_state state)
{
	new_conn(w);
	if (state == NIWA_CONN_NEW)
		return;
	niwa_conn_begin(w->conn);
	niwa_engine_flush(w->relay);
	switch (state) {
	case NIWA_CONN_NEW:
	case NIWA_CONN_ASKING:
	case NIWA_CONN_STATES:
		break;
	case NIWA_CONN_WAITING:
		event(w, NIWA_EVENT_WAIT);
		break;
	case NIWA_CONN_HELD:
		event(w, NIWA_EVENT_HOLD);
		break;
	case NIWA_CONN_QUEUED: {
		uint32_t limit = w->relay->fd_limit;

		w->relay->fd_limit = 0;
		event(w, NIWA_EVENT_READY);
		w->relay->fd_limit = limit;
		break;
	}
	case NIWA_CONN_CONNECTING:
		begin_connect(w);
		break;
	case NIWA_CONN_SPLICED:
		event(w, NIWA_EVENT_READY);
		break;
	case NIWA_CONN_ANSWERING:
		fill_buffer(w);
		event(w, NIWA_EVENT_FAIL);
		break;
	case NIWA_CONN_LINGERING:
		event(w, NIWA_EVENT_FAIL);
		break;
	case NIWA_CONN_DEAD:
		niwa_conn_die(w->conn, 0);
		break;
	}
	if (w->conn->state != state)
		fail_msg("%s instead of %s", niwa_conn_state_name(w->conn->state), niwa_conn_state_name(state));
	niwa_engine_flush(w->relay);
}

/* The state after the event; columns: BYTES END RESET INSTANCE DEADLINE HELLO WAIT HOLD READY FAIL REFUSE. */
#define A NIWA_CONN_ASKING
#define W NIWA_CONN_WAITING
#define H NIWA_CONN_HELD
#define Q NIWA_CONN_QUEUED
#define C NIWA_CONN_CONNECTING
#define S NIWA_CONN_SPLICED
#define B NIWA_CONN_ANSWERING
#define L NIWA_CONN_LINGERING
#define D NIWA_CONN_DEAD
static const enum niwa_conn_state after[NIWA_CONN_STATES][NIWA_CONN_EVENTS] = {
	[NIWA_CONN_ASKING] = {A, D, D, A, L, A, W, H, S, L, D},
	[NIWA_CONN_WAITING] = {A, D, D, W, D, A, W, H, S, L, D},
	[NIWA_CONN_HELD] = {H, D, D, H, L, A, H, H, S, L, D},
	[NIWA_CONN_QUEUED] = {Q, D, D, Q, L, A, Q, H, S, L, D},
	[NIWA_CONN_CONNECTING] = {C, D, D, S, H, C, C, C, C, L, D},
	[NIWA_CONN_SPLICED] = {S, S, S, S, S, S, S, S, S, S, D},
	[NIWA_CONN_ANSWERING] = {B, B, B, B, D, B, B, B, B, B, B},
	[NIWA_CONN_LINGERING] = {L, L, L, L, D, L, L, L, L, L, L},
	[NIWA_CONN_DEAD] = {D, D, D, D, D, D, D, D, D, D, D},
};

static void every_event_in_every_state_leads_where_the_protocol_says(void **state)
{
	for (int s = NIWA_CONN_ASKING; s < NIWA_CONN_STATES; s++) {
		for (int e = 0; e < NIWA_CONN_EVENTS; e++) {
			struct world w;

			open_world(&w);
			reach(&w, s);
			event(&w, e);
			if (w.conn->state != after[s][e])
				fail_msg("%s, event %d: %s instead of %s", niwa_conn_state_name(s), e,
					 niwa_conn_state_name(w.conn->state), niwa_conn_state_name(after[s][e]));
			/* Freed at the end of the turn and not before, in whatever state it is cut. */
			assert_ptr_equal(niwa_map_get(w.relay->tickets, w.ticket), w.conn);
			close_world(&w);
		}
	}
}

/* What ends a ticket for the engine: 0 nothing, else the message's type; columns as above. */
static const struct {
	enum niwa_conn_state state;
	enum niwa_conn_event event;
	unsigned told; /* bits of message types */
} told[] = {
	{A, NIWA_EVENT_RESET, 1u << NIWA_RELAY_GONE},
	{A, NIWA_EVENT_DEADLINE, 1u << NIWA_RELAY_GONE},
	{A, NIWA_EVENT_FAIL, 0},
	{A, NIWA_EVENT_REFUSE, 0},
	{W, NIWA_EVENT_BYTES, 1u << NIWA_RELAY_OPEN},
	{W, NIWA_EVENT_END, 1u << NIWA_RELAY_GONE},
	{W, NIWA_EVENT_DEADLINE, 1u << NIWA_RELAY_GONE},
	{H, NIWA_EVENT_RESET, 1u << NIWA_RELAY_GONE},
	{H, NIWA_EVENT_DEADLINE, 1u << NIWA_RELAY_GONE},
	{H, NIWA_EVENT_HELLO, 1u << NIWA_RELAY_OPEN},
	{H, NIWA_EVENT_READY, 1u << NIWA_RELAY_RESULT},
	{Q, NIWA_EVENT_RESET, 1u << NIWA_RELAY_GONE},
	{C, NIWA_EVENT_RESET, 1u << NIWA_RELAY_GONE},
	{C, NIWA_EVENT_DEADLINE, 1u << NIWA_RELAY_RESULT},
	{C, NIWA_EVENT_FAIL, 0},
	{S, NIWA_EVENT_REFUSE, 1u << NIWA_RELAY_CLOSED},
	{B, NIWA_EVENT_DEADLINE, 0},
	{L, NIWA_EVENT_DEADLINE, 0},
};

static void the_engine_hears_of_each_end_once(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(told); i++) {
		struct world w;

		open_world(&w);
		reach(&w, told[i].state);
		event(&w, told[i].event);
		if (w.conn->messages != told[i].told)
			fail_msg("%s, event %d: messages %x instead of %x", niwa_conn_state_name(told[i].state),
				 told[i].event, w.conn->messages, told[i].told);
		close_world(&w);
	}
}

static void the_setter_allows_what_the_table_of_moves_says(void **state)
{
	unsigned moves = 0;

	for (int from = 0; from < NIWA_CONN_STATES; from++) {
		assert_false(niwa_conn_may(NIWA_CONN_DEAD, from));
		assert_false(niwa_conn_may(from, NIWA_CONN_NEW));
		assert_true(from == NIWA_CONN_DEAD || niwa_conn_may(from, NIWA_CONN_DEAD));
		for (int to = 0; to < NIWA_CONN_STATES; to++)
			moves += niwa_conn_may(from, to);
	}
	assert_int_equal(moves, 40);
	assert_false(niwa_conn_may(NIWA_CONN_SPLICED, NIWA_CONN_HELD));
	assert_false(niwa_conn_may(NIWA_CONN_ANSWERING, NIWA_CONN_CONNECTING));
}

static void counters_and_sources_are_back_at_zero_after_any_path(void **state)
{
	struct world w;

	open_world(&w);
	for (int s = NIWA_CONN_ASKING; s < NIWA_CONN_STATES; s++) {
		reach(&w, s);
		niwa_conn_die(w.conn, 0);
		assert_true(niwa_relay_turn(w.relay, 0) >= 0);
		assert_true(niwa_relay_turn(w.relay, 0) >= 0);
		assert_int_equal(w.relay->counters[NIWA_COUNT_OPEN], 0);
		assert_int_equal(w.relay->counters[NIWA_COUNT_WAITING], 0);
		assert_int_equal(w.relay->fds, 0);
		assert_int_equal(niwa_map_count(w.relay->sources), 0);
		assert_int_equal(niwa_map_count(w.relay->tickets), 0);
		assert_null(niwa_deadline_first(&w.relay->deadlines));
	}
	close_world(&w);
}

static void an_orphan_whose_connect_fails_asks_the_new_engine(void **state)
{
	struct world w;

	open_world(&w);
	reach(&w, NIWA_CONN_CONNECTING);
	event(&w, NIWA_EVENT_HELLO);
	assert_int_equal(w.conn->messages, 0);
	event(&w, NIWA_EVENT_DEADLINE);
	assert_int_equal(w.conn->state, NIWA_CONN_ASKING);
	assert_int_equal(w.conn->messages, 1u << NIWA_RELAY_OPEN);
	assert_true(w.conn->again);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_event_in_every_state_leads_where_the_protocol_says),
		cmocka_unit_test(the_engine_hears_of_each_end_once),
		cmocka_unit_test(the_setter_allows_what_the_table_of_moves_says),
		cmocka_unit_test(counters_and_sources_are_back_at_zero_after_any_path),
		cmocka_unit_test(an_orphan_whose_connect_fails_asks_the_new_engine),
	};

	rig_init("");
	niwa_log_set_level(NIWA_LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
