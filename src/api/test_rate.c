/* SPDX-License-Identifier: MIT
 *
 * Buckets of questions.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/rate.h"
#include "base/clock.h"

#define START (7 * NIWA_SEC)

static unsigned allowed(struct niwa_rate *rate, uint32_t addr, unsigned tries, uint64_t now_us)
{
	unsigned n = 0;

	while (tries--)
		n += niwa_rate_allow(rate, htonl(addr), now_us);
	return n;
}

static void a_source_may_ask_a_second_of_questions_at_once_and_then_so_many_a_second(void **state)
{
	struct niwa_rate *rate = niwa_rate_new(100);

	(void)state;
	assert_int_equal(allowed(rate, 5, 1000, START), 100);
	assert_int_equal(allowed(rate, 5, 1000, START + NIWA_SEC / 2), 50);
	assert_int_equal(allowed(rate, 5, 1000, START + NIWA_SEC / 2 + 9 * NIWA_MS), 0);
	assert_int_equal(allowed(rate, 5, 1000, START + 60 * NIWA_SEC), 100);
	niwa_rate_free(&rate);
}

static void one_that_asks_too_much_takes_nothing_from_another(void **state)
{
	struct niwa_rate *rate = niwa_rate_new(1000);

	(void)state;
	assert_int_equal(allowed(rate, 5, 100000, START), 1000);
	assert_int_equal(allowed(rate, 6, 100, START), 100);
	assert_int_equal(allowed(rate, 5 + NIWA_RATE_BUCKETS, 1, START), 0); /* shares its bucket */
	niwa_rate_free(&rate);
}

static void the_smallest_and_the_greatest_rate_hold(void **state)
{
	struct niwa_rate *rate = niwa_rate_new(1);

	(void)state;
	assert_int_equal(allowed(rate, 1, 10, START), 1);
	assert_int_equal(allowed(rate, 1, 10, START + NIWA_SEC), 1);
	niwa_rate_free(&rate);
	rate = niwa_rate_new(1000000);
	assert_int_equal(allowed(rate, 1, 2000000, START), 1000000);
	niwa_rate_free(&rate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_may_ask_a_second_of_questions_at_once_and_then_so_many_a_second),
		cmocka_unit_test(one_that_asks_too_much_takes_nothing_from_another),
		cmocka_unit_test(the_smallest_and_the_greatest_rate_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
