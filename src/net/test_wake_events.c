/* SPDX-License-Identifier: MIT
 *
 * What the packet path tells: frozen and crashed instances, lost messages, connections that conntrack holds. Needs
 * root; everything happens in network namespaces of its own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/clock.h"
#include "base/memory.h"
#include "net/net_private.h"
#include "net/test_world.h"

static void a_frozen_app_is_knocked_once_and_the_kernel_remembers(void **state)
{
	static const enum place from[] = {REMOTE, HOST, OTHER};
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80);
	static const uint8_t remote_mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 2};
	struct niwa_net_element e;

	wake(w, WEB_PRIVATE, MARK_WEB);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(from); i++) {
		int c, s;

		w->knocks = 0;
		freeze(w, NIWA_ADD);
		c = tcp_connect(w, from[i], WEB_SERVICE, 80);
		assert_int_equal(pump(w, &w->knocks, 1), 1);
		assert_int_equal(w->last_addr, ip(WEB_PRIVATE));
		assert_int_equal(w->last_knock.port, 80);
		if (from[i] == REMOTE)
			assert_memory_equal(w->last_knock.from, remote_mapped, sizeof(remote_mapped));
		s = tcp_accept(l, SOON_MS);
		assert_talk(c, s);
		pump_quiet(w);
		assert_int_equal(w->knocks, 1);
		assert_int_equal(count_set(w, NIWA_NET_KNOCKED, &e), 1);
		assert_int_equal(e.addr, ip(WEB_PRIVATE));
		freeze(w, NIWA_DEL);
		assert_int_equal(count_set(w, NIWA_NET_KNOCKED, NULL), 0);
		assert_int_equal(count_set(w, NIWA_NET_FROZEN, NULL), 0);
		close(c);
		close(s);
	}
	close(l);
}

static void a_knock_of_an_earlier_owner_of_the_address_hides_nothing(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c,
	    has_destroy = w->net->has_destroy; /* Linux before 6.3 has not */

	for (int destroy = 0; destroy <= has_destroy; destroy++) {
		w->net->has_destroy = destroy;
		wake(w, WEB_PRIVATE, MARK_WEB);
		run_in(w, HOST, "nft add element inet niwa knocked '{ " WEB_PRIVATE " }'");
		w->knocks = 0;
		freeze(w, NIWA_ADD);
		c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
		assert_int_equal(pump(w, &w->knocks, 1), 1);
		freeze(w, NIWA_ADD); /* again, while frozen: the knock stays */
		assert_int_equal(count_set(w, NIWA_NET_KNOCKED, NULL), 1);
		freeze(w, NIWA_DEL);
		assert_int_equal(count_set(w, NIWA_NET_KNOCKED, NULL), 0);
		close(c);
	}
	close(l);
}

static void where_clients_speak_first_a_handshake_knocks_not(void **state)
{
	const struct linger reset = {.l_onoff = 1};
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), probe, c;
	struct niwa_net_txn *t = txn(w);

	niwa_net_client_first(t, NIWA_ADD, ip(WEB_PRIVATE), 80);
	commit(t);
	wake(w, WEB_PRIVATE, MARK_WEB);
	freeze(w, NIWA_ADD);
	probe = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	c = tcp_connect(w, OTHER, WEB_SERVICE, 80);
	assert_true(probe >= 0 && c >= 0);
	assert_int_equal(setsockopt(probe, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(probe);
	pump_quiet(w);
	assert_int_equal(w->knocks, 0);
	assert_int_equal(send(c, "x", 1, 0), 1);
	assert_int_equal(pump(w, &w->knocks, 1), 1);
	freeze(w, NIWA_DEL);
	freeze(w, NIWA_ADD);
	assert_int_equal(shutdown(c, SHUT_WR), 0); /* an answer may depend on it */
	assert_int_equal(pump(w, &w->knocks, 2), 2);
	close(c);
	close(l);
}

static void keep_alive(int fd)
{
	const int one = 1;

	assert_int_equal(setsockopt(fd, SOL_TCP, TCP_KEEPIDLE, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)), 0);
}

static void keep_alives_do_not_knock_and_bytes_do(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c, s;
	uint64_t end = niwa_now_us() + 1300 * NIWA_MS, rx, tx, tx_before;

	wake(w, WEB_PRIVATE, MARK_WEB);
	c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	s = tcp_accept(l, SOON_MS);
	assert_talk(c, s);
	keep_alive(c);
	freeze(w, NIWA_ADD);
	assert_int_equal(niwa_net_veth_bytes(w->net, "nwweb", &rx, &tx_before), 0);
	while (niwa_now_us() < end) /* a probe is sent after a second */
		assert_true(sd_event_run(w->event, 50 * NIWA_MS) >= 0);
	assert_int_equal(niwa_net_veth_bytes(w->net, "nwweb", &rx, &tx), 0);
	assert_true(tx > tx_before);
	assert_int_equal(w->knocks, 0);
	assert_int_equal(send(c, "x", 1, 0), 1);
	assert_int_equal(pump(w, &w->knocks, 1), 1);
	close(c);
	close(s);
	close(l);
}

