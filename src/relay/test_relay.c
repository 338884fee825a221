/* SPDX-License-Identifier: MIT
 *
 * niwa-relay as a program: the life of a connection from accept to its end, with the test as the engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/test_rig.h"

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	rig_start(rig, NULL, 0);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	rig_stop(*state);
	free(*state);
	return 0;
}

static void send_msg(struct rig *rig, struct niwa_relay_msg m)
{
	rig_send(rig, &m);
}

/* ---- asking and waiting ---- */

static void a_connection_is_announced_with_both_addresses(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(5);
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct niwa_relay_msg m = rig_expect(rig, NIWA_RELAY_OPEN);

	assert_return_code(getsockname(client, (struct sockaddr *)&sa, &len), errno);
	assert_int_equal(m.service, rig_service(5));
	assert_int_equal(m.port, NIWA_RIG_PORT);
	assert_int_equal(m.client, sa.sin_addr.s_addr);
	assert_int_equal(m.client_port, ntohs(sa.sin_port));
	assert_int_equal(m.flags, 0);
	assert_true(m.accepted_us > 0);
	close(client);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_GONE).ticket, m.ticket);
}

static void the_first_byte_of_a_client_that_is_waited_for_asks_again(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1);
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	struct niwa_relay_msg m;

	send_msg(rig, rig_wait(ticket, NIWA_PROTO_HTTP, 5000));
	rig_expect_none(rig, 30);
	rig_write(client, "G", 1);
	m = rig_expect(rig, NIWA_RELAY_OPEN);
	assert_int_equal(m.ticket, ticket);
	assert_int_equal(m.flags, NIWA_RELAY_BYTES);
	/* An engine that says WAIT to that again is not asked in a circle. */
	send_msg(rig, rig_wait(ticket, NIWA_PROTO_HTTP, 5000));
	rig_write(client, "E", 1);
	rig_expect_none(rig, 30);
	rig_reset(client);
}

static void bytes_that_came_before_the_wait_ask_at_once(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1);
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;

	rig_write(client, "GET", 3);
	rig_sleep_ms(20);
	send_msg(rig, rig_wait(ticket, NIWA_PROTO_HTTP, 5000));
	assert_int_equal(rig_expect(rig, NIWA_RELAY_OPEN).flags, NIWA_RELAY_BYTES);
	rig_reset(client);
}

static void a_silent_client_is_closed_at_its_deadline(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1);
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	struct niwa_relay_msg m;
	char buf[16];

	send_msg(rig, rig_wait(ticket, NIWA_PROTO_HTTP, 50));
	m = rig_expect(rig, NIWA_RELAY_GONE);
	assert_int_equal(m.ticket, ticket);
	assert_int_equal(m.error, ETIMEDOUT);
	assert_int_equal(rig_read_all(client, buf, sizeof(buf)), 0);
	close(client);
}

static void a_client_that_leaves_while_held_is_reported(void **state)
{
	struct rig *rig = *state;

	for (int how = 0; how < 3; how++) {
		int client = rig_client(1);
		uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
		struct niwa_relay_msg m;

		send_msg(rig, rig_hold(ticket, NIWA_PROTO_HTTP, 5000));
		if (how == 2)
			rig_write(client, "GET / HTTP/1.0\r\n\r\n", 18);
		rig_sleep_ms(10);
		if (how == 0)
			close(client);
		else
			rig_reset(client);
		m = rig_expect(rig, NIWA_RELAY_GONE);
		assert_int_equal(m.ticket, ticket);
		assert_int_equal(m.error, 0);
		/* The engine's answer crosses with it. */
		send_msg(rig, rig_fail(ticket, NIWA_PROTO_HTTP, "too late"));
		send_msg(rig, rig_ready(ticket, 9));
		rig_expect_none(rig, 20);
	}
	assert_int_equal(rig_stats(rig).counters[0], 0);
}

