/* SPDX-License-Identifier: MIT
 *
 * Who starts next: the queue alone, with invented flows and costs.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/wake_queue.h"

#define MANY 1000
#define NONE NIWA_WAKE_RANK_NONE

static struct niwa_wake_queue q;
static struct niwa_wake_flow flows[MANY + 1];
static struct niwa_wake_entry entries[2 * MANY];

static void begin(unsigned places, unsigned length)
{
	niwa_wake_queue_init(&q, places, length);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(flows); i++)
		flows[i] = (struct niwa_wake_flow){0};
	for (size_t i = 0; i < NIWA_ARRAY_LEN(entries); i++)
		entries[i] = (struct niwa_wake_entry){0};
}

static void push(size_t flow, size_t entry, uint64_t cost)
{
	assert_int_equal(niwa_wake_queue_push(&q, &flows[flow], &entries[entry], cost, NONE), 0);
}

/* Number of the entry that begins, -1: none. */
static int pop(struct niwa_wake_flow **ret_flow)
{
	struct niwa_wake_flow *flow = NULL;
	struct niwa_wake_entry *e = niwa_wake_queue_pop(&q, &flow);

	if (ret_flow)
		*ret_flow = flow;
	return e ? (int)(e - entries) : -1;
}

/* It begins and takes as long as was thought. */
static int run(void)
{
	struct niwa_wake_flow *flow;
	int n = pop(&flow);

	if (n >= 0)
		niwa_wake_queue_give_back(&q, flow, entries[n].cost_us, entries[n].cost_us);
	return n;
}

static void who_came_first_of_a_flow_is_first(void **state)
{
	begin(2, MANY);
	for (size_t i = 0; i < 10; i++)
		push(0, i, 100);
	for (int i = 0; i < 10; i++)
		assert_int_equal(run(), i);
	assert_int_equal(run(), -1);
}

static void a_single_visitor_is_next_in_the_storm_of_another(void **state)
{
	begin(1, 2 * MANY);
	for (size_t i = 0; i < MANY; i++)
		push(0, i, 100);
	for (int i = 0; i < 10; i++)
		assert_int_equal(run(), i);
	push(1, MANY, 100);
	assert_int_equal(run(), MANY);
	assert_int_equal(run(), 10);
}

static void a_few_single_visitors_come_in_their_order(void **state)
{
	begin(8, 2 * MANY);
	for (size_t i = 0; i < 32; i++)
		push(i, i, i % 7 * 100 + 1);
	for (int i = 0; i < 32; i++)
		assert_int_equal(run(), i);
}

static void after_a_burst_of_all_tenants_who_comes_now_is_soon_there(void **state)
{
	bool began[MANY + 1] = {false};

	begin(2, 2 * MANY);
	for (size_t i = 0; i < MANY; i++)
		push(i, i, i % 7 * 100 + 1);
	for (int i = 0; i < 10; i++)
		began[run()] = true;
	push(MANY, MANY, 100);
	for (int i = 0; i < 2; i++)
		began[run()] = true;
	assert_true(began[MANY]);
	assert_true(began[0] && began[1] && began[2] && began[3] && began[4]); /* and nobody waits for ever */
	for (int n; (n = run()) >= 0;) {
		assert_false(began[n]);
		began[n] = true;
	}
	for (int i = 0; i <= MANY; i++)
		assert_true(began[i]);
}

static void two_storms_share_by_what_their_starts_cost(void **state)
{
	unsigned began[2] = {0};

	begin(1, 2 * MANY);
	for (size_t i = 0; i < MANY / 2; i++) {
		push(0, i, 300);
		push(1, MANY + i, 100);
	}
	for (unsigned i = 0; i < 400; i++)
		began[run() >= MANY]++;
	assert_in_range(began[0], 99, 101);
	assert_in_range(began[1], 299, 301);
}

static void what_a_start_really_took_is_what_counts(void **state)
{
	struct niwa_wake_flow *flow;
	unsigned began[2] = {0};

	begin(1, 2 * MANY);
	for (size_t i = 0; i < MANY / 2; i++) {
		push(0, i, 100);
		push(1, MANY + i, 100);
	}
	for (unsigned i = 0; i < 400; i++) {
		unsigned other = pop(&flow) >= MANY;

		began[other]++;
		niwa_wake_queue_give_back(&q, flow, 100, other ? 100 : 300);
	}
	assert_in_range(began[0], 98, 102);
	assert_in_range(began[1], 298, 302);
}

