/* SPDX-License-Identifier: MIT
 *
 * kill -9 between all steps of the store, failing steps, and full disks. The program that is killed is this one again,
 * with a fault in its environment and a task on its command line. Full disks need root.
 */
#include "test_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"

#define PAGES (256 * 1024)
#define MIB   (1 << 20)

/* ---- in the child ---- */

static int task(const char *what, const char *dir)
{
	struct niwa_snapshot_key key = fixture_key('a');
	struct niwa_store_image image;
	struct niwa_error err = {0};
	struct fixture f;
	int r;

	fixture_open(&f, dir);
	if (strcmp(what, "put") == 0) {
		r = fixture_put(&f, 'a', PAGES, &err);
	} else if (strcmp(what, "use") == 0) {
		r = niwa_store_use_once(&f.store, &key, NIWA_STORE_QUICK, &image, &err);
		niwa_store_done(&f.store, &image);
	} else if (strcmp(what, "remove") == 0) {
		r = niwa_store_remove(&f.store, &key, &err);
	} else {
		r = niwa_store_collect(&f.store, NULL, &err);
	}
	niwa_store_close(&f.store);
	return r == 0 ? 0 : 1;
}

static pid_t start(const char *what, const char *dir, const char *fault)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	(void)setenv("NIWA_FAULT", fault, 1);
	(void)execl("/proc/self/exe", "test_store_crash", what, dir, (char *)NULL);
	_exit(127);
}

/* Its exit status, or 128 and the signal. */
static int finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- steps ---- */

enum left { NONE = 1, WHOLE = 2 }; /* what there may be afterwards, as bits */

struct step {
	const char *what, *point;
	bool before; /* whether there is a snapshot before */
	unsigned left;
};
static const struct step steps[] = {
	{"put", "snapshot.begun", false, NONE},
	{"put", "snapshot.images-synced", false, NONE},
	{"put", "snapshot.manifest-written", false, NONE},
	{"put", "snapshot.synced", false, NONE},
	{"put", "snapshot.renamed", false, WHOLE},
	{"put", "snapshot.committed", false, WHOLE},
	{"put", "snapshot.begun", true, WHOLE},
	{"put", "snapshot.images-synced", true, WHOLE},
	{"put", "snapshot.manifest-written", true, WHOLE},
	{"put", "snapshot.synced", true, WHOLE},
	{"put", "snapshot.removing", true, WHOLE}, /* of the one that was replaced */
	{"put", "snapshot.removed", true, WHOLE},
	{"put", "snapshot.renamed", true, WHOLE},
	{"put", "snapshot.committed", true, WHOLE},
	{"use", "snapshot.used", true, NONE},
	{"use", "snapshot.used-synced", true, NONE},
	{"use", "snapshot.removing", true, NONE},
	{"use", "snapshot.removed", true, NONE},
	{"remove", "snapshot.removing", true, NONE},
	{"remove", "snapshot.removed", true, NONE},
};

/* Whole or not there; and after a collection nothing else is. */
static void look_after(struct fixture *f, unsigned left)
{
	bool there = fixture_has(f, 'a', NIWA_STORE_WHOLE);

	assert_true(left & (there ? WHOLE : NONE));
	assert_int_equal(fixture_count(f, "") - fixture_count(f, "."), there);
	assert_int_equal(niwa_store_collect(&f->store, NULL, NULL), 0);
	assert_int_equal(fixture_count(f, ""), there);
	assert_int_equal(fixture_has(f, 'a', NIWA_STORE_WHOLE), there);
	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	assert_true(fixture_has(f, 'a', NIWA_STORE_WHOLE));
	assert_int_equal(fixture_count(f, ""), 1);
}

static void killed_between_any_two_steps_a_snapshot_is_whole_or_not_there(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(steps); i++) {
		struct fixture f;
		char fault[64];

		print_message("%s, killed at %s\n", steps[i].what, steps[i].point);
		fixture_init(&f);
		if (steps[i].before)
			assert_int_equal(fixture_put(&f, 'a', 4096, NULL), 0);
		(void)snprintf(fault, sizeof(fault), "%s:kill", steps[i].point);
		assert_int_equal(finish(start(steps[i].what, f.dir, fault)), 128 + SIGKILL);
		look_after(&f, steps[i].left);
		fixture_fini(&f);
	}
}

