/* SPDX-License-Identifier: MIT
 *
 * The look at a writable layer: what it counts, and what trees made to hurt it cost.
 */
#include "engine/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define KIB 1024u

static char top[] = "/tmp/niwa-outside-XXXXXX";

static void put(int folder, const char *name, size_t bytes)
{
	NIWA_AUTO(niwa_free_ptr) char *data = niwa_zalloc(bytes);
	NIWA_AUTO_FD fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_return_code(fd, errno);
	memset(data, 'x', bytes);
	assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
}

static int make_folder(int parent, const char *name)
{
	int fd;

	assert_return_code(mkdirat(parent, name, 0700), errno);
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(fd, errno);
	return fd;
}

/* A chain of folders; in the one at each of two depths a file. */
static void make_chain(unsigned depth, unsigned first, unsigned second)
{
	NIWA_AUTO_FD at = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 1; i <= depth; i++) {
		int next = make_folder(at, "d");

		niwa_fd_close(&at);
		at = next;
		if (i == first || i == second)
			put(at, "file", 64 * KIB);
	}
}

static struct niwa_outside look(unsigned entries)
{
	struct niwa_outside sum = {0};

	niwa_outside_add(top, entries, &sum);
	return sum;
}

static int set_up(void **state)
{
	(void)snprintf(top, sizeof(top), "/tmp/niwa-outside-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", top);
	return system(command);
}

static void files_count_and_links_are_not_followed(void **state)
{
	NIWA_AUTO_FD at = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD inner = make_folder(at, "inner");
	struct niwa_outside sum;

	put(at, "one", 64 * KIB);
	put(inner, "two", 64 * KIB);
	assert_return_code(symlinkat("/usr", at, "usr"), errno);
	assert_return_code(symlinkat("..", inner, "up"), errno);
	assert_return_code(mkfifoat(at, "fifo", 0600), errno);
	sum = look(2000);
	assert_in_range(sum.bytes, 128 * KIB, 160 * KIB);
	assert_false(sum.cut);
}

static void a_look_ends_after_so_many_entries_and_says_so(void **state)
{
	NIWA_AUTO_FD at = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[16];

	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		put(at, name, 4 * KIB);
	}
	assert_false(look(20).cut);
	assert_true(look(19).cut);
	assert_in_range(look(10).bytes, 40 * KIB, 60 * KIB);
}

static void a_deep_tree_costs_little_stack_and_few_descriptors(void **state)
{
	struct rlimit stack, files, little;
	struct niwa_outside sum;

	make_chain(1900, 20, 40);
	assert_return_code(getrlimit(RLIMIT_STACK, &stack), errno);
	assert_return_code(getrlimit(RLIMIT_NOFILE, &files), errno);
	little = (struct rlimit){256 * KIB, stack.rlim_max};
	assert_return_code(setrlimit(RLIMIT_STACK, &little), errno);
	little = (struct rlimit){NIWA_OUTSIDE_DEPTH + 16, files.rlim_max};
	assert_return_code(setrlimit(RLIMIT_NOFILE, &little), errno);
	sum = look(2000);
	assert_return_code(setrlimit(RLIMIT_NOFILE, &files), errno);
	assert_return_code(setrlimit(RLIMIT_STACK, &stack), errno);
	assert_true(sum.cut);
	assert_in_range(sum.bytes, 64 * KIB, 80 * KIB);
}

static void a_folder_that_is_not_there_holds_nothing(void **state)
{
	struct niwa_outside sum = {0};

	niwa_outside_add("/nonexistent/upper", 2000, &sum);
	assert_int_equal(sum.bytes, 0);
	assert_false(sum.cut);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_count_and_links_are_not_followed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_look_ends_after_so_many_entries_and_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_deep_tree_costs_little_stack_and_few_descriptors, set_up, tear_down),
		cmocka_unit_test(a_folder_that_is_not_there_holds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
