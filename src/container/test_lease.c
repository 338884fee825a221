/* SPDX-License-Identifier: MIT
 *
 * Tests of the pools of id ranges and private addresses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>

#include <cmocka.h>

#include "base/memory.h"
#include "container/lease.h"

static void what_was_returned_the_longest_ago_is_given_out_first(void **state)
{
	NIWA_AUTO(niwa_lease_pool_free) struct niwa_lease_pool *pool = NULL;
	struct niwa_error err;
	uint32_t a, b, c;

	assert_int_equal(niwa_lease_pool_new(NIWA_LEASE_BASE, 3, &pool, &err), 0);
	assert_int_equal(niwa_lease_take(pool, &a, &err), 0);
	assert_int_equal(a, NIWA_LEASE_BASE);
	assert_int_equal(niwa_lease_return(pool, a), 0);
	assert_int_equal(niwa_lease_take(pool, &b, &err), 0);
	assert_int_equal(b, NIWA_LEASE_BASE + 65536); /* never used comes before returned */
	assert_int_equal(niwa_lease_take(pool, &c, &err), 0);
	assert_int_equal(niwa_lease_return(pool, c), 0);
	assert_int_equal(niwa_lease_return(pool, b), 0);
	assert_int_equal(niwa_lease_take(pool, &a, &err), 0);
	assert_int_equal(a, NIWA_LEASE_BASE);
	assert_int_equal(niwa_lease_take(pool, &a, &err), 0);
	assert_int_equal(a, c);
	assert_int_equal(niwa_lease_in_use(pool), 2);
	assert_int_equal(niwa_lease_take(pool, &a, &err), 0);
	assert_int_equal(niwa_lease_take(pool, &a, &err), -EAGAIN);
	assert_int_equal(err.kind, NIWA_TEMPORARY);
}

static void an_adopted_range_is_not_given_out(void **state)
{
	NIWA_AUTO(niwa_lease_pool_free) struct niwa_lease_pool *pool = NULL;
	struct niwa_error err;
	uint32_t a;

	assert_int_equal(niwa_lease_pool_new(NIWA_LEASE_BASE, 3, &pool, &err), 0);
	assert_int_equal(niwa_lease_mark(pool, NIWA_LEASE_BASE + 65536), 0);
	assert_int_equal(niwa_lease_mark(pool, NIWA_LEASE_BASE + 65536), -EEXIST);
	assert_int_equal(niwa_lease_mark(pool, NIWA_LEASE_BASE + 1), -ERANGE);
	assert_int_equal(niwa_lease_mark(pool, NIWA_LEASE_BASE + 3 * 65536), -ERANGE);
	assert_int_equal(niwa_lease_mark(pool, 65536), -ERANGE);
	assert_int_equal(niwa_lease_take(pool, &a, &err), 0);
	assert_int_equal(a, NIWA_LEASE_BASE);
	assert_int_equal(niwa_lease_take(pool, &a, &err), 0);
	assert_int_equal(a, NIWA_LEASE_BASE + 2 * 65536);
	assert_int_equal(niwa_lease_take(pool, &a, &err), -EAGAIN);
	assert_int_equal(niwa_lease_return(pool, NIWA_LEASE_BASE + 65536), 0);
	assert_int_equal(niwa_lease_return(pool, NIWA_LEASE_BASE + 65536), -ENOENT);
	assert_int_equal(niwa_lease_mark(pool, NIWA_LEASE_BASE + 65536), 0); /* marked while in the queue */
	assert_int_equal(niwa_lease_take(pool, &a, &err), -EAGAIN);
}

static void a_pool_that_does_not_fit_is_refused(void **state)
{
	static const struct {
		uint32_t base, count;
	} cases[] = {{0, 1}, {1, 1}, {65535, 1}, {65536, 0}, {65536, 65535}, {0xffff0000, 1}, {65536, UINT32_MAX}};
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_lease_pool *pool = NULL;

		assert_int_equal(niwa_lease_pool_new(cases[i].base, cases[i].count, &pool, &err), -EINVAL);
		assert_int_equal(err.kind, NIWA_CALLER);
		assert_null(pool);
	}
}

static void an_address_rests_before_it_is_used_again(void **state)
{
	NIWA_AUTO(niwa_addr_pool_free) struct niwa_addr_pool *pool = NULL;
	struct niwa_error err;
	uint32_t addr, first = 0;

	assert_int_equal(niwa_addr_pool_new(inet_addr("10.80.0.0"), 29, NIWA_ADDR_REST_US, &pool, &err), 0);
	for (unsigned i = 0; i < 5; i++) { /* 8 without network, gateway and broadcast */
		assert_int_equal(niwa_addr_take(pool, 0, &addr, &err), 0);
		assert_int_equal(ntohl(addr), ntohl(inet_addr("10.80.0.2")) + i);
		first = first ? first : addr;
	}
	assert_int_equal(niwa_addr_take(pool, 0, &addr, &err), -EAGAIN);
	assert_int_equal(niwa_addr_return(pool, 1000000, first), 0);
	assert_int_equal(niwa_addr_take(pool, 1000000, &addr, &err), -EAGAIN);
	assert_non_null(strstr(err.msg, "1 resting"));
	assert_non_null(strstr(err.msg, "private_range"));
	assert_int_equal(niwa_addr_take(pool, 60 * UINT64_C(1000000), &addr, &err), -EAGAIN);
	assert_int_equal(niwa_addr_take(pool, 61 * UINT64_C(1000000), &addr, &err), 0);
	assert_int_equal(addr, first);
}

