/* SPDX-License-Identifier: MIT
 *
 * niwa-relay at its bounds, and the answers that clients get from it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
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

static void set_limits(struct rig *rig, struct niwa_relay_limits limits)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_HELLO, .limits = limits};

	rig_send(rig, &m);
	(void)rig_stats(rig);
}

/* A client whose connection is held for that protocol. */
static int held_client(struct rig *rig, unsigned service, enum niwa_protocol protocol, uint64_t *ret_ticket)
{
	int client = rig_client(service);

	*ret_ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	send_msg(rig, rig_hold(*ret_ticket, protocol, 20000));
	return client;
}

/* ---- answers ---- */

#define STARTUP "\0\0\0\022\0\003\0\0user\0me\0\0\0"
#define SSL     "\0\0\0\010\004\322\026\057"

/* Each on a service of its own: what is known of a port stays known. */
static const struct {
	const char *name;
	enum niwa_protocol protocol;
	const char *says; /* the client, before */
	size_t says_len;
	const char *begins; /* the answer; NULL: reset */
	size_t begins_len;
} answers[] = {
	{"http", NIWA_PROTO_HTTP, "GET / HTTP/1.1\r\n\r\n", 18, "HTTP/1.1 503 ", 13},
	{"silent http", NIWA_PROTO_HTTP, "", 0, "HTTP/1.1 503 ", 13},
	{"smtp", NIWA_PROTO_SMTP, "", 0, "421 4.3.2 not now\r\n", 19},
	{"smtp that talks first", NIWA_PROTO_SMTP, "EHLO x\r\n", 8, "421 4.3.2 not now\r\n", 19},
	{"lmtp", NIWA_PROTO_LMTP, "", 0, "421 4.3.2 not now\r\n", 19},
	{"imap", NIWA_PROTO_IMAP, "", 0, "* BYE [UNAVAILABLE] not now\r\n", 29},
	{"pop3", NIWA_PROTO_POP3, "", 0, "-ERR [SYS/TEMP] not now\r\n", 25},
	{"mysql", NIWA_PROTO_MYSQL, "", 0, "\012\0\0\0\377\035\004not now", 14},
	{"redis", NIWA_PROTO_REDIS, "PING\r\n", 6, "-ERR not now\r\n", 14},
	{"postgres", NIWA_PROTO_POSTGRES, STARTUP, 18, "E\0\0\0\043SFATAL\0", 12},
	{"postgres with tls", NIWA_PROTO_POSTGRES, SSL STARTUP, 26, "NE\0\0\0\043SFATAL\0", 13},
	{"postgres that is none", NIWA_PROTO_POSTGRES, "GET / HTTP/1.1\r\n\r\n", 18, NULL, 0},
	{"tcp", NIWA_PROTO_TCP, "x", 1, NULL, 0},
};

static void a_failed_wake_is_answered_in_the_protocol_of_the_port(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(answers); i++) {
		uint64_t ticket;
		int client = held_client(rig, (unsigned)i, answers[i].protocol, &ticket);
		char buf[4096];
		ssize_t n;

		rig_write(client, answers[i].says, answers[i].says_len);
		rig_sleep_ms(5);
		send_msg(rig, rig_fail(ticket, answers[i].protocol, "not now"));
		n = rig_read_all(client, buf, sizeof(buf));
		if (!answers[i].begins && n != -ECONNRESET)
			fail_msg("%s: %zd instead of a reset", answers[i].name, n);
		if (answers[i].begins &&
		    (n < (ssize_t)answers[i].begins_len || memcmp(buf, answers[i].begins, answers[i].begins_len) != 0))
			fail_msg("%s: %zd bytes: %.*s", answers[i].name, n, n > 0 ? (int)n : 0, buf);
		close(client);
	}
	rig_expect_none(rig, 20); /* the engine knew already */
}

