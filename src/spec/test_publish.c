/* SPDX-License-Identifier: MIT
 *
 * Published ports as text, and which of them are in each other's way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "spec/publish.h"

static void one_text_for_one_meaning(void **state)
{
	static const struct {
		const char *text, *canonical; /* NULL: refused */
		bool four, any, loopback;
	} cases[] = {
		{"8080", "127.0.0.1:8080", true, false, true},
		{"127.9.9.9:1", "127.9.9.9:1", true, false, true},
		{"192.0.2.1:65535", "192.0.2.1:65535", true, false, false},
		{"0.0.0.0:80", "0.0.0.0:80", true, true, false},
		{":80", "[::]:80", false, true, false},
		{"[::]:80", "[::]:80", false, true, false},
		{"[0:0::0]:80", "[::]:80", false, true, false},
		{"[::1]:80", "[::1]:80", false, false, true},
		{"[2001:DB8::0:1]:80", "[2001:db8::1]:80", false, false, false},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80", true, false, false},
		{"[::ffff:0.0.0.0]:80", "0.0.0.0:80", true, true, false},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0]:80", NULL, false, false, false}, /* multicast */
		{"[fdff:ffff:ffff:ffff:ffff:ffff:ffff:fff0]:65535", "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:fff0]:65535",
		 false, false, false},
	};
	static const char *const refused[] = {
		"",
		":",
		"0",
		"080",
		":0",
		"65536",
		"[::]",
		"[::]:",
		"[]:80",
		"::1:80",
		"[::1:80",
		"::1]:80",
		"[[::1]]:80",
		"[::1%lo]:80",
		"[fe80::1]:80",
		"[ff02::1]:80",
		"[192.0.2.1]:80",
		"192.0.2:80",
		"255.255.255.255:80",
		" :80",
		"[ ::1]:80",
		"192.0.2.1:80 ",
		"*:80",
		"-1",
		"[2001:db8::1]:80:80",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999]:80",
	};
	char buf[NIWA_PUBLISH_TEXT];
	struct niwa_publish p, again;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		if (!cases[i].canonical) {
			assert_false(niwa_publish_parse(cases[i].text, &p));
			continue;
		}
		assert_true(niwa_publish_parse(cases[i].text, &p));
		assert_string_equal(niwa_publish_text(&p, buf), cases[i].canonical);
		assert_int_equal(niwa_publish_is_ipv4(&p), cases[i].four);
		assert_int_equal(niwa_publish_is_any(&p), cases[i].any);
		assert_int_equal(niwa_publish_is_loopback(&p), cases[i].loopback);
		assert_true(niwa_publish_parse(buf, &again) && niwa_publish_same(&p, &again));
	}
	for (size_t i = 0; i < NIWA_ARRAY_LEN(refused); i++)
		if (niwa_publish_parse(refused[i], &p))
			fail_msg("'%s' is taken for %s", refused[i], niwa_publish_text(&p, buf));
}

static void every_address_is_in_the_way_of_each(void **state)
{
	static const struct {
		const char *a, *b;
		bool clash;
	} cases[] = {
		{"[::]:1", "192.0.2.1:1", true},
		{"[::]:1", "[2001:db8::1]:1", true},
		{"[::]:1", "0.0.0.0:1", true},
		{"[::]:1", "1", true},
		{"0.0.0.0:1", "192.0.2.1:1", true},
		{"0.0.0.0:1", "[2001:db8::1]:1", false},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::2]:1", false},
		{"[2001:db8::1]:1", "[2001:db8:0::1]:1", true},
		{"[::]:1", "[::]:2", false},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_publish a, b;

		assert_true(niwa_publish_parse(cases[i].a, &a) && niwa_publish_parse(cases[i].b, &b));
		assert_int_equal(niwa_publish_clash(&a, &b), cases[i].clash);
		assert_int_equal(niwa_publish_clash(&b, &a), cases[i].clash);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_text_for_one_meaning),
		cmocka_unit_test(every_address_is_in_the_way_of_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
