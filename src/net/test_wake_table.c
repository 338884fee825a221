/* SPDX-License-Identifier: MIT
 *
 * How the table is kept: elements, restarts, repair, and the ranges it is for. Needs root; everything happens in
 * network namespaces of its own.
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

static int keep_nothing(const struct niwa_net_element *e, void *arg)
{
	return 0;
}

static void change_and_compare(struct world *w)
{
	struct niwa_net_element e;
	struct niwa_net_txn *t = txn(w);

	niwa_net_awake(t, NIWA_DEL, ip(WEB_SERVICE), 80, 0, 0);
	niwa_net_frozen(t, NIWA_DEL, ip(WEB_PRIVATE));
	niwa_net_awake(t, NIWA_ADD, ip(WEB_SERVICE), 80, ip(WEB_PRIVATE), 8080);
	niwa_net_mark(t, NIWA_ADD, ip(WEB_PRIVATE), 1);
	niwa_net_mark(t, NIWA_ADD, ip(WEB_PRIVATE), 2);
	commit(t);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, &e), 1);
	assert_int_equal(e.addr, ip(WEB_SERVICE));
	assert_int_equal(e.port, 80);
	assert_int_equal(e.to_addr, ip(WEB_PRIVATE));
	assert_int_equal(e.to_port, 8080);
	t = txn(w);
	niwa_net_awake(t, NIWA_ADD, ip(WEB_SERVICE), 80, ip(OTHER_PRIVATE), 81);
	niwa_net_awake(t, NIWA_ADD, ip(WEB_SERVICE), 81, ip(OTHER_PRIVATE), 81);
	niwa_net_awake(t, NIWA_DEL, ip(WEB_SERVICE), 82, 0, 0);
	commit(t);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, NULL), 2);
	t = txn(w);
	niwa_net_awake(t, NIWA_DEL, ip(WEB_SERVICE), 81, 0, 0);
	niwa_net_awake(t, NIWA_DEL, ip(WEB_SERVICE), 81, 0, 0);
	niwa_net_mark(t, NIWA_DEL, ip(WEB_PRIVATE), 0);
	niwa_net_declared(t, NIWA_ADD, ip(WEB_SERVICE), 80, 5);
	commit(t);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, &e), 1);
	assert_int_equal(e.to_addr, ip(OTHER_PRIVATE));
	assert_int_equal(e.to_port, 81);
	assert_int_equal(count_set(w, NIWA_NET_MARK, NULL), 0);
	commit(txn(w)); /* nothing to do */
	t = txn(w);
	niwa_net_awake(t, NIWA_DEL, ip(WEB_SERVICE), 80, 0, 0);
	niwa_net_declared(t, NIWA_DEL, ip(WEB_SERVICE), 80, 0);
	commit(t);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, NULL), 0);
	assert_int_equal(count_set(w, NIWA_NET_DECLARED, NULL), 0);
}

static void adding_replaces_and_deleting_what_is_not_there_is_no_error(void **state)
{
	struct world *w = *state;

	change_and_compare(w);
	w->net->has_destroy = false; /* as Linux before 6.3 */
	change_and_compare(w);
}

static void a_large_change_finds_its_way_through_what_is_there(void **state)
{
	struct world *w = *state;
	int has_destroy = w->net->has_destroy; /* Linux before 6.3 has not */

	for (int destroy = 0; destroy <= has_destroy; destroy++) {
		struct niwa_net_txn *t = txn(w);
		struct niwa_net_element e;

		w->net->has_destroy = destroy;
		for (uint32_t i = 0; i < 20000; i += 7)
			niwa_net_declared(t, NIWA_ADD, ip("10.64.0.0") | htonl(i), 80, 1);
		commit(t);
		t = txn(w);
		for (uint32_t i = 0; i < 20000; i++) /* more than the kernel is given at once */
			niwa_net_declared(t, NIWA_ADD, ip("10.64.0.0") | htonl(i), 80, 2);
		commit(t);
		assert_int_equal(count_set(w, NIWA_NET_DECLARED, &e), 20000);
		t = txn(w);
		for (uint32_t i = 0; i < 20100; i++)
			niwa_net_declared(t, NIWA_DEL, ip("10.64.0.0") | htonl(i), 80, 0);
		commit(t);
		assert_int_equal(count_set(w, NIWA_NET_DECLARED, NULL), 0);
	}
}

