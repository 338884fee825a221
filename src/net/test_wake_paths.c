/* SPDX-License-Identifier: MIT
 *
 * Who reaches whom, and how: real connections through the rules, from a neighbour, the host and an instance, to
 * sleeping and waking apps. Needs root; everything happens in network namespaces of its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "net/test_world.h"

static void declare(struct world *w, const char *service, uint16_t port)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_declared(t, NIWA_ADD, ip(service), port, CLASS);
	commit(t);
}

static void awake(struct world *w, enum niwa_change c, const char *service, uint16_t port, const char *private,
		  uint32_t mark)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_awake(t, c, ip(service), port, ip(private), port);
	niwa_net_mark(t, c, ip(private), mark);
	commit(t);
}

static void may(struct world *w, const char *private, uint32_t class_id)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_may(t, NIWA_ADD, ip(private), class_id);
	commit(t);
}

static const struct {
	enum place place;
	const char *from;
} clients[] = {{REMOTE, "192.0.2.2"}, {HOST, "10.80.0.1"}, {OTHER, OTHER_PRIVATE}};

static void a_sleeping_app_is_reached_through_the_relay_with_both_addresses_kept(void **state)
{
	struct world *w = *state;
	char local[32], peer[32], mine[32];

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(clients); i++) {
		int c = tcp_connect(w, clients[i].place, WEB_SERVICE, 80), s;

		assert_true(c >= 0);
		s = tcp_accept(w->relay, SOON_MS);
		assert_true(s >= 0);
		tcp_names(s, local, peer);
		tcp_names(c, mine, NULL);
		assert_string_equal(local, WEB_SERVICE ":80");
		assert_string_equal(peer, mine);
		assert_memory_equal(peer, clients[i].from, strlen(clients[i].from));
		assert_talk(c, s);
		close(c);
		close(s);
	}
}

static void a_sleeping_app_is_reached_with_syn_cookies_too(void **state)
{
	struct world *w = *state;
	char local[32];

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	run_in(w, HOST, "echo 2 > /proc/sys/net/ipv4/tcp_syncookies"); /* always, as in a flood */
	for (size_t i = 0; i < NIWA_ARRAY_LEN(clients); i++) {
		int c = tcp_connect(w, clients[i].place, WEB_SERVICE, 80), s;

		assert_true(c >= 0);
		s = tcp_accept(w->relay, SOON_MS);
		assert_true(s >= 0);
		tcp_names(s, local, NULL);
		assert_string_equal(local, WEB_SERVICE ":80");
		assert_talk(c, s);
		close(c);
		close(s);
	}
	run_in(w, HOST, "echo 1 > /proc/sys/net/ipv4/tcp_syncookies");
}

static void an_awake_app_is_reached_directly(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80);
	char local[32], peer[32], mine[32];

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	awake(w, NIWA_ADD, WEB_SERVICE, 80, WEB_PRIVATE, MARK_WEB);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(clients); i++) {
		int c = tcp_connect(w, clients[i].place, WEB_SERVICE, 80), s;

		assert_true(c >= 0);
		s = tcp_accept(l, SOON_MS);
		assert_true(s >= 0);
		tcp_names(s, local, peer);
		tcp_names(c, mine, NULL);
		assert_string_equal(local, WEB_PRIVATE ":80");
		assert_string_equal(peer, mine);
		assert_talk(c, s);
		close(c);
		close(s);
	}
	close(l);
}

/* Buckets from `first` on belong to the instance. */
static void give_buckets(struct world *w, unsigned first, const char *private)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_scaled(t, NIWA_ADD, ip(WEB_SERVICE), 80);
	for (unsigned n = first; n < NIWA_NET_BUCKETS; n++)
		niwa_net_spread(t, NIWA_ADD, ip(WEB_SERVICE), n, ip(private));
	commit(t);
}

/* Of `count` connections from a place; how many came to the first listener, the others to the second. */
static int share_of(struct world *w, enum place place, int count, int first, int second)
{
	int share = 0;

	for (int n = 0; n < count; n++) {
		int c = tcp_connect(w, place, WEB_SERVICE, 80), s;

		assert_true(c >= 0);
		s = tcp_accept(first, 0);
		share += s >= 0;
		if (s < 0)
			s = tcp_accept(second, SOON_MS);
		assert_true(s >= 0);
		assert_talk(c, s);
		close(c);
		close(s);
	}
	return share;
}