static void a_collection_that_was_killed_is_finished_by_the_next(void **state)
{
	static const char *const faults[] = {"snapshot.removing:kill", "snapshot.removing:kill@2",
					     "snapshot.removed:kill"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(faults); i++) {
		struct fixture f;

		fixture_init(&f);
		for (int n = 0; n < 3; n++)
			assert_int_equal(finish(start("put", f.dir, "snapshot.synced:kill")), 128 + SIGKILL);
		assert_int_equal(fixture_count(&f, ".new-"), 3);
		assert_int_equal(finish(start("collect", f.dir, faults[i])), 128 + SIGKILL);
		look_after(&f, NONE);
		fixture_fini(&f);
	}
}

static void a_step_that_fails_leaves_nothing_behind(void **state)
{
	static const char *const points[] = {"snapshot.begun",  "snapshot.images-synced", "snapshot.manifest-written",
					     "snapshot.synced", "snapshot.renamed",       "snapshot.committed"};
	static const char *const codes[] = {"ENOSPC", "EIO"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(points) * NIWA_ARRAY_LEN(codes); i++) {
		struct fixture f;
		char fault[64];

		fixture_init(&f);
		(void)snprintf(fault, sizeof(fault), "%s:%s", points[i / 2], codes[i % 2]);
		print_message("put, %s\n", fault);
		assert_int_equal(finish(start("put", f.dir, fault)), 1);
		assert_int_equal(fixture_count(&f, ""), 0);
		fixture_fini(&f);
	}
}

static void memory_of_a_moment_is_lost_rather_than_used_twice(void **state)
{
	static const char *const faults[] = {"snapshot.used:EIO", "snapshot.used-synced:EIO"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(faults); i++) {
		struct fixture f;

		fixture_init(&f);
		assert_int_equal(fixture_put(&f, 'a', 4096, NULL), 0);
		assert_int_equal(finish(start("use", f.dir, faults[i])), 1);
		assert_int_equal(fixture_count(&f, ""), 0);
		fixture_fini(&f);
	}
}

static void killed_at_any_moment_a_snapshot_is_whole_or_not_there(void **state)
{
	struct fixture f;
	struct niwa_snapshot_key key = fixture_key('a');
	unsigned whole = 0, killed = 0;
	uint64_t took_us;

	fixture_init(&f);
	took_us = niwa_now_us();
	assert_int_equal(finish(start("put", f.dir, "")), 0);
	took_us = niwa_now_us() - took_us;
	for (unsigned i = 0; i < 60; i++) {
		uint64_t us = took_us * (i % 30) / 25; /* up to a little after its end */
		struct timespec pause = {.tv_sec = (time_t)(us / NIWA_SEC), .tv_nsec = (long)(us % NIWA_SEC) * 1000};
		pid_t pid = start("put", f.dir, "");

		(void)nanosleep(&pause, NULL);
		(void)kill(pid, SIGKILL);
		killed += finish(pid) == 128 + SIGKILL;
		assert_true(fixture_count(&f, "") - fixture_count(&f, ".") <= 1);
		whole += fixture_has(&f, 'a', NIWA_STORE_WHOLE);
		assert_int_equal(fixture_has(&f, 'a', NIWA_STORE_WHOLE), fixture_count(&f, "a"));
		if (i % 8 == 7)
			assert_int_equal(niwa_store_remove(&f.store, &key, NULL), 0);
	}
	print_message("%u killed, %u whole\n", killed, whole);
	assert_true(killed > 0 && whole > 0);
	look_after(&f, NONE | WHOLE);
	fixture_fini(&f);
}

/* ---- full disks ---- */

static bool own_mounts(void)
{
	static int have;

	if (!have)
		have = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ? 1 : -1;
	return have > 0;
}

static void init_on_tmpfs(struct fixture *f, const char *options)
{
	char dir[] = "/tmp/niwa-store-full-XXXXXX";

	assert_true(own_mounts()); /* needs root */
	assert_non_null(mkdtemp(dir));
	assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV, options), 0);
	fixture_open(f, dir);
}

static void fini_on_tmpfs(struct fixture *f)
{
	niwa_store_close(&f->store);
	assert_int_equal(umount(f->dir), 0);
	assert_int_equal(rmdir(f->dir), 0);
}