static void flushed_sets_are_replaced_and_pending_knocks_stay(void **state)
{
	struct world *w = *state;
	struct niwa_net_txn *t = txn(w);
	struct niwa_net_element e;

	run_in(w, HOST, "nft add element inet niwa knocked '{ " WEB_PRIVATE ", " OTHER_PRIVATE " }'");
	niwa_net_frozen(t, NIWA_ADD, ip("10.80.0.3"));
	niwa_net_awake(t, NIWA_ADD, ip(WEB_SERVICE), 80, ip(WEB_PRIVATE), 80);
	niwa_net_mark(t, NIWA_ADD, ip("10.80.0.3"), 3);
	niwa_net_egress_list(t, NIWA_ADD, ip(WEB_PRIVATE), ip("192.0.2.0"), 24);
	niwa_net_declared(t, NIWA_ADD, ip(WEB_SERVICE), 80, CLASS);
	commit(t);
	t = txn(w);
	niwa_net_flush_sets(t);
	niwa_net_frozen(t, NIWA_ADD, ip(WEB_PRIVATE));
	niwa_net_mark(t, NIWA_ADD, ip(WEB_PRIVATE), MARK_WEB);
	niwa_net_egress_list(t, NIWA_ADD, ip(WEB_PRIVATE), ip("192.0.0.0"), 16);
	commit(t);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, NULL), 0);
	assert_int_equal(count_set(w, NIWA_NET_DECLARED, NULL), 1);
	assert_int_equal(count_set(w, NIWA_NET_MARK, &e), 1);
	assert_int_equal(e.addr, ip(WEB_PRIVATE));
	assert_int_equal(count_set(w, NIWA_NET_FROZEN, &e), 1);
	assert_int_equal(count_set(w, NIWA_NET_KNOCKED, &e), 1); /* the other one is not frozen */
	assert_int_equal(e.addr, ip(WEB_PRIVATE));
}

static void a_commit_that_fails_says_so_and_changes_nothing(void **state)
{
	struct world *w = *state;
	struct niwa_error err = {0};
	struct niwa_net_txn *t = txn(w);

	commit(txn(w));
	run_in(w, HOST, "nft delete table inet niwa");
	niwa_net_mark(t, NIWA_ADD, ip(WEB_PRIVATE), 1);
	assert_int_equal(niwa_net_commit(&t, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "set marks of table niwa"));
	assert_int_equal(err.kind, NIWA_TEMPORARY);
	assert_int_equal(niwa_net_check(w->net, &err), 0);
	assert_int_equal(niwa_net_each(w->net, NIWA_NET_MARK, keep_nothing, NULL, &err), -ENOENT);
	assert_int_equal(niwa_net_repair(w->net, &err), 0);
	assert_int_equal(count_set(w, NIWA_NET_MARK, NULL), 0);
}

static void a_replaced_element_never_misses(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), l2 = tcp_listen(w, OTHER, OTHER_PRIVATE, 80), c, s;

	wake(w, WEB_PRIVATE, MARK_WEB);
	wake(w, OTHER_PRIVATE, MARK_OTHER);
	c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	s = tcp_accept(l2, SOON_MS);
	assert_talk(c, s);
	assert_int_equal(tcp_accept(l, 0), -ETIMEDOUT);
	close(c);
	close(s);
	close(l);
	close(l2);
}

static int see_value(const struct niwa_net_element *e, void *arg)
{
	unsigned *sum = arg;

	*sum += e->value;
	return *sum > 10 ? -ECANCELED : 0;
}

static void a_walk_can_be_ended(void **state)
{
	struct world *w = *state;
	struct niwa_net_txn *t = txn(w);
	struct niwa_error err;
	unsigned sum = 0;

	for (uint32_t i = 0; i < 10; i++)
		niwa_net_declared(t, NIWA_ADD, ip("10.64.1.0") | htonl(i), 80, 6);
	commit(t);
	assert_int_equal(niwa_net_each(w->net, NIWA_NET_DECLARED, see_value, &sum, &err), -ECANCELED);
	assert_int_equal(sum, 12);
}

