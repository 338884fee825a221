/* SPDX-License-Identifier: MIT
 *
 * Whole instances, started by the real niwa-keep from real plans.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "container/test_run_fixture.h"

static struct world world;

#define ARGV(...) ((char *[]){(char *)(uintptr_t) "/bin/guest", __VA_ARGS__, NULL})
#define TEXT(s)   ((char *)(uintptr_t)(s))

static int open_world(void **state)
{
	world_open(&world);
	return 0;
}

static int close_world(void **state)
{
	world_close(&world);
	return 0;
}

/* Runs verbs of the guest to their end. */
static int guest(struct app *a, char *log, size_t size)
{
	struct started s;

	app_start(&world, a, &s);
	return started_end(&world, &s, log, size);
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
}

static void has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' is in: %s", part, text);
}

static void a_folder_image_answers_at_its_private_address(void **state)
{
	struct started s;
	struct app a;
	char answer[512];

	app_init(&world, &a, "plain", ARGV(TEXT("serve"), TEXT("80")));
	a.params.uid = 33;
	a.params.gid = 33;
	app_start(&world, &a, &s);
	ask(&s, 80, "hello", answer, sizeof(answer));
	assert_string_equal(answer, "blog.example.com uid 33 pid 1: hello\n");
	started_kill(&world, &s);
	app_fini(&a);
}

static void the_process_is_who_and_where_it_should_be(void **state)
{
	struct app a;
	char log[8192];

	app_init(&world, &a, "plain",
		 ARGV(TEXT("ids"), TEXT("env"), TEXT("show"), TEXT("/proc/self/status"), TEXT("show"),
		      TEXT("/etc/hosts"), TEXT("show"), TEXT("/etc/resolv.conf"), TEXT("owner"), TEXT("/"),
		      TEXT("owner"), TEXT("/dev/null"), TEXT("exit"), TEXT("7")));
	a.params.uid = 33;
	a.params.gid = 33;
	a.params.groups[0] = 4;
	a.params.group_count = 1;
	a.params.home = "/srv";
	a.spec.workdir = TEXT("/tmp");
	a.spec.env = (char *[]){TEXT("PATH=/bin"), TEXT("COLOUR=green"), NULL};
	assert_int_equal(guest(&a, log, sizeof(log)), 7);
	has(log, "ids 33:33 4 pid 1 sid 1 cwd /tmp\n");
	has(log, "\nPATH=/bin\n");
	has(log, "\nHOME=/srv\n");
	has(log, "\nCOLOUR=green\n");
	has(log, "\ncontainer=niwa\n");
	has(log, "\nNIWA_APP=blog.example.com\n");
	has(log, "CapEff:\t0000000000000000");
	has(log, "CapBnd:\t00000000800405fb");
	has(log, "NoNewPrivs:\t1");
	has(log, "Seccomp:\t2");
	has(log, "10.64.3.4 blog.example.com\n");
	has(log, "nameserver 10.80.0.1\n");
	has(log, "/: 0:0 755\n");
	app_fini(&a);
}

static void python_serves_from_the_host_image(void **state)
{
	struct started s;
	struct app a;
	char answer[4096];

	app_init(&world, &a, "host",
		 (char *[]){TEXT("python3"), TEXT("-m"), TEXT("http.server"), TEXT("80"), TEXT("-d"),
			    TEXT("/usr/share/doc"), NULL});
	a.params.uid = 33;
	a.params.gid = 33;
	app_start(&world, &a, &s);
	ask(&s, 80, "GET / HTTP/1.0\r\n\r\n", answer, sizeof(answer));
	has(answer, "200 OK");
	has(answer, "Directory listing");
	started_kill(&world, &s);
	app_fini(&a);
}

/* NIWA_TEST_TIMES=n: n starts, times on standard error. */
static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void starting_takes_milliseconds(void **state)
{
	const char *n = getenv("NIWA_TEST_TIMES");
	int count = n ? atoi(n) : 10;
	uint64_t *us = calloc((size_t)count, sizeof(*us));
	struct started s;
	struct app a;

	app_init(&world, &a, "plain", ARGV(TEXT("sleep"), TEXT("60")));
	a.spec.limits.memory_bytes = 64 << 20;
	a.spec.limits.processes = 64;
	for (int i = 0; i < count; i++) {
		app_start(&world, &a, &s);
		us[i] = s.took_us;
		started_kill(&world, &s);
		if (n)
			(void)usleep(100000); /* the kernel takes the old network down, holding a lock */
	}
	qsort(us, (size_t)count, sizeof(*us), by_time);
	if (n)
		(void)fprintf(stderr, "request to exec of %d: p50 %.2f ms, p99 %.2f ms\n", count,
			      (double)us[count / 2] / 1000, (double)us[count * 99 / 100] / 1000);
	assert_true(us[count / 2] < 500000); /* nothing waits for a timeout anywhere */
	free(us);
	app_fini(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_image_answers_at_its_private_address),
		cmocka_unit_test(the_process_is_who_and_where_it_should_be),
		cmocka_unit_test(python_serves_from_the_host_image),
		cmocka_unit_test(starting_takes_milliseconds),
	};

	(void)has_not;
	return cmocka_run_group_tests(tests, open_world, close_world);
}
