/* SPDX-License-Identifier: MIT
 *
 * niwa-keep against the real kernel. Runs as root, in namespaces and groups of its own.
 */
#include "keep/test_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"

static struct keep_test world;

static int start_keep(void **state)
{
	keep_test_start_keep(&world, NULL);
	return 0;
}

static int stop_keep(void **state)
{
	keep_test_stop_keep(&world);
	return 0;
}

/* Starts, reads the log up to its end, takes EXITED and forgets. */
static void run(struct niwa_plan *plan, char *log, size_t size, struct keep_reply *exited)
{
	uint64_t id = keep_test_start(&world, plan, NULL, 0);
	struct keep_reply reply;

	keep_test_expect(&world, NIWA_KEEP_STARTED, id, &reply);
	assert_true(reply.nfds >= 2);
	keep_test_read_log(reply.fds[1], log, size);
	keep_reply_close(&reply);
	keep_test_expect(&world, NIWA_KEEP_EXITED, id, exited);
	keep_test_send(&world, &(struct niwa_keep_msg){.type = NIWA_KEEP_FORGET, .id = id}, NULL, 0);
	keep_test_expect(&world, NIWA_KEEP_OK, id, &reply);
}

static void an_instance_with_everything_on_runs_and_its_end_is_told(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply exited;
	char log[4096];

	keep_test_plan(&world, &plan, world.next_id, T_ALL,
		       "probe ids owner /etc/secret owner /srv touch /srv/new owner /srv/new host address eth0 fds "
		       "limits exit 7");
	run(&plan, log, sizeof(log), &exited);
	print_message("%s", log);
	assert_int_equal(exited.msg.code, CLD_EXITED);
	assert_int_equal(exited.msg.status, 7);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void starts_are_fast(void **state)
{
	enum { N = 200 };
	static uint64_t took[N], cloned[N];

	for (int i = 0; i < N; i++) {
		struct niwa_plan plan = {0};
		struct keep_reply reply;
		uint64_t id = world.next_id, begin;

		keep_test_plan(&world, &plan, id, T_ALL, "probe exit 0");
		begin = niwa_now_us();
		(void)keep_test_start(&world, &plan, NULL, 0);
		keep_test_expect(&world, NIWA_KEEP_STARTED, id, &reply);
		took[i] = niwa_now_us() - begin;
		cloned[i] = reply.msg.cloned_us - begin;
		keep_reply_close(&reply);
		keep_test_expect(&world, NIWA_KEEP_EXITED, id, &reply);
		keep_test_send(&world, &(struct niwa_keep_msg){.type = NIWA_KEEP_FORGET, .id = id}, NULL, 0);
		keep_test_expect(&world, NIWA_KEEP_OK, id, &reply);
	}
	qsort(took, N, sizeof(took[0]), compare);
	qsort(cloned, N, sizeof(cloned[0]), compare);
	print_message("request to exec: p50 %.2f ms, p99 %.2f ms; request to clone: p50 %.2f ms, p99 %.2f ms\n",
		      (double)took[N / 2] / 1000, (double)took[N * 99 / 100] / 1000, (double)cloned[N / 2] / 1000,
		      (double)cloned[N * 99 / 100] / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_instance_with_everything_on_runs_and_its_end_is_told, start_keep,
						stop_keep),
		cmocka_unit_test_setup_teardown(starts_are_fast, start_keep, stop_keep),
	};
	int r;

	keep_test_world(&world);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	keep_test_world_end(&world);
	return r;
}
