/* SPDX-License-Identifier: MIT
 *
 * From IPv4 to IPv6 and back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "base/ula.h"

static void addresses_are_made_of_the_ipv4_ones(void **state)
{
	struct niwa_ula ula;
	char text[INET6_ADDRSTRLEN];
	uint8_t addr[16];

	(void)state;
	assert_int_equal(niwa_ula_parse("fd6e:6977:6100::/48", &ula), 0);
	assert_true(ula.on);
	assert_string_equal(niwa_ula_text(&ula, NIWA_ULA_SERVICE, inet_addr("10.64.0.16"), text),
			    "fd6e:6977:6100:1::a40:10");
	assert_string_equal(niwa_ula_text(&ula, NIWA_ULA_PRIVATE, inet_addr("10.80.0.9"), text),
			    "fd6e:6977:6100:2::a50:9");
	niwa_ula_make(&ula, NIWA_ULA_SERVICE, inet_addr("10.64.255.1"), addr);
	assert_int_equal(niwa_ula_addr(addr), inet_addr("10.64.255.1"));
}

static void a_prefix_is_a_48_of_unique_local_addresses_or_none(void **state)
{
	static const char *const bad[] = {"",
					  "fd6e::",
					  "fd6e::/64",
					  "fd6e::/048",
					  "fd6e:1:2:3::/48",
					  "2001:db8::/48",
					  "10.0.0.0/48",
					  "fd6e::/48 ",
					  "fd6e:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/48"};
	struct niwa_ula ula = {.on = true};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(niwa_ula_parse(bad[i], &ula) < 0);
	assert_int_equal(niwa_ula_parse("none", &ula), 0);
	assert_false(ula.on);
	assert_int_equal(niwa_ula_parse("FC00::/48", &ula), 0);
	assert_true(ula.on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_made_of_the_ipv4_ones),
		cmocka_unit_test(a_prefix_is_a_48_of_unique_local_addresses_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
