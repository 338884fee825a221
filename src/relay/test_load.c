/* SPDX-License-Identifier: MIT
 *
 * niwa-relay with many connections at once, and with many bytes.
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
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "relay/test_rig.h"

#define HELD  10000
#define BYTES (100u << 20) /* a direction */

struct held {
	int client;
	uint64_t ticket;
};

static void send_msg(struct rig *rig, struct niwa_relay_msg m)
{
	rig_send(rig, &m);
}

/* Connects in batches, so that no backlog overflows, and holds each. */
static void hold_many(struct rig *rig, struct held *held)
{
	for (unsigned i = 0; i < HELD; i++) {
		char request[16];
		int n = snprintf(request, sizeof(request), "GET %u\n", i);

		held[i].client = rig_client(i);
		rig_write(held[i].client, request, (size_t)n);
		if (i % 500 != 499)
			continue;
		for (unsigned k = 0; k < 500; k++) {
			struct niwa_relay_msg m = rig_expect(rig, NIWA_RELAY_OPEN);
			unsigned which = ntohl(m.service) - ntohl(rig_service(0));

			assert_in_range(which, i - 499, i);
			held[which].ticket = m.ticket;
			send_msg(rig, rig_hold(m.ticket, NIWA_PROTO_HTTP, 120000));
		}
	}
}

static void ten_thousand_held_connections_are_served_one_by_one(void **state)
{
	struct niwa_relay_limits limits = {.connections = 12000, .waiting = 11000, .waiting_per_source = 11000};
	struct held *held = calloc(HELD, sizeof(*held));
	uint16_t port = 0;
	int listener;
	struct rig rig;

	rig_start(&rig, &limits, 0);
	listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	hold_many(&rig, held);
	assert_int_equal(rig_stats(&rig).counters[1], HELD);
	for (unsigned i = 0; i < HELD; i++) {
		char request[16];
		int server;

		send_msg(&rig, rig_ready(held[i].ticket, port));
		server = rig_accept(listener);
		(void)snprintf(request, sizeof(request), "GET %u\n", i);
		rig_read(server, request);
		rig_write(server, "200 OK", 6);
		close(server);
		rig_read(held[i].client, "200 OK");
		close(held[i].client);
		assert_int_equal(rig_expect(&rig, NIWA_RELAY_RESULT).ticket, held[i].ticket);
		assert_int_equal(rig_expect(&rig, NIWA_RELAY_CLOSED).ticket, held[i].ticket);
	}
	assert_int_equal(rig_stats(&rig).counters[0], 0);
	close(listener);
	rig_stop(&rig);
	free(held);
}

static void ten_thousand_held_connections_end_at_the_same_moment(void **state)
{
	struct niwa_relay_limits limits = {.connections = 12000, .waiting = 11000, .waiting_per_source = 11000};
	struct held *held = calloc(HELD, sizeof(*held));
	struct niwa_relay_msg hello = {.type = NIWA_RELAY_HELLO, .limits = limits};
	char buf[4096];
	struct rig rig;

	rig_start(&rig, &limits, 0);
	hold_many(&rig, held);
	rig_send(&rig, &hello); /* an engine restart: all of them are asked about again */
	for (unsigned i = 0; i < HELD; i++)
		assert_int_equal(rig_expect(&rig, NIWA_RELAY_OPEN).flags, NIWA_RELAY_AGAIN | NIWA_RELAY_BYTES);
	for (unsigned i = 0; i < HELD; i++)
		send_msg(&rig, rig_hold(held[i].ticket, NIWA_PROTO_HTTP, 300));
	for (unsigned i = 0; i < HELD; i++)
		assert_int_equal(rig_expect(&rig, NIWA_RELAY_GONE).error, ETIMEDOUT);
	for (unsigned i = 0; i < HELD; i++) {
		assert_true(rig_read_all(held[i].client, buf, sizeof(buf)) > 0);
		assert_memory_equal(buf, "HTTP/1.1 503 ", 13);
		close(held[i].client);
	}
	rig_sleep_ms(100);
	assert_int_equal(rig_stats(&rig).counters[0], 0);
	rig_stop(&rig);
	free(held);
}

