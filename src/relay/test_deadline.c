/* SPDX-License-Identifier: MIT
 *
 * The heap of deadlines against a plain search.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "relay/deadline.h"

#define OBJECTS 200

static struct niwa_deadline *earliest(struct niwa_deadline *d, size_t count)
{
	struct niwa_deadline *best = NULL;

	for (size_t i = 0; i < count; i++)
		if (d[i].at_us && (!best || d[i].at_us < best->at_us))
			best = &d[i];
	return best;
}

static void the_first_is_always_the_earliest(void **state)
{
	struct niwa_deadline d[OBJECTS] = {0};
	struct niwa_deadlines all = {0};
	unsigned seed = 7;

	assert_int_equal(niwa_deadlines_reserve(&all, OBJECTS), 0);
	for (int step = 0; step < 20000; step++) {
		struct niwa_deadline *one = &d[(unsigned)rand_r(&seed) % OBJECTS], *want, *got;

		if (rand_r(&seed) % 3 == 0)
			niwa_deadline_disarm(&all, one);
		else
			niwa_deadline_arm(&all, one, 1 + (uint64_t)rand_r(&seed) % 1000);
		want = earliest(d, OBJECTS);
		got = niwa_deadline_first(&all);
		assert_true((want == NULL) == (got == NULL));
		if (want)
			assert_int_equal(want->at_us, got->at_us);
		for (uint32_t i = 0; i < all.count; i++)
			assert_int_equal(all.heap[i]->place, i + 1);
	}
	niwa_deadlines_fini(&all);
}

static void taking_all_out_gives_them_in_order(void **state)
{
	struct niwa_deadline d[OBJECTS] = {0}, *first;
	struct niwa_deadlines all = {0};
	uint64_t last = 0;
	size_t count = 0;

	assert_int_equal(niwa_deadlines_reserve(&all, OBJECTS), 0);
	for (size_t i = 0; i < OBJECTS; i++)
		niwa_deadline_arm(&all, &d[i], 1 + (i * 7919) % 1009);
	while ((first = niwa_deadline_first(&all))) {
		assert_true(first->at_us >= last);
		last = first->at_us;
		niwa_deadline_disarm(&all, first);
		niwa_deadline_disarm(&all, first); /* twice is harmless */
		count++;
	}
	assert_int_equal(count, OBJECTS);
	niwa_deadlines_fini(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_is_always_the_earliest),
		cmocka_unit_test(taking_all_out_gives_them_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