static void an_answer_arrives_although_the_client_sent_more_than_anybody_reads(void **state)
{
	static const char request[40000] = "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
	struct rig *rig = *state;
	char buf[4096];

	for (int i = 0; i < 50; i++) {
		uint64_t ticket;
		int client = held_client(rig, 1, NIWA_PROTO_HTTP, &ticket);
		ssize_t n;

		rig_write(client, request, sizeof(request));
		send_msg(rig, rig_fail(ticket, NIWA_PROTO_HTTP, "not now"));
		for (int k = 0; k < 3; k++) { /* a reset would fail these */
			rig_sleep_ms(2);
			rig_write(client, request, 4000);
		}
		n = rig_read_all(client, buf, sizeof(buf));
		if (n < 0)
			fail_msg("run %d: %s", i, strerror((int)-n));
		assert_memory_equal(buf, "HTTP/1.1 503 ", 13);
		assert_non_null(strstr(buf, "\r\nRetry-After: 9\r\n"));
		assert_non_null(strstr(buf, "<p>not now</p>"));
		close(client);
	}
}

static void a_wait_that_names_no_protocol_does_not_hide_what_is_known(void **state)
{
	struct rig *rig = *state;
	uint64_t ticket;
	int first, second;
	char buf[4096];

	set_limits(rig, (struct niwa_relay_limits){.ask_ms = 60});
	first = held_client(rig, 1, NIWA_PROTO_SMTP, &ticket);
	second = rig_client(1);
	send_msg(rig, rig_wait(rig_expect(rig, NIWA_RELAY_OPEN).ticket, NIWA_PROTO_TCP, 5000));
	rig_write(second, "x", 1);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_OPEN).flags, NIWA_RELAY_BYTES);
	/* The engine does not answer: the relay has to find words by itself. */
	assert_int_equal(rig_expect(rig, NIWA_RELAY_GONE).error, ETIMEDOUT);
	assert_true(rig_read_all(second, buf, sizeof(buf)) > 0);
	assert_memory_equal(buf, "421 4.3.2 ", 10);
	close(second);
	rig_reset(first);
}

static void a_postgres_client_that_dribbles_is_answered_when_it_is_done(void **state)
{
	static const char bytes[] = SSL STARTUP;
	struct rig *rig = *state;
	uint64_t ticket;
	int client = held_client(rig, 1, NIWA_PROTO_POSTGRES, &ticket);
	char buf[4096];

	send_msg(rig, rig_fail(ticket, NIWA_PROTO_POSTGRES, "not now"));
	for (size_t i = 0; i < 26; i++) {
		rig_write(client, bytes + i, 1);
		rig_sleep_ms(2);
		if (i == 7)
			rig_read(client, "N");
	}
	assert_int_equal(rig_read_all(client, buf, sizeof(buf)), 36);
	assert_int_equal(buf[0], 'E');
	close(client);
}

static void a_lingering_client_is_cut_off_by_time_and_by_bytes(void **state)
{
	struct rig *rig = *state;
	char *big = calloc(1, 1 << 20), buf[4096];
	uint64_t ticket;
	int quiet, loud;

	set_limits(rig, (struct niwa_relay_limits){.linger_ms = 80, .linger_bytes = 10000});
	quiet = held_client(rig, 1, NIWA_PROTO_HTTP, &ticket);
	send_msg(rig, rig_fail(ticket, NIWA_PROTO_HTTP, "not now"));
	assert_true(rig_read_all(quiet, buf, sizeof(buf)) > 0);
	rig_sleep_ms(30);
	assert_int_equal(rig_stats(rig).counters[0], 1); /* it has not closed its half */
	rig_sleep_ms(100);
	assert_int_equal(rig_stats(rig).counters[0], 0);
	close(quiet);
	loud = held_client(rig, 1, NIWA_PROTO_HTTP, &ticket);
	send_msg(rig, rig_fail(ticket, NIWA_PROTO_HTTP, "not now"));
	(void)!send(loud, big, 1 << 20, MSG_NOSIGNAL | MSG_DONTWAIT);
	rig_sleep_ms(20);
	assert_int_equal(rig_stats(rig).counters[0], 0);
	close(loud);
	free(big);
}