/* ---- bytes ---- */

struct stream { /* a repeatable one */
	uint64_t x;
};

static void next_block(struct stream *s, uint64_t *block, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		s->x ^= s->x << 13;
		s->x ^= s->x >> 7;
		s->x ^= s->x << 17;
		block[i] = s->x;
	}
}

static void write_stream(int fd, uint64_t seed)
{
	static uint64_t block[8192];
	struct stream s = {seed};

	for (size_t done = 0; done < BYTES; done += sizeof(block)) {
		const char *p = (const char *)block;
		size_t left = sizeof(block), piece = 1 + (done / 7) % 40000;

		next_block(&s, block, 8192);
		while (left) {
			ssize_t n = send(fd, p, left < piece ? left : piece, MSG_NOSIGNAL);

			if (n < 0)
				_exit(1);
			p += n;
			left -= (size_t)n;
		}
	}
	if (shutdown(fd, SHUT_WR) < 0)
		_exit(1);
	_exit(0);
}

static void read_stream(int fd, uint64_t seed)
{
	static uint64_t want[8192], got[8192];
	struct stream s = {seed};

	for (size_t done = 0; done < BYTES; done += sizeof(want)) {
		next_block(&s, want, 8192);
		if (recv(fd, got, sizeof(got), MSG_WAITALL) != sizeof(got) || memcmp(want, got, sizeof(got)) != 0)
			_exit(2);
	}
	_exit(recv(fd, got, 1, 0) == 0 ? 0 : 3);
}

static void all_bytes_arrive_unchanged_in_both_directions_at_once(void **state)
{
	struct niwa_relay_msg closed;
	struct rig_pair p;
	struct rig rig;
	pid_t pids[4];

	rig_start(&rig, NULL, 0);
	rig_splice(&rig, 1, &p);
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			if (i == 0)
				write_stream(p.client, 11);
			if (i == 1)
				read_stream(p.server, 11);
			if (i == 2)
				write_stream(p.server, 22);
			read_stream(p.client, 22);
		}
	}
	for (int i = 0; i < 4; i++) {
		int status = -1;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("process %d ended with %x", i, status);
	}
	closed = rig_expect(&rig, NIWA_RELAY_CLOSED);
	assert_int_equal(closed.bytes_in, BYTES);
	assert_int_equal(closed.bytes_out, BYTES);
	assert_int_equal(closed.error, 0);
	close(p.client);
	close(p.server);
	rig_stop(&rig);
}

static void a_transfer_that_never_pauses_does_not_starve_new_connections(void **state)
{
	struct rig_pair p;
	struct rig rig;
	uint64_t worst_us = 0;
	pid_t pids[2];

	rig_start(&rig, NULL, 0);
	rig_splice(&rig, 1, &p);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			(i == 0 ? write_stream : read_stream)(i == 0 ? p.client : p.server, 11);
	}
	for (int i = 0; i < 100; i++) {
		uint64_t began = niwa_now_us();
		int client = rig_client(2);

		(void)rig_expect(&rig, NIWA_RELAY_OPEN);
		if (niwa_now_us() - began > worst_us)
			worst_us = niwa_now_us() - began;
		rig_reset(client);
		(void)rig_expect(&rig, NIWA_RELAY_GONE);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	assert_true(worst_us < NIWA_SEC);
	close(p.client);
	close(p.server);
	(void)rig_expect(&rig, NIWA_RELAY_CLOSED);
	rig_stop(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_held_connections_are_served_one_by_one),
		cmocka_unit_test(ten_thousand_held_connections_end_at_the_same_moment),
		cmocka_unit_test(all_bytes_arrive_unchanged_in_both_directions_at_once),
		cmocka_unit_test(a_transfer_that_never_pauses_does_not_starve_new_connections),
	};

	rig_init(argc > 1 ? argv[1] : "niwa-relay");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
