/* SPDX-License-Identifier: MIT */
#include "api/zone.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

#define DOMAIN_LEN 15 /* niwa.internal */

static enum niwa_zone_found find(const struct niwa_zone *zone, const char *name, uint32_t *ret_addr)
{
	char key[NIWA_ZONE_KEY_MAX];

	assert_true(niwa_zone_key(name, key) > 0);
	return niwa_zone_find(zone, key, ret_addr);
}

static void a_name_is_there_until_it_is_removed(void **state)
{
	NIWA_AUTO(niwa_zone_free) struct niwa_zone *zone = niwa_zone_new(DOMAIN_LEN);
	uint32_t addr = 0;

	assert_int_equal(find(zone, "blog", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(niwa_zone_set(zone, "blog", 7), 0);
	assert_int_equal(niwa_zone_set(zone, "blog", 7), 1);
	assert_int_equal(find(zone, "blog", &addr), NIWA_ZONE_ADDRESS);
	assert_int_equal(addr, 7);
	assert_int_equal(niwa_zone_set(zone, "blog", 8), 0);
	assert_int_equal(find(zone, "blog", &addr), NIWA_ZONE_ADDRESS);
	assert_int_equal(addr, 8);
	assert_int_equal(niwa_zone_count(zone), 1);
	assert_int_equal(niwa_zone_remove(zone, "blog"), 0);
	assert_int_equal(niwa_zone_remove(zone, "blog"), 1);
	assert_int_equal(find(zone, "blog", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(niwa_zone_count(zone), 0);
}

static void names_between_are_there_as_long_as_something_is_below(void **state)
{
	NIWA_AUTO(niwa_zone_free) struct niwa_zone *zone = niwa_zone_new(DOMAIN_LEN);
	uint32_t addr;

	assert_int_equal(niwa_zone_set(zone, "a.example.com.http", 1), 0);
	assert_int_equal(niwa_zone_set(zone, "b.example.com.http", 2), 0);
	assert_int_equal(niwa_zone_set(zone, "com.http", 3), 0);
	assert_int_equal(find(zone, "example.com.http", &addr), NIWA_ZONE_BETWEEN);
	assert_int_equal(find(zone, "http", &addr), NIWA_ZONE_BETWEEN);
	assert_int_equal(find(zone, "com.http", &addr), NIWA_ZONE_ADDRESS);
	assert_int_equal(find(zone, "c.example.com.http", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(niwa_zone_remove(zone, "com.http"), 0);
	assert_int_equal(find(zone, "com.http", &addr), NIWA_ZONE_BETWEEN);
	assert_int_equal(niwa_zone_remove(zone, "com.http"), 1);
	assert_int_equal(niwa_zone_remove(zone, "a.example.com.http"), 0);
	assert_int_equal(find(zone, "example.com.http", &addr), NIWA_ZONE_BETWEEN);
	assert_int_equal(niwa_zone_remove(zone, "b.example.com.http"), 0);
	assert_int_equal(find(zone, "example.com.http", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(find(zone, "http", &addr), NIWA_ZONE_NOTHING);
}

static void a_round_takes_away_what_was_not_set_in_it(void **state)
{
	NIWA_AUTO(niwa_zone_free) struct niwa_zone *zone = niwa_zone_new(DOMAIN_LEN);
	uint32_t addr;

	assert_int_equal(niwa_zone_set(zone, "old.x", 1), 0);
	assert_int_equal(niwa_zone_set(zone, "kept.x", 2), 0);
	niwa_zone_begin(zone);
	assert_int_equal(niwa_zone_set(zone, "half.x", 3), 0); /* the conversation ends here, */
	niwa_zone_begin(zone);                                 /* and begins again */
	assert_int_equal(niwa_zone_set(zone, "kept.x", 2), 1);
	assert_int_equal(find(zone, "old.x", &addr), NIWA_ZONE_ADDRESS);
	niwa_zone_end(zone);
	assert_int_equal(find(zone, "old.x", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(find(zone, "half.x", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(find(zone, "kept.x", &addr), NIWA_ZONE_ADDRESS);
	niwa_zone_begin(zone);
	niwa_zone_end(zone);
	assert_int_equal(find(zone, "x", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(niwa_zone_count(zone), 0);
}

static void what_cannot_be_a_name_is_refused(void **state)
{
	NIWA_AUTO(niwa_zone_free) struct niwa_zone *zone = niwa_zone_new(DOMAIN_LEN);
	static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "A", "a_b", "a b", "a\x80"};
	char name[300];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(bad); i++)
		assert_int_equal(niwa_zone_set(zone, bad[i], 1), -EINVAL);
	memset(name, 'a', sizeof(name));
	name[64] = '\0';
	assert_int_equal(niwa_zone_set(zone, name, 1), -EINVAL);
	name[63] = '\0';
	assert_int_equal(niwa_zone_set(zone, name, 1), 0);
	/* 255 bytes with the domain and the lengths */
	for (size_t len = 230; len < 250; len++) {
		memset(name, 'a', sizeof(name));
		for (size_t at = 60; at < len - 1; at += 61)
			name[at] = '.';
		name[len] = '\0';
		assert_int_equal(niwa_zone_set(zone, name, 1), len + 1 + DOMAIN_LEN <= 255 ? 0 : -EINVAL);
	}
}

static void fifty_thousand_names_come_and_go(void **state)
{
	NIWA_AUTO(niwa_zone_free) struct niwa_zone *zone = niwa_zone_new(DOMAIN_LEN);
	char name[64];
	uint32_t addr;

	for (uint32_t i = 0; i < 50000; i++) {
		(void)snprintf(name, sizeof(name), "www.site%u.example.http", i);
		assert_int_equal(niwa_zone_set(zone, name, i + 1), 0);
	}
	assert_int_equal(niwa_zone_count(zone), 50000);
	for (uint32_t i = 0; i < 50000; i += 2) {
		(void)snprintf(name, sizeof(name), "www.site%u.example.http", i);
		assert_int_equal(niwa_zone_remove(zone, name), 0);
	}
	assert_int_equal(find(zone, "site4.example.http", &addr), NIWA_ZONE_NOTHING);
	assert_int_equal(find(zone, "www.site5.example.http", &addr), NIWA_ZONE_ADDRESS);
	assert_int_equal(addr, 6);
	assert_int_equal(niwa_zone_count(zone), 25000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_there_until_it_is_removed),
		cmocka_unit_test(names_between_are_there_as_long_as_something_is_below),
		cmocka_unit_test(a_round_takes_away_what_was_not_set_in_it),
		cmocka_unit_test(what_cannot_be_a_name_is_refused),
		cmocka_unit_test(fifty_thousand_names_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