static void a_client_that_ends_its_half_after_its_request_is_still_held(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1), server, listener;
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	uint16_t port = 0;
	char buf[64];

	rig_write(client, "request", 7);
	assert_return_code(shutdown(client, SHUT_WR), errno);
	send_msg(rig, rig_hold(ticket, NIWA_PROTO_HTTP, 5000));
	rig_expect_none(rig, 30);
	listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	send_msg(rig, rig_ready(ticket, port));
	server = rig_accept(listener);
	assert_int_equal(rig_read_all(server, buf, sizeof(buf)), 7);
	rig_write(server, "answer", 6);
	close(server);
	assert_int_equal(rig_read_all(client, buf, sizeof(buf)), 6);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_RESULT).error, 0);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).ticket, ticket);
	close(client);
	close(listener);
}

static void a_client_that_dribbles_is_asked_about_once(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1);
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;

	send_msg(rig, rig_wait(ticket, NIWA_PROTO_HTTP, 5000));
	for (int i = 0; i < 50; i++) {
		rig_write(client, "x", 1);
		rig_sleep_ms(1);
	}
	assert_int_equal(rig_expect(rig, NIWA_RELAY_OPEN).flags, NIWA_RELAY_BYTES);
	send_msg(rig, rig_hold(ticket, NIWA_PROTO_HTTP, 5000));
	for (int i = 0; i < 50; i++)
		rig_write(client, "x", 1);
	rig_expect_none(rig, 30);
	rig_reset(client);
}

/* ---- connecting ---- */

static void bytes_pass_in_both_directions_and_are_counted(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	struct niwa_relay_msg m;

	rig_splice(rig, 1, &p);
	rig_write(p.client, "hello", 5);
	rig_read(p.server, "hello");
	rig_write(p.server, "welcome", 7);
	rig_read(p.client, "welcome");
	close(p.client);
	close(p.server);
	m = rig_expect(rig, NIWA_RELAY_CLOSED);
	assert_int_equal(m.ticket, p.ticket);
	assert_int_equal(m.bytes_in, 5);
	assert_int_equal(m.bytes_out, 7);
	assert_int_equal(m.error, 0);
	assert_int_equal(m.service, rig_service(1));
	assert_int_equal(m.to, htonl(INADDR_LOOPBACK));
	assert_true(m.first_byte_us >= m.connected_us);
	assert_int_equal(rig_stats(rig).counters[0], 0);
}

static void what_the_client_sent_while_held_arrives_first(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1), listener, server;
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	uint16_t port = 0;

	rig_write(client, "one ", 4);
	send_msg(rig, rig_hold(ticket, NIWA_PROTO_HTTP, 5000));
	rig_write(client, "two ", 4);
	listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	send_msg(rig, rig_ready(ticket, port));
	rig_write(client, "three", 5);
	server = rig_accept(listener);
	rig_read(server, "one two three");
	close(client);
	close(server);
	close(listener);
}

static void a_refused_connect_is_reported_and_the_client_still_held(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1), listener, server;
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	struct niwa_relay_msg m;
	uint16_t port = 0;

	listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	close(listener);
	send_msg(rig, rig_hold(ticket, NIWA_PROTO_HTTP, 5000));
	for (int i = 0; i < 3; i++) {
		send_msg(rig, rig_ready(ticket, port));
		m = rig_expect(rig, NIWA_RELAY_RESULT);
		assert_int_equal(m.error, ECONNREFUSED);
		assert_int_equal(m.ticket, ticket);
	}
	listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	send_msg(rig, rig_ready(ticket, port));
	server = rig_accept(listener);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_RESULT).error, 0);
	rig_write(client, "x", 1);
	rig_read(server, "x");
	close(client);
	close(server);
	close(listener);
}