static void connections_to_an_app_with_two_instances_are_spread_by_their_shares(void **state)
{
	struct world *w = *state;
	int web = tcp_listen(w, WEB, WEB_PRIVATE, 80), other = tcp_listen(w, OTHER, OTHER_PRIVATE, 80), n;

	declare(w, WEB_SERVICE, 80);
	give_buckets(w, 0, WEB_PRIVATE);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(share_of(w, clients[i].place, 8, web, other), 8);
	give_buckets(w, NIWA_NET_BUCKETS / 2, OTHER_PRIVATE);
	for (size_t i = 0; i < 2; i++) { /* 48 times one of 2: fewer than 8 or more than 40 come once in 10^6 */
		n = share_of(w, clients[i].place, 48, web, other);
		assert_in_range(n, 8, 40);
	}
	give_buckets(w, 0, OTHER_PRIVATE); /* one is gone: its share is the other's at once */
	assert_int_equal(share_of(w, REMOTE, 8, web, other), 0);
	close(web);
	close(other);
}

static void an_app_without_a_bucket_or_with_an_empty_one_is_reached_through_the_relay(void **state)
{
	struct world *w = *state;
	struct niwa_net_txn *t;
	int c, s;

	declare(w, WEB_SERVICE, 80);
	give_buckets(w, 0, WEB_PRIVATE);
	t = txn(w);
	for (unsigned n = 0; n < NIWA_NET_BUCKETS; n++)
		niwa_net_spread(t, NIWA_DEL, ip(WEB_SERVICE), n, ip(WEB_PRIVATE));
	commit(t);
	c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	assert_true(c >= 0);
	s = tcp_accept(w->relay, SOON_MS);
	assert_true(s >= 0);
	assert_talk(c, s);
	close(c);
	close(s);
	give_buckets(w, 0, WEB_PRIVATE);
	t = txn(w);
	niwa_net_flush_sets(t);
	commit(t);
	c = tcp_connect(w, REMOTE, WEB_SERVICE, 80);
	s = tcp_accept(w->relay, SOON_MS);
	assert_talk(c, s);
	close(c);
	close(s);
}

static void connections_outlive_waking_and_sleeping(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), cold[3], cold_s[3], warm[3], warm_s[3];

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	for (int i = 0; i < 3; i++) {
		cold[i] = tcp_connect(w, clients[i].place, WEB_SERVICE, 80);
		cold_s[i] = tcp_accept(w->relay, SOON_MS);
		assert_talk(cold[i], cold_s[i]);
	}
	awake(w, NIWA_ADD, WEB_SERVICE, 80, WEB_PRIVATE, MARK_WEB);
	for (int i = 0; i < 3; i++) {
		assert_talk(cold[i], cold_s[i]);
		warm[i] = tcp_connect(w, clients[i].place, WEB_SERVICE, 80);
		warm_s[i] = tcp_accept(l, SOON_MS);
		assert_talk(warm[i], warm_s[i]);
	}
	awake(w, NIWA_DEL, WEB_SERVICE, 80, WEB_PRIVATE, MARK_WEB);
	for (int i = 0; i < 3; i++) {
		assert_talk(cold[i], cold_s[i]);
		assert_talk(warm[i], warm_s[i]);
		close(cold[i]);
		close(warm[i]);
		assert_int_equal(expect_end(cold_s[i], SOON_MS), 0);
		assert_int_equal(expect_end(warm_s[i], SOON_MS), 0);
		close(cold_s[i]);
		close(warm_s[i]);
	}
	close(l);
}

static void an_undeclared_port_is_refused_at_once(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, HOST, "0.0.0.0", 2222); /* what listens everywhere on the host is not meant either */

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(clients); i++) {
		assert_refused(w, clients[i].place, WEB_SERVICE, 81);
		assert_refused(w, clients[i].place, "10.64.7.7", 80);
		assert_refused(w, clients[i].place, WEB_SERVICE, 2222);
	}
	close(l);
}

static void an_undeclared_port_is_silent_until_the_table_is_filled(void **state)
{
	struct world *w = *state;
	int c[3];

	for (int i = 0; i < 3; i++)
		c[i] = tcp_start(w, clients[i].place, NULL, 0, WEB_SERVICE, 80);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tcp_wait(c[i], QUIET_MS), -ETIMEDOUT);
	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	for (int i = 0; i < 3; i++) { /* the SYN is repeated after a second */
		assert_int_equal(tcp_wait(c[i], SOON_MS), 0);
		close(c[i]);
	}
}