static void the_deadline_of_a_wake_is_answered_without_the_engine(void **state)
{
	struct rig *rig = *state;
	int client = rig_client(1);
	uint64_t ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	struct niwa_relay_msg m;
	char buf[4096];

	rig_write(client, "GET", 3);
	send_msg(rig, rig_hold(ticket, NIWA_PROTO_HTTP, 60));
	assert_true(rig_read_all(client, buf, sizeof(buf)) > 0);
	assert_memory_equal(buf, "HTTP/1.1 503 ", 13);
	assert_non_null(strstr(buf, "\r\nRetry-After: 7\r\n"));
	m = rig_expect(rig, NIWA_RELAY_GONE);
	assert_int_equal(m.ticket, ticket);
	assert_int_equal(m.error, ETIMEDOUT);
	close(client);
}

/* ---- bounds ---- */

/* What one connection more gets: 'o' it is announced, '5' a 503, 'r' a reset. */
static char one_more(struct rig *rig, unsigned service, int *ret_client)
{
	struct niwa_relay_msg m;
	char buf[4096];
	ssize_t n;

	*ret_client = rig_client(service);
	if (rig_next(rig, &m, 60)) {
		assert_int_equal(m.type, NIWA_RELAY_OPEN);
		return 'o';
	}
	n = rig_read_all(*ret_client, buf, sizeof(buf));
	if (n == -ECONNRESET)
		return 'r';
	assert_true(n > 13);
	assert_memory_equal(buf, "HTTP/1.1 503 ", 13);
	return '5';
}

static const struct {
	const char *name;
	struct niwa_relay_limits limits;
	unsigned fit;
} bounds[] = {
	{"connections", {.connections = 5}, 5},
	{"waiting", {.waiting = 4}, 4},
	{"waiting_per_source", {.waiting_per_source = 3}, 3},
};

static void over_a_bound_a_connection_is_answered_where_the_protocol_is_known_else_reset(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(bounds); i++) {
		int clients[8], count = 0, extra;
		uint64_t ticket;

		set_limits(rig, bounds[i].limits);
		for (unsigned k = 0; k < bounds[i].fit; k++)
			clients[count++] = held_client(rig, 1, NIWA_PROTO_HTTP, &ticket);
		if (one_more(rig, 1, &extra) != '5')
			fail_msg("%s: no 503 for a port that is known", bounds[i].name);
		close(extra);
		if (one_more(rig, 2, &extra) != 'r')
			fail_msg("%s: no reset for a port that is not known", bounds[i].name);
		close(extra);
		close(clients[--count]);
		(void)rig_expect(rig, NIWA_RELAY_GONE);
		rig_sleep_ms(20);
		if (one_more(rig, 3, &extra) != 'o')
			fail_msg("%s: no room after one has left", bounds[i].name);
		clients[count++] = extra;
		while (count) {
			close(clients[--count]);
			(void)rig_expect(rig, NIWA_RELAY_GONE);
		}
		assert_int_equal(rig_stats(rig).counters[1], 0);
	}
	assert_int_equal(rig_stats(rig).counters[7], 2 * NIWA_ARRAY_LEN(bounds));
}

static void spliced_connections_do_not_count_as_waiting(void **state)
{
	struct rig *rig = *state;
	struct rig_pair p[4];

	set_limits(rig, (struct niwa_relay_limits){.waiting = 1, .waiting_per_source = 1});
	for (unsigned i = 0; i < 4; i++)
		rig_splice(rig, i, &p[i]);
	for (unsigned i = 0; i < 4; i++) {
		close(p[i].client);
		close(p[i].server);
	}
}

/* The longest receive queue of a connection accepted on the relay's port. */
static unsigned longest_queue(void)
{
	FILE *f = fopen("/proc/net/tcp", "re");
	unsigned port, state, queue, longest = 0;
	char line[256];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " %*d: %*x:%x %*x:%*x %x %*x:%x", &port, &state, &queue) == 3 &&
		    port == NIWA_RIG_PORT && state == 1 && queue > longest)
			longest = queue;
	(void)fclose(f);
	return longest;
}