static void a_connect_without_an_answer_times_out_and_can_be_failed(void **state)
{
	struct niwa_relay_limits limits = {.connect_ms = 60};
	struct rig *rig = *state;
	struct niwa_relay_msg m = {.type = NIWA_RELAY_HELLO, .limits = limits};
	uint16_t port = 0;
	int full = rig_listen(htonl(INADDR_LOOPBACK), &port), fill[3], client;
	char buf[4096];
	uint64_t ticket;

	/* A listener whose queue is full drops SYNs. */
	assert_return_code(listen(full, 0), errno);
	for (int i = 0; i < 3; i++) {
		struct sockaddr_in sa = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};

		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fill[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	rig_send(rig, &m);
	client = rig_client(1);
	ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	send_msg(rig, rig_ready(ticket, port));
	assert_int_equal(rig_expect(rig, NIWA_RELAY_RESULT).error, ETIMEDOUT);
	/* FAIL while the next connect is under way. */
	send_msg(rig, rig_ready(ticket, port));
	send_msg(rig, rig_fail(ticket, NIWA_PROTO_POP3, "gone"));
	assert_true(rig_read_all(client, buf, sizeof(buf)) > 0);
	assert_string_equal(buf, "-ERR [SYS/TEMP] gone\r\n");
	close(client);
	for (int i = 0; i < 3; i++)
		close(fill[i]);
	close(full);
	rig_expect_none(rig, 100);
}

/* ---- ends ---- */

static void the_client_may_end_its_half_and_read_on(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	char buf[64];

	rig_splice(rig, 1, &p);
	rig_write(p.client, "all", 3);
	assert_return_code(shutdown(p.client, SHUT_WR), errno);
	assert_int_equal(rig_read_all(p.server, buf, sizeof(buf)), 3);
	for (int i = 0; i < 5; i++) {
		rig_write(p.server, "more", 4);
		rig_read(p.client, "more");
		rig_sleep_ms(5);
	}
	close(p.server);
	assert_int_equal(rig_read_all(p.client, buf, sizeof(buf)), 0);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).error, 0);
	close(p.client);
}

static void the_server_may_end_its_half_and_read_on(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	char buf[64];

	rig_splice(rig, 1, &p);
	rig_write(p.server, "bye", 3);
	assert_return_code(shutdown(p.server, SHUT_WR), errno);
	assert_int_equal(rig_read_all(p.client, buf, sizeof(buf)), 3);
	for (int i = 0; i < 5; i++) {
		rig_write(p.client, "more", 4);
		rig_read(p.server, "more");
		rig_sleep_ms(5);
	}
	rig_expect_none(rig, 20);
	close(p.client);
	assert_int_equal(rig_read_all(p.server, buf, sizeof(buf)), 0);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).bytes_in, 20);
	close(p.server);
}

static void a_reset_of_the_client_resets_the_instance(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	char buf[64];

	rig_splice(rig, 1, &p);
	rig_write(p.client, "x", 1);
	rig_read(p.server, "x");
	rig_reset(p.client);
	assert_int_equal(rig_read_all(p.server, buf, sizeof(buf)), -ECONNRESET);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).error, ECONNRESET);
	close(p.server);
}

static void a_reset_of_the_instance_comes_after_what_it_had_sent(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 20; i++) {
		struct rig_pair p;
		char buf[4096];
		size_t got = 0;
		ssize_t n;

		rig_splice(rig, 1, &p);
		rig_write(p.server, "HTTP/1.1 413 too much", 21);
		rig_sleep_ms(2);
		rig_reset(p.server);
		while ((n = recv(p.client, buf + got, sizeof(buf) - got, 0)) > 0)
			got += (size_t)n;
		assert_int_equal(n, -1);
		assert_int_equal(errno, ECONNRESET);
		assert_int_equal(got, 21);
		assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).error, ECONNRESET);
		close(p.client);
	}
}

static void a_reset_waits_for_a_slow_client_to_take_what_was_delivered(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	static char block[1 << 20];
	uint64_t got = 0;
	ssize_t n;

	rig_splice(rig, 1, &p);
	while ((n = send(p.server, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		rig_sleep_ms(2);
	rig_reset(p.server);
	rig_sleep_ms(50);
	while ((n = recv(p.client, block, sizeof(block), 0)) > 0)
		got += (uint64_t)n;
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
	assert_true(got > 100000);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).bytes_out, got);
	close(p.client);
}

static void an_instance_that_closes_with_unread_bytes_still_delivers_its_answer(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	char buf[4096], *big = calloc(1, 300000);
	size_t got = 0;
	ssize_t n;

	rig_splice(rig, 1, &p);
	rig_write(p.client, big, 300000);
	rig_write(p.server, "no", 2);
	rig_sleep_ms(10);
	close(p.server); /* RST, because of what was not read */
	while ((n = recv(p.client, buf + got, sizeof(buf) - got, 0)) > 0)
		got += (size_t)n;
	assert_int_equal(got, 2);
	(void)rig_expect(rig, NIWA_RELAY_CLOSED);
	close(p.client);
	free(big);
}

static void refuse_resets_held_and_spliced_connections(void **state)
{
	struct rig *rig = *state;
	struct niwa_relay_msg refuse = {.type = NIWA_RELAY_REFUSE};
	struct rig_pair p;
	char buf[64];
	int client = rig_client(1);

	refuse.ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	rig_send(rig, &refuse);
	assert_int_equal(rig_read_all(client, buf, sizeof(buf)), -ECONNRESET);
	close(client);
	rig_expect_none(rig, 20);
	rig_splice(rig, 1, &p);
	refuse.ticket = p.ticket;
	rig_send(rig, &refuse);
	assert_int_equal(rig_read_all(p.client, buf, sizeof(buf)), -ECONNRESET);
	assert_int_equal(rig_read_all(p.server, buf, sizeof(buf)), -ECONNRESET);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).ticket, p.ticket);
	close(p.client);
	close(p.server);
}