static void the_relay_cannot_be_reached_directly(void **state)
{
	struct world *w = *state;

	declare(w, WEB_SERVICE, 80);
	run_in(w, REMOTE, "ip route add 127.0.0.2 via 192.0.2.1 table 9 2>/dev/null || true");
	assert_refused(w, HOST, "127.0.0.1", RELAY_PORT);
	assert_refused(w, REMOTE, "192.0.2.1", RELAY_PORT);
	assert_refused(w, REMOTE, WEB_SERVICE, RELAY_PORT);
	assert_refused(w, OTHER, "10.80.0.1", RELAY_PORT);
	assert_int_equal(tcp_accept(w->relay, 0), -ETIMEDOUT);
}

static void an_instance_reaches_only_the_classes_it_may(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c;

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS + 1);
	assert_refused(w, OTHER, WEB_SERVICE, 80);
	awake(w, NIWA_ADD, WEB_SERVICE, 80, WEB_PRIVATE, MARK_WEB);
	assert_refused(w, OTHER, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	c = tcp_connect(w, OTHER, WEB_SERVICE, 80);
	assert_true(c >= 0);
	close(c);
	close(l);
}

static void a_private_address_answers_to_the_host_only(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, "0.0.0.0", 80), c;

	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	awake(w, NIWA_ADD, WEB_SERVICE, 80, WEB_PRIVATE, MARK_WEB);
	c = tcp_connect(w, HOST, WEB_PRIVATE, 80);
	assert_true(c >= 0);
	close(c);
	assert_refused(w, REMOTE, WEB_PRIVATE, 80);
	assert_refused(w, OTHER, WEB_PRIVATE, 80);
	assert_refused(w, OTHER, "10.80.0.77", 80);
	close(l);
}

static void an_app_reaches_its_own_service_address(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, WEB, "0.0.0.0", 80), c, s;

	declare(w, WEB_SERVICE, 80);
	c = tcp_connect(w, WEB, WEB_SERVICE, 80);
	assert_true(c >= 0);
	s = tcp_accept(l, SOON_MS);
	assert_talk(c, s);
	close(c);
	close(s);
	close(l);
}

static void an_instance_with_egress_reaches_dns_of_the_host_and_nothing_else(void **state)
{
	struct world *w = *state;
	int dns = tcp_listen(w, HOST, "10.80.0.1", 53), ssh = tcp_listen(w, HOST, "0.0.0.0", 22), c;
	struct niwa_net_txn *t = txn(w);

	declare(w, WEB_SERVICE, 80);
	niwa_net_egress(t, NIWA_ADD, ip(WEB_PRIVATE));
	commit(t);
	c = tcp_connect(w, WEB, "10.80.0.1", 53);
	assert_true(c >= 0);
	close(c);
	assert_refused(w, WEB, "10.80.0.1", 22);
	assert_refused(w, WEB, "192.0.2.1", 22);
	assert_refused(w, WEB, "192.0.2.1", 53);
	assert_refused(w, REMOTE, "10.80.0.1", 53);
	c = tcp_connect(w, REMOTE, "192.0.2.1", 22); /* what is none of ours stays as it was */
	assert_true(c >= 0);
	close(c);
	close(dns);
	close(ssh);
}