static void there_are_never_more_than_the_places(void **state)
{
	struct niwa_wake_flow *flow;

	begin(3, MANY);
	for (size_t i = 0; i < 10; i++)
		push(i, i, 100);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pop(&flow), i);
	assert_int_equal(pop(NULL), -1);
	niwa_wake_queue_give_back(&q, flow, 100, 100);
	assert_int_equal(pop(NULL), 3);
	assert_int_equal(pop(NULL), -1);
}

static void one_flow_leaves_a_place_to_the_others(void **state)
{
	begin(4, MANY);
	for (size_t i = 0; i < 10; i++)
		push(0, i, 100);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pop(NULL), i);
	assert_int_equal(pop(NULL), -1);
	push(1, 20, 100);
	assert_int_equal(pop(NULL), 20);
	niwa_wake_queue_give_back(&q, &flows[0], 100, 100);
	assert_int_equal(pop(NULL), 3);
}

static void the_only_place_is_everybodys(void **state)
{
	begin(1, MANY);
	push(0, 0, 100);
	assert_int_equal(run(), 0);
}

static void a_flow_may_have_fewer_places(void **state)
{
	begin(4, MANY);
	niwa_wake_queue_limit(&q, &flows[0], 1);
	for (size_t i = 0; i < 3; i++)
		push(0, i, 100);
	assert_int_equal(pop(NULL), 0);
	assert_int_equal(pop(NULL), -1);
	niwa_wake_queue_limit(&q, &flows[0], 2);
	assert_int_equal(pop(NULL), 1);
	assert_int_equal(pop(NULL), -1);
	niwa_wake_queue_limit(&q, &flows[0], 1);
	niwa_wake_queue_give_back(&q, &flows[0], 100, 100);
	assert_int_equal(pop(NULL), -1);
	niwa_wake_queue_give_back(&q, &flows[0], 100, 100);
	assert_int_equal(pop(NULL), 2);
}

static void what_a_start_waits_for_goes_first(void **state)
{
	begin(1, MANY);
	for (size_t i = 0; i < 10; i++)
		push(0, i, 100);
	push(1, 50, 100);
	assert_int_equal(run(), 0);
	/* 0 connects to an app that sleeps */
	assert_int_equal(niwa_wake_queue_push(&q, &flows[0], &entries[99], 100, entries[0].rank), 0);
	assert_int_equal(run(), 99);
	assert_int_equal(run(), 50);
	assert_int_equal(run(), 1);
}

static void one_start_that_wakes_a_hundred_delays_others_by_its_share_alone(void **state)
{
	uint64_t rank;

	begin(1, MANY);
	push(0, 0, 100);
	assert_int_equal(run(), 0);
	rank = entries[0].rank;
	for (size_t i = 1; i <= 100; i++, rank += 100)
		assert_int_equal(niwa_wake_queue_push(&q, &flows[0], &entries[i], 100, rank), 0);
	for (int i = 1; i <= 10; i++)
		assert_int_equal(run(), i);
	push(1, 500, 100);
	for (int i = 11; run() != 500; i++)
		assert_true(i < 14);
}

static void one_that_is_waited_for_is_moved_forward(void **state)
{
	begin(1, MANY);
	for (size_t i = 0; i < 20; i++)
		push(i % 2, i, 100);
	assert_int_equal(run(), 0);
	assert_int_equal(run(), 1);
	niwa_wake_queue_promote(&q, &entries[18], entries[0].rank);
	assert_int_equal(run(), 18);
	niwa_wake_queue_promote(&q, &entries[18], 0); /* it waits no more */
	assert_int_equal(run(), 3);
}

static void who_has_waited_before_keeps_its_rank(void **state)
{
	struct niwa_wake_flow *flow;

	begin(1, MANY);
	for (size_t i = 0; i < 10; i++)
		push(0, i, 100);
	assert_int_equal(pop(&flow), 0);
	niwa_wake_queue_give_back(&q, flow, 100, 0); /* its folder is held by another one */
	for (int i = 1; i < 5; i++)
		assert_int_equal(run(), i);
	assert_int_equal(niwa_wake_queue_push(&q, flow, &entries[0], 100, entries[0].rank), 0);
	assert_int_equal(run(), 0);
}

static void a_full_queue_refuses(void **state)
{
	begin(1, 4);
	for (size_t i = 0; i < 4; i++)
		push(i, i, 100);
	assert_int_equal(niwa_wake_queue_push(&q, &flows[9], &entries[9], 100, NONE), -EAGAIN);
	assert_null(entries[9].flow);
	assert_int_equal(run(), 0);
	push(9, 9, 100);
}