static void overlapping_prefixes_of_one_list_are_merged(void **state)
{
	static const struct {
		const char *net;
		unsigned bits;
	} list[] = {{"198.51.100.0", 24}, {"198.51.100.3", 32}, {"192.0.2.7", 32}, {"0.0.0.0", 0}, {"192.0.2.0", 24}};
	struct world *w = *state;
	struct niwa_error err;
	struct niwa_net_txn *t = txn(w);

	for (size_t i = 0; i < NIWA_ARRAY_LEN(list); i++)
		niwa_net_egress_list(t, NIWA_ADD, ip(WEB_PRIVATE), ip(list[i].net), list[i].bits);
	for (size_t i = 0; i < 3; i++)
		niwa_net_egress_list(t, NIWA_ADD, ip(OTHER_PRIVATE), ip(list[i].net), list[i].bits);
	commit(t);
	run_in(w, HOST, "test $(nft -j list set inet niwa egress_list | grep -o concat | wc -l) = 3");
	t = txn(w);
	niwa_net_egress_list(t, NIWA_ADD, ip(WEB_PRIVATE), ip("192.0.2.7"), 32);
	assert_int_equal(niwa_net_commit(&t, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "egress_list"));
	t = txn(w);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(list); i++) {
		niwa_net_egress_list(t, NIWA_DEL, ip(WEB_PRIVATE), ip(list[i].net), list[i].bits);
		niwa_net_egress_list(t, NIWA_DEL, ip(OTHER_PRIVATE), ip(list[i].net), list[i].bits);
	}
	commit(t);
	run_in(w, HOST, "! nft list set inet niwa egress_list | grep -q elements");
}

static void networks_of_ipv6_are_merged_beside_those_of_ipv4(void **state)
{
	static const struct {
		uint8_t net[16];
		unsigned bits;
	} list[] = {{{0x20, 0x01, 0x0d, 0xb8}, 33},
		    {{0x20, 0x01, 0x0d, 0xb8, 0x7f, 1}, 48},
		    {{0x20, 0x01, 0x0d, 0xb8, 0x80, 1, [15] = 1}, 128},
		    {{0x20, 0x01, 0x0d, 0xb8}, 31},
		    {{0xfd}, 8}};
	struct world *w = *state;
	struct niwa_net_txn *t = txn(w);

	for (size_t i = 0; i < NIWA_ARRAY_LEN(list); i++) {
		niwa_net_egress_list6(t, NIWA_ADD, ip(WEB_PRIVATE), list[i].net, list[i].bits);
		niwa_net_egress_list(t, NIWA_ADD, ip(WEB_PRIVATE), ip("192.0.2.0"), 24 + (unsigned)i);
	}
	for (size_t i = 0; i < 3; i++)
		niwa_net_egress_list6(t, NIWA_ADD, ip(OTHER_PRIVATE), list[i].net, list[i].bits);
	commit(t);
	run_in(w, HOST,
	       "for net in 2001:db8::/33 2001:db8:8001::1 2001:db8::/31 fd00::/8; do "
	       "nft list set inet niwa egress_list6 | grep -q \" $net\" || exit 1; done");
	run_in(w, HOST, "test $(nft -j list set inet niwa egress_list6 | grep -o concat | wc -l) = 4");
	run_in(w, HOST, "test $(nft -j list set inet niwa egress_list | grep -o concat | wc -l) = 1");
	t = txn(w);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(list); i++) {
		niwa_net_egress_list6(t, NIWA_DEL, ip(WEB_PRIVATE), list[i].net, list[i].bits);
		niwa_net_egress_list6(t, NIWA_DEL, ip(OTHER_PRIVATE), list[i].net, list[i].bits);
		niwa_net_egress_list(t, NIWA_DEL, ip(WEB_PRIVATE), ip("192.0.2.0"), 24 + (unsigned)i);
	}
	commit(t);
	run_in(w, HOST, "! nft list set inet niwa egress_list6 | grep -q elements");
}

