/* SPDX-License-Identifier: MIT
 *
 * What can be told without a kernel: the text of the rules, ranges. No root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/memory.h"
#include "net/net_private.h"

static struct niwa_net_range range(const char *text, unsigned bits)
{
	struct niwa_net_range r = {.bits = bits};

	assert_int_equal(inet_pton(AF_INET, text, &r.net), 1);
	return r;
}

static void ranges_overlap_when_one_holds_the_other(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned a_bits, b_bits;
		bool overlap;
	} cases[] = {
		{"10.64.0.0", "10.64.3.0", 12, 24, true},     {"10.64.3.0", "10.64.0.0", 24, 12, true},
		{"10.64.0.0", "10.80.0.0", 12, 12, false},    {"10.64.0.0", "0.0.0.0", 12, 0, true},
		{"10.64.0.1", "10.64.0.1", 32, 32, true},     {"10.64.0.1", "10.64.0.2", 32, 32, false},
		{"10.64.0.0", "10.79.255.255", 12, 32, true}, {"10.64.0.0", "10.63.255.255", 12, 32, false},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		assert_int_equal(
			niwa_net_overlap(range(cases[i].a, cases[i].a_bits), range(cases[i].b, cases[i].b_bits)),
			cases[i].overlap);
}

static void the_rules_carry_the_values_of_the_host(void **state)
{
	struct niwa_net_config config = {.service_net = range("10.64.0.0", 12).net,
					 .service_bits = 12,
					 .private_net = range("10.80.0.0", 12).net,
					 .private_bits = 12,
					 .gateway_addr = range("10.80.0.1", 32).net,
					 .relay_port = 7070,
					 .veth_group = 7,
					 .nflog_group = 77};
	static const char *const lines[] = {
		"iifgroup != 7 accept", "ip daddr 10.64.0.0/12 dnat ip to ip daddr . tcp dport map @awake",
		"tproxy ip to 127.0.0.1:7070 accept", "log prefix \"k\" group 77 snaplen 64 queue-threshold 1",
		"ip daddr 10.80.0.1 udp dport 53 jump gateway_names"};
	NIWA_AUTO(niwa_text_fini) struct niwa_text plain = {0};
	NIWA_AUTO(niwa_text_fini) struct niwa_text limited = {0};

	assert_int_equal(niwa_ruleset_render(&config, &plain, NULL), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(lines); i++)
		if (!strstr(plain.data, lines[i]))
			fail_msg("not there: %s", lines[i]);
	assert_null(strchr(plain.data, '%'));
	assert_null(strstr(plain.data, "limit rate"));
	config.held_rate = 50;
	assert_int_equal(niwa_ruleset_render(&config, &limited, NULL), 0);
	assert_non_null(strstr(limited.data, "limit rate over 50/second burst 50 packets"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_overlap_when_one_holds_the_other),
		cmocka_unit_test(the_rules_carry_the_values_of_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
