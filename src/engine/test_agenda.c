/* SPDX-License-Identifier: MIT
 *
 * Tests of what is due among many, and of what an agenda says after pauses and when clocks are set.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/agenda.h"
#include "engine/due.h"

#define HOUR 3600
#define DAY  86400

/* The times are UTC's: 1970-01-01 was a Thursday. */
static struct niwa_agenda *agenda(struct niwa_zones *zones, char *hours, char *wake, uint64_t for_us)
{
	char *times[] = {hours, NULL}, *at[] = {wake, NULL};
	struct niwa_app_spec spec = {.awake = {.times = hours ? times : NULL},
				     .wake = {.at = wake ? at : NULL, .for_us = for_us}};
	struct niwa_agenda *a = NULL;
	struct niwa_error err;

	assert_int_equal(niwa_agenda_make(zones, &spec, &a, &err), 0);
	if (a) /* whatever this host's zone is */
		a->hours_zone = a->wake_zone = NULL;
	return a;
}

static void an_app_without_times_has_no_agenda(void **state)
{
	struct niwa_zones *zones = niwa_zones_new();

	assert_null(agenda(zones, NULL, NULL, NIWA_SEC));
	niwa_zones_free(&zones);
	assert_null(zones);
}

static void what_was_missed_is_due_once(void **state)
{
	struct niwa_zones *zones = niwa_zones_new();
	struct niwa_agenda *a = agenda(zones, NULL, (char[]){"*/15 * * * *"}, NIWA_SEC);
	int64_t now = 100 * DAY + 60, dealt = now - 10 * HOUR;
	struct niwa_agenda_look look = niwa_agenda_look(a, now, dealt);

	assert_true(look.wake <= now);
	look = niwa_agenda_look(a, now, now); /* it was dealt with */
	assert_int_equal(look.wake, 100 * DAY + 15 * 60);
	assert_int_equal(look.hours_end, 0);
	assert_int_equal(niwa_agenda_due(&look), look.wake);
	look = niwa_agenda_look(a, now, now - 30); /* nothing in between */
	assert_true(look.wake > now);
	free(a);
	niwa_zones_free(&zones);
}

static void a_clock_that_is_set_back_repeats_nothing_of_the_last_hour(void **state)
{
	struct niwa_zones *zones = niwa_zones_new();
	struct niwa_agenda *a = agenda(zones, NULL, (char[]){"0 3 * * *"}, NIWA_SEC);
	int64_t dealt = 100 * DAY + 3 * HOUR + 5, now = dealt - 600;

	assert_int_equal(niwa_agenda_look(a, now, niwa_agenda_believe(dealt, now)).wake, 101 * DAY + 3 * HOUR);
	now = dealt - 3600;
	assert_int_equal(niwa_agenda_look(a, now, niwa_agenda_believe(dealt, now)).wake, 101 * DAY + 3 * HOUR);
	now = dealt - 3601; /* further back times are new ones */
	assert_int_equal(niwa_agenda_look(a, now, niwa_agenda_believe(dealt, now)).wake, 100 * DAY + 3 * HOUR);
	now = dealt - 1000 * (int64_t)DAY;
	assert_true(niwa_agenda_look(a, now, niwa_agenda_believe(dealt, now)).wake - now <= DAY);
	now = dealt + 365 * (int64_t)DAY; /* forward: once */
	assert_int_equal(niwa_agenda_believe(dealt, now), dealt);
	assert_true(niwa_agenda_look(a, now, dealt).wake <= now);
	free(a);
	niwa_zones_free(&zones);
}

/* Back and forth, again and again: each time of the day comes once a day at most. */
static void a_clock_that_is_set_to_and_fro_does_not_repeat_a_time(void **state)
{
	struct niwa_zones *zones = niwa_zones_new();
	struct niwa_agenda *a = agenda(zones, NULL, (char[]){"0 3 * * *"}, NIWA_SEC);
	int64_t dealt = 100 * DAY + 2 * HOUR, base = dealt;
	unsigned wakes = 0;

	for (unsigned i = 0; i < 200; i++) {
		int64_t now = base + 1800 + (i % 2 ? 2400 : 0);

		dealt = niwa_agenda_believe(dealt, now);
		if (niwa_agenda_look(a, now, dealt).wake <= now) {
			wakes++;
			dealt = now;
		}
	}
	assert_int_equal(wakes, 1);
	free(a);
	niwa_zones_free(&zones);
}

