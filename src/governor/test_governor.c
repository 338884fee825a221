/* SPDX-License-Identifier: MIT
 *
 * The governor as a function: the declared times without a past, what a past changes, what scarcity changes; the
 * histogram; the judgement of memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "governor/governor.h"
#include "governor/pressure.h"

#define MIB (UINT64_C(1) << 20)

/* An app of 50 MiB that is restored in 400 ms, with the default times. */
static struct niwa_governor_question an_app(const struct niwa_gaps *gaps)
{
	return (struct niwa_governor_question){
		.now = NIWA_DEPTH_FROZEN,
		.gaps = gaps,
		.declared_us = {0, 10 * NIWA_SEC, 60 * NIWA_SEC, 300 * NIWA_SEC},
		.can_page = true,
		.held_bytes = {50 * MIB, 50 * MIB, 10 * MIB, 0},
		.waiting_us = {0, NIWA_MS, 20 * NIWA_MS, 400 * NIWA_MS},
		.worth_us = 60 * NIWA_SEC,
	};
}

static struct niwa_governor_answer ask(struct niwa_governor_question q, enum niwa_depth now, uint64_t quiet_us)
{
	struct niwa_governor_answer a;

	q.now = now;
	q.quiet_us = quiet_us;
	niwa_governor_ask(&q, &a);
	return a;
}

/* How long an app that nobody visits stays above this depth, if asked when the answers say so. */
static uint64_t time_until(struct niwa_governor_question q, enum niwa_depth depth)
{
	enum niwa_depth now = NIWA_DEPTH_AWAKE;
	uint64_t t = 0;

	for (unsigned n = 0; n < 1000; n++) {
		struct niwa_governor_answer a = ask(q, now, t);

		if (a.next > now) {
			now = a.next;
			if (now >= depth)
				return t;
			continue;
		}
		if (!a.again_us)
			return UINT64_MAX;
		t += a.again_us;
	}
	fail_msg("the governor asks to be asked for ever");
	return 0;
}

static struct niwa_gaps gaps_of(unsigned count, const uint64_t *seconds, size_t n)
{
	struct niwa_gaps gaps = {0};

	for (unsigned i = 0; i < count; i++)
		niwa_gaps_add(&gaps, seconds[i % n] * NIWA_SEC);
	return gaps;
}
#define GAPS(count, ...)                                                                                               \
	gaps_of(count, (const uint64_t[]){__VA_ARGS__}, NIWA_ARRAY_LEN(((const uint64_t[]){__VA_ARGS__})))

/* ---- bounds ---- */

static void without_a_past_the_declared_times_are_the_answer(void **state)
{
	struct niwa_gaps five = GAPS(5, 3600), none = GAPS(0, 1);
	const struct niwa_gaps *pasts[] = {NULL, &none, &five};

	for (size_t n = 0; n < NIWA_ARRAY_LEN(pasts); n++) {
		assert_int_equal(time_until(an_app(pasts[n]), NIWA_DEPTH_FROZEN), 10 * NIWA_SEC);
		assert_int_equal(time_until(an_app(pasts[n]), NIWA_DEPTH_PAGED), 60 * NIWA_SEC);
		assert_int_equal(time_until(an_app(pasts[n]), NIWA_DEPTH_SAVED), 300 * NIWA_SEC);
	}
}

static void what_is_declared_as_never_never_comes(void **state)
{
	struct niwa_gaps seldom = GAPS(50, 7200);

	for (unsigned d = NIWA_DEPTH_FROZEN; d < NIWA_DEPTH_COUNT; d++)
		for (unsigned scarcity = 0; scarcity <= 1000; scarcity += 500) {
			struct niwa_governor_question q = an_app(&seldom);

			q.scarcity = scarcity;
			for (unsigned deeper = d; deeper < NIWA_DEPTH_COUNT; deeper++)
				q.declared_us[deeper] = 0;
			assert_int_equal(time_until(q, (enum niwa_depth)d), UINT64_MAX);
		}
}

