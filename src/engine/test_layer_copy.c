/* SPDX-License-Identifier: MIT
 *
 * The bounds of a copy: holes, bytes, time. Real files, no root.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/layer_copy.h"

#define DATA (1 << 20)

struct folders {
	char path[32];
	int dir, from, to;
};

static void put(int dir, const char *name, off_t at)
{
	NIWA_AUTO_FD fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	char *data = malloc(DATA);

	assert_non_null(data);
	memset(data, 'x', DATA);
	assert_int_equal(pwrite(fd, data, DATA, at), DATA);
	free(data);
}

static int make(void **state)
{
	static struct folders f;

	strcpy(f.path, "/tmp/niwa-layer-XXXXXX");
	assert_non_null(mkdtemp(f.path));
	f.dir = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(f.dir, "from", 0755), 0);
	assert_int_equal(mkdirat(f.dir, "to", 0755), 0);
	f.from = openat(f.dir, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f.to = openat(f.dir, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &f;
	return 0;
}

static int clear(void **state)
{
	struct folders *f = *state;
	struct niwa_error err;

	niwa_fd_close(&f->from);
	niwa_fd_close(&f->to);
	niwa_fd_close(&f->dir);
	return niwa_remove_tree(f->path, &err);
}

static int copy(const struct folders *f, uint64_t *bytes, uint64_t deadline_us, struct niwa_error *err)
{
	const struct niwa_layer_copy what = {
		.from = f->from, .to = f->to, .bytes = bytes, .deadline_us = deadline_us, .image = -1};

	return niwa_layer_copy(&what, err);
}

static void holes_are_kept_and_do_not_count(void **state)
{
	const struct folders *f = *state;
	uint64_t left = 2 * DATA;
	struct niwa_error err;
	struct stat st;
	int file;

	put(f->from, "sparse", (off_t)1 << 36);
	file = openat(f->from, "sparse", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(file, (off_t)1 << 37), 0);
	niwa_fd_close(&file);
	assert_int_equal(copy(f, &left, 0, &err), 0);
	assert_int_equal(left, DATA);
	assert_int_equal(fstatat(f->to, "sparse", &st, 0), 0);
	assert_true(st.st_size == (off_t)1 << 37 && (st.st_mode & 07777) == 0640);
	assert_in_range(st.st_blocks * 512, DATA, 2 * DATA);
}

static void bytes_are_counted_over_files_and_the_copy_ends_with_them(void **state)
{
	const struct folders *f = *state;
	uint64_t left = 2 * DATA + 1;
	struct niwa_error err = {0};

	put(f->from, "a", 0);
	put(f->from, "b", 0);
	put(f->from, "c", 0);
	assert_int_equal(copy(f, &left, 0, &err), -EFBIG);
	assert_int_equal(err.kind, NIWA_PERMANENT);
	assert_int_equal(left, 0);
}

static void a_copy_that_is_late_ends(void **state)
{
	const struct folders *f = *state;
	uint64_t left = 2 * DATA;
	struct niwa_error err = {0};

	put(f->from, "a", 0);
	assert_int_equal(copy(f, &left, niwa_now_us() - 1, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, NIWA_TEMPORARY);
	assert_int_equal(left, 2 * DATA);
}

static void an_access_list_is_not_left_out_quietly(void **state)
{
	static const struct {
		uint32_t version;
		struct {
			uint16_t tag, rights;
			uint32_t id;
		} entries[5];
	} list = {2, {{1, 6, UINT32_MAX}, {2, 4, 12345}, {4, 0, UINT32_MAX}, {16, 4, UINT32_MAX}, {32, 0, UINT32_MAX}}};
	struct folders *f = *state;
	uint64_t left = 100 * DATA;
	struct niwa_error err = {0};
	NIWA_AUTO_FD fd = -1;

	put(f->from, "secret", 0);
	fd = openat(f->from, "secret", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "system.posix_acl_access", &list, sizeof(list), 0), 0);
	assert_true(copy(f, &left, 0, &err) < 0);
	assert_int_equal(err.kind, NIWA_PERMANENT);
	assert_non_null(strstr(err.msg, "'secret' of the writable layer has an access list"));
}

static void a_file_of_two_names_does_not_become_two_files_quietly(void **state)
{
	const struct folders *f = *state;
	uint64_t left = 100 * DATA;
	struct niwa_error err = {0};

	put(f->from, "one", 0);
	assert_int_equal(linkat(f->from, "one", f->from, "two", 0), 0);
	assert_true(copy(f, &left, 0, &err) < 0);
	assert_int_equal(err.kind, NIWA_PERMANENT);
	assert_non_null(strstr(err.msg, "of the writable layer has 2 names (hard links)"));
}

static void more_files_than_an_image_may_have_are_not_copied(void **state)
{
	struct folders *f = *state;
	uint64_t left = 100 * DATA;
	struct niwa_error err = {0};
	char name[16];

	for (int n = 0; n <= NIWA_LAYER_ENTRIES; n++) {
		(void)snprintf(name, sizeof(name), "%d", n);
		assert_int_equal(mknodat(f->from, name, S_IFIFO | 0600, 0), 0);
	}
	assert_true(copy(f, &left, 0, &err) < 0);
	assert_int_equal(err.kind, NIWA_PERMANENT);
	assert_non_null(strstr(err.msg, "more than 4096 files"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(holes_are_kept_and_do_not_count, make, clear),
		cmocka_unit_test_setup_teardown(an_access_list_is_not_left_out_quietly, make, clear),
		cmocka_unit_test_setup_teardown(a_file_of_two_names_does_not_become_two_files_quietly, make, clear),
		cmocka_unit_test_setup_teardown(more_files_than_an_image_may_have_are_not_copied, make, clear),
		cmocka_unit_test_setup_teardown(bytes_are_counted_over_files_and_the_copy_ends_with_them, make, clear),
		cmocka_unit_test_setup_teardown(a_copy_that_is_late_ends, make, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