/* Does a datagram from there to the gateway's port 53 arrive? */
static bool gateway_hears_udp(struct world *w, enum place place, int server)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = ip("10.80.0.1")};
	int c = socket_in(w, place, AF_INET, SOCK_DGRAM, 0);
	struct pollfd p = {.fd = server, .events = POLLIN};
	char byte = 'q';
	bool heard;

	assert_int_equal(sendto(c, &byte, 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	heard = poll(&p, 1, QUIET_MS) == 1 && recv(server, &byte, 1, 0) == 1;
	close(c);
	return heard;
}

static int udp_listen(struct world *w, enum place place, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int s = socket_in(w, place, AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(s, (struct sockaddr *)&at, sizeof(at)), 0);
	return s;
}

static void egress_member(struct world *w, unsigned set, enum niwa_change change)
{
	struct niwa_net_txn *t = txn(w);

	if (set == 0)
		niwa_net_egress(t, change, ip(OTHER_PRIVATE));
	else if (set == 1)
		niwa_net_egress_list(t, change, ip(OTHER_PRIVATE), ip("10.80.0.1"), 32);
	else
		niwa_net_egress_names(t, change, ip(OTHER_PRIVATE), ip("10.80.0.1"));
	commit(t);
}

static void port_53_of_the_gateway_is_closed_to_who_reaches_nothing_outside(void **state)
{
	struct world *w = *state;
	int tcp = tcp_listen(w, HOST, "0.0.0.0", 53), udp = udp_listen(w, HOST, 53), c;

	for (unsigned set = 0; set < 3; set++) {
		egress_member(w, set, NIWA_ADD);
		c = tcp_connect(w, OTHER, "10.80.0.1", 53);
		if (c < 0)
			fail_msg("a member of egress set %u: %d", set, c);
		close(c);
		assert_true(gateway_hears_udp(w, OTHER, udp));
		assert_refused(w, WEB, "10.80.0.1", 53);
		assert_false(gateway_hears_udp(w, WEB, udp));
		egress_member(w, set, NIWA_DEL);
		assert_refused(w, OTHER, "10.80.0.1", 53);
	}
	close(tcp);
	close(udp);
}

static void egress_is_none_or_the_internet_or_a_list(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, OUTSIDE, "0.0.0.0", 443), names = tcp_listen(w, OUTSIDE, "0.0.0.0", 53), c, s;
	struct niwa_net_txn *t;
	char peer[32];

	/* none; the refusal is an ICMP error (not a listener's own) for UDP, a reset for TCP */
	declare(w, WEB_SERVICE, 80);
	assert_refused(w, WEB, "198.51.100.2", 443);
	t = txn(w);
	niwa_net_egress(t, NIWA_ADD, ip(WEB_PRIVATE));
	niwa_net_egress_list(t, NIWA_ADD, ip(OTHER_PRIVATE), ip("198.51.100.3"), 32);
	niwa_net_egress_list(t, NIWA_ADD, ip(OTHER_PRIVATE), ip("192.168.77.0"), 24);
	niwa_net_egress_list(t, NIWA_ADD, ip(OTHER_PRIVATE), ip("192.168.0.0"), 16);
	niwa_net_egress_names(t, NIWA_ADD, ip(WEB_PRIVATE), ip("192.168.77.2"));
	commit(t);
	/* the internet: masqueraded, and not what is private */
	c = tcp_connect(w, WEB, "198.51.100.2", 443);
	assert_true(c >= 0);
	s = tcp_accept(l, SOON_MS);
	tcp_names(s, NULL, peer);
	assert_memory_equal(peer, "198.51.100.1:", 13);
	assert_talk(c, s);
	close(c);
	close(s);
	assert_refused(w, WEB, "192.168.77.2", 443); /* a name server of its own: port 53 and no other */
	c = tcp_connect(w, WEB, "192.168.77.2", 53);
	assert_true(c >= 0);
	close(c);
	/* a list */
	assert_refused(w, OTHER, "198.51.100.2", 443);
	c = tcp_connect(w, OTHER, "198.51.100.3", 443);
	assert_true(c >= 0);
	close(c);
	c = tcp_connect(w, OTHER, "192.168.77.2", 443);
	assert_true(c >= 0);
	close(c);
	close(names);
	close(l);
}

static void a_spoofed_source_is_dropped(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, OUTSIDE, "0.0.0.0", 443), c, one = 0;
	struct niwa_net_txn *t = txn(w);

	niwa_net_egress(t, NIWA_ADD, ip(WEB_PRIVATE));
	niwa_net_egress(t, NIWA_ADD, ip(OTHER_PRIVATE));
	commit(t);
	run_in(w, WEB, "ip addr add " OTHER_PRIVATE "/32 dev lo && ip addr add 192.0.2.55/32 dev lo");
	/* with the kernel's own filter and, that one switched off, with the rule's */
	for (; one <= 1; one++) {
		run_in(w, HOST, "echo %d > /proc/sys/net/ipv4/conf/nwweb/rp_filter", !one);
		c = tcp_start(w, WEB, OTHER_PRIVATE, 0, "198.51.100.2", 443);
		assert_int_equal(tcp_wait(c, QUIET_MS), -ETIMEDOUT);
		close(c);
		c = tcp_start(w, WEB, "192.0.2.55", 0, "198.51.100.2", 443);
		assert_int_equal(tcp_wait(c, QUIET_MS), -ETIMEDOUT);
		close(c);
	}
	assert_int_equal(tcp_accept(l, 0), -ETIMEDOUT);
	run_in(w, WEB, "ip addr del " OTHER_PRIVATE "/32 dev lo && ip addr del 192.0.2.55/32 dev lo");
	run_in(w, HOST, "echo 1 > /proc/sys/net/ipv4/conf/nwweb/rp_filter");
	close(l);
}

