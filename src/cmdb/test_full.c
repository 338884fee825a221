/* SPDX-License-Identifier: MIT
 *
 * A disk that is really full: the store on a small tmpfs in a mount namespace of our own. Needs root.
 */
#include "test_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/memory.h"

#define NET "10.64.0.0"

static void fill_disk(const char *path)
{
	static const char zeros[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(close(fd), 0);
}

static struct niwa_cmdb_txn *large(struct fixture *f, const char *prefix, size_t count)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	char name[64], json[2048];

	memset(json, 'x', sizeof(json));
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "%s%zu", prefix, i);
		assert_int_equal(niwa_cmdb_txn_put(txn, name, "t", json, sizeof(json)), 0);
	}
	return txn;
}

static void check_refused(struct fixture *f)
{
	assert_true(f->out.refused);
	assert_int_equal(f->out.err.kind, NIWA_TEMPORARY);
	assert_int_equal(f->out.err.code, ENOSPC);
	assert_non_null(strstr(f->out.err.msg, f->path));
	assert_non_null(strstr(f->out.err.msg, "make room"));
}

static void on_a_full_disk_transactions_are_refused_whole_and_work_again_when_there_is_room(void **state)
{
	struct fixture f;
	char dir[] = "/tmp/niwa-cmdb-full-XXXXXX", ballast[96];
	uint32_t addr;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=700"), 0);
	fixture_init(&f, "sqlite", dir);
	fixture_open(&f, NET, 12);
	assert_non_null(fixture_put(&f, "first", "t", "{}"));
	addr = f.out.kept[0].addr;

	(void)fixture_commit(&f, large(&f, "big", 4000)); /* 8 MB into 4 */
	check_refused(&f);
	assert_int_equal(fixture_count(&f), 1);
	assert_int_equal(fixture_put(&f, "second", "t", "{}")->addr, addr + 1); /* what the log took is used again */

	(void)snprintf(ballast, sizeof(ballast), "%s/ballast", dir);
	fill_disk(ballast);
	(void)fixture_commit(&f, large(&f, "more", 1500));
	check_refused(&f);
	assert_int_equal(fixture_count(&f), 2);
	fixture_close(&f);
	fixture_open(&f, NET, 12); /* reading and starting work on a full disk */
	assert_int_equal(fixture_count(&f), 2);

	assert_int_equal(unlink(ballast), 0);
	assert_int_equal(fixture_commit(&f, large(&f, "more", 100))->count, 100);
	assert_int_equal(f.out.kept[0].addr, addr + 2);
	fixture_close(&f);
	fixture_open(&f, NET, 12);
	assert_int_equal(fixture_count(&f), 102);
	fixture_close(&f);
	assert_int_equal(umount(dir), 0);
	fixture_fini(&f);
}

static int own_mounts(void **state)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_error("this test needs root: %s\n", strerror(errno));
		return -1;
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_a_full_disk_transactions_are_refused_whole_and_work_again_when_there_is_room),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
