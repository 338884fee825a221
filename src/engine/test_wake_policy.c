/* SPDX-License-Identifier: MIT
 *
 * Tests of who may wake an app by a port, and how often.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <arpa/inet.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/wake_policy.h"

#define HOUR (3600 * NIWA_SEC)

static struct niwa_wake_policy *policy(char **from, uint32_t count, uint32_t per_s)
{
	const struct niwa_port port = {.wake_from = from, .wakes = {count, per_s}};
	struct niwa_wake_policy *p = NULL;

	assert_int_equal(niwa_wake_policy_make(&port, NULL, &p), 0);
	return p;
}

static struct niwa_visitor visitor(const char *addr)
{
	struct niwa_visitor v = {.wakes = true};
	struct in_addr four;

	if (inet_pton(AF_INET, addr, &four) == 1)
		v.addr = niwa_addr_mapped(four.s_addr);
	else
		assert_int_equal(inet_pton(AF_INET6, addr, &v.addr), 1);
	return v;
}

static enum niwa_wake_refusal ask(struct niwa_wake_policy *p, const char *addr, uint64_t now)
{
	const struct niwa_visitor v = visitor(addr);
	uint64_t wait;

	return niwa_wake_policy_ask(p, &v, now, &wait);
}

static void a_port_without_a_policy_has_none(void **state)
{
	assert_null(policy(NULL, 0, 0));
}

static void networks_of_both_families_are_told_apart(void **state)
{
	char *from[] = {(char[]){"10.0.0.0/8"}, (char[]){"192.0.2.7"}, (char[]){"2001:db8::/33"}, NULL};
	static const struct {
		const char *addr;
		enum niwa_wake_refusal refusal;
	} rows[] = {
		{"10.0.0.0", NIWA_WAKE_ADMITTED},
		{"10.255.255.255", NIWA_WAKE_ADMITTED},
		{"11.0.0.0", NIWA_WAKE_NOT_FROM_THERE},
		{"9.255.255.255", NIWA_WAKE_NOT_FROM_THERE},
		{"192.0.2.7", NIWA_WAKE_ADMITTED},
		{"192.0.2.6", NIWA_WAKE_NOT_FROM_THERE},
		{"2001:db8::1", NIWA_WAKE_ADMITTED},
		{"2001:db8:7fff::", NIWA_WAKE_ADMITTED},
		{"2001:db8:8000::", NIWA_WAKE_NOT_FROM_THERE},
		{"::ffff:10.1.2.3", NIWA_WAKE_ADMITTED},
		{"::10.1.2.3", NIWA_WAKE_NOT_FROM_THERE},
		{"::", NIWA_WAKE_NOT_FROM_THERE},
	};
	struct niwa_wake_policy *p = policy(from, 0, 0);

	for (size_t i = 0; i < NIWA_ARRAY_LEN(rows); i++)
		if (ask(p, rows[i].addr, 0) != rows[i].refusal)
			fail_msg("%s", rows[i].addr);
	free(p);
}

static void the_host_and_the_tenant_are_no_addresses(void **state)
{
	char *host[] = {(char[]){"host"}, NULL}, *tenant[] = {(char[]){"tenant"}, NULL}, *nobody[] = {NULL};
	struct niwa_wake_policy *h = policy(host, 0, 0), *t = policy(tenant, 0, 0), *n = policy(nobody, 0, 0);
	struct niwa_visitor v = visitor("10.80.0.1");
	uint64_t wait;

	v.is_host = true;
	assert_int_equal(niwa_wake_policy_ask(h, &v, 0, &wait), NIWA_WAKE_ADMITTED);
	assert_int_equal(niwa_wake_policy_ask(t, &v, 0, &wait), NIWA_WAKE_NOT_FROM_THERE);
	assert_int_equal(niwa_wake_policy_ask(n, &v, 0, &wait), NIWA_WAKE_NOT_FROM_THERE);
	v = visitor("10.80.0.1");
	v.is_tenant = true;
	assert_int_equal(niwa_wake_policy_ask(h, &v, 0, &wait), NIWA_WAKE_NOT_FROM_THERE);
	assert_int_equal(niwa_wake_policy_ask(t, &v, 0, &wait), NIWA_WAKE_ADMITTED);
	assert_int_equal(h->refused[NIWA_WAKE_NOT_FROM_THERE - 1], 1);
	free(h);
	free(t);
	free(n);
}

static void so_many_wakes_come_at_once_and_then_one_after_the_other(void **state)
{
	struct niwa_wake_policy *p = policy(NULL, 20, 3600);
	struct niwa_visitor v = visitor("192.0.2.1");
	uint64_t now = 5 * HOUR, wait;

	for (int i = 0; i < 20; i++)
		assert_int_equal(niwa_wake_policy_ask(p, &v, now, &wait), NIWA_WAKE_ADMITTED);
	assert_int_equal(niwa_wake_policy_ask(p, &v, now, &wait), NIWA_WAKE_TOO_OFTEN);
	assert_int_equal(wait, HOUR / 20);
	assert_int_equal(niwa_wake_policy_ask(p, &v, now + wait - 1, &wait), NIWA_WAKE_TOO_OFTEN);
	assert_int_equal(wait, 1);
	assert_int_equal(niwa_wake_policy_ask(p, &v, now + HOUR / 20, &wait), NIWA_WAKE_ADMITTED);
	assert_int_equal(niwa_wake_policy_ask(p, &v, now + HOUR / 20, &wait), NIWA_WAKE_TOO_OFTEN);
	v.wakes = false; /* who joins a wake takes nothing */
	assert_int_equal(niwa_wake_policy_ask(p, &v, now + HOUR / 20, &wait), NIWA_WAKE_ADMITTED);
	free(p);
}

