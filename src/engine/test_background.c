/* SPDX-License-Identifier: MIT
 *
 * Jobs in threads: none is refused because others are under way, and those for which nobody waits keep none back for
 * which somebody does.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/memory.h"
#include "engine/background.h"

struct jobs {
	sd_event *event;
	int gate; /* an eventfd: jobs wait until it is written */
	unsigned done, quick;
};

static int wait_at_gate(void *arg, struct niwa_error *err)
{
	const struct jobs *jobs = arg;
	struct pollfd gate = {.fd = jobs->gate, .events = POLLIN};

	(void)err;
	return poll(&gate, 1, 20000) == 1 ? 0 : -1;
}

static int at_once(void *arg, struct niwa_error *err)
{
	(void)arg, (void)err;
	return 0;
}

static void on_done(int r, const struct niwa_error *err, void *arg)
{
	struct jobs *jobs = arg;

	(void)err;
	assert_int_equal(r, 0);
	jobs->done++;
}

static void on_quick(int r, const struct niwa_error *err, void *arg)
{
	struct jobs *jobs = arg;

	(void)err;
	assert_int_equal(r, 0);
	jobs->quick++;
}

static int make(void **state)
{
	struct jobs *jobs = niwa_zalloc(sizeof(*jobs));

	assert_non_null(jobs);
	assert_true(sd_event_new(&jobs->event) >= 0);
	jobs->gate = eventfd(0, EFD_CLOEXEC);
	*state = jobs;
	return 0;
}

static int clear(void **state)
{
	struct jobs *jobs = *state;

	sd_event_unref(jobs->event);
	niwa_fd_close(&jobs->gate);
	free(jobs);
	return 0;
}

static void open_gate(const struct jobs *jobs)
{
	uint64_t one = 1;

	assert_int_equal(write(jobs->gate, &one, sizeof(one)), sizeof(one));
}

static void run_until(struct jobs *jobs, const unsigned *counter, unsigned wanted)
{
	while (*counter < wanted)
		assert_true(sd_event_run(jobs->event, 20 * 1000000) > 0);
}

static void what_finds_no_thread_waits_for_one(void **state)
{
	struct jobs *jobs = *state;
	struct niwa_error err;

	for (unsigned n = 0; n < 5 * NIWA_BACKGROUND_MAX; n++)
		assert_int_equal((n % 2 ? niwa_background_hurry : niwa_background_run)(jobs->event, wait_at_gate,
										       on_done, jobs, &err),
				 0);
	open_gate(jobs);
	run_until(jobs, &jobs->done, 5 * NIWA_BACKGROUND_MAX);
}

static void what_somebody_waits_for_does_not_wait_for_the_others(void **state)
{
	struct jobs *jobs = *state;
	struct niwa_error err;

	for (unsigned n = 0; n < 2 * NIWA_BACKGROUND_MAX; n++)
		assert_int_equal(niwa_background_run(jobs->event, wait_at_gate, on_done, jobs, &err), 0);
	assert_int_equal(niwa_background_hurry(jobs->event, at_once, on_quick, jobs, &err), 0);
	run_until(jobs, &jobs->quick, 1);
	assert_int_equal(jobs->done, 0);
	open_gate(jobs);
	run_until(jobs, &jobs->done, 2 * NIWA_BACKGROUND_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_finds_no_thread_waits_for_one, make, clear),
		cmocka_unit_test_setup_teardown(what_somebody_waits_for_does_not_wait_for_the_others, make, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