static void without_swap_the_ladder_has_no_paged(void **state)
{
	struct niwa_gaps seldom = GAPS(50, 7200);
	struct niwa_governor_question q = an_app(NULL);

	q.can_page = false;
	assert_int_equal(time_until(q, NIWA_DEPTH_PAGED), 300 * NIWA_SEC);
	assert_int_equal(ask(q, NIWA_DEPTH_FROZEN, 100 * NIWA_SEC).next, NIWA_DEPTH_FROZEN);
	q.gaps = &seldom;
	for (uint64_t t = 0; t < 300; t++)
		assert_int_not_equal(ask(q, NIWA_DEPTH_FROZEN, t * NIWA_SEC).next, NIWA_DEPTH_PAGED);
}

static void a_running_app_is_frozen_before_it_is_paged(void **state)
{
	struct niwa_gaps seldom = GAPS(50, 250);

	assert_int_equal(ask(an_app(NULL), NIWA_DEPTH_AWAKE, 100 * NIWA_SEC).next, NIWA_DEPTH_FROZEN);
	for (uint64_t t = 0; t < 300; t++)
		assert_int_not_equal(ask(an_app(&seldom), NIWA_DEPTH_AWAKE, t * NIWA_SEC).next, NIWA_DEPTH_PAGED);
}

/* Every kind of past, every depth, every second: the bounds hold, and the answer leads on. */
static void declared_times_hold_whatever_was_learnt(void **state)
{
	const struct niwa_gaps pasts[] = {GAPS(100, 2),
					  GAPS(100, 20),
					  GAPS(100, 200),
					  GAPS(100, 2000),
					  GAPS(100, 200000),
					  GAPS(90, 3, 900),
					  GAPS(90, 2, 4, 8, 16, 40, 90, 280)};

	for (size_t n = 0; n < NIWA_ARRAY_LEN(pasts); n++)
		for (unsigned now = 0; now < NIWA_DEPTH_SAVED; now++)
			for (uint64_t t = 0; t <= 310; t++) {
				struct niwa_governor_answer a =
					ask(an_app(&pasts[n]), (enum niwa_depth)now, t * NIWA_SEC);

				assert_true(a.next >= now);
				if (t >= 300)
					assert_int_equal(a.next, NIWA_DEPTH_SAVED);
				if (t >= 60 && now >= NIWA_DEPTH_FROZEN)
					assert_true(a.next >= NIWA_DEPTH_PAGED);
				if (t < 10)
					assert_true(a.next <= now);
				if (a.next < NIWA_DEPTH_SAVED)
					assert_true(a.again_us > 0 && t * NIWA_SEC + a.again_us <= 300 * NIWA_SEC);
			}
}

/* ---- what is learnt ---- */

static void an_app_that_is_never_visited_in_time_is_saved_as_soon_as_it_is_frozen(void **state)
{
	struct niwa_gaps hourly = GAPS(30, 3600);
	struct niwa_governor_answer a = ask(an_app(&hourly), NIWA_DEPTH_FROZEN, 10 * NIWA_SEC);

	assert_int_equal(a.next, NIWA_DEPTH_SAVED);
	assert_int_equal(a.why, NIWA_GOVERNOR_LEARNT);
}

static void what_will_be_needed_soon_is_kept(void **state)
{
	struct niwa_gaps often = GAPS(60, 20, 25, 31, 44);
	struct niwa_governor_question q = an_app(&often);

	q.can_page = false;
	assert_true(time_until(q, NIWA_DEPTH_SAVED) >= 44 * NIWA_SEC);
	assert_true(time_until(q, NIWA_DEPTH_SAVED) < 300 * NIWA_SEC);
}

static void a_burst_is_waited_for_and_the_night_is_not(void **state)
{
	struct niwa_gaps bursts = GAPS(60, 11, 12, 15, 18, 20, 7200);
	struct niwa_governor_question q = an_app(&bursts);

	q.can_page = false;
	assert_in_range(time_until(q, NIWA_DEPTH_SAVED), 20 * NIWA_SEC, 150 * NIWA_SEC);
}