static void the_elements_survive_a_restart(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), open_c, open_s, c;
	struct niwa_error err;

	wake(w, WEB_PRIVATE, MARK_WEB);
	open_c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	open_s = tcp_accept(l, SOON_MS);
	niwa_net_close(&w->net);
	run_in(w, HOST, "nft flush chain inet niwa dnat_in"); /* while nobody looks */
	assert_int_equal(world_open(w, &err), 0);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, NULL), 1);
	assert_int_equal(count_set(w, NIWA_NET_DECLARED, NULL), 1);
	assert_int_equal(niwa_net_check(w->net, &err), 1);
	assert_talk(open_c, open_s);
	c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	assert_true(c >= 0);
	assert_int_equal(tcp_wait(c, SOON_MS), 0);
	close(tcp_accept(l, SOON_MS));
	close(c);
	close(open_c);
	close(open_s);
	close(l);
}

static void a_table_of_another_layout_is_replaced(void **state)
{
	struct world *w = *state;
	struct niwa_error err;

	wake(w, WEB_PRIVATE, MARK_WEB);
	niwa_net_close(&w->net);
	run_in(w, HOST,
	       "nft delete table inet niwa && nft add table inet niwa && "
	       "nft add set inet niwa awake '{ type ipv4_addr; elements = { 1.2.3.4 }; }'");
	assert_int_equal(world_open(w, &err), 0);
	assert_int_equal(count_set(w, NIWA_NET_AWAKE, NULL), 0);
	assert_int_equal(niwa_net_check(w->net, &err), 1);
}

static void what_others_do_to_the_table_is_noticed_and_mended(void **state)
{
	static const char *const deeds[] = {
		"nft flush ruleset",
		"nft delete table inet niwa",
		"nft flush chain inet niwa instances",
		"nft insert rule inet niwa input accept",
		"nft add chain inet niwa mine",
		"nft flush map inet niwa declared",
		"nft add element inet niwa frozen '{ 10.80.0.3 }'",
	};
	struct world *w = *state;
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(deeds); i++) {
		int c, s;

		wake(w, WEB_PRIVATE, MARK_WEB);
		asleep(w);
		w->losses = 0;
		run_in(w, HOST, "%s", deeds[i]);
		if (pump(w, &w->losses, 1) != 1)
			fail_msg("not noticed: %s", deeds[i]);
		assert_int_equal(niwa_net_repair(w->net, &err), 0);
		if (i < 5) /* one more chain, or elements, are not rules */
			assert_int_equal(niwa_net_check(w->net, &err), 1);
		wake(w, WEB_PRIVATE, MARK_WEB);
		asleep(w);
		c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
		assert_true(c >= 0);
		s = tcp_accept(w->relay, SOON_MS);
		assert_talk(c, s);
		close(c);
		close(s);
		pump_quiet(w);
		assert_int_equal(w->losses, 1);
		run_in(w, HOST, "nft delete element inet niwa frozen '{ 10.80.0.3 }' 2>/dev/null || true");
		assert_int_equal(niwa_net_repair(w->net, &err), 0);
	}
}

static void what_others_do_to_their_own_tables_is_not_our_concern(void **state)
{
	struct world *w = *state;
	struct niwa_error err;

	run_in(w, HOST,
	       "nft 'add table inet x; add set inet x niwa { type ipv4_addr; }; "
	       "add element inet x niwa { 1.2.3.4 }; add chain inet x c { type filter hook input priority 0; }; "
	       "add rule inet x c accept' && nft delete table inet x");
	wake(w, WEB_PRIVATE, MARK_WEB);
	pump_quiet(w);
	assert_int_equal(w->losses, 0);
	assert_int_equal(niwa_net_check(w->net, &err), 1);
}

static void a_lost_route_is_found_by_the_check(void **state)
{
	struct world *w = *state;
	struct niwa_error err;

	run_in(w, HOST, "ip route del local 10.64.0.0/12 table local");
	assert_int_equal(niwa_net_check(w->net, &err), 0);
	assert_int_equal(niwa_net_repair(w->net, &err), 0);
	assert_int_equal(niwa_net_check(w->net, &err), 1);
}

static void nft_can_list_the_table(void **state)
{
	struct world *w = *state;

	run_in(w, HOST,
	       "nft list ruleset > /dev/null && nft -j list ruleset > /dev/null && "
	       "nft list chain inet niwa dnat_published | grep -q published");
}

