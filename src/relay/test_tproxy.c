/* SPDX-License-Identifier: MIT
 *
 * niwa-relay behind the kernel's tproxy: one transparent listener stands in for any port of any service address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nftables/libnftables.h>

#include "base/clock.h"
#include "relay/test_rig.h"

static const char rules[] =
	"table inet test {\n"
	"  set declared { type ipv4_addr . inet_service; elements = { 127.64.0.1 . 80, 127.64.0.2 . 5432 } }\n"
	"  chain pre { type filter hook prerouting priority dstnat + 1;\n"
	"    ip daddr . tcp dport @declared tproxy ip to 127.0.0.1:8000 accept\n"
	"  }\n"
	"}\n";

static void load_rules(const char *text)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	assert_non_null(ctx);
	assert_int_equal(nft_run_cmd_from_buffer(ctx, text), 0);
	nft_ctx_free(ctx);
}

static int transparent_listener(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	sa.sin_port = htons(NIWA_RIG_PORT);
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), errno);
	assert_return_code(setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)), errno);
	assert_return_code(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), errno);
	assert_return_code(listen(fd, 4096), errno);
	return fd;
}

static int set_up(void **state)
{
	static struct rig rig;

	load_rules(rules);
	rig_start_on(&rig, transparent_listener(), NULL, 0);
	*state = &rig;
	return 0;
}

static int tear_down(void **state)
{
	rig_stop(*state);
	return 0;
}

static void declared_ports_of_all_addresses_come_with_their_service(void **state)
{
	static const struct {
		unsigned service;
		uint16_t port;
	} declared[] = {{1, 80}, {2, 5432}};
	struct rig *rig = *state;

	for (size_t i = 0; i < 2; i++) {
		int client = rig_connect(rig_service(declared[i].service), declared[i].port), server, listener;
		struct niwa_relay_msg m = rig_expect(rig, NIWA_RELAY_OPEN);
		struct sockaddr_in sa;
		socklen_t len = sizeof(sa);
		uint16_t port = 0;

		assert_return_code(getsockname(client, (struct sockaddr *)&sa, &len), errno);
		assert_int_equal(m.service, rig_service(declared[i].service));
		assert_int_equal(m.port, declared[i].port);
		assert_int_equal(m.client, sa.sin_addr.s_addr);
		assert_int_equal(m.client_port, ntohs(sa.sin_port));
		listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
		m = rig_ready(m.ticket, port);
		rig_send(rig, &m);
		server = rig_accept(listener);
		rig_write(client, "ping", 4);
		rig_read(server, "ping");
		rig_write(server, "pong", 4);
		rig_read(client, "pong");
		close(client);
		close(server);
		close(listener);
		assert_int_equal(rig_expect(rig, NIWA_RELAY_RESULT).error, 0);
		assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).bytes_out, 4);
	}
}

static void undeclared_ports_are_refused_and_the_relay_cannot_be_called_directly(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = rig_service(1), .sin_port = htons(81)};
	struct rig *rig = *state;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[16];

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	fd = rig_connect(htonl(INADDR_LOOPBACK), NIWA_RIG_PORT);
	assert_int_equal(rig_read_all(fd, buf, sizeof(buf)), -ECONNRESET);
	close(fd);
	rig_expect_none(rig, 20);
}

/* The first sockets that connect to the port get no answer, however often the kernel repeats their SYN. */
static void lose_sockets(uint16_t port, unsigned count)
{
	char text[384];

	(void)snprintf(text, sizeof(text),
		       "table inet lossy {\n"
		       "  set lost { type inet_service; flags dynamic; size 64; }\n"
		       "  chain in { type filter hook input priority 0;\n"
		       "    tcp dport %u tcp sport @lost drop\n"
		       "    tcp dport %u tcp flags & (syn | ack) == syn limit rate 1/hour burst %u packets "
		       "add @lost { tcp sport } drop\n"
		       "  }\n"
		       "}\n",
		       port, port, count);
	load_rules(text);
}

static void an_instance_that_misses_the_first_syns_is_met_by_another_and_once(void **state)
{
	for (unsigned lost = 1; lost <= 3; lost += 2) {
		struct rig *rig = *state;
		uint16_t port = 0;
		int listener = rig_listen(htonl(INADDR_LOOPBACK), &port), server, client;
		struct niwa_relay_msg m;
		uint64_t begun_us;

		lose_sockets(port, lost);
		client = rig_connect(rig_service(1), 80);
		m = rig_ready(rig_expect(rig, NIWA_RELAY_OPEN).ticket, port);
		begun_us = niwa_now_us();
		rig_send(rig, &m);
		server = rig_accept(listener);
		assert_true(niwa_now_us() - begun_us >= 20 * NIWA_MS);
		rig_write(server, "220 ready\r\n", 11);
		rig_read(client, "220 ready\r\n");
		assert_int_equal(rig_expect(rig, NIWA_RELAY_RESULT).error, 0);
		close(client);
		close(server);
		assert_int_equal(rig_expect(rig, NIWA_RELAY_CLOSED).bytes_out, 11);
		assert_int_equal(poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 0), 0);
		close(listener);
		load_rules("delete table inet lossy\n");
	}
}

static void a_ready_check_that_is_missed_is_made_by_another_socket(void **state)
{
	struct rig *rig = *state;
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port), server;
	struct niwa_relay_msg m = {
		.type = NIWA_RELAY_CHECK, .to = htonl(INADDR_LOOPBACK), .to_port = port, .text = "/healthy"};
	uint64_t begun_us = niwa_now_us();

	m.ticket = NIWA_RELAY_CHECK_TICKET | 1;
	lose_sockets(port, 2);
	rig_send(rig, &m);
	server = rig_accept(listener);
	assert_true(niwa_now_us() - begun_us >= 60 * NIWA_MS);
	/* An answer takes what it takes: the check is not asked again meanwhile. */
	rig_sleep_ms(200);
	rig_write(server, "HTTP/1.1 204 No Content\r\n\r\n", 27);
	assert_int_equal(rig_expect(rig, NIWA_RELAY_CHECKED).error, 0);
	assert_int_equal(poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 0), 0);
	close(server);
	close(listener);
	load_rules("delete table inet lossy\n");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(declared_ports_of_all_addresses_come_with_their_service),
		cmocka_unit_test(undeclared_ports_are_refused_and_the_relay_cannot_be_called_directly),
		cmocka_unit_test(an_instance_that_misses_the_first_syns_is_met_by_another_and_once),
		cmocka_unit_test(a_ready_check_that_is_missed_is_made_by_another_socket),
	};

	rig_init(argc > 1 ? argv[1] : "niwa-relay");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