static void an_idle_connection_ends_at_its_bound_and_a_busy_one_does_not(void **state)
{
	struct rig *rig = *state;
	struct niwa_relay_msg m = {.type = NIWA_RELAY_HELLO, .limits = {.idle_ms = 150}};
	struct rig_pair idle, busy;
	char buf[64];

	rig_send(rig, &m);
	rig_splice(rig, 1, &idle);
	rig_splice(rig, 2, &busy);
	for (int i = 0; i < 10; i++) {
		rig_write(busy.client, "x", 1);
		rig_read(busy.server, "x");
		rig_sleep_ms(40);
	}
	m = rig_expect(rig, NIWA_RELAY_CLOSED);
	assert_int_equal(m.ticket, idle.ticket);
	assert_int_equal(m.error, ETIMEDOUT);
	assert_int_equal(rig_read_all(idle.client, buf, sizeof(buf)), 0);
	close(idle.client);
	close(idle.server);
	close(busy.client);
	close(busy.server);
}

/* ---- the engine comes and goes ---- */

static void a_new_engine_hears_of_everything_that_is_unanswered(void **state)
{
	struct rig *rig = *state;
	struct niwa_relay_msg hello = {.type = NIWA_RELAY_HELLO}, m;
	uint64_t tickets[3];
	int clients[3];
	unsigned seen = 0;
	struct rig_pair p;

	rig_splice(rig, 9, &p);
	for (int i = 0; i < 3; i++) {
		clients[i] = rig_client((unsigned)i);
		tickets[i] = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	}
	send_msg(rig, rig_wait(tickets[1], NIWA_PROTO_HTTP, 5000));
	send_msg(rig, rig_hold(tickets[2], NIWA_PROTO_HTTP, 5000));
	rig_write(clients[2], "GET", 3);
	rig_sleep_ms(20);
	rig_send(rig, &hello);
	for (int i = 0; i < 3; i++) {
		m = rig_expect(rig, NIWA_RELAY_OPEN);
		for (int k = 0; k < 3; k++) {
			if (m.ticket != tickets[k])
				continue;
			seen |= 1u << k;
			assert_int_equal(m.flags, NIWA_RELAY_AGAIN | (k == 2 ? NIWA_RELAY_BYTES : 0));
			assert_int_equal(m.service, rig_service((unsigned)k));
		}
	}
	assert_int_equal(seen, 7);
	rig_expect_none(rig, 20);
	rig_write(p.client, "still", 5);
	rig_read(p.server, "still");
	for (int i = 0; i < 3; i++)
		rig_reset(clients[i]);
	close(p.client);
	close(p.server);
}

static void a_held_client_keeps_its_deadline_across_a_new_engine(void **state)
{
	struct rig *rig = *state;
	struct niwa_relay_msg hello = {.type = NIWA_RELAY_HELLO};
	int client = rig_client(1);
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	char buf[4096];

	send_msg(rig, rig_hold(ticket, NIWA_PROTO_SMTP, 150));
	rig_send(rig, &hello);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_OPEN).flags, NIWA_RELAY_AGAIN);
	assert_true(rig_read_all(client, buf, sizeof(buf)) > 0);
	assert_memory_equal(buf, "421 4.3.2 ", 10);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_GONE).error, ETIMEDOUT);
	close(client);
}