static void the_dearer_memory_is_the_sooner_an_app_is_saved(void **state)
{
	struct niwa_gaps mixed = GAPS(60, 20, 60, 120, 200, 600);
	struct niwa_governor_question q = an_app(&mixed);
	uint64_t last = UINT64_MAX;

	for (uint64_t worth = 1000; worth >= 1; worth /= 3) {
		uint64_t t;

		q.worth_us = worth * NIWA_SEC;
		t = time_until(q, NIWA_DEPTH_SAVED);
		assert_true(t <= last);
		last = t;
	}
	assert_true(last < 20 * NIWA_SEC);
	q.worth_us = 20 * NIWA_SEC;
	last = time_until(q, NIWA_DEPTH_SAVED);
	q.scarcity = 1000;
	assert_true(time_until(q, NIWA_DEPTH_SAVED) < last);
}

static void what_costs_more_to_wake_is_kept_longer(void **state)
{
	struct niwa_gaps mixed = GAPS(60, 20, 60, 120, 200, 600);
	struct niwa_governor_question q = an_app(&mixed);
	uint64_t last = 0;

	q.can_page = false;
	for (uint64_t ms = 10; ms < 100000; ms *= 4) {
		uint64_t t;

		q.waiting_us[NIWA_DEPTH_SAVED] = ms * NIWA_MS;
		t = time_until(q, NIWA_DEPTH_SAVED);
		assert_true(t >= last);
		last = t;
	}
	assert_in_range(last, 200 * NIWA_SEC, 300 * NIWA_SEC);
}

static void paging_comes_early_where_it_pays(void **state)
{
	struct niwa_gaps minutes = GAPS(60, 20, 30, 40, 100, 140, 200);
	struct niwa_governor_question q = an_app(&minutes);

	q.waiting_us[NIWA_DEPTH_SAVED] = 50 * NIWA_SEC;
	q.worth_us = 5 * NIWA_SEC;
	assert_int_equal(time_until(q, NIWA_DEPTH_PAGED), 10 * NIWA_SEC);
	q.paging_us = 10 * NIWA_SEC; /* dearer than what most visits let it pay back */
	assert_in_range(time_until(q, NIWA_DEPTH_PAGED), 40 * NIWA_SEC, 60 * NIWA_SEC);
}

static void memory_that_costs_nothing_is_kept_until_the_declared_time(void **state)
{
	struct niwa_gaps hourly = GAPS(30, 3600);
	struct niwa_governor_question q = an_app(&hourly);

	q.worth_us = 0;
	assert_int_equal(time_until(q, NIWA_DEPTH_SAVED), 300 * NIWA_SEC);
}

static void under_pressure_the_least_needed_for_its_size_goes_first(void **state)
{
	struct niwa_gaps often = GAPS(60, 20, 40), seldom = GAPS(60, 7200);
	struct niwa_governor_question q = an_app(&often);
	double needed, large, slow;

	q.quiet_us = 15 * NIWA_SEC;
	needed = niwa_governor_value(&q);
	q.held_bytes[NIWA_DEPTH_FROZEN] *= 4;
	large = niwa_governor_value(&q);
	q.waiting_us[NIWA_DEPTH_SAVED] *= 10;
	slow = niwa_governor_value(&q);
	assert_true(large < needed && large < slow);
	q = an_app(&seldom);
	q.quiet_us = 15 * NIWA_SEC;
	assert_true(niwa_governor_value(&q) < needed / 4);
	q.gaps = NULL; /* the longer it is quiet already, the less it is expected */
	needed = niwa_governor_value(&q);
	q.quiet_us = 3600 * NIWA_SEC;
	assert_true(niwa_governor_value(&q) < needed / 4);
}

/* ---- the histogram ---- */