static void a_held_connection_takes_no_more_than_its_bytes(void **state)
{
	struct rig *rig = *state;
	char *big = calloc(1, 4 << 20);
	uint64_t ticket;
	int client;

	set_limits(rig, (struct niwa_relay_limits){.held_bytes = 16384});
	client = held_client(rig, 1, NIWA_PROTO_HTTP, &ticket);
	assert_return_code(fcntl(client, F_SETFL, O_NONBLOCK), errno);
	for (int i = 0; i < 100; i++) {
		(void)!send(client, big, i % 2 ? 4 << 20 : 100, MSG_NOSIGNAL);
		rig_sleep_ms(3);
	}
	/* The kernel is allowed twice as much, for its own bookkeeping. */
	assert_in_range(longest_queue(), 4096, 2 * 16384 + 4096);
	rig_reset(client);
	free(big);
}

static void readers_that_do_not_read_do_not_stop_the_others(void **state)
{
	enum { STUCK = 100 };
	struct rig *rig = *state;
	static struct rig_pair stuck[STUCK];
	static char block[65536];
	struct rig_pair p;

	for (unsigned i = 0; i < STUCK; i++) { /* more than there are pipes */
		rig_splice(rig, i, &stuck[i]);
		assert_return_code(fcntl(stuck[i].server, F_SETFL, O_NONBLOCK), errno);
	}
	for (int quiet = 0; quiet < 5;) {
		bool any = false;

		for (unsigned i = 0; i < STUCK; i++)
			any |= send(stuck[i].server, block, sizeof(block), MSG_NOSIGNAL) > 0;
		quiet = any ? 0 : quiet + 1;
		rig_sleep_ms(5);
	}
	rig_splice(rig, 200, &p);
	for (int i = 0; i < 100; i++) {
		rig_write(p.client, "ping", 4);
		rig_read(p.server, "ping");
		rig_write(p.server, "pong", 4);
		rig_read(p.client, "pong");
	}
	assert_in_range(rig_count_fds(rig->pid), 2 * STUCK, 2 * STUCK + 2 * 64 + 30);
	/* Those that begin to read get all that was taken from the server, and go on. */
	for (unsigned i = 0; i < STUCK; i += 33) {
		assert_return_code(fcntl(stuck[i].server, F_SETFL, 0), errno);
		assert_return_code(shutdown(stuck[i].server, SHUT_WR), errno);
		while (recv(stuck[i].client, block, sizeof(block), 0) > 0)
			;
	}
	for (unsigned i = 0; i < STUCK; i++) {
		rig_reset(stuck[i].client);
		rig_reset(stuck[i].server);
	}
	rig_reset(p.client);
	rig_reset(p.server);
}

static void an_engine_that_does_not_read_stops_accepting_and_nothing_is_lost(void **state)
{
	enum { CLIENTS = 6000 };
	struct rig *rig = *state;
	int *clients = calloc(CLIENTS, sizeof(int));
	struct niwa_relay_msg m;
	unsigned opens = 0;

	set_limits(rig, (struct niwa_relay_limits){.waiting = 9000, .waiting_per_source = 9000});
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = rig_client((unsigned)i);
	while (opens < CLIENTS && rig_next(rig, &m, NIWA_RIG_MS)) {
		assert_int_equal(m.type, NIWA_RELAY_OPEN);
		opens++;
	}
	assert_int_equal(opens, CLIENTS);
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	for (; opens && rig_next(rig, &m, NIWA_RIG_MS); opens--)
		assert_int_equal(m.type, NIWA_RELAY_GONE);
	assert_int_equal(opens, 0);
	free(clients);
}

static void the_limit_of_descriptors_decides_and_is_shown(void **state)
{
	struct rig *outer = *state, rig;
	struct niwa_relay_limits limits = {.connections = 5000, .waiting = 5000, .waiting_per_source = 5000};
	int clients[400], count = 0, opened = 0;
	struct niwa_relay_msg m;
	uint32_t allowed;

	rig_stop(outer);
	rig_start(&rig, &limits, 256);
	allowed = rig_stats(&rig).limits.connections;
	assert_in_range(allowed, 50, 220);
	while (count < 300) {
		clients[count++] = rig_client(1);
		if (!rig_next(&rig, &m, 20))
			continue;
		opened++;
		send_msg(&rig, rig_hold(m.ticket, NIWA_PROTO_HTTP, 20000));
	}
	assert_in_range(opened, allowed - 1, allowed + 1);
	while (count)
		rig_reset(clients[--count]);
	for (; opened; opened--)
		(void)rig_expect(&rig, NIWA_RELAY_GONE);
	rig_stop(&rig);
	rig_start(outer, NULL, 0);
}

