/* SPDX-License-Identifier: MIT
 *
 * Counters of interfaces, questions to an instance's sockets, conntrack settings. Needs root; everything happens in
 * network namespaces of its own.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/clock.h"
#include "base/memory.h"
#include "net/diag.h"
#include "net/net_private.h"
#include "net/test_world.h"

static struct niwa_net *test_net; /* for the callbacks */

static int count_veth(const char *name, void *arg)
{
	assert_true(strcmp(name, "nwweb") == 0 || strcmp(name, "nwother") == 0);
	(*(unsigned *)arg)++;
	return 0;
}

static int see_bytes(const char *name, uint64_t rx, uint64_t tx, void *arg)
{
	uint64_t one_rx, one_tx;

	assert_int_equal(niwa_net_veth_bytes(test_net, name, &one_rx, &one_tx), 0);
	assert_true(one_rx >= rx && one_tx >= tx && rx > 0);
	return count_veth(name, arg);
}

static void the_bytes_of_a_veth_are_counted(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c, s;
	uint64_t rx, tx, rx2, tx2;
	struct niwa_error err;
	char block[4096] = {0};
	unsigned n = 0;

	test_net = w->net;
	c = tcp_connect(w, HOST, WEB_PRIVATE, 80);
	s = tcp_accept(l, SOON_MS);
	assert_int_equal(fcntl(c, F_SETFL, 0), 0);
	assert_int_equal(niwa_net_veth_bytes(w->net, "nwweb", &rx, &tx), 0);
	assert_int_equal(send(s, block, sizeof(block), 0), sizeof(block));
	assert_int_equal(recv(c, block, sizeof(block), MSG_WAITALL), sizeof(block));
	assert_int_equal(niwa_net_veth_bytes(w->net, "nwweb", &rx2, &tx2), 0);
	assert_true(rx2 - rx >= sizeof(block) && tx2 > tx && tx2 - tx < sizeof(block));
	assert_int_equal(niwa_net_veth_bytes(w->net, "nwnone", &rx, &tx), -ENODEV);
	assert_int_equal(niwa_net_each_veth(w->net, count_veth, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(niwa_net_each_veth_bytes(w->net, see_bytes, &n, &err), 0);
	assert_int_equal(n, 4);
	run_in(w, HOST, "ip link add nwleft type veth peer name nwleftp");
	assert_int_equal(niwa_net_veth_delete(w->net, "nwleft"), 0);
	assert_int_equal(niwa_net_veth_delete(w->net, "nwleft"), -ENODEV);
	close(c);
	close(s);
	close(l);
}

static void a_listener_is_found_at_any_address_it_may_have(void **state)
{
	static const struct {
		int family, v6only;
		const char *addr; /* NULL: any */
		int found;
	} cases[] = {
		{AF_INET, 0, WEB_PRIVATE, 1}, {AF_INET, 0, NULL, 1},        {AF_INET6, 0, NULL, 1},
		{AF_INET6, 1, NULL, 0},       {AF_INET, 0, "127.0.0.1", 0}, {AF_INET, 0, WEB_SERVICE, 0},
	};
	struct world *w = *state;
	int diag = socket_in(w, WEB, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);

	assert_int_equal(niwa_diag_listens(diag, ip(WEB_PRIVATE), 80), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct sockaddr_in sin = {.sin_family = AF_INET,
					  .sin_port = htons(80),
					  .sin_addr.s_addr = cases[i].addr ? ip(cases[i].addr) : INADDR_ANY};
		struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
		int l = socket_in(w, WEB, cases[i].family, SOCK_STREAM, 0), one = 1;

		(void)setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (cases[i].family == AF_INET6)
			assert_int_equal(setsockopt(l, SOL_IPV6, IPV6_V6ONLY, &cases[i].v6only, sizeof(int)), 0);
		assert_int_equal(cases[i].family == AF_INET ? bind(l, (struct sockaddr *)&sin, sizeof(sin))
							    : bind(l, (struct sockaddr *)&sin6, sizeof(sin6)),
				 0);
		assert_int_equal(niwa_diag_listens(diag, ip(WEB_PRIVATE), 80), 0); /* bound is not listening */
		assert_int_equal(listen(l, 8), 0);
		assert_int_equal(niwa_diag_listens(diag, ip(WEB_PRIVATE), 80), cases[i].found);
		assert_int_equal(niwa_diag_listens(diag, ip(WEB_PRIVATE), 81), 0);
		close(l);
	}
	close(diag);
}

static void active_connections_are_counted_without_loopback(void **state)
{
	struct world *w = *state;
	int diag = socket_in(w, WEB, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG), l6, own, loop_c, loop_s, own_c, own_s;
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(81)};
	int l = tcp_listen(w, WEB, "0.0.0.0", 80), c[2], s[2], c6, s6;
	unsigned active, total;

	l6 = socket_in(w, WEB, AF_INET6, SOCK_STREAM, 0);
	assert_int_equal(bind(l6, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(l6, 8), 0);
	for (int i = 0; i < 2; i++) {
		c[i] = tcp_connect(w, HOST, WEB_PRIVATE, 80);
		s[i] = tcp_accept(l, SOON_MS);
	}
	c6 = tcp_connect(w, HOST, WEB_PRIVATE, 81);
	s6 = tcp_accept(l6, SOON_MS);
	loop_c = tcp_connect(w, WEB, "127.0.0.1", 80);
	loop_s = tcp_accept(l, SOON_MS);
	own_c = tcp_connect(w, WEB, WEB_SERVICE, 80);
	own_s = tcp_accept(l, SOON_MS);
	own = own_c >= 0 && own_s >= 0 && loop_c >= 0 && loop_s >= 0;
	assert_true(own);
	assert_int_equal(niwa_diag_active(diag, 3600 * NIWA_SEC, &active, &total), 0);
	assert_int_equal(total, 3);
	assert_int_equal(active, 3);
	pump_quiet(w);
	assert_talk(c[0], s[0]);
	assert_int_equal(niwa_diag_active(diag, (QUIET_MS / 2) * NIWA_MS, &active, &total), 0);
	assert_int_equal(total, 3);
	assert_int_equal(active, 1);
	close(diag);
	close(l);
	close(l6);
	for (int i = 0; i < 2; i++) {
		close(c[i]);
		close(s[i]);
	}
	close(c6);
	close(s6);
	close(loop_c);
	close(loop_s);
	close(own_c);
	close(own_s);
}

static void what_was_closed_and_not_taken_is_unsent(void **state)
{
	struct world *w = *state;
	int diag = socket_in(w, WEB, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	int l = tcp_listen(w, WEB, "0.0.0.0", 80), c, s, loop_c, loop_s, few = 2048, more = 65536;
	char block[32768] = {0};
	unsigned active, total;

	c = tcp_connect(w, HOST, WEB_PRIVATE, 80);
	s = tcp_accept(l, SOON_MS);
	loop_c = tcp_connect(w, WEB, "127.0.0.1", 80);
	loop_s = tcp_accept(l, SOON_MS);
	assert_int_equal(niwa_diag_unsent(diag), 1);
	assert_int_equal(setsockopt(c, SOL_SOCKET, SO_RCVBUF, &few, sizeof(few)), 0);
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_SNDBUF, &more, sizeof(more)), 0);
	while (send(s, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	close(s);
	assert_int_equal(niwa_diag_unsent(diag), 1);
	assert_int_equal(niwa_diag_active(diag, 3600 * NIWA_SEC, &active, &total), 0);
	assert_int_equal(active, 1);
	assert_int_equal(niwa_diag_owed(diag, 3600 * NIWA_SEC), 0);
	assert_int_equal(fcntl(c, F_SETFL, 0), 0);
	while (recv(c, block, sizeof(block), 0) > 0)
		;
	for (int i = 0; i < 500 && niwa_diag_unsent(diag); i++) /* its FIN is acknowledged soon */
		(void)usleep(10000);
	assert_int_equal(niwa_diag_unsent(diag), 0);
	close(c);
	close(loop_c);
	close(loop_s);
	close(l);
	close(diag);
}

static void tuning_conntrack_skips_what_it_may_not_write(void **state)
{
	struct world *w = *state;

	niwa_net_tune_conntrack(20, 86400, 1000000);
	run_in(w, HOST,
	       "grep -qx 20 /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait && "
	       "grep -qx 86400 /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established");
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_bytes_of_a_veth_are_counted),
		T(a_listener_is_found_at_any_address_it_may_have),
		T(active_connections_are_counted_without_loopback),
		T(what_was_closed_and_not_taken_is_unsent),
		T(tuning_conntrack_skips_what_it_may_not_write),
	};

	return cmocka_run_group_tests(tests, world_group, NULL);
}
