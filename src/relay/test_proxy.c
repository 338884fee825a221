/* SPDX-License-Identifier: MIT
 *
 * The headers, byte by byte as section 2 of the PROXY protocol's text has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "relay/proxy.h"

static struct niwa_proxy_ends ends(const char *client, const char *server, uint16_t client_port, uint16_t server_port)
{
	struct niwa_proxy_ends e = {
		.client_port = client_port, .server_port = server_port, .six = strchr(client, ':') != NULL};

	assert_int_equal(inet_pton(e.six ? AF_INET6 : AF_INET, client, e.client), 1);
	assert_int_equal(inet_pton(e.six ? AF_INET6 : AF_INET, server, e.server), 1);
	return e;
}

static void each_version_tells_who_connected_whereto(void **state)
{
	const struct niwa_proxy_ends e = ends("192.0.2.7", "10.64.0.16", 50123, 80);
	uint8_t buf[NIWA_PROXY_HEADER_MAX];
	static const char one[] = "PROXY TCP4 192.0.2.7 10.64.0.16 50123 80\r\n";
	static const uint8_t two[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49,
				      0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, 192,  0,    2,    7,
				      10,   64,   0,    16,   0xc3, 0xcb, 0x00, 0x50};

	(void)state;
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V1, &e, buf), sizeof(one) - 1);
	assert_memory_equal(buf, one, sizeof(one) - 1);
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V2, &e, buf), sizeof(two));
	assert_memory_equal(buf, two, sizeof(two));
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_NONE, &e, buf), 0);
}

static void addresses_of_ipv6_are_told_as_such(void **state)
{
	const struct niwa_proxy_ends e = ends("2001:db8::7", "fd6e:6977:6100:1::a40:10", 50123, 80);
	static const char one[] = "PROXY TCP6 2001:db8::7 fd6e:6977:6100:1::a40:10 50123 80\r\n";
	static const uint8_t two[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21,
				      0x21, 0x00, 0x24, 0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,    0,    0,
				      0,    0,    0,    0,    0,    7,    0xfd, 0x6e, 0x69, 0x77, 0x61, 0x00, 0x00,
				      0x01, 0,    0,    0,    0,    0x0a, 0x40, 0x00, 0x10, 0xc3, 0xcb, 0x00, 0x50};
	uint8_t buf[NIWA_PROXY_HEADER_MAX];

	(void)state;
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V1, &e, buf), sizeof(one) - 1);
	assert_memory_equal(buf, one, sizeof(one) - 1);
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V2, &e, buf), sizeof(two));
	assert_memory_equal(buf, two, sizeof(two));
}

static void the_longest_addresses_fit(void **state)
{
	const struct niwa_proxy_ends e = ends("255.255.255.255", "255.255.255.254", 65535, 65535);
	const struct niwa_proxy_ends six = ends("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
						"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 65535, 65535);
	static const char text[] = "PROXY TCP4 255.255.255.255 255.255.255.254 65535 65535\r\n";
	uint8_t buf[NIWA_PROXY_HEADER_MAX];

	(void)state;
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V1, &e, buf), sizeof(text) - 1);
	assert_memory_equal(buf, text, sizeof(text) - 1);
	assert_true(niwa_proxy_header(NIWA_PROXY_V1, &six, buf) < NIWA_PROXY_HEADER_MAX);
}

static void a_connection_of_niwa_s_own_names_nobody(void **state)
{
	static const uint8_t two[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51,
				      0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00};
	uint8_t buf[NIWA_PROXY_HEADER_MAX];

	(void)state;
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V1, NULL, buf), 15);
	assert_memory_equal(buf, "PROXY UNKNOWN\r\n", 15);
	assert_int_equal(niwa_proxy_header(NIWA_PROXY_V2, NULL, buf), sizeof(two));
	assert_memory_equal(buf, two, sizeof(two));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_version_tells_who_connected_whereto),
		cmocka_unit_test(addresses_of_ipv6_are_told_as_such),
		cmocka_unit_test(the_longest_addresses_fit),
		cmocka_unit_test(a_connection_of_niwa_s_own_names_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
