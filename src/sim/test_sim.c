/* SPDX-License-Identifier: MIT
 *
 * Replays whose result can be worked out by hand; traces as text and made ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sim/replay.h"

static const struct niwa_sim_apps alike = {.bytes = 1 << 30,
					   .thaw_us = NIWA_MS,
					   .page_us = 20 * NIWA_MS,
					   .wake_us = 400 * NIWA_MS,
					   .paged = 0.5,
					   .alike = true};
static const struct niwa_sim_policy ten_minutes = {.name = "fixed", .declared_us = {0, 0, 0, 600 * NIWA_SEC}};

static int read_text(const char *text, struct niwa_trace *trace, struct niwa_error *err)
{
	char copy[4096];
	FILE *in;
	int r;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	in = fmemopen(copy, strlen(copy), "r");
	assert_non_null(in);
	r = niwa_trace_read(in, "trace", trace, err);
	(void)fclose(in);
	return r;
}

static struct niwa_sim_result replay(const char *text, const struct niwa_sim_policy *policy)
{
	struct niwa_sim_result result;
	struct niwa_trace trace;
	struct niwa_error err;

	assert_int_equal(read_text(text, &trace, &err), 0);
	assert_int_equal(niwa_sim_replay(&trace, &alike, policy, &result, &err), 0);
	niwa_trace_fini(&trace);
	return result;
}

static void memory_is_held_for_the_fixed_time_after_each_visit(void **state)
{
	struct niwa_sim_result r = replay("0 a\n7200 a\n100 b\n", &ten_minutes);

	assert_int_equal(r.visits, 3);
	assert_int_equal(r.wakes[NIWA_DEPTH_SAVED], 3);
	assert_true(r.gib_hours > 2 * 600 / 3600.0 - 1e-6 && r.gib_hours < 2 * 600 / 3600.0 + 1e-6);
	assert_int_equal(r.p50_us, 400 * NIWA_MS);
}

static void who_comes_in_time_finds_it_awake(void **state)
{
	struct niwa_sim_result r = replay("0 a\n599 a\n1198 a\n1800 a\n", &ten_minutes);

	assert_int_equal(r.wakes[NIWA_DEPTH_SAVED], 2);
	assert_int_equal(r.wakes[NIWA_DEPTH_AWAKE], 2);
	assert_int_equal(r.p99_us, 400 * NIWA_MS);
	assert_int_equal(r.mean_us, 200 * NIWA_MS);
}

static void who_comes_while_it_wakes_waits_for_the_rest(void **state)
{
	struct niwa_sim_result r = replay("10 a\n10.3 a\n10.5 a\n", &ten_minutes);

	assert_int_equal(r.wakes[NIWA_DEPTH_SAVED], 1);
	assert_int_equal(r.wakes[NIWA_DEPTH_AWAKE], 1);
	assert_int_equal(r.mean_us * 3, 500 * NIWA_MS);
}

static void the_ladder_is_gone_down_step_by_step(void **state)
{
	struct niwa_sim_policy ladder = {
		.name = "declared", .declared_us = {0, 10 * NIWA_SEC, 60 * NIWA_SEC, 600 * NIWA_SEC}, .swap = true};
	struct niwa_sim_result r = replay("0 a\n5 a\n25 a\n125 a\n1125 a\n", &ladder);

	assert_int_equal(r.wakes[NIWA_DEPTH_AWAKE], 1);
	assert_int_equal(r.wakes[NIWA_DEPTH_FROZEN], 1);
	assert_int_equal(r.wakes[NIWA_DEPTH_PAGED], 1);
	assert_int_equal(r.wakes[NIWA_DEPTH_SAVED], 2);
	assert_int_equal(r.pagings, 2);
	/* 5 + 20 + 60 + 60 s of it all, 40 + 540 s of half of it */
	assert_true(r.gib_hours * 3600 > 434.99 && r.gib_hours * 3600 < 435.01);
}