static void on_a_disk_that_is_full_at_any_point_a_snapshot_is_whole_or_not_there(void **state)
{
	static const char page[4096];
	struct fixture f;
	struct niwa_snapshot_key key = fixture_key('a');
	unsigned refused = 0, taken = 0;

	init_on_tmpfs(&f, "size=512k,mode=700");
	fixture_file(f.store.dir, "../ballast", page, 1);
	for (unsigned free_pages = 0; free_pages < 100 && taken < 3; free_pages++) {
		NIWA_AUTO_FD fd = openat(f.store.dir, "../ballast", O_WRONLY | O_CLOEXEC);
		struct niwa_error err = {0};
		int r;

		while (write(fd, page, sizeof(page)) > 0)
			;
		assert_int_equal(ftruncate(fd, (off_t)(128 - free_pages) * 4096), 0);
		r = fixture_put(&f, 'a', 64 * 1024, &err);
		if (r < 0 && r != -ENOSPC)
			print_message("%u pages free: %s\n", free_pages, err.msg);
		assert_true(r == 0 || r == -ENOSPC);
		if (r == 0)
			taken++;
		else
			refused++;
		assert_int_equal(fixture_has(&f, 'a', NIWA_STORE_WHOLE), r == 0);
		assert_int_equal(fixture_count(&f, ""), r == 0);
		if (r == 0)
			assert_int_equal(niwa_store_remove(&f.store, &key, NULL), 0);
	}
	assert_true(refused > 16 && taken == 3);
	fini_on_tmpfs(&f);
}

static void on_a_disk_without_inodes_a_snapshot_is_whole_or_not_there(void **state)
{
	unsigned refused = 0, taken = 0;

	for (unsigned inodes = 3; inodes < 40 && taken < 3; inodes++) {
		struct niwa_error err = {0};
		char options[64];
		struct fixture f;
		int r;

		(void)snprintf(options, sizeof(options), "size=4m,mode=700,nr_inodes=%u", inodes);
		init_on_tmpfs(&f, options);
		r = fixture_put(&f, 'a', 4096, &err);
		if (r < 0 && r != -ENOSPC)
			print_message("%u inodes: %s\n", inodes, err.msg);
		assert_true(r == 0 || r == -ENOSPC);
		taken += r == 0;
		refused += r < 0;
		assert_int_equal(fixture_count(&f, ""), r == 0);
		fini_on_tmpfs(&f);
	}
	assert_true(refused > 8 && taken == 3);
}

static void room_that_must_stay_free_is_made_by_eviction(void **state)
{
	struct fixture f;
	struct niwa_store_new s;
	struct niwa_error err = {0};

	init_on_tmpfs(&f, "size=8m,mode=700");
	assert_int_equal(fixture_put(&f, 'a', 2 * MIB, &err), 0);
	assert_int_equal(fixture_put(&f, 'b', 2 * MIB, &err), 0);
	f.limits.free_bytes = 3 * MIB;
	assert_int_equal(fixture_put(&f, 'c', 2 * MIB, &err), 0);
	assert_false(fixture_has(&f, 'a', NIWA_STORE_QUICK)); /* the older of two that are worth the same */
	assert_true(fixture_has(&f, 'b', NIWA_STORE_QUICK));
	f.limits.free_bytes = 9 * MIB;
	assert_int_equal(niwa_store_begin(&f.store, &f.limits, 0, &s, &err), -ENOSPC);
	fini_on_tmpfs(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_between_any_two_steps_a_snapshot_is_whole_or_not_there),
		cmocka_unit_test(a_collection_that_was_killed_is_finished_by_the_next),
		cmocka_unit_test(a_step_that_fails_leaves_nothing_behind),
		cmocka_unit_test(memory_of_a_moment_is_lost_rather_than_used_twice),
		cmocka_unit_test(killed_at_any_moment_a_snapshot_is_whole_or_not_there),
		cmocka_unit_test(on_a_disk_that_is_full_at_any_point_a_snapshot_is_whole_or_not_there),
		cmocka_unit_test(on_a_disk_without_inodes_a_snapshot_is_whole_or_not_there),
		cmocka_unit_test(room_that_must_stay_free_is_made_by_eviction),
	};

	if (argc == 3)
		return task(argv[1], argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