static void an_engine_that_never_answers_is_not_waited_for_for_ever(void **state)
{
	struct rig *rig = *state;
	struct niwa_relay_msg m = {.type = NIWA_RELAY_HELLO, .limits = {.ask_ms = 60}};
	char buf[4096];
	int client;

	rig_send(rig, &m);
	client = rig_client(1);
	(void)rig_expect(rig, NIWA_RELAY_OPEN);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_GONE).error, ETIMEDOUT);
	assert_int_equal(rig_read_all(client, buf, sizeof(buf)), -ECONNRESET); /* no protocol known */
	close(client);
}

static void garbage_from_the_engine_is_ignored(void **state)
{
	struct rig *rig = *state;
	char junk[2000];
	struct niwa_relay_msg m = {.type = 77};
	uint16_t port = 0;
	int udp = socket(AF_INET, SOCK_DGRAM, 0), client;

	memset(junk, 0xa5, sizeof(junk));
	assert_true(send(rig->engine, junk, 1, 0) == 1);
	assert_true(send(rig->engine, junk, sizeof(junk), 0) == sizeof(junk));
	assert_true(send(rig->engine, junk, 0, 0) == 0);
	rig_send(rig, &m);
	m.type = UINT32_MAX;
	rig_send(rig, &m);
	m.type = NIWA_RELAY_OPEN;
	rig_send(rig, &m);
	for (unsigned type = NIWA_RELAY_WAIT; type <= NIWA_RELAY_REFUSE; type++) {
		m = (struct niwa_relay_msg){.type = type, .ticket = 1234567, .to_port = port};
		rig_send(rig, &m);
	}
	m = (struct niwa_relay_msg){.type = NIWA_RELAY_LISTEN, .host_port = 1};
	rig_send(rig, &m);
	rig_send_fd(rig, &m, udp);
	m.type = NIWA_RELAY_UNLISTEN;
	rig_send(rig, &m);
	client = rig_client(1);
	m = rig_expect(rig, NIWA_RELAY_OPEN);
	m = (struct niwa_relay_msg){.type = NIWA_RELAY_FAIL, .ticket = m.ticket, .protocol = 4711, .kind = 99};
	memset(m.text, 'x', sizeof(m.text));
	rig_send(rig, &m);
	assert_int_equal(rig_read_all(client, junk, sizeof(junk)), -ECONNRESET);
	close(client);
	close(udp);
	assert_int_equal(rig_stats(rig).counters[0], 0);
}

static void a_relay_without_an_engine_serves_what_it_has_and_ends(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;
	int client;
	char buf[4096];

	rig_splice(rig, 1, &p);
	client = rig_client(2);
	send_msg(rig, rig_hold(rig_expect(rig, NIWA_RELAY_OPEN).ticket, NIWA_PROTO_HTTP, 100));
	rig_sleep_ms(20);
	close(rig->engine);
	rig->engine = -1;
	assert_true(rig_read_all(client, buf, sizeof(buf)) > 0);
	assert_memory_equal(buf, "HTTP/1.1 503 ", 13);
	close(client);
	rig_write(p.client, "still", 5);
	rig_read(p.server, "still");
	close(p.client);
	close(p.server);
	assert_int_equal(rig_wait_exit(rig), 0);
}

/* ---- listeners, draining ---- */

static void a_published_port_leads_to_its_service(void **state)
{
	struct rig *rig = *state;
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port), client;
	struct niwa_relay_msg m = {.type = NIWA_RELAY_LISTEN,
				   .host = htonl(INADDR_LOOPBACK),
				   .host_port = port,
				   .service = rig_service(77),
				   .port = 80,
				   .protocol = NIWA_PROTO_HTTP};
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	rig_send_fd(rig, &m, listener);
	rig_send_fd(rig, &m, listener); /* a new engine does that */
	close(listener);
	client = rig_connect(htonl(INADDR_LOOPBACK), port);
	m = rig_expect(rig, NIWA_RELAY_OPEN);
	assert_int_equal(m.service, rig_service(77));
	assert_int_equal(m.port, 80);
	close(client);
	(void)rig_expect(rig, NIWA_RELAY_GONE);
	m = (struct niwa_relay_msg){.type = NIWA_RELAY_UNLISTEN, .host = htonl(INADDR_LOOPBACK), .host_port = port};
	rig_send(rig, &m);
	(void)rig_stats(rig);
	client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&sa, sizeof(sa)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(client);
}

