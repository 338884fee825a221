/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of growing, as tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/scale_plan.h"

#define SEC     UINT64_C(1000000)
#define BUCKETS 64

static void an_app_gets_more_when_all_are_full_and_fewer_when_it_would_fit(void **state)
{
	static const struct {
		unsigned max, connections;
		uint32_t cpu;
		struct niwa_scale_load loads[3];
		size_t count;
		uint64_t fits_for_us; /* 0: it did not until now */
		enum niwa_scale_verdict verdict;
	} cases[] = {
		{3, 10, 0, {{9, 0}}, 1, 0, NIWA_SCALE_STAYS},
		{3, 10, 0, {{10, 0}}, 1, 0, NIWA_SCALE_MORE},
		{3, 10, 0, {{10, 0}, {9, 0}}, 2, 0, NIWA_SCALE_STAYS},
		{3, 10, 0, {{12, 0}, {8, 0}}, 2, 0, NIWA_SCALE_MORE},
		{2, 10, 0, {{12, 0}, {12, 0}}, 2, 0, NIWA_SCALE_STAYS}, /* no more than max */
		{3, 10, 0, {{99, 9999}, {0, 0}, {0, 0}}, 3, 0, NIWA_SCALE_STAYS},
		{3, 0, 8000, {{999, 7999}}, 1, 0, NIWA_SCALE_STAYS},
		{3, 0, 8000, {{0, 8000}}, 1, 0, NIWA_SCALE_MORE},
		{3, 0, 8000, {{0, 16000}, {0, 10}}, 2, 0, NIWA_SCALE_MORE}, /* on the average */
		{3, 10, 8000, {{1, 9000}}, 1, 0, NIWA_SCALE_MORE},          /* either is enough */
		{3, 10, 0, {{4, 0}, {3, 0}}, 2, 0, NIWA_SCALE_STAYS},       /* it fits, but only now */
		{3, 10, 0, {{4, 0}, {3, 0}}, 2, 31 * SEC, NIWA_SCALE_FEWER},
		{3, 10, 0, {{4, 0}, {3, 0}}, 2, 29 * SEC, NIWA_SCALE_STAYS},
		{3, 10, 0, {{4, 0}, {4, 0}}, 2, 31 * SEC, NIWA_SCALE_STAYS}, /* above three quarters */
		{3, 10, 8000, {{0, 3000}, {0, 3001}}, 2, 31 * SEC, NIWA_SCALE_STAYS},
		{3, 10, 8000, {{0, 3000}, {0, 3000}}, 2, 31 * SEC, NIWA_SCALE_FEWER}, /* both have to fit */
		{3, 10, 0, {{0, 0}}, 1, 31 * SEC, NIWA_SCALE_STAYS},                  /* never none */
		{1, 10, 0, {{10, 0}, {10, 0}}, 2, 0, NIWA_SCALE_FEWER},               /* the record says so now */
	};

	(void)state;
	for (size_t n = 0; n < NIWA_ARRAY_LEN(cases); n++) {
		const struct niwa_scale_rule rule = {.max = cases[n].max,
						     .connections = cases[n].connections,
						     .cpu_centi = cases[n].cpu,
						     .quiet_us = 30 * SEC};
		uint64_t now = 1000 * SEC, since = cases[n].fits_for_us ? now - cases[n].fits_for_us : 0;
		enum niwa_scale_verdict verdict = niwa_scale_judge(&rule, cases[n].loads, cases[n].count, now, &since);

		if (verdict != cases[n].verdict)
			fail_msg("case %zu: %d", n, (int)verdict);
	}
}

static void each_that_leaves_has_a_time_of_quiet_of_its_own(void **state)
{
	const struct niwa_scale_rule rule = {.max = 4, .connections = 10, .quiet_us = 5 * SEC};
	const struct niwa_scale_load idle[4] = {{0}}, busy[2] = {{10, 0}, {9, 0}};
	uint64_t since = 0;

	(void)state;
	assert_int_equal(niwa_scale_judge(&rule, idle, 4, 10 * SEC, &since), NIWA_SCALE_STAYS);
	assert_int_equal(niwa_scale_judge(&rule, idle, 4, 15 * SEC, &since), NIWA_SCALE_FEWER);
	assert_int_equal(niwa_scale_judge(&rule, idle, 3, 16 * SEC, &since), NIWA_SCALE_STAYS);
	assert_int_equal(niwa_scale_judge(&rule, idle, 3, 20 * SEC, &since), NIWA_SCALE_FEWER);
	assert_int_equal(niwa_scale_judge(&rule, busy, 2, 24 * SEC, &since), NIWA_SCALE_STAYS);
	assert_int_equal(niwa_scale_judge(&rule, idle, 2, 25 * SEC, &since),
			 NIWA_SCALE_STAYS); /* again from the start */
	assert_int_equal(niwa_scale_judge(&rule, idle, 2, 29 * SEC, &since), NIWA_SCALE_STAYS);
	assert_int_equal(niwa_scale_judge(&rule, idle, 2, 30 * SEC, &since), NIWA_SCALE_FEWER);
}