static void connections_that_are_ready_wait_in_line_for_descriptors(void **state)
{
	struct rig *outer = *state, rig;
	struct niwa_relay_limits limits = {.connections = 5000, .waiting = 5000, .waiting_per_source = 5000};
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port), *clients;
	uint64_t *tickets;
	uint32_t allowed;

	rig_stop(outer);
	rig_start(&rig, &limits, 256);
	allowed = rig_stats(&rig).limits.connections;
	clients = calloc(allowed, sizeof(int));
	tickets = calloc(allowed, sizeof(uint64_t));
	for (uint32_t i = 0; i < allowed; i++)
		clients[i] = held_client(&rig, 1, NIWA_PROTO_HTTP, &tickets[i]);
	for (uint32_t i = 0; i < allowed; i++)
		send_msg(&rig, rig_ready(tickets[i], port));
	for (uint32_t i = 0; i < allowed; i++) {
		int server = rig_accept(listener);

		rig_write(server, "done", 4);
		close(server);
		rig_read(clients[i], "done");
		close(clients[i]);
	}
	for (uint32_t results = 0, closed = 0; results < allowed || closed < allowed;) {
		struct niwa_relay_msg m;

		assert_true(rig_next(&rig, &m, NIWA_RIG_MS));
		assert_int_equal(m.error, 0);
		results += m.type == NIWA_RELAY_RESULT;
		closed += m.type == NIWA_RELAY_CLOSED;
	}
	free(clients);
	free(tickets);
	close(listener);
	rig_stop(&rig);
	rig_start(outer, NULL, 0);
}

/* ---- ready checks ---- */

static const struct {
	const char *answer; /* NULL: none; "": closed */
	int error;
} checks[] = {
	{"HTTP/1.1 200 OK\r\n\r\nhello", 0},
	{"HTTP/1.0 301 Moved\r\n\r\n", 0},
	{"HTTP/1.1 503 Not yet\r\n\r\n", EBADMSG},
	{"HTTP/1.1 404 No\r\n\r\n", EBADMSG},
	{"220 mail ESMTP\r\n", EPROTO},
	{"", EPROTO},
	{NULL, ETIMEDOUT},
};

static void ready_checks_look_at_the_status(void **state)
{
	struct rig *rig = *state;
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	struct niwa_relay_msg m = {.type = NIWA_RELAY_CHECK, .to = htonl(INADDR_LOOPBACK), .to_port = port};

	m.deadline_ms = 100;
	(void)snprintf(m.text, sizeof(m.text), "/healthz?deep=1 blog.example.com");
	for (size_t i = 0; i < NIWA_ARRAY_LEN(checks); i++) {
		struct niwa_relay_msg got;
		int server;

		m.ticket = NIWA_RELAY_CHECK_TICKET | i;
		rig_send(rig, &m);
		server = rig_accept(listener);
		rig_read(server, "GET /healthz?deep=1 HTTP/1.1\r\nHost: blog.example.com\r\n");
		if (checks[i].answer)
			rig_write(server, checks[i].answer, strlen(checks[i].answer));
		if (checks[i].answer && !*checks[i].answer)
			(void)shutdown(server, SHUT_WR);
		got = rig_expect(rig, NIWA_RELAY_CHECKED);
		assert_int_equal(got.ticket, m.ticket);
		if (got.error != checks[i].error)
			fail_msg("check %zu: error %d (%s)", i, got.error, got.text);
		close(server);
	}
	close(listener);
	assert_int_equal((rig_send(rig, &m), rig_expect(rig, NIWA_RELAY_CHECKED).error), ECONNREFUSED);
	(void)strcpy(m.text, "no-slash");
	listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	m.to_port = port;
	assert_int_equal((rig_send(rig, &m), rig_expect(rig, NIWA_RELAY_CHECKED).error), EINVAL);
	(void)strcpy(m.text, "/a\r\nX-Evil: 1");
	assert_int_equal((rig_send(rig, &m), rig_expect(rig, NIWA_RELAY_CHECKED).error), EINVAL);
	close(listener);
}