static void each_gap_falls_between_the_edges_of_its_bucket(void **state)
{
	for (uint64_t us = NIWA_SEC; us < 400000 * NIWA_SEC; us += us / 7) {
		unsigned n = niwa_gaps_bucket(us);

		assert_true(niwa_gaps_edge_us(n) <= us);
		assert_true(n + 1 == NIWA_GAPS_BUCKETS || us < niwa_gaps_edge_us(n + 1));
	}
	assert_int_equal(niwa_gaps_bucket(UINT64_MAX), NIWA_GAPS_BUCKETS - 1);
	assert_int_equal(niwa_gaps_bucket(0), 0);
}

static void short_gaps_are_not_counted(void **state)
{
	struct niwa_gaps gaps = {0};

	niwa_gaps_add(&gaps, NIWA_GAPS_LEAST - 1);
	assert_int_equal(niwa_gaps_count(&gaps), 0);
	niwa_gaps_add(&gaps, NIWA_GAPS_LEAST);
	assert_int_equal(niwa_gaps_count(&gaps), 1);
}

static void old_gaps_fade(void **state)
{
	struct niwa_gaps gaps = GAPS(1000, 10);

	assert_in_range(niwa_gaps_count(&gaps), 63, 128);
	for (unsigned n = 0; n < 1000; n++)
		niwa_gaps_add(&gaps, 3600 * NIWA_SEC);
	assert_int_equal(gaps.weight[niwa_gaps_bucket(10 * NIWA_SEC)], 0);
}

static void fewer_gaps_are_longer_than_a_longer_time(void **state)
{
	struct niwa_gaps gaps = GAPS(60, 2, 30, 30, 500);
	double last = 1;

	assert_true(niwa_gaps_longer(&gaps, 0) == 1);
	for (uint64_t us = NIWA_SEC; us < UINT64_C(1) << 50; us += us / 9) {
		double longer = niwa_gaps_longer(&gaps, us);

		assert_true(longer <= last && longer > 0);
		last = longer;
	}
	assert_true(niwa_gaps_longer(&gaps, 100 * NIWA_SEC) > 0.2 && niwa_gaps_longer(&gaps, 100 * NIWA_SEC) < 0.3);
}

/* ---- pressure ---- */

static void memory_is_read_as_the_kernel_writes_it(void **state)
{
	struct niwa_memory m;

	assert_int_equal(niwa_memory_read_info("MemTotal:       24689524 kB\nMemFree:         1000000 kB\n"
					       "MemAvailable:   12344762 kB\nSwapCached:            7 kB\n"
					       "SwapTotal:       2097152 kB\nSwapFree:        1048576 kB\n",
					       &m),
			 0);
	assert_int_equal(m.total_bytes, UINT64_C(24689524) * 1024);
	assert_int_equal(m.available_bytes, UINT64_C(12344762) * 1024);
	assert_int_equal(m.swap_bytes, UINT64_C(2097152) * 1024);
	assert_int_equal(m.swap_free_bytes, UINT64_C(1048576) * 1024);
	assert_int_equal(niwa_memory_read_info("MemTotal: 1 kB\nMemAvailable: 1 kB\n", &m), 0);
	assert_int_equal(m.swap_bytes, 0);
	assert_int_equal(niwa_memory_read_stalls("some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\n"
						 "full avg10=0.00 avg60=0.13 avg300=0.96 total=57316987\n",
						 &m),
			 0);
	assert_int_equal(m.some_us, 58761459);
	assert_int_equal(m.full_us, 57316987);
}

static void memory_that_cannot_be_read_is_refused(void **state)
{
	struct niwa_memory m = {0};
	const char *const bad[] = {"", "MemTotal: 1 kB", "MemAvailable: 1 kB\n", "garbage\n\n\n", "\n"};

	for (size_t n = 0; n < NIWA_ARRAY_LEN(bad); n++)
		assert_int_equal(niwa_memory_read_info(bad[n], &m), -EBADMSG);
	assert_int_equal(niwa_memory_read_stalls("full total=1\n", &m), -EBADMSG);
	assert_int_equal(niwa_memory_read_stalls("some avg10=1\nfull total=9\n", &m), 0);
	assert_int_equal(m.some_us, 0);
}

