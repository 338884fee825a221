/* SPDX-License-Identifier: MIT
 *
 * The log reader: last lines over both files, following across renaming.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "cli/log_reader.h"

static char folder[] = "/tmp/niwa-test-log-XXXXXX";
static char path[64], old_path[80];

static int setup(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/app.log", folder);
	(void)snprintf(old_path, sizeof(old_path), "%s.1", path);
	return 0;
}

static int teardown(void **state)
{
	return niwa_remove_tree(folder, NULL);
}

static void put(const char *name, const char *mode, const char *text)
{
	FILE *f = fopen(name, mode);

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* What arrived in the pipe so far. */
static const char *arrived(int fd)
{
	static char buf[300000];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void expect_tail(uint64_t lines, const char *expected)
{
	struct niwa_log_reader *reader = NULL;
	struct niwa_error err = {0};
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(niwa_fd_nonblock(ends[0]), 0);
	assert_int_equal(niwa_log_reader_open(path, NIWA_LOG_ONCE, &reader, &err), 0);
	assert_int_equal(niwa_log_reader_tail(reader, lines, ends[1], &err), 0);
	assert_string_equal(arrived(ends[0]), expected);
	niwa_log_reader_free(&reader);
	niwa_fd_close(&ends[0]);
	niwa_fd_close(&ends[1]);
}

static void the_last_lines_come_from_both_files(void **state)
{
	put(old_path, "w", "1\n2\n3\n");
	put(path, "w", "4\n5\n");
	expect_tail(0, "");
	expect_tail(1, "5\n");
	expect_tail(2, "4\n5\n");
	expect_tail(3, "3\n4\n5\n");
	expect_tail(5, "1\n2\n3\n4\n5\n");
	expect_tail(UINT64_MAX, "1\n2\n3\n4\n5\n");
}

static void an_unfinished_line_is_a_line(void **state)
{
	put(old_path, "w", "");
	put(path, "w", "a\nb");
	expect_tail(1, "b");
	expect_tail(2, "a\nb");
	expect_tail(9, "a\nb");
}

static void a_missing_log_is_an_empty_one(void **state)
{
	(void)unlink(path);
	(void)unlink(old_path);
	expect_tail(10, "");
}

static void lines_longer_than_a_block_are_found(void **state)
{
	static char line[200002];

	memset(line, 'x', 200000);
	line[200000] = '\n';
	put(path, "w", "first\n");
	put(path, "a", line);
	put(path, "a", "last\n");
	expect_tail(1, "last\n");
}

static void following_survives_renaming(void **state)
{
	struct niwa_log_reader *reader = NULL;
	struct niwa_error err = {0};
	int ends[2];

	(void)unlink(old_path);
	put(path, "w", "before\n");
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(niwa_fd_nonblock(ends[0]), 0);
	assert_int_equal(niwa_log_reader_open(path, NIWA_LOG_FOLLOW, &reader, &err), 0);
	assert_int_equal(niwa_log_reader_tail(reader, 0, ends[1], &err), 0);
	put(path, "a", "one\n");
	assert_int_equal(niwa_log_reader_follow(reader, 1000, ends[1], &err), 0);
	assert_string_equal(arrived(ends[0]), "one\n");
	put(path, "a", "two\n");
	assert_int_equal(rename(path, old_path), 0);
	put(path, "w", "three\n");
	assert_int_equal(niwa_log_reader_follow(reader, 1000, ends[1], &err), 0);
	assert_string_equal(arrived(ends[0]), "two\nthree\n");
	put(path, "w", "cut\n"); /* shorter: read from its start */
	assert_int_equal(niwa_log_reader_follow(reader, 1000, ends[1], &err), 0);
	assert_string_equal(arrived(ends[0]), "cut\n");
	niwa_log_reader_free(&reader);
	niwa_fd_close(&ends[0]);
	niwa_fd_close(&ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_lines_come_from_both_files),
		cmocka_unit_test(an_unfinished_line_is_a_line),
		cmocka_unit_test(a_missing_log_is_an_empty_one),
		cmocka_unit_test(lines_longer_than_a_block_are_found),
		cmocka_unit_test(following_survives_renaming),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