static void hours_and_times_are_due_whichever_comes_first(void **state)
{
	struct niwa_zones *zones = niwa_zones_new();
	struct niwa_agenda *a = agenda(zones, (char[]){"08:00-18:00"}, (char[]){"0 12 * * *"}, NIWA_SEC);
	struct niwa_agenda_look look = niwa_agenda_look(a, 100 * DAY, 100 * DAY);

	assert_int_equal(niwa_agenda_due(&look), 100 * DAY + 8 * HOUR);
	look = niwa_agenda_look(a, 100 * DAY + 8 * HOUR, 100 * DAY + 8 * HOUR);
	assert_int_equal(look.hours_end, 100 * DAY + 18 * HOUR);
	assert_int_equal(niwa_agenda_due(&look), 100 * DAY + 12 * HOUR);
	look = niwa_agenda_look(a, 100 * DAY + 12 * HOUR, 100 * DAY + 12 * HOUR);
	assert_int_equal(niwa_agenda_due(&look), 100 * DAY + 18 * HOUR);
	free(a);
	niwa_zones_free(&zones);
}

static void the_rest_of_a_wake_is_known_without_a_note(void **state)
{
	struct niwa_zones *zones = niwa_zones_new();
	struct niwa_agenda *a = agenda(zones, NULL, (char[]){"0 12 * * *"}, 10 * 60 * NIWA_SEC);
	int64_t noon = 100 * DAY + 12 * HOUR;

	assert_int_equal(niwa_agenda_rest(a, noon - 1), 0);
	assert_int_equal(niwa_agenda_rest(a, noon), 600);
	assert_int_equal(niwa_agenda_rest(a, noon + 60), 540);
	assert_int_equal(niwa_agenda_rest(a, noon + 600), 0);
	assert_int_equal(niwa_agenda_rest(a, noon + 601), 0);
	free(a);
	niwa_zones_free(&zones);
}

static void a_zone_that_is_not_there_is_told(void **state)
{
	char *at[] = {(char[]){"0 0 * * *"}, NULL};
	struct niwa_app_spec spec = {.wake = {.at = at, .for_us = NIWA_SEC, .zone = (char[]){"Mars/Olympus"}}};
	struct niwa_zones *zones = niwa_zones_new();
	struct niwa_agenda *a = NULL;
	struct niwa_error err;

	assert_true(niwa_agenda_make(zones, &spec, &a, &err) < 0);
	assert_null(a);
	assert_non_null(strstr(err.msg, "time zone 'Mars/Olympus'"));
	niwa_zones_free(&zones);
}

#define MANY 5000

static void what_is_due_comes_in_order_however_it_was_changed(void **state)
{
	static struct niwa_due due[MANY];
	struct niwa_dues heap = {0};
	size_t left = 0;
	int64_t last = INT64_MIN;

	srandom(7);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(niwa_due_set(&heap, &due[i], random() % 1000), 0);
	for (unsigned i = 0; i < MANY; i++) {
		if (i % 3 == 0)
			niwa_due_drop(&heap, &due[i]);
		else if (i % 3 == 1)
			assert_int_equal(niwa_due_set(&heap, &due[i], random() % 1000), 0);
	}
	niwa_due_drop(&heap, &due[0]); /* twice: nothing */
	for (unsigned i = 0; i < MANY; i++)
		left += due[i].place != 0;
	for (struct niwa_due *first; (first = niwa_due_first(&heap)); left--) {
		assert_true(first->at >= last);
		last = first->at;
		niwa_due_drop(&heap, first);
		assert_int_equal(first->place, 0);
	}
	assert_int_equal(left, 0);
	niwa_dues_fini(&heap);
	assert_null(niwa_due_first(&heap));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_app_without_times_has_no_agenda),
		cmocka_unit_test(what_was_missed_is_due_once),
		cmocka_unit_test(a_clock_that_is_set_back_repeats_nothing_of_the_last_hour),
		cmocka_unit_test(a_clock_that_is_set_to_and_fro_does_not_repeat_a_time),
		cmocka_unit_test(hours_and_times_are_due_whichever_comes_first),
		cmocka_unit_test(the_rest_of_a_wake_is_known_without_a_note),
		cmocka_unit_test(a_zone_that_is_not_there_is_told),
		cmocka_unit_test(what_is_due_comes_in_order_however_it_was_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