static void pressure_begins_at_the_reserve(void **state)
{
	struct niwa_memory now = {.total_bytes = 16384 * MIB};
	struct niwa_pressure p;
	unsigned last = 0;

	for (uint64_t mib = 16384; mib > 0; mib -= 128) {
		now.available_bytes = mib * MIB;
		niwa_pressure_judge(NULL, &now, 0, 1024 * MIB, &p);
		assert_int_equal(p.wanted_bytes > 0, mib < 1024);
		assert_true(p.wanted_bytes <= (1024 + 128) * MIB);
		assert_true(p.scarcity >= last && p.scarcity <= 1000);
		if (mib >= 4096)
			assert_int_equal(p.scarcity, 0);
		if (mib <= 1024)
			assert_int_equal(p.scarcity, 1000);
		last = p.scarcity;
	}
	niwa_pressure_judge(NULL, &now, 0, 0, &p); /* no reserve: never short */
	assert_int_equal(p.wanted_bytes, 0);
	assert_int_equal(p.scarcity, 0);
}

static void stalls_count_only_where_memory_is_not_plentiful(void **state)
{
	struct niwa_memory before = {.total_bytes = 16384 * MIB, .available_bytes = 8192 * MIB, .full_us = 5},
			   now = before;
	struct niwa_pressure p;

	now.full_us += 200 * NIWA_MS;
	now.some_us += 300 * NIWA_MS;
	niwa_pressure_judge(&before, &now, NIWA_SEC, 1024 * MIB, &p);
	assert_int_equal(p.full, 200);
	assert_int_equal(p.some, 300);
	assert_int_equal(p.wanted_bytes, 0);
	now.available_bytes = 3000 * MIB;
	niwa_pressure_judge(&before, &now, NIWA_SEC, 1024 * MIB, &p);
	assert_int_equal(p.wanted_bytes, 256 * MIB);
	now.full_us = 0; /* counters that went back: another boot's */
	now.some_us = 0;
	niwa_pressure_judge(&before, &now, NIWA_SEC, 1024 * MIB, &p);
	assert_int_equal(p.wanted_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_past_the_declared_times_are_the_answer),
		cmocka_unit_test(what_is_declared_as_never_never_comes),
		cmocka_unit_test(without_swap_the_ladder_has_no_paged),
		cmocka_unit_test(a_running_app_is_frozen_before_it_is_paged),
		cmocka_unit_test(declared_times_hold_whatever_was_learnt),
		cmocka_unit_test(an_app_that_is_never_visited_in_time_is_saved_as_soon_as_it_is_frozen),
		cmocka_unit_test(what_will_be_needed_soon_is_kept),
		cmocka_unit_test(a_burst_is_waited_for_and_the_night_is_not),
		cmocka_unit_test(the_dearer_memory_is_the_sooner_an_app_is_saved),
		cmocka_unit_test(what_costs_more_to_wake_is_kept_longer),
		cmocka_unit_test(paging_comes_early_where_it_pays),
		cmocka_unit_test(memory_that_costs_nothing_is_kept_until_the_declared_time),
		cmocka_unit_test(under_pressure_the_least_needed_for_its_size_goes_first),
		cmocka_unit_test(each_gap_falls_between_the_edges_of_its_bucket),
		cmocka_unit_test(short_gaps_are_not_counted),
		cmocka_unit_test(old_gaps_fade),
		cmocka_unit_test(fewer_gaps_are_longer_than_a_longer_time),
		cmocka_unit_test(memory_is_read_as_the_kernel_writes_it),
		cmocka_unit_test(memory_that_cannot_be_read_is_refused),
		cmocka_unit_test(pressure_begins_at_the_reserve),
		cmocka_unit_test(stalls_count_only_where_memory_is_not_plentiful),
	};

	return cmocka_run_group_tests_name("governor", tests, NULL, NULL);
}