static void one_flow_does_not_fill_the_queue(void **state)
{
	begin(1, 8);
	for (size_t i = 0; i < 4; i++)
		push(0, i, 100);
	assert_int_equal(niwa_wake_queue_push(&q, &flows[0], &entries[5], 100, NONE), -EDQUOT);
	push(1, 6, 100);
}

static void what_was_used_long_ago_is_forgotten(void **state)
{
	begin(3, MANY); /* ten are not many */
	push(0, 0, 1000000);
	assert_int_equal(run(), 0); /* and then nobody wants anything */
	for (size_t i = 1; i < 10; i++)
		push(i, i, 100);
	push(0, 100, 100);
	for (int i = 1; i < 10; i++)
		assert_int_equal(run(), i);
	assert_int_equal(run(), 100);
	push(1, 200, 100);
	push(0, 201, 100);
	assert_int_equal(run(), 200);
	assert_int_equal(run(), 201);
}

static void nobody_saves_up(void **state)
{
	begin(1, 2 * MANY);
	for (size_t i = 0; i < MANY; i++)
		push(0, i, 100);
	for (int i = 0; i < 500; i++)
		assert_int_equal(run(), i);
	for (size_t i = MANY; i < MANY + 10; i++)
		push(1, i, 100);
	for (int i = 0; i < 6; i++)
		(void)run();
	assert_in_range(flows[1].waiting, 6, 8); /* not all ten first */
}

/* Any order of calls: everybody begins once, flows and queue count right, nobody is forgotten. */
static void whatever_happens_nobody_is_lost(void **state)
{
	struct niwa_wake_flow *holds[8] = {0};
	unsigned in = 0, out = 0, random = 1;

	begin(8, 300);
	for (unsigned step = 0; step < 200000; step++) {
		size_t n = (random = random * 1664525 + 1013904223) >> 8, slot = n / 4 % 8;
		struct niwa_wake_entry *e = &entries[n / 64 % MANY];

		if (n % 4 == 0 && !e->flow)
			in += niwa_wake_queue_push(&q, &flows[n / 64 % 40], e, n / 7 % 500, n % 16 ? NONE : q.now_us) ==
			      0;
		else if (n % 4 == 1 && !holds[slot])
			out += pop(&holds[slot]) >= 0;
		else if (n % 4 == 2 && holds[slot])
			niwa_wake_queue_give_back(&q, NIWA_TAKE(holds[slot]), n % 500, n / 3 % 500);
		else if (n % 4 == 3 && n % 3 == 0)
			niwa_wake_queue_promote(&q, e, q.now_us);
		else if (n % 12 == 7)
			out += e->flow != NULL, niwa_wake_queue_remove(&q, e);
		assert_int_equal(q.length, in - out);
		for (size_t i = 1; i < q.count; i += 37)
			assert_true(q.heap[0][i]->at[0] == i + 1 && q.heap[1][i]->at[1] == i + 1);
	}
	for (size_t i = 0; i < 8; i++)
		if (holds[i])
			niwa_wake_queue_give_back(&q, holds[i], 0, 0);
	while (run() >= 0)
		out++;
	assert_int_equal(in, out);
	assert_int_equal(q.busy + q.count + q.length, 0);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(flows[i].busy + flows[i].waiting, 0);
}

static int end(void **state)
{
	niwa_wake_queue_fini(&q);
	return 0;
}

#define TEST(fn) cmocka_unit_test_teardown(fn, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_came_first_of_a_flow_is_first),
		TEST(a_single_visitor_is_next_in_the_storm_of_another),
		TEST(a_few_single_visitors_come_in_their_order),
		TEST(after_a_burst_of_all_tenants_who_comes_now_is_soon_there),
		TEST(two_storms_share_by_what_their_starts_cost),
		TEST(what_a_start_really_took_is_what_counts),
		TEST(there_are_never_more_than_the_places),
		TEST(one_flow_leaves_a_place_to_the_others),
		TEST(the_only_place_is_everybodys),
		TEST(a_flow_may_have_fewer_places),
		TEST(what_a_start_waits_for_goes_first),
		TEST(one_start_that_wakes_a_hundred_delays_others_by_its_share_alone),
		TEST(one_that_is_waited_for_is_moved_forward),
		TEST(who_has_waited_before_keeps_its_rank),
		TEST(a_full_queue_refuses),
		TEST(one_flow_does_not_fill_the_queue),
		TEST(what_was_used_long_ago_is_forgotten),
		TEST(nobody_saves_up),
		TEST(whatever_happens_nobody_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