static const struct niwa_net_host_port *host_port(struct niwa_net_host_port *at, const char *addr, uint16_t port)
{
	const uint32_t four = ip(addr);

	*at = (struct niwa_net_host_port){.addr = {[10] = 0xff, [11] = 0xff}, .port = port};
	memcpy(at->addr + 12, &four, sizeof(four));
	return at;
}

static void a_published_port_follows_the_app(void **state)
{
	struct world *w = *state;
	struct niwa_net_host_port at;
	int relay = tcp_listen(w, HOST, "0.0.0.0", 8080), l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c, s;
	struct niwa_net_txn *t = txn(w);

	niwa_net_declared(t, NIWA_ADD, ip(WEB_SERVICE), 80, CLASS);
	niwa_net_published(t, NIWA_ADD, host_port(&at, "0.0.0.0", 8080), ip(WEB_SERVICE), 80);
	niwa_net_published(t, NIWA_ADD, host_port(&at, "192.0.2.1", 8081), ip(WEB_SERVICE), 80);
	commit(t);
	c = tcp_connect(w, REMOTE, "192.0.2.1", 8080);
	s = tcp_accept(relay, SOON_MS);
	assert_talk(c, s);
	awake(w, NIWA_ADD, WEB_SERVICE, 80, WEB_PRIVATE, MARK_WEB);
	assert_talk(c, s);
	close(c);
	close(s);
	for (int i = 0; i < 4; i++) {
		c = tcp_connect(w, i & 1 ? HOST : REMOTE, "192.0.2.1", i & 2 ? 8081 : 8080);
		assert_true(c >= 0);
		s = tcp_accept(l, SOON_MS);
		assert_true(s >= 0);
		assert_talk(c, s);
		close(c);
		close(s);
	}
	/* loopback is the relay's, service addresses are their apps' */
	c = tcp_connect(w, HOST, "127.0.0.1", 8080);
	s = tcp_accept(relay, SOON_MS);
	assert_true(s >= 0);
	close(c);
	close(s);
	assert_refused(w, REMOTE, "10.64.3.3", 8080);
	assert_refused(w, OTHER, "192.0.2.1", 8080);
	close(relay);
	close(l);
}

static void the_connections_of_one_instance_are_limited(void **state)
{
	struct world *w = *state;
	struct niwa_error err = {0};
	int c[4];

	world_close(w);
	w->config.instance_connections = 3;
	assert_int_equal(world_open(w, &err), 0);
	world_listen_relay(w);
	w->config.instance_connections = 0;
	declare(w, WEB_SERVICE, 80);
	may(w, OTHER_PRIVATE, CLASS);
	for (int i = 0; i < 3; i++) {
		c[i] = tcp_connect(w, OTHER, WEB_SERVICE, 80);
		assert_true(c[i] >= 0);
	}
	assert_refused(w, OTHER, WEB_SERVICE, 80);
	c[3] = tcp_connect(w, REMOTE, WEB_SERVICE, 80); /* another's are not counted */
	assert_true(c[3] >= 0);
	for (int i = 0; i < 4; i++)
		close(c[i]);
}

/* 1: the maps send the port to the instance. */
static int is_published(struct world *w, uint16_t port)
{
	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), relay = tcp_listen(w, HOST, "0.0.0.0", port), c, s, r;

	c = tcp_connect(w, REMOTE, "192.0.2.1", port);
	assert_true(c >= 0);
	s = tcp_accept(l, 20);
	r = s >= 0;
	if (!r)
		s = tcp_accept(relay, SOON_MS);
	assert_talk(c, s);
	close(c);
	close(s);
	close(l);
	close(relay);
	return r;
}

static void publish(struct world *w, enum niwa_change c, const char *host, uint16_t port, const char *service)
{
	struct niwa_net_txn *t = txn(w);
	struct niwa_net_host_port at;

	niwa_net_published(t, c, host_port(&at, host, port), ip(service), 80);
	commit(t);
}

