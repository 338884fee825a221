/* SPDX-License-Identifier: MIT
 *
 * Tests of what is kept of an app's past: small, whole when it comes back, and nothing when it is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmdb/cmdb.h"
#include "engine/past_record.h"

static struct niwa_past_record some(void)
{
	struct niwa_past_record r = {
		.boot = 0xdeadbeef, .visited_us = 123456789000, .woke_us = 345678, .needs_bytes = UINT64_C(40) << 20};

	for (unsigned n = 0; n < 100; n++)
		niwa_gaps_add(&r.gaps, NIWA_GAPS_LEAST * (60 + n));
	return r;
}

static void check_comes_back(const struct niwa_past_record *r, size_t most)
{
	uint8_t data[NIWA_PAST_RECORD_MAX];
	struct niwa_past_record back;
	size_t len = niwa_past_record_pack(r, data);

	assert_true(len <= most);
	assert_true(niwa_past_record_unpack(data, len, &back));
	assert_memory_equal(&back, r, sizeof(back));
}

static void a_record_comes_back_as_it_was_and_is_small(void **state)
{
	struct niwa_past_record r = {0};

	check_comes_back(&r, 5);
	r = some();
	check_comes_back(&r, 32);
	memset(&r.gaps, 0, sizeof(r.gaps));
	for (unsigned n = 0; n < NIWA_GAPS_BUCKETS; n++)
		niwa_gaps_add(&r.gaps, niwa_gaps_edge_us(n));
	r.boot = UINT32_MAX;
	r.visited_us = UINT64_MAX / 1000 * 1000;
	r.woke_us = UINT64_MAX;
	r.needs_bytes = UINT64_MAX / 1024 * 1024;
	check_comes_back(&r, NIWA_PAST_RECORD_MAX);
}

static void the_store_takes_the_largest_one(void **state)
{
	assert_true(NIWA_PAST_RECORD_MAX <= NIWA_CMDB_PAST_MAX);
	assert_true(1 + 5 + 10 * 3 + NIWA_GAPS_BUCKETS * (1 + 2) <= NIWA_PAST_RECORD_MAX);
}

static void a_record_that_was_cut_short_or_changed_is_refused_or_sound(void **state)
{
	uint8_t data[NIWA_PAST_RECORD_MAX], broken[NIWA_PAST_RECORD_MAX];
	struct niwa_past_record r = some(), back;
	size_t len = niwa_past_record_pack(&r, data);

	for (size_t n = 0; n < len; n++)
		if (niwa_past_record_unpack(data, n, &back))
			assert_true(niwa_gaps_count(&back.gaps) < niwa_gaps_count(&r.gaps));
	for (size_t at = 0; at < len; at++)
		for (unsigned value = 0; value < 256; value++) {
			memcpy(broken, data, len);
			broken[at] = (uint8_t)value;
			if (niwa_past_record_unpack(broken, len, &back))
				assert_true(niwa_gaps_are_sound(&back.gaps));
		}
}

static void records_that_cannot_be_are_refused(void **state)
{
	static const struct {
		const char *data;
		size_t len;
	} cases[] = {
		{"", 0},
		{"\2\0\0\0\0", 5},                                              /* a later version */
		{"\1\0\0\0", 4},                                                /* too short */
		{"\1\0\0\0\0\44\20", 7},                                        /* no such bucket */
		{"\1\0\0\0\0\3\20\3\20", 9},                                    /* twice */
		{"\1\0\0\0\0\3\20\2\20", 9},                                    /* not in order */
		{"\1\0\0\0\0\3", 6},                                            /* without a weight */
		{"\1\0\0\0\0\3\200\200\4", 9},                                  /* 65536 */
		{"\1\0\0\0\0\3\200\20", 8},                                     /* more than is ever remembered */
		{"\1\377\377\377\377\377\377\377\377\377\1\0\0\0", 14},         /* of a boot: 2^64 - 1 */
		{"\1\0\377\377\377\377\377\377\377\377\377\377\377\1\0\0", 16}, /* more than 64 bits */
	};
	struct niwa_past_record back;

	for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++)
		if (niwa_past_record_unpack((const uint8_t *)cases[n].data, cases[n].len, &back))
			fail_msg("case %zu was taken", n);
}

static void noise_is_refused_or_sound(void **state)
{
	uint8_t data[64];
	struct niwa_past_record back;

	srandom(1);
	for (unsigned n = 0; n < 20000; n++) {
		size_t len = (size_t)random() % sizeof(data);

		for (size_t i = 0; i < len; i++)
			data[i] = (uint8_t)(random() % (n % 2 ? 256 : 40));
		data[0] = 1;
		if (niwa_past_record_unpack(data, len, &back))
			assert_true(niwa_gaps_are_sound(&back.gaps));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was_and_is_small),
		cmocka_unit_test(the_store_takes_the_largest_one),
		cmocka_unit_test(a_record_that_was_cut_short_or_changed_is_refused_or_sound),
		cmocka_unit_test(records_that_cannot_be_are_refused),
		cmocka_unit_test(noise_is_refused_or_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