static void answers_to_a_frozen_apps_own_connections_knock(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, OUTSIDE, "0.0.0.0", 443), u = socket_in(w, HOST, AF_INET, SOCK_DGRAM, 0), c, s;
	const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = ip(WEB_PRIVATE)};
	struct niwa_net_txn *t = txn(w);

	niwa_net_egress(t, NIWA_ADD, ip(WEB_PRIVATE));
	commit(t);
	c = tcp_connect(w, WEB, "198.51.100.2", 443);
	s = tcp_accept(l, SOON_MS);
	assert_talk(c, s);
	freeze(w, NIWA_ADD);
	assert_int_equal(send(s, "x", 1, 0), 1);
	assert_int_equal(pump(w, &w->knocks, 1), 1);
	freeze(w, NIWA_DEL);
	freeze(w, NIWA_ADD); /* and a datagram */
	assert_int_equal(sendto(u, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
	assert_int_equal(pump(w, &w->knocks, 2), 2);
	close(u);
	close(c);
	close(s);
	close(l);
}

static void lost_messages_are_told_and_the_kernel_knows_who_knocked(void **state)
{
	struct world *w = *state;
	int u = socket_in(w, HOST, AF_INET, SOCK_DGRAM, 0), small = 2304, fd = mnl_socket_get_fd(w->net->log.sock);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct niwa_net_txn *t = txn(w);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	run_in(w, HOST, "ip route add 10.80.1.0/24 via " WEB_PRIVATE " dev nwweb onlink");
	for (int i = 0; i < 100; i++)
		niwa_net_frozen(t, NIWA_ADD, ip("10.80.1.0") | htonl((uint32_t)i));
	commit(t);
	for (int i = 0; i < 100; i++) {
		to.sin_addr.s_addr = ip("10.80.1.0") | htonl((uint32_t)i);
		assert_int_equal(sendto(u, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
	}
	assert_true(pump(w, &w->overflows, 1) >= 1);
	assert_true(w->knocks < 100);
	assert_int_equal(count_set(w, NIWA_NET_KNOCKED, NULL), 100);
	run_in(w, HOST, "ip route del 10.80.1.0/24 dev nwweb");
	close(u);
}

static void a_crashed_apps_client_is_answered_by_the_relay(void **state)
{
	static const enum place from[] = {REMOTE, HOST, OTHER};
	struct world *w = *state;

	int c[NIWA_ARRAY_LEN(from)], s;

	wake(w, WEB_PRIVATE, MARK_WEB); /* nobody listens there */
	for (size_t i = 0; i < NIWA_ARRAY_LEN(from); i++)
		c[i] = tcp_start(w, from[i], NULL, 0, WEB_SERVICE, 80);
	assert_int_equal(pump(w, &w->refusals, 1), 1); /* one event for all that happens in 100 ms */
	assert_int_equal(w->last_addr, ip(WEB_PRIVATE));
	assert_int_equal(w->last_port, 80);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(from); i++)
		assert_int_equal(tcp_wait(c[i], 20), -ETIMEDOUT);
	asleep(w);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(from); i++) {
		assert_int_equal(tcp_wait(c[i], SOON_MS), 0);
		s = tcp_accept(w->relay, SOON_MS);
		assert_true(s >= 0);
		close(s);
		close(c[i]);
	}
	/* whoever asks the instance itself (the relay) is told at once */
	assert_refused(w, HOST, WEB_PRIVATE, 80);
}

static void a_syn_under_way_goes_to_the_relay_after_the_flush(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), open_c, open_s, c, s;
	struct niwa_error err;

	for (int by_dump = 0; by_dump <= 1; by_dump++) {
		wake(w, WEB_PRIVATE, MARK_WEB);
		open_c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
		open_s = tcp_accept(l, SOON_MS);
		run_in(w, WEB, "ip link set eth0 down"); /* nobody answers any more */
		c = tcp_start(w, REMOTE, NULL, 0, WEB_SERVICE, 80);
		assert_int_equal(tcp_wait(c, 20), -ETIMEDOUT);
		asleep(w);
		if (by_dump)
			assert_int_equal(niwa_conntrack_dump_and_delete(&w->net->nf, MARK_WEB, true), 0);
		else
			assert_int_equal(niwa_net_flush_unreplied(w->net, MARK_WEB, &err), 0);
		assert_int_equal(tcp_wait(c, SOON_MS), 0);
		s = tcp_accept(w->relay, SOON_MS);
		assert_talk(c, s);
		close(c);
		close(s);
		run_in(w, WEB,
		       "ip link set eth0 up && ip route add default via 10.80.0.1 dev eth0 onlink src " WEB_PRIVATE);
		assert_talk(open_c, open_s); /* what was answered once is left alone */
		close(open_c);
		close(open_s);
	}
	close(l);
}