static void the_default_range_lasts_for_a_thousand_short_lives_a_second(void **state)
{
	NIWA_AUTO(niwa_addr_pool_free) struct niwa_addr_pool *pool = NULL;
	struct niwa_error err;
	uint32_t addr;

	assert_int_equal(niwa_addr_pool_new(inet_addr("10.80.0.0"), 16, NIWA_ADDR_REST_US, &pool, &err), 0);
	for (uint64_t ms = 0; ms < 200000; ms++) {
		assert_int_equal(niwa_addr_take(pool, ms * 1000, &addr, &err), 0);
		assert_int_equal(niwa_addr_return(pool, ms * 1000, addr), 0);
	}
}

/* Nobody remembers what the pool before had given out. */
static void a_pool_that_follows_another_gives_out_other_addresses(void **state)
{
	const uint64_t sec = 1000000;
	struct niwa_error err;
	uint32_t before[3], after, addr;

	for (unsigned i = 0; i < 3; i++) {
		NIWA_AUTO(niwa_addr_pool_free) struct niwa_addr_pool *pool = NULL;

		assert_int_equal(niwa_addr_pool_new(inet_addr("10.80.0.0"), 29, 10 * sec, &pool, &err), 0);
		niwa_addr_pool_resume(pool, 1000 * sec + i * 2 * sec);
		assert_int_equal(niwa_addr_take(pool, 0, &before[i], &err), 0);
		assert_int_equal(ntohl(before[i]), ntohl(inet_addr("10.80.0.2")) + i);
		assert_int_equal(niwa_addr_mark(pool, htonl(ntohl(before[i]) + 1)), 0);
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(niwa_addr_take(pool, 0, &after, &err), 0);
			addr = ntohl(before[i]) + 2 + n;
			addr -= addr > ntohl(inet_addr("10.80.0.6")) ? 5 : 0;
			assert_int_equal(ntohl(after), addr);
		}
		assert_int_equal(niwa_addr_take(pool, 0, &after, &err), -EAGAIN);
	}
}

static void gateway_network_and_foreign_addresses_cannot_be_marked(void **state)
{
	NIWA_AUTO(niwa_addr_pool_free) struct niwa_addr_pool *pool = NULL;
	struct niwa_error err;

	assert_int_equal(niwa_addr_pool_new(inet_addr("10.80.0.0"), 16, 0, &pool, &err), 0);
	assert_int_equal(niwa_addr_mark(pool, inet_addr("10.80.0.0")), -ERANGE);
	assert_int_equal(niwa_addr_mark(pool, inet_addr("10.80.0.1")), -ERANGE);
	assert_int_equal(niwa_addr_mark(pool, inet_addr("10.80.255.255")), -ERANGE);
	assert_int_equal(niwa_addr_mark(pool, inet_addr("10.79.0.9")), -ERANGE);
	assert_int_equal(niwa_addr_mark(pool, inet_addr("10.80.255.254")), 0);
	assert_int_equal(niwa_addr_mark(pool, inet_addr("10.80.255.254")), -EEXIST);
	assert_int_equal(niwa_addr_in_use(pool), 1);
}

static void a_network_with_host_bits_or_a_wrong_size_is_refused(void **state)
{
	struct niwa_addr_pool *pool = NULL;
	struct niwa_error err;

	assert_int_equal(niwa_addr_pool_new(inet_addr("10.80.0.1"), 16, 0, &pool, &err), -EINVAL);
	assert_int_equal(niwa_addr_pool_new(inet_addr("10.80.0.0"), 30, 0, &pool, &err), -EINVAL);
	assert_int_equal(niwa_addr_pool_new(inet_addr("0.0.0.0"), 0, 0, &pool, &err), -EINVAL);
	assert_null(pool);
}

static void overlapping_subordinate_ids_are_found(void **state)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{"", 0},
		{"alice:100000:65536\nbob:165536:65536\n", 0},
		{"alice:268435455:1\n", 0},
		{"alice:268435455:2\n", -EEXIST},
		{"# a remark\nalice:100000:65536\nbob:268435456:65536", -EEXIST},
		{"alice:1:4000000000\n", -EEXIST},
		{"alice:923795456:65536\n", 0},
		{"alice:923795455:65536\n", -EEXIST},
		{"rubbish\n:::\nalice:x:1\nalice:268435456:\nalice:268435456:0\n", 0},
	};
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		assert_int_equal(niwa_lease_check_subid(cases[i].text, "/etc/subuid", NIWA_LEASE_BASE,
							(uint64_t)NIWA_LEASE_COUNT * NIWA_LEASE_IDS, &err),
				 cases[i].r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_returned_the_longest_ago_is_given_out_first),
		cmocka_unit_test(an_adopted_range_is_not_given_out),
		cmocka_unit_test(a_pool_that_does_not_fit_is_refused),
		cmocka_unit_test(an_address_rests_before_it_is_used_again),
		cmocka_unit_test(the_default_range_lasts_for_a_thousand_short_lives_a_second),
		cmocka_unit_test(a_pool_that_follows_another_gives_out_other_addresses),
		cmocka_unit_test(gateway_network_and_foreign_addresses_cannot_be_marked),
		cmocka_unit_test(a_network_with_host_bits_or_a_wrong_size_is_refused),
		cmocka_unit_test(overlapping_subordinate_ids_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