static void ready_checks_are_bounded_and_a_repeated_one_starts_again(void **state)
{
	struct rig *rig = *state;
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port), busy = 0, late = 0;
	struct niwa_relay_msg m = {.type = NIWA_RELAY_CHECK, .to = htonl(INADDR_LOOPBACK), .to_port = port};

	m.deadline_ms = 300;
	(void)strcpy(m.text, "/");
	for (unsigned i = 0; i < NIWA_RELAY_CHECKS + 5; i++) {
		m.ticket = NIWA_RELAY_CHECK_TICKET | i;
		rig_send(rig, &m);
	}
	for (unsigned i = 0; i < NIWA_RELAY_CHECKS + 5; i++) {
		int error = rig_expect(rig, NIWA_RELAY_CHECKED).error;

		busy += error == EBUSY;
		late += error == ETIMEDOUT;
	}
	assert_int_equal(busy, 5);
	assert_int_equal(late, NIWA_RELAY_CHECKS);
	m.deadline_ms = 100;
	rig_send(rig, &m);
	rig_send(rig, &m);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CHECKED).error, ETIMEDOUT);
	rig_expect_none(rig, 150);
	close(listener);
}

/* ---- leaks ---- */

static void no_descriptor_is_left_behind(void **state)
{
	struct rig *rig = *state;
	unsigned before, after = 0;

	for (int round = 0; round < 30; round++) {
		struct rig_pair p[4];
		uint64_t ticket;
		int client;
		char buf[4096];

		for (unsigned i = 0; i < 4; i++) {
			rig_splice(rig, i, &p[i]);
			rig_write(p[i].client, "x", 1);
			rig_read(p[i].server, "x");
		}
		close(p[0].client);
		close(p[0].server);
		rig_reset(p[1].client);
		close(p[1].server);
		rig_reset(p[2].server);
		close(p[2].client);
		assert_return_code(shutdown(p[3].client, SHUT_WR), errno);
		close(p[3].server);
		close(p[3].client);
		for (int i = 0; i < 4; i++)
			(void)rig_expect(rig, NIWA_RELAY_CLOSED);
		client = held_client(rig, 1, NIWA_PROTO_HTTP, &ticket);
		send_msg(rig, rig_fail(ticket, NIWA_PROTO_HTTP, "x"));
		(void)rig_read_all(client, buf, sizeof(buf));
		close(client);
		rig_reset(rig_client(1)); /* a probe: announced or not, as it happens */
		rig_sleep_ms(5);
		while (rig_next(rig, &(struct niwa_relay_msg){0}, 1))
			;
		if (round == 0)
			before = rig_count_fds(rig->pid); /* its pipes are made */
		after = rig_count_fds(rig->pid);
	}
	assert_int_equal(before, after);
	assert_int_equal(rig_stats(rig).counters[0], 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_failed_wake_is_answered_in_the_protocol_of_the_port),
		T(an_answer_arrives_although_the_client_sent_more_than_anybody_reads),
		T(a_wait_that_names_no_protocol_does_not_hide_what_is_known),
		T(a_postgres_client_that_dribbles_is_answered_when_it_is_done),
		T(a_lingering_client_is_cut_off_by_time_and_by_bytes),
		T(the_deadline_of_a_wake_is_answered_without_the_engine),
		T(over_a_bound_a_connection_is_answered_where_the_protocol_is_known_else_reset),
		T(spliced_connections_do_not_count_as_waiting),
		T(a_held_connection_takes_no_more_than_its_bytes),
		T(readers_that_do_not_read_do_not_stop_the_others),
		T(an_engine_that_does_not_read_stops_accepting_and_nothing_is_lost),
		T(the_limit_of_descriptors_decides_and_is_shown),
		T(connections_that_are_ready_wait_in_line_for_descriptors),
		T(ready_checks_look_at_the_status),
		T(ready_checks_are_bounded_and_a_repeated_one_starts_again),
		T(no_descriptor_is_left_behind),
	};

	rig_init(argc > 1 ? argv[1] : "niwa-relay");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