/* Many addresses are no way around it. */
static void scanners_wake_it_no_more_often_than_it_may_be(void **state)
{
	struct niwa_wake_policy *p = policy(NULL, 20, 3600);
	unsigned wakes = 0;

	for (uint32_t i = 0; i < 36000; i++) { /* ten a second, for an hour, each from elsewhere */
		const struct niwa_visitor v = {.addr = niwa_addr_mapped(htonl(0x08000000 + i)), .wakes = true};
		uint64_t wait;

		wakes += niwa_wake_policy_ask(p, &v, HOUR + i * (NIWA_SEC / 10), &wait) == NIWA_WAKE_ADMITTED;
	}
	assert_in_range(wakes, 39, 40);
	assert_int_equal(p->refused[NIWA_WAKE_TOO_OFTEN - 1], 36000 - wakes);
	free(p);
}

static void who_may_not_takes_nothing_out_of_the_bucket(void **state)
{
	char *from[] = {(char[]){"10.0.0.0/8"}, NULL};
	struct niwa_wake_policy *p = policy(from, 1, 3600);

	for (int i = 0; i < 100; i++)
		assert_int_equal(ask(p, "192.0.2.1", HOUR), NIWA_WAKE_NOT_FROM_THERE);
	assert_int_equal(ask(p, "10.0.0.1", HOUR), NIWA_WAKE_ADMITTED);
	assert_int_equal(ask(p, "10.0.0.1", HOUR), NIWA_WAKE_TOO_OFTEN);
	free(p);
}

static void a_record_that_is_applied_again_fills_no_bucket(void **state)
{
	const struct niwa_port port = {.wakes = {1, 3600}};
	struct niwa_wake_policy *p = policy(NULL, 1, 3600), *again = NULL;

	assert_int_equal(ask(p, "192.0.2.1", HOUR), NIWA_WAKE_ADMITTED);
	assert_int_equal(niwa_wake_policy_make(&port, p, &again), 0);
	assert_int_equal(ask(again, "192.0.2.1", HOUR), NIWA_WAKE_TOO_OFTEN);
	free(p);
	free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_port_without_a_policy_has_none),
		cmocka_unit_test(networks_of_both_families_are_told_apart),
		cmocka_unit_test(the_host_and_the_tenant_are_no_addresses),
		cmocka_unit_test(so_many_wakes_come_at_once_and_then_one_after_the_other),
		cmocka_unit_test(scanners_wake_it_no_more_often_than_it_may_be),
		cmocka_unit_test(who_may_not_takes_nothing_out_of_the_bucket),
		cmocka_unit_test(a_record_that_is_applied_again_fills_no_bucket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