static void ranges_that_collide_are_refused_with_the_route(void **state)
{
	static const struct {
		const char *add, *del;
		const char *says; /* NULL: no collision */
	} cases[] = {
		{"ip addr add 10.64.9.1/24 dev outside", "ip addr del 10.64.9.1/24 dev outside",
		 "address 10.64.9.1/24 dev outside"},
		{"ip route add 10.64.0.0/16 via 198.51.100.2", "ip route del 10.64.0.0/16",
		 "route 10.64.0.0/16 dev outside"},
		{"ip route add 10.0.0.0/8 via 198.51.100.2", "ip route del 10.0.0.0/8", "route 10.0.0.0/8 dev outside"},
		{"ip route add 10.85.0.0/16 via 198.51.100.2 table 55", "ip route flush table 55",
		 "private range 10.80.0.0/12"},
		{"ip route add 0.0.0.0/1 via 198.51.100.2", "ip route del 0.0.0.0/1", NULL},
		{"ip route add default via 198.51.100.2", "ip route del default", NULL},
		{"ip route add unreachable 10.0.0.0/8", "ip route del unreachable 10.0.0.0/8", NULL},
		{"ip route add 10.96.0.0/12 via 198.51.100.2", "ip route del 10.96.0.0/12", NULL},
	};
	struct world *w = *state;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_error err = {0};
		int r;

		niwa_net_close(&w->net);
		run_in(w, HOST, "%s", cases[i].add);
		r = world_open(w, &err);
		run_in(w, HOST, "%s", cases[i].del);
		assert_int_equal(r, cases[i].says ? -EEXIST : 0);
		if (cases[i].says && !strstr(err.msg, cases[i].says))
			fail_msg("%s", err.msg);
		if (r < 0)
			assert_int_equal(world_open(w, &err), 0);
	}
}

static void a_configuration_that_cannot_be_is_refused(void **state)
{
	struct world *w = *state;
	const struct niwa_net_config good = w->config;
	struct niwa_net_config bad[6] = {good, good, good, good, good, good};

	bad[0].service_net = good.private_net;
	bad[1].gateway_addr = ip("10.1.0.1");
	bad[2].service_bits = 33;
	bad[3].service_net = ip("10.64.0.1");
	bad[4].relay_port = 0;
	bad[5].veth_group = 0;
	niwa_net_close(&w->net);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(bad); i++) {
		struct niwa_error err = {0};

		w->config = bad[i];
		assert_int_equal(world_open(w, &err), -EINVAL);
		assert_int_equal(err.kind, NIWA_CALLER);
	}
	w->config = good;
}

static void the_range_never_leaves_by_the_default_route(void **state)
{
	struct world *w = *state;
	struct niwa_error err;

	run_in(w, HOST, "ip route add default via 198.51.100.2");
	niwa_net_close(&w->net);
	assert_int_equal(niwa_net_remove(&w->config, &err), 0);
	run_in(w, HOST, "ip route get 10.64.0.9 2>&1 | grep -q -e unreachable -e 'No route' && ip route del default");
	run_in(w, HOST, "ip addr add 10.80.0.1/32 dev lo");
	assert_int_equal(niwa_net_remove(&w->config, &err), 0); /* twice is fine */
	assert_int_equal(world_open(w, &err), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(adding_replaces_and_deleting_what_is_not_there_is_no_error),
		T(a_large_change_finds_its_way_through_what_is_there),
		T(flushed_sets_are_replaced_and_pending_knocks_stay),
		T(a_commit_that_fails_says_so_and_changes_nothing),
		T(a_replaced_element_never_misses),
		T(a_walk_can_be_ended),
		T(overlapping_prefixes_of_one_list_are_merged),
		T(networks_of_ipv6_are_merged_beside_those_of_ipv4),
		T(the_elements_survive_a_restart),
		T(a_table_of_another_layout_is_replaced),
		T(what_others_do_to_the_table_is_noticed_and_mended),
		T(what_others_do_to_their_own_tables_is_not_our_concern),
		T(a_lost_route_is_found_by_the_check),
		T(nft_can_list_the_table),
		T(ranges_that_collide_are_refused_with_the_route),
		T(a_configuration_that_cannot_be_is_refused),
		T(the_range_never_leaves_by_the_default_route),
	};

	return cmocka_run_group_tests(tests, world_group, NULL);
}