static void publishing_works_in_any_order(void **state)
{
	struct world *w = *state;
	struct niwa_error err;

	wake(w, WEB_PRIVATE, MARK_WEB);
	publish(w, NIWA_ADD, "0.0.0.0", 8080, WEB_SERVICE); /* after the app woke */
	publish(w, NIWA_ADD, "192.0.2.1", 8081, WEB_SERVICE);
	publish(w, NIWA_ADD, "192.0.2.1", 8081, WEB_SERVICE); /* twice */
	assert_true(is_published(w, 8080));
	assert_true(is_published(w, 8081));
	publish(w, NIWA_DEL, "192.0.2.1", 8081, WEB_SERVICE);
	assert_false(is_published(w, 8081));
	publish(w, NIWA_ADD, "0.0.0.0", 8080, OTHER_SERVICE); /* given to another app, which sleeps */
	assert_false(is_published(w, 8080));
	publish(w, NIWA_ADD, "0.0.0.0", 8080, WEB_SERVICE);
	niwa_net_close(&w->net); /* after a restart the engine tells again; meanwhile it works on */
	assert_int_equal(world_open(w, &err), 0);
	assert_true(is_published(w, 8080));
	publish(w, NIWA_ADD, "0.0.0.0", 8080, WEB_SERVICE);
	assert_true(is_published(w, 8080));
	asleep(w);
	assert_false(is_published(w, 8080));
	wake(w, WEB_PRIVATE, MARK_WEB);
	assert_true(is_published(w, 8080));
}

static void new_held_connections_of_one_source_are_limited(void **state)
{
	struct world *w = *state;
	struct niwa_error err = {0};
	unsigned answered = 0;
	int c[6];

	world_close(w);
	w->config.held_rate = 1;
	w->config.held_burst = 3;
	assert_int_equal(world_open(w, &err), 0);
	world_listen_relay(w);
	w->config.held_rate = w->config.held_burst = 0;
	declare(w, WEB_SERVICE, 80);
	for (int i = 0; i < 6; i++)
		c[i] = tcp_start(w, REMOTE, NULL, 0, WEB_SERVICE, 80);
	for (int i = 0; i < 6; i++)
		answered += tcp_wait(c[i], 20) == 0;
	assert_in_range(answered, 3, 4);
	for (int i = 0; i < 6; i++)
		close(c[i]);
	for (int i = 0; i < 6; i++) { /* a front on the host is not limited */
		c[i] = tcp_connect(w, HOST, WEB_SERVICE, 80);
		assert_true(c[i] >= 0);
		close(c[i]);
	}
}

static void while_the_relay_is_away_a_client_waits(void **state)
{
	struct world *w = *state;
	int l = tcp_listen(w, HOST, "0.0.0.0", 80), c, s; /* the host's own web server must not answer instead */

	declare(w, WEB_SERVICE, 80);
	close(w->relay);
	w->relay = -1;
	c = tcp_start(w, REMOTE, NULL, 0, WEB_SERVICE, 80);
	assert_int_equal(tcp_wait(c, QUIET_MS), -ETIMEDOUT);
	world_listen_relay(w);
	assert_int_equal(tcp_wait(c, SOON_MS), 0);
	s = tcp_accept(w->relay, SOON_MS);
	assert_talk(c, s);
	assert_int_equal(tcp_accept(l, 0), -ETIMEDOUT);
	close(c);
	close(s);
	close(l);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_sleeping_app_is_reached_through_the_relay_with_both_addresses_kept),
		T(a_sleeping_app_is_reached_with_syn_cookies_too),
		T(an_awake_app_is_reached_directly),
		T(connections_to_an_app_with_two_instances_are_spread_by_their_shares),
		T(an_app_without_a_bucket_or_with_an_empty_one_is_reached_through_the_relay),
		T(connections_outlive_waking_and_sleeping),
		T(an_undeclared_port_is_refused_at_once),
		T(an_undeclared_port_is_silent_until_the_table_is_filled),
		T(the_relay_cannot_be_reached_directly),
		T(an_instance_reaches_only_the_classes_it_may),
		T(a_private_address_answers_to_the_host_only),
		T(an_app_reaches_its_own_service_address),
		T(an_instance_with_egress_reaches_dns_of_the_host_and_nothing_else),
		T(port_53_of_the_gateway_is_closed_to_who_reaches_nothing_outside),
		T(egress_is_none_or_the_internet_or_a_list),
		T(a_spoofed_source_is_dropped),
		T(a_published_port_follows_the_app),
		T(publishing_works_in_any_order),
		T(the_connections_of_one_instance_are_limited),
		T(new_held_connections_of_one_source_are_limited),
		T(while_the_relay_is_away_a_client_waits),
	};

	return cmocka_run_group_tests(tests, world_group, NULL);
}
