/* SPDX-License-Identifier: MIT
 *
 * Real processes of our own, no root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/dump_size.h"

#define MIB   (UINT64_C(1) << 20)
#define SHARE (32 * MIB)

static int closed[2];
static volatile char sink;

static pid_t child(void)
{
	pid_t pid = fork();
	char byte;

	if (pid == 0) { /* until its parent has closed the other end */
		(void)close(closed[1]);
		_exit(read(closed[0], &byte, 1) != 0);
	}
	assert_true(pid > 0);
	return pid;
}

static void what_processes_share_since_their_fork_counts_for_each(void **state)
{
	char procs[] = "/tmp/niwa-test-procs.XXXXXX", text[64], *data;
	pid_t first, second;
	uint64_t one, both;
	int fd = mkstemp(procs), status;

	(void)state;
	data = mmap(NULL, SHARE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(fd >= 0 && data != MAP_FAILED);
	memset(data, 'x', SHARE);
	sink = data[MIB];
	assert_int_equal(pipe(closed), 0);
	first = child();
	second = child();
	(void)snprintf(text, sizeof(text), "%d\n", (int)first);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	one = niwa_dump_size(procs);
	(void)snprintf(text, sizeof(text), "%d\n", (int)second);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	both = niwa_dump_size(procs);
	assert_true(one >= SHARE && both >= 2 * SHARE);
	assert_in_range(both - one, one - 4 * MIB, one + 4 * MIB);
	(void)close(closed[0]);
	(void)close(closed[1]);
	assert_int_equal(waitpid(first, &status, 0), first);
	assert_int_equal(waitpid(second, &status, 0), second);
	assert_int_equal(niwa_dump_size(procs), 0); /* they have ended */
	(void)close(fd);
	(void)unlink(procs);
	assert_int_equal(niwa_dump_size(procs), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_processes_share_since_their_fork_counts_for_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