static void shares_are_as_the_room(void **state)
{
	static const struct {
		unsigned connections;
		struct niwa_scale_load loads[4];
		size_t count;
		unsigned shares[4];
	} cases[] = {
		{10, {{0, 0}, {0, 0}}, 2, {32, 32}},
		{10, {{0, 0}, {0, 0}, {0, 0}}, 3, {22, 21, 21}},
		{10, {{10, 0}, {0, 0}}, 2, {0, 64}},   /* what is full gets none */
		{10, {{11, 0}, {10, 0}}, 2, {32, 32}}, /* unless all are */
		{10, {{5, 0}, {0, 0}}, 2, {22, 42}},
		{10, {{9, 0}, {9, 0}, {2, 0}, {10, 0}}, 4, {7, 6, 51, 0}},
		{0, {{100, 0}, {0, 0}, {0, 0}, {7, 0}}, 4, {16, 16, 16, 16}}, /* not counted */
		{10, {{3, 0}}, 1, {64}},
	};

	(void)state;
	for (size_t n = 0; n < NIWA_ARRAY_LEN(cases); n++) {
		const struct niwa_scale_rule rule = {.max = 4, .connections = cases[n].connections};
		unsigned shares[4], sum = 0;

		niwa_scale_share(&rule, cases[n].loads, cases[n].count, BUCKETS, shares);
		for (size_t i = 0; i < cases[n].count; i++) {
			sum += shares[i];
			if (shares[i] != cases[n].shares[i])
				fail_msg("case %zu: the share of %zu is %u", n, i, shares[i]);
		}
		assert_int_equal(sum, BUCKETS);
	}
}

static unsigned moved(const int *before, const int *after)
{
	unsigned count = 0;

	for (size_t b = 0; b < BUCKETS; b++)
		count += before[b] != after[b];
	return count;
}

/* Any loads, any owners before: all buckets have an owner, by the shares, and no more of them moved than had to. */
static void as_few_buckets_as_possible_move(void **state)
{
	int owners[BUCKETS], before[BUCKETS];
	unsigned seed = 7;

	(void)state;
	for (size_t b = 0; b < BUCKETS; b++)
		owners[b] = -1;
	for (int round = 0; round < 2000; round++) {
		const size_t count = 1 + (size_t)rand_r(&seed) % (NIWA_SCALE_MAX + 1);
		const struct niwa_scale_rule rule = {.max = NIWA_SCALE_MAX, .connections = 50};
		struct niwa_scale_load loads[NIWA_SCALE_MAX + 1];
		unsigned shares[NIWA_SCALE_MAX + 1], got[NIWA_SCALE_MAX + 1] = {0}, had[NIWA_SCALE_MAX + 1] = {0};
		unsigned needed = BUCKETS;

		for (size_t n = 0; n < count; n++)
			loads[n] = (struct niwa_scale_load){.connections = (unsigned)rand_r(&seed) % 60};
		niwa_scale_share(&rule, loads, count, BUCKETS, shares);
		for (size_t b = 0; b < BUCKETS; b++) {
			before[b] = owners[b];
			if (owners[b] >= 0 && (size_t)owners[b] < count && had[owners[b]] < shares[owners[b]]) {
				had[owners[b]]++;
				needed--;
			}
		}
		niwa_scale_assign(shares, count, owners, BUCKETS);
		for (size_t b = 0; b < BUCKETS; b++) {
			assert_in_range(owners[b], 0, count - 1);
			got[owners[b]]++;
		}
		for (size_t n = 0; n < count; n++)
			assert_int_equal(got[n], shares[n]);
		assert_int_equal(moved(before, owners), needed);
	}
}

static void a_limit_of_cpu_is_doubled_when_all_is_used_and_taken_back_when_quiet(void **state)
{
	uint64_t idle = 0;

	(void)state;
	assert_int_equal(niwa_scale_cpu(1000, 3000, 1000, 899, SEC, 10 * SEC, &idle), 1000);
	assert_int_equal(niwa_scale_cpu(1000, 3000, 1000, 900, SEC, 10 * SEC, &idle), 2000);
	assert_int_equal(niwa_scale_cpu(1000, 3000, 2000, 2100, SEC, 10 * SEC, &idle), 3000);
	assert_int_equal(niwa_scale_cpu(1000, 3000, 3000, 9000, SEC, 10 * SEC, &idle), 3000);
	assert_int_equal(niwa_scale_cpu(1000, 3000, 3000, 800, SEC, 10 * SEC, &idle), 3000);
	assert_int_equal(idle, 0);
	assert_int_equal(niwa_scale_cpu(1000, 3000, 3000, 100, SEC, 11 * SEC, &idle), 3000);
	assert_int_equal(niwa_scale_cpu(1000, 3000, 3000, 100, SEC, 12 * SEC, &idle), 1000);
	assert_int_equal(niwa_scale_cpu(0, 3000, 0, 5000, SEC, 12 * SEC, &idle), 0); /* none to widen */
	assert_int_equal(niwa_scale_cpu(4000, 3000, 4000, 5000, SEC, 12 * SEC, &idle), 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_app_gets_more_when_all_are_full_and_fewer_when_it_would_fit),
		cmocka_unit_test(each_that_leaves_has_a_time_of_quiet_of_its_own),
		cmocka_unit_test(shares_are_as_the_room),
		cmocka_unit_test(as_few_buckets_as_possible_move),
		cmocka_unit_test(a_limit_of_cpu_is_doubled_when_all_is_used_and_taken_back_when_quiet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