static void a_draining_relay_accepts_nothing_and_ends_with_its_last_connection(void **state)
{
	struct rig *rig = *state;
	struct niwa_relay_msg drain = {.type = NIWA_RELAY_DRAIN};
	struct rig_pair p;
	uint16_t port = 0;
	int held = rig_client(1), late, listener = rig_listen(htonl(INADDR_LOOPBACK), &port), server;
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;

	rig_splice(rig, 2, &p);
	rig_send(rig, &drain);
	(void)rig_expect(rig, NIWA_RELAY_DRAINING);
	late = rig_client(3); /* our copy of the listener keeps it in the backlog */
	rig_expect_none(rig, 50);
	/* A held client is served to its end. */
	send_msg(rig, rig_ready(ticket, port));
	server = rig_accept(listener);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_RESULT).error, 0);
	rig_write(held, "x", 1);
	rig_read(server, "x");
	close(held);
	close(server);
	(void)rig_expect(rig, NIWA_RELAY_CLOSED);
	rig_write(p.client, "x", 1);
	rig_read(p.server, "x");
	close(p.client);
	close(p.server);
	(void)rig_expect(rig, NIWA_RELAY_CLOSED);
	assert_int_equal(rig_wait_exit(rig), 0);
	close(late);
	close(listener);
}

static void sigterm_drains_and_ends_at_once_when_nothing_is_open(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p;

	rig_splice(rig, 2, &p);
	kill(rig->pid, SIGTERM);
	(void)rig_expect(rig, NIWA_RELAY_DRAINING);
	rig_send(rig, &(struct niwa_relay_msg){.type = NIWA_RELAY_HELLO});
	(void)rig_expect(rig, NIWA_RELAY_DRAINING); /* a new engine has not heard of it */
	rig_write(p.client, "x", 1);
	rig_read(p.server, "x");
	assert_int_equal(kill(rig->pid, 0), 0);
	close(p.client);
	close(p.server);
	assert_int_equal(rig_wait_exit(rig), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_connection_is_announced_with_both_addresses),
		T(the_first_byte_of_a_client_that_is_waited_for_asks_again),
		T(bytes_that_came_before_the_wait_ask_at_once),
		T(a_silent_client_is_closed_at_its_deadline),
		T(a_client_that_leaves_while_held_is_reported),
		T(a_client_that_ends_its_half_after_its_request_is_still_held),
		T(a_client_that_dribbles_is_asked_about_once),
		T(bytes_pass_in_both_directions_and_are_counted),
		T(what_the_client_sent_while_held_arrives_first),
		T(a_refused_connect_is_reported_and_the_client_still_held),
		T(a_connect_without_an_answer_times_out_and_can_be_failed),
		T(the_client_may_end_its_half_and_read_on),
		T(the_server_may_end_its_half_and_read_on),
		T(a_reset_of_the_client_resets_the_instance),
		T(a_reset_of_the_instance_comes_after_what_it_had_sent),
		T(a_reset_waits_for_a_slow_client_to_take_what_was_delivered),
		T(an_instance_that_closes_with_unread_bytes_still_delivers_its_answer),
		T(refuse_resets_held_and_spliced_connections),
		T(an_idle_connection_ends_at_its_bound_and_a_busy_one_does_not),
		T(a_new_engine_hears_of_everything_that_is_unanswered),
		T(a_held_client_keeps_its_deadline_across_a_new_engine),
		T(an_engine_that_never_answers_is_not_waited_for_for_ever),
		T(garbage_from_the_engine_is_ignored),
		T(a_relay_without_an_engine_serves_what_it_has_and_ends),
		T(a_published_port_leads_to_its_service),
		T(a_draining_relay_accepts_nothing_and_ends_with_its_last_connection),
		T(sigterm_drains_and_ends_at_once_when_nothing_is_open),
	};

	(void)setenv("NIWA_RIG_LOG", "/dev/null", 0); /* the lines of --debug are written too */
	rig_init(argc > 1 ? argv[1] : "niwa-relay");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