static void without_the_flush_the_syn_stays_where_it_was(void **state)
{
	struct world *w = *state;
	int c;

	wake(w, WEB_PRIVATE, MARK_WEB);
	run_in(w, WEB, "ip link set eth0 down");
	c = tcp_start(w, REMOTE, NULL, 0, WEB_SERVICE, 80);
	asleep(w);
	assert_int_equal(tcp_wait(c, 1300), -ETIMEDOUT); /* the test above is no accident */
	close(c);
	run_in(w, WEB, "ip link set eth0 up && ip route add default via 10.80.0.1 dev eth0 onlink src " WEB_PRIVATE);
}

static void the_connections_of_a_dead_instance_end_after_the_flush(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c, s;
	struct niwa_error err;

	for (int by_dump = 0; by_dump <= 1; by_dump++) {
		wake(w, WEB_PRIVATE, MARK_WEB);
		c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
		s = tcp_accept(l, SOON_MS);
		assert_talk(c, s);
		asleep(w);
		assert_int_equal(niwa_net_flush_all(w->net, MARK_OTHER, &err), 0); /* another's: no effect */
		assert_talk(c, s);
		if (by_dump)
			assert_int_equal(niwa_conntrack_dump_and_delete(&w->net->nf, MARK_WEB, false), 0);
		else
			assert_int_equal(niwa_net_flush_all(w->net, MARK_WEB, &err), 0);
		assert_int_equal(send(c, "x", 1, 0), 1);
		assert_int_equal(expect_end(c, SOON_MS), -ECONNRESET);
		close(c);
		close(s);
	}
	assert_int_equal(niwa_net_flush_all(w->net, 0, &err), -EINVAL);
	close(l);
}

static void the_connections_of_many_dead_instances_end_in_one_walk(void **state)
{
	struct world *w = *state;
	uint32_t others[] = {900, MARK_OTHER, 700, 800, 600, 500}, all[] = {900, 800, 700, MARK_WEB, 500, 600};
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c, s;
	struct niwa_error err;

	for (size_t count = 4; count <= NIWA_ARRAY_LEN(all); count += 2) { /* by mark, and by a listing */
		wake(w, WEB_PRIVATE, MARK_WEB);
		c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
		s = tcp_accept(l, SOON_MS);
		assert_talk(c, s);
		asleep(w);
		assert_int_equal(niwa_net_flush_many(others, count, &err), 0);
		assert_talk(c, s);
		assert_int_equal(niwa_net_flush_many(all, count, &err), 0);
		assert_int_equal(send(c, "x", 1, 0), 1);
		assert_int_equal(expect_end(c, SOON_MS), -ECONNRESET);
		close(c);
		close(s);
	}
	close(l);
}

static void a_private_address_without_an_instance_is_silent(void **state)
{
	struct world *w = *state;
	int c, s;

	wake(w, "10.80.0.200", 200); /* it has just gone */
	c = tcp_start(w, REMOTE, NULL, 0, WEB_SERVICE, 80);
	assert_int_equal(tcp_wait(c, QUIET_MS), -ETIMEDOUT);
	asleep(w);
	assert_int_equal(niwa_net_flush_unreplied(w->net, 200, NULL), 0);
	assert_int_equal(tcp_wait(c, SOON_MS), 0);
	s = tcp_accept(w->relay, SOON_MS);
	assert_talk(c, s);
	close(c);
	close(s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_frozen_app_is_knocked_once_and_the_kernel_remembers),
		T(a_knock_of_an_earlier_owner_of_the_address_hides_nothing),
		T(where_clients_speak_first_a_handshake_knocks_not),
		T(keep_alives_do_not_knock_and_bytes_do),
		T(answers_to_a_frozen_apps_own_connections_knock),
		T(lost_messages_are_told_and_the_kernel_knows_who_knocked),
		T(a_crashed_apps_client_is_answered_by_the_relay),
		T(a_syn_under_way_goes_to_the_relay_after_the_flush),
		T(without_the_flush_the_syn_stays_where_it_was),
		T(the_connections_of_a_dead_instance_end_after_the_flush),
		T(the_connections_of_many_dead_instances_end_in_one_walk),
		T(a_private_address_without_an_instance_is_silent),
	};

	return cmocka_run_group_tests(tests, world_group, NULL);
}
