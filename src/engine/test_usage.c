/* SPDX-License-Identifier: MIT
 *
 * Who uses most, of many.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/state.h"
#include "engine/usage_rank.h"

#define MANY 20000

static void fill(struct niwa_usage_row *rows, size_t count)
{
	uint32_t seed = 1;

	for (size_t i = 0; i < count; i++) {
		seed = seed * 1664525 + 1013904223;
		rows[i] = (struct niwa_usage_row){.app = i + 1,
						  .tenant = (uint32_t)(i % 7),
						  .cpu_centi = seed >> 20,
						  .memory_bytes = seed & 0xffff,
						  .state = i % 3 ? NIWA_FROZEN : NIWA_RUNNING};
	}
}

static int by_cpu(const void *a, const void *b)
{
	const struct niwa_usage_row *x = a, *y = b;

	if (x->cpu_centi != y->cpu_centi)
		return x->cpu_centi < y->cpu_centi ? 1 : -1;
	if (x->memory_bytes != y->memory_bytes)
		return x->memory_bytes < y->memory_bytes ? 1 : -1;
	return x->app < y->app ? -1 : 1;
}

static void the_greatest_are_those_that_a_whole_sort_puts_first(void **state)
{
	struct niwa_usage_row *rows = niwa_zalloc(MANY * sizeof(*rows)), *all = niwa_zalloc(MANY * sizeof(*all));
	const struct niwa_usage_filter f = {.key = NIWA_USAGE_CPU};
	uint32_t best[NIWA_USAGE_RANKED_MAX];
	size_t n;

	(void)state;
	assert_non_null(rows);
	assert_non_null(all);
	fill(rows, MANY);
	memcpy(all, rows, MANY * sizeof(*all));
	qsort(all, MANY, sizeof(*all), by_cpu);
	n = niwa_usage_rank(rows, MANY, &f, 1000, best);
	assert_int_equal(n, NIWA_USAGE_RANKED_MAX);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(rows[best[i]].app, all[i].app);
	n = niwa_usage_rank(rows, MANY, &f, 1, best);
	assert_int_equal(n, 1);
	assert_int_equal(rows[best[0]].app, all[0].app);
	/* the worst order for it: each one is greater than all before */
	for (size_t i = 0; i < MANY; i++)
		rows[i] = all[MANY - 1 - i];
	assert_int_equal(niwa_usage_rank(rows, MANY, &f, NIWA_USAGE_RANKED_MAX, best), NIWA_USAGE_RANKED_MAX);
	assert_int_equal(rows[best[0]].app, all[0].app);
	free(rows);
	free(all);
}

static void others_than_those_asked_for_are_left_out(void **state)
{
	struct niwa_usage_filter f = {.key = NIWA_USAGE_MEMORY, .of_tenant = true, .tenant = 3};
	struct niwa_usage_row rows[100];
	uint32_t best[NIWA_USAGE_RANKED_MAX];
	size_t n;

	(void)state;
	fill(rows, 100);
	n = niwa_usage_rank(rows, 100, &f, 200, best);
	assert_int_equal(n, 14);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(rows[best[i]].tenant, 3);
	f = (struct niwa_usage_filter){.in_state = true, .state = NIWA_RUNNING};
	assert_int_equal(niwa_usage_rank(rows, 100, &f, 200, best), 34);
	assert_int_equal(niwa_usage_rank(rows, 100, &f, 0, best), 0);
	assert_int_equal(niwa_usage_rank(rows, 0, &f, 10, best), 0);
}

static void by_state_those_that_serve_come_first(void **state)
{
	static const uint8_t states[] = {NIWA_PAGED, NIWA_FROZEN, NIWA_STARTING, NIWA_RUNNING};
	const struct niwa_usage_filter f = {.key = NIWA_USAGE_STATE};
	struct niwa_usage_row rows[4] = {0};
	uint32_t best[NIWA_USAGE_RANKED_MAX];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		rows[i].state = states[i];
	assert_int_equal(niwa_usage_rank(rows, 4, &f, 4, best), 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(best[i], 3 - i);
}

static void each_key_has_a_name_that_leads_back_to_it(void **state)
{
	(void)state;
	for (int k = 0; k < NIWA_USAGE_KEYS; k++)
		assert_int_equal(niwa_usage_key_by_name(niwa_usage_key_name((enum niwa_usage_key)k)), k);
	assert_int_equal(niwa_usage_key_by_name("age"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_greatest_are_those_that_a_whole_sort_puts_first),
		cmocka_unit_test(others_than_those_asked_for_are_left_out),
		cmocka_unit_test(by_state_those_that_serve_come_first),
		cmocka_unit_test(each_key_has_a_name_that_leads_back_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