static void the_governor_holds_less_than_the_declared_times(void **state)
{
	const struct niwa_trace_plan plan = {
		.kind = "cron", .apps = 50, .length_us = 3 * 86400 * NIWA_SEC, .visits = 1000, .seed = 7};
	struct niwa_sim_policy policy = {.name = "declared", .declared_us = {0, 10 * NIWA_SEC, 0, 600 * NIWA_SEC}};
	struct niwa_sim_result declared, learnt;
	struct niwa_trace trace;
	struct niwa_error err;

	assert_int_equal(niwa_trace_make(&plan, &trace, &err), 0);
	assert_int_equal(niwa_sim_replay(&trace, &alike, &policy, &declared, &err), 0);
	policy.learns = true;
	policy.worth_us = 600 * NIWA_SEC;
	assert_int_equal(niwa_sim_replay(&trace, &alike, &policy, &learnt, &err), 0);
	assert_true(learnt.gib_hours < declared.gib_hours / 2);
	niwa_trace_fini(&trace);
}

static void each_kind_is_the_same_again_with_its_seed_and_another_with_another(void **state)
{
	for (unsigned k = 0; niwa_trace_kinds[k]; k++) {
		struct niwa_trace_plan plan = {.kind = niwa_trace_kinds[k],
					       .apps = 20,
					       .length_us = 2 * 86400 * NIWA_SEC,
					       .visits = 2000,
					       .seed = 1};
		struct niwa_trace a, b, c;
		struct niwa_error err;

		assert_int_equal(niwa_trace_make(&plan, &a, &err), 0);
		assert_int_equal(niwa_trace_make(&plan, &b, &err), 0);
		plan.seed = 2;
		assert_int_equal(niwa_trace_make(&plan, &c, &err), 0);
		assert_int_equal(a.count, b.count);
		for (size_t n = 0; n < a.count; n++)
			assert_true(a.visits[n].at_us == b.visits[n].at_us && a.visits[n].app == b.visits[n].app);
		assert_true(a.count != c.count || a.visits[0].at_us != c.visits[0].at_us);
		if (strcmp(plan.kind, "cron") != 0)
			assert_in_range(a.count, 2 * 2000 / 2, 2 * 2000 * 2);
		niwa_trace_fini(&a);
		niwa_trace_fini(&b);
		niwa_trace_fini(&c);
	}
}

static void lines_that_are_no_visit_are_named(void **state)
{
	static const struct {
		const char *text, *said;
	} bad[] = {
		{"1 a\nx b\n", "trace:2: found 'x b'; a line is a time in seconds and the name of an app"},
		{"-1 a\n", "trace:1: found '-1 a'"},
		{"nan a\n", "trace:1: found 'nan a'"},
		{"1e99 a\n", "trace:1: found '1e99 a'"},
		{"5\n", "trace:1: found '5'"},
		{"5 \n", "trace:1: found '' behind the time"},
		{"5 a b\n", "trace:1: found 'a b' behind the time"},
		{"# nothing\n\n", "trace: there is no visit in it"},
	};
	struct niwa_trace trace;
	struct niwa_error err;

	for (size_t n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		assert_true(read_text(bad[n].text, &trace, &err) < 0);
		if (strncmp(err.msg, bad[n].said, strlen(bad[n].said)) != 0)
			fail_msg("said: %s", err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_held_for_the_fixed_time_after_each_visit),
		cmocka_unit_test(who_comes_in_time_finds_it_awake),
		cmocka_unit_test(who_comes_while_it_wakes_waits_for_the_rest),
		cmocka_unit_test(the_ladder_is_gone_down_step_by_step),
		cmocka_unit_test(the_governor_holds_less_than_the_declared_times),
		cmocka_unit_test(each_kind_is_the_same_again_with_its_seed_and_another_with_another),
		cmocka_unit_test(lines_that_are_no_visit_are_named),
	};

	return cmocka_run_group_tests_name("visits replayed", tests, NULL, NULL);
}
