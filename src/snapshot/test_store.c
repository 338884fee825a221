/* SPDX-License-Identifier: MIT
 *
 * The store: what is put in comes out, what is damaged is refused, what is worth least goes, what is in use stays.
 */
#include "test_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"

#define MIB (1 << 20)

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

static void note(struct fixture *f, char digit, enum niwa_store_event event, uint64_t us, unsigned times)
{
	struct niwa_snapshot_key key = fixture_key(digit);
	struct niwa_store_note n = {.event = event, .us = us, .count = 7, .reason = "criu: \x1b[31mred"};

	while (times-- > 0)
		assert_int_equal(niwa_store_note(&f->store, &key, &n, NULL), 0);
}

static void check_round_trip(struct fixture *f)
{
	struct niwa_snapshot_key key = fixture_key('a');
	struct niwa_store_image image;
	struct niwa_error err = {0};
	struct stat st;

	assert_int_equal(fixture_put(f, 'a', 1 * MIB, &err), 0);
	assert_int_equal(fixture_count(f, ""), 1);
	assert_int_equal(niwa_store_use(&f->store, &key, NIWA_STORE_WHOLE, &image, &err), 0);
	assert_string_equal(image.name, key.hex);
	assert_int_equal(image.manifest.root_pid, 101);
	assert_int_equal(image.manifest.log_pipe, 4711);
	assert_string_equal(image.manifest.app, "blog.example.com");
	assert_true(image.manifest.image_bytes >= 1 * MIB && image.manifest.image_bytes < 2 * MIB);
	assert_int_equal(image.manifest.layer_entries, 3);
	assert_int_equal(image.manifest.shm_entries, 1);
	assert_int_equal(fstatat(image.images, "pages-1.img", &st, 0), 0);
	assert_int_equal(st.st_size, 1 * MIB);
	assert_int_equal(fstatat(image.layer, "tmp/link", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(fstatat(image.shm, "segment", &st, 0), 0);
	niwa_store_done(&f->store, &image);
	assert_true(fixture_has(f, 'a', NIWA_STORE_QUICK));
}

static void a_snapshot_comes_out_as_it_was_put_in(void **state)
{
	check_round_trip(*state);
}

static void on_a_disk_it_does_so_too(void **state)
{
	struct fixture f;

	fixture_init_in(&f, "/var/tmp");
	check_round_trip(&f);
	fixture_fini(&f);
}

static void there_is_nothing_under_another_key(void **state)
{
	struct fixture *f = *state;
	struct niwa_snapshot_key key = fixture_key('b');
	struct niwa_store_image image;
	struct niwa_error err = {0};

	assert_int_equal(fixture_put(f, 'a', 4096, &err), 0);
	assert_int_equal(niwa_store_use(&f->store, &key, NIWA_STORE_QUICK, &image, &err), -ENOENT);
	assert_int_equal(image.images, -1);
	assert_int_equal(niwa_store_remove(&f->store, &key, &err), 0);
	assert_int_equal(niwa_store_note(&f->store, &key, &(struct niwa_store_note){.event = NIWA_STORE_COLD}, &err),
			 -ENOENT);
}

static void only_the_owner_may_look_into_the_store(void **state)
{
	struct fixture *f = *state;
	struct niwa_store other;
	struct niwa_error err = {0};
	struct stat st;

	assert_int_equal(fchmod(f->store.dir, 0755), 0);
	assert_int_equal(niwa_store_open(f->dir, &other, &err), 0);
	assert_int_equal(fstat(other.dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(fixture_put(f, 'a', 4096, &err), 0);
	assert_int_equal(fstatat(other.dir, fixture_key('a').hex, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	niwa_store_close(&other);
	if (geteuid() == 0) {
		assert_int_equal(fchown(f->store.dir, 1, 1), 0);
		assert_int_equal(niwa_store_open(f->dir, &other, &err), -EPERM);
		assert_non_null(strstr(err.msg, "belongs to user 1"));
	}
}

static void a_link_in_place_of_the_store_is_not_followed(void **state)
{
	struct fixture *f = *state;
	char link[128];
	struct niwa_store other;

	(void)snprintf(link, sizeof(link), "%s/else", f->dir);
	assert_int_equal(mkdir(link, 0700), 0);
	(void)snprintf(link, sizeof(link), "%s/else/snapshots", f->dir);
	assert_int_equal(symlink("/tmp", link), 0);
	(void)snprintf(link, sizeof(link), "%s/else", f->dir);
	assert_true(niwa_store_open(link, &other, NULL) < 0);
}

/* Opens a part of snapshot 'a' to spoil it. */
static int part(struct fixture *f, const char *name, int flags)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", fixture_key('a').hex, name);
	return openat(f->store.dir, path, flags | O_CLOEXEC);
}

static void a_truncated_or_missing_file_is_found_before_a_restore(void **state)
{
	static const char *const names[] = {"images/inventory.img", "images/files.img", "images/pages-1.img",
					    "manifest"};
	struct fixture *f = *state;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		NIWA_AUTO_FD fd = -1;
		char path[256];
		struct stat st;

		assert_int_equal(fixture_put(f, 'a', 128 * 1024, NULL), 0);
		fd = part(f, names[i], O_RDWR);
		assert_true(fd >= 0 && fstat(fd, &st) == 0);
		assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
		assert_false(fixture_has(f, 'a', NIWA_STORE_QUICK));

		assert_int_equal(fixture_put(f, 'a', 128 * 1024, NULL), 0);
		(void)snprintf(path, sizeof(path), "%s/%s", fixture_key('a').hex, names[i]);
		assert_int_equal(unlinkat(f->store.dir, path, 0), 0);
		assert_false(fixture_has(f, 'a', NIWA_STORE_QUICK));
	}
}

static void flip(int fd, off_t at, unsigned bit)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (uint8_t)(1u << bit);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void a_flipped_bit_of_a_small_file_is_found_before_a_restore(void **state)
{
	static const char *const names[] = {"images/inventory.img", "images/ids-101.img", "images/pstree.img",
					    "manifest"};
	struct fixture *f = *state;

	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		NIWA_AUTO_FD fd = part(f, names[i], O_RDWR);
		struct niwa_snapshot_key key = fixture_key('a');
		struct niwa_store_image image;
		struct stat st;

		assert_true(fd >= 0 && fstat(fd, &st) == 0);
		for (off_t at = 0; at < st.st_size; at++) {
			flip(fd, at, (unsigned)at % 8);
			assert_int_equal(niwa_store_use(&f->store, &key, NIWA_STORE_QUICK, &image, NULL), -EBADMSG);
			flip(fd, at, (unsigned)at % 8);
		}
		assert_true(fixture_has(f, 'a', NIWA_STORE_WHOLE));
	}
}

static void a_flipped_bit_of_the_pages_is_found_by_a_whole_check(void **state)
{
	struct fixture *f = *state;
	NIWA_AUTO_FD fd = -1, layer = -1;

	assert_int_equal(fixture_put(f, 'a', 1 * MIB, NULL), 0);
	fd = part(f, "images/pages-1.img", O_RDWR);
	flip(fd, 777777, 3);
	assert_true(fixture_has(f, 'a', NIWA_STORE_QUICK));
	assert_false(fixture_has(f, 'a', NIWA_STORE_WHOLE));
	flip(fd, 777777, 3);
	assert_true(fixture_has(f, 'a', NIWA_STORE_WHOLE));
	layer = part(f, "layer/tmp/odd \\\n\xff name", O_RDWR);
	flip(layer, 0, 0);
	assert_false(fixture_has(f, 'a', NIWA_STORE_WHOLE));
}

static void a_snapshot_of_the_same_key_is_replaced_and_keeps_its_counts(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_list list;

	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	note(f, 'a', NIWA_STORE_RESTORED, 20000, 3);
	assert_int_equal(fixture_put(f, 'a', 1 * MIB, NULL), 0);
	assert_int_equal(fixture_count(f, ""), 1);
	assert_int_equal(niwa_store_list(&f->store, &list, NULL), 0);
	assert_int_equal(list.count, 1);
	assert_true(list.entry[0].bytes > 1 * MIB);
	assert_int_equal(list.entry[0].stats.restores, 3);
	assert_int_equal(list.entry[0].stats.wakes[0], 4);
	niwa_store_list_fini(&list);
}

static void what_happened_to_a_snapshot_is_listed(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_list list;
	const struct niwa_store_entry *e;

	assert_int_equal(fixture_put(f, 'b', 4096, NULL), 0);
	assert_int_equal(fixture_put(f, 'a', 1 * MIB, NULL), 0);
	note(f, 'a', NIWA_STORE_RESTORED, 20000, 1);
	note(f, 'a', NIWA_STORE_RESTORED, 40000, 1);
	note(f, 'a', NIWA_STORE_RESTORED, 30000, 1);
	note(f, 'a', NIWA_STORE_FAILED, 0, 1);
	note(f, 'a', NIWA_STORE_SHARED, 0, 1);
	assert_int_equal(niwa_store_list(&f->store, &list, NULL), 0);
	assert_int_equal(list.count, 2);
	e = &list.entry[0];
	assert_string_equal(e->key.hex, fixture_key('a').hex);
	assert_string_equal(e->damaged, "");
	assert_string_equal(e->app, "blog.example.com");
	assert_int_equal(e->cold_us, 500000);
	assert_int_equal(e->stats.restores, 3);
	assert_int_equal(e->stats.failures, 1);
	assert_int_equal(e->stats.sharers, 7);
	assert_int_equal(niwa_store_median(e->stats.restored_us), 30000);
	assert_string_equal(e->stats.last_failure, "criu: \\x1b[31mred");
	assert_true(niwa_realtime_us() - e->stats.last_restore_us < 60 * NIWA_SEC);
	/* 470 ms, 4 wakes, a little more than a MiB */
	assert_true(e->value > 1500 && e->value < 4 * 470);
	assert_true(list.bytes >= list.entry[0].bytes + list.entry[1].bytes);
	niwa_store_list_fini(&list);
}

static void wakes_are_forgotten_after_a_week(void **state)
{
	struct niwa_store_stats s = {.day = 20000, .wakes = {5, 4, 3, 2, 1, 1, 1}};

	assert_int_equal(niwa_store_week(&s, 20000), 17);
	assert_int_equal(niwa_store_week(&s, 20001), 16);
	assert_int_equal(niwa_store_week(&s, 20006), 5);
	assert_int_equal(niwa_store_week(&s, 20007), 0);
	assert_int_equal(niwa_store_week(&s, 4000000000u), 0);
	assert_int_equal(niwa_store_week(&s, 19990), 17); /* the clock was set back */
}

static void statistics_that_cannot_be_read_count_as_none(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_list list;
	NIWA_AUTO_FD fd = -1;

	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	note(f, 'a', NIWA_STORE_RESTORED, 1000, 2);
	for (off_t size = 200; size >= 0; size -= 20) {
		fd = part(f, "stats", O_RDWR);
		assert_int_equal(ftruncate(fd, size), 0);
		niwa_fd_close(&fd);
		assert_int_equal(niwa_store_list(&f->store, &list, NULL), 0);
		assert_int_equal(list.entry[0].stats.restores, size < 150 ? 0 : list.entry[0].stats.restores);
		niwa_store_list_fini(&list);
	}
	note(f, 'a', NIWA_STORE_RESTORED, 1000, 1);
	assert_int_equal(niwa_store_list(&f->store, &list, NULL), 0);
	assert_int_equal(list.entry[0].stats.restores, 1);
	niwa_store_list_fini(&list);
}

/* ---- once ---- */

static void memory_of_a_moment_is_used_once(void **state)
{
	struct fixture *f = *state;
	struct niwa_snapshot_key key = fixture_key('a');
	struct niwa_store_image image, again;
	struct niwa_error err = {0};
	struct stat st;

	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	assert_int_equal(niwa_store_use_once(&f->store, &key, NIWA_STORE_QUICK, &image, &err), 0);
	assert_int_equal(fixture_count(f, ".used-"), 1);
	assert_int_equal(fixture_count(f, ""), 1);
	assert_int_equal(niwa_store_use_once(&f->store, &key, NIWA_STORE_QUICK, &again, &err), -ENOENT);
	assert_int_equal(niwa_store_use(&f->store, &key, NIWA_STORE_QUICK, &again, &err), -ENOENT);
	assert_int_equal(niwa_store_collect(&f->store, NULL, &err), 0);
	assert_int_equal(fstatat(image.images, "pages-1.img", &st, 0), 0); /* it is in use */
	niwa_store_done(&f->store, &image);
	assert_int_equal(fixture_count(f, ""), 0);
}

struct race {
	struct fixture *f;
	pthread_barrier_t *start;
	unsigned got;
};

static void *race_for_one(void *arg)
{
	struct race *race = arg;
	struct niwa_snapshot_key key = fixture_key('a');
	struct niwa_store_image image;

	(void)pthread_barrier_wait(race->start);
	if (niwa_store_use_once(&race->f->store, &key, NIWA_STORE_QUICK, &image, NULL) == 0) {
		race->got++;
		niwa_store_done(&race->f->store, &image);
	}
	return NULL;
}

static void of_two_who_want_the_memory_of_a_moment_one_gets_it(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 20; round++) {
		pthread_barrier_t start;
		struct race race[4];
		pthread_t thread[4];
		unsigned got = 0;

		assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
		(void)pthread_barrier_init(&start, NULL, 4);
		for (int i = 0; i < 4; i++) {
			race[i] = (struct race){f, &start, 0};
			assert_int_equal(pthread_create(&thread[i], NULL, race_for_one, &race[i]), 0);
		}
		for (int i = 0; i < 4; i++) {
			assert_int_equal(pthread_join(thread[i], NULL), 0);
			got += race[i].got;
		}
		(void)pthread_barrier_destroy(&start);
		assert_int_equal(got, 1);
	}
	assert_int_equal(niwa_store_collect(&f->store, NULL, NULL), 0);
	assert_int_equal(fixture_count(f, ""), 0);
}

/* ---- in use ---- */

static void what_somebody_restores_from_stays_until_he_is_done(void **state)
{
	struct fixture *f = *state;
	struct niwa_snapshot_key key = fixture_key('a');
	struct niwa_store_image image;
	NIWA_AUTO_FD passed_on = -1;
	struct stat st;
	unsigned count;

	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	assert_int_equal(niwa_store_use(&f->store, &key, NIWA_STORE_QUICK, &image, NULL), 0);
	assert_int_equal(niwa_store_remove(&f->store, &key, NULL), 0);
	assert_false(fixture_has(f, 'a', NIWA_STORE_QUICK));
	assert_int_equal(fstatat(image.images, "pages-1.img", &st, 0), 0);
	passed_on = dup(image.images); /* as CRIU has it when we are dead */
	niwa_store_image_close(&image);
	assert_int_equal(niwa_store_collect(&f->store, &count, NULL), 0);
	assert_int_equal(count, 0);
	assert_int_equal(fstatat(passed_on, "pages-1.img", &st, 0), 0);
	niwa_fd_close(&passed_on);
	assert_int_equal(niwa_store_collect(&f->store, &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_int_equal(fixture_count(f, ""), 0);
}

static void what_is_in_use_can_be_replaced(void **state)
{
	struct fixture *f = *state;
	struct niwa_snapshot_key key = fixture_key('a');
	struct niwa_store_image image;
	struct stat st;

	assert_int_equal(fixture_put(f, 'a', 4096, NULL), 0);
	assert_int_equal(niwa_store_use(&f->store, &key, NIWA_STORE_QUICK, &image, NULL), 0);
	assert_int_equal(fixture_put(f, 'a', 1 * MIB, NULL), 0);
	assert_int_equal(fstatat(image.images, "pages-1.img", &st, 0), 0);
	assert_int_equal(st.st_size, 4096);
	niwa_store_done(&f->store, &image);
	assert_true(fixture_has(f, 'a', NIWA_STORE_WHOLE));
	assert_int_equal(niwa_store_collect(&f->store, NULL, NULL), 0);
	assert_int_equal(fixture_count(f, ""), 1);
}

static void one_that_is_being_written_is_no_leftover(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_new s;

	assert_int_equal(fixture_begin(f, 4096, &s, NULL), 0);
	assert_int_equal(niwa_store_collect(&f->store, NULL, NULL), 0);
	assert_int_equal(fixture_commit(f, &s, 'a', NULL), 0);
	assert_true(fixture_has(f, 'a', NIWA_STORE_WHOLE));
	assert_int_equal(fixture_begin(f, 4096, &s, NULL), 0);
	niwa_store_abort(&f->store, &s);
	niwa_store_abort(&f->store, &s);
	assert_int_equal(fixture_count(f, ""), 1);
}

static void damaged_ones_are_listed_with_the_reason_and_collected(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_list list;
	NIWA_AUTO_FD fd = -1;
	unsigned count;

	assert_int_equal(fixture_put(f, 'a', 1 * MIB, NULL), 0);
	assert_int_equal(fixture_put(f, 'b', 4096, NULL), 0);
	fd = part(f, "manifest", O_RDWR);
	flip(fd, 40, 0);
	assert_int_equal(mkdirat(f->store.dir, "lost+found", 0700), 0);
	assert_int_equal(niwa_store_list(&f->store, &list, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_non_null(strstr(list.entry[0].damaged, "sum"));
	assert_true(list.entry[0].bytes > 1 * MIB);
	niwa_store_list_fini(&list);
	assert_int_equal(niwa_store_sweep(&f->store, NULL), 0); /* opens none of them */
	assert_int_equal(fixture_count(f, ""), 3);
	assert_int_equal(niwa_store_collect(&f->store, &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_int_equal(fixture_count(f, ""), 2); /* the other one, and what is not ours */
	assert_true(fixture_has(f, 'b', NIWA_STORE_WHOLE));
}

static void they_are_listed_some_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_list list;
	char after[NIWA_KEY_HEX + 1] = "";
	unsigned count = 0;

	for (const char *digit = "73a1f"; *digit; digit++)
		assert_int_equal(fixture_put(f, *digit, 4096, NULL), 0);
	assert_int_equal(mkdirat(f->store.dir, "lost+found", 0700), 0);
	do {
		assert_int_equal(niwa_store_list_after(&f->store, after, 2, &list, NULL), 0);
		assert_true(list.count <= 2);
		for (size_t n = 0; n < list.count; n++) {
			assert_string_equal(list.entry[n].key.hex, fixture_key("137af"[count++]).hex);
			assert_string_equal(list.entry[n].app, "blog.example.com");
			memcpy(after, list.entry[n].key.hex, sizeof(after));
		}
		count += list.count ? 0 : 100;
		niwa_store_list_fini(&list);
	} while (count < 100);
	assert_int_equal(count, 105);
}

/* ---- room ---- */

static void the_least_valuable_goes_first(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_evicted gone = {0};
	struct niwa_error err = {0};

	f->limits.bytes = 20 * MIB;
	assert_int_equal(fixture_put(f, 'a', 4 * MIB, NULL), 0); /* often */
	assert_int_equal(fixture_put(f, 'b', 4 * MIB, NULL), 0); /* seldom */
	assert_int_equal(fixture_put(f, 'c', 4 * MIB, NULL), 0); /* often, but it saves nothing */
	assert_int_equal(fixture_put(f, 'd', 1 * MIB, NULL), 0); /* seldom, but small */
	note(f, 'a', NIWA_STORE_RESTORED, 20000, 20);
	note(f, 'b', NIWA_STORE_RESTORED, 20000, 2);
	note(f, 'c', NIWA_STORE_RESTORED, 600000, 20);
	note(f, 'd', NIWA_STORE_RESTORED, 20000, 2);
	assert_int_equal(niwa_store_make_room(&f->store, &f->limits, 10 * MIB, NULL, &gone, &err), 0);
	assert_int_equal(gone.count, 1);
	assert_int_equal(gone.image[0].key.hex[0], 'c');
	assert_false(fixture_has(f, 'c', NIWA_STORE_QUICK));
	assert_int_equal(niwa_store_make_room(&f->store, &f->limits, 14 * MIB, NULL, &gone, &err), 0);
	assert_int_equal(gone.count, 2);
	assert_int_equal(gone.image[1].key.hex[0], 'b');
	assert_false(fixture_has(f, 'b', NIWA_STORE_QUICK));
	assert_int_equal(niwa_store_make_room(&f->store, &f->limits, 15 * MIB, NULL, &gone, &err), 0);
	assert_int_equal(gone.count, 3);
	assert_int_equal(gone.image[2].key.hex[0], 'd');
	assert_true(fixture_has(f, 'a', NIWA_STORE_QUICK));
	assert_int_equal(fixture_count(f, ""), 1);
	niwa_store_evicted_fini(&gone);
}

static void none_goes_for_a_disk_that_stays_full(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_evicted gone = {0};
	struct niwa_error err = {0};

	assert_int_equal(fixture_put(f, 'a', 1 * MIB, NULL), 0);
	f->limits.free_bytes = UINT64_C(1) << 60;
	assert_int_equal(niwa_store_make_room(&f->store, &f->limits, 1 * MIB, NULL, &gone, &err), -ENOSPC);
	assert_int_equal(gone.count, 0);
	assert_true(fixture_has(f, 'a', NIWA_STORE_QUICK));
}

static void an_image_that_nobody_wants_any_more_gets_no_name(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_new s;
	struct niwa_error err = {0};
	_Atomic(int) fate = NIWA_STORE_UNWANTED;

	assert_int_equal(fixture_begin(f, 4096, &s, &err), 0);
	s.fate = &fate;
	assert_int_equal(fixture_commit(f, &s, 'a', &err), -ECANCELED);
	assert_int_equal(fixture_count(f, ""), 0);
	fate = NIWA_STORE_OPEN;
	assert_int_equal(fixture_begin(f, 4096, &s, &err), 0);
	s.fate = &fate;
	assert_int_equal(fixture_commit(f, &s, 'a', &err), 0);
	assert_int_equal(fate, NIWA_STORE_NAMED);
	assert_true(fixture_has(f, 'a', NIWA_STORE_QUICK));
}

static void one_in_use_and_the_one_just_taken_are_not_evicted(void **state)
{
	struct fixture *f = *state;
	struct niwa_snapshot_key a = fixture_key('a'), b = fixture_key('b');
	struct niwa_store_image image;
	struct niwa_error err = {0};

	f->limits.bytes = 6 * MIB;
	assert_int_equal(fixture_put(f, 'a', 2 * MIB, NULL), 0);
	assert_int_equal(fixture_put(f, 'b', 2 * MIB, NULL), 0);
	assert_int_equal(niwa_store_use(&f->store, &a, NIWA_STORE_QUICK, &image, NULL), 0);
	assert_int_equal(niwa_store_make_room(&f->store, &f->limits, 5 * MIB, &b, NULL, &err), -ENOSPC);
	assert_int_equal(err.kind, NIWA_TEMPORARY);
	assert_true(fixture_has(f, 'a', NIWA_STORE_QUICK));
	assert_true(fixture_has(f, 'b', NIWA_STORE_QUICK));
	niwa_store_done(&f->store, &image);
	assert_int_equal(niwa_store_make_room(&f->store, &f->limits, 5 * MIB, NULL, NULL, &err), 0);
	assert_int_equal(fixture_count(f, ""), 0);
}

static void a_snapshot_larger_than_one_may_be_is_refused(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_new s;
	struct niwa_error err = {0};

	f->limits.image_bytes = 2 * MIB;
	assert_int_equal(fixture_put(f, 'a', 1 * MIB, &err), 0);
	assert_int_equal(niwa_store_begin(&f->store, &f->limits, 3 * MIB, &s, &err), -EFBIG);
	assert_int_equal(fixture_begin(f, 1 * MIB, &s, &err), 0);
	{
		NIWA_AUTO(niwa_free_ptr) char *more = calloc(1, 3 * MIB);

		memset(more, 'x', 3 * MIB);
		fixture_file(s.dir, "shm/larger", more, 3 * MIB);
	}
	assert_int_equal(fixture_commit(f, &s, 'b', &err), -EFBIG);
	assert_int_equal(s.dir, -1);
	assert_int_equal(fixture_count(f, ""), 1);
}

static void a_layer_of_too_many_or_too_deep_folders_is_refused(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_new s;
	struct niwa_error err = {0};
	char name[64];
	int dir;

	assert_int_equal(fixture_begin(f, 4096, &s, &err), 0);
	dir = openat(s.dir, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 100; i++) {
		int sub;

		assert_int_equal(mkdirat(dir, "d", 0700), 0);
		sub = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		niwa_fd_close(&dir);
		dir = sub;
	}
	niwa_fd_close(&dir);
	assert_int_equal(fixture_commit(f, &s, 'a', &err), -ELOOP);
	assert_int_equal(fixture_begin(f, 4096, &s, &err), 0);
	for (int i = 0; i < NIWA_MANIFEST_PARTS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "layer/tmp/%d", i);
		assert_int_equal(mkdirat(s.dir, name, 0700), 0);
	}
	assert_int_equal(fixture_commit(f, &s, 'a', &err), -E2BIG);
	assert_int_equal(fixture_count(f, ""), 0);
}

static void without_an_inventory_nothing_is_committed(void **state)
{
	struct fixture *f = *state;
	struct niwa_store_new s;
	struct niwa_error err = {0};

	assert_int_equal(niwa_store_begin(&f->store, &f->limits, 0, &s, &err), 0);
	assert_int_equal(fixture_commit(f, &s, 'a', &err), -ENOENT);
	assert_int_equal(fixture_count(f, ""), 0);
}

/* ---- all at once ---- */

struct crowd {
	struct fixture *f;
	unsigned seed, restored, put;
	bool wrong;
};

static void restore_one(struct crowd *c, char digit)
{
	struct niwa_snapshot_key key = fixture_key(digit);
	struct niwa_store_image image;
	struct stat st;
	struct niwa_error err = {0};
	int r = niwa_store_use(&c->f->store, &key, NIWA_STORE_WHOLE, &image, &err);

	if (r == 0) {
		sched_yield();
		/* what was opened stays whole until it is closed */
		if (fstatat(image.images, "pages-1.img", &st, 0) < 0 || st.st_size == 0)
			c->wrong = true;
		c->restored++;
	} else if (r != -ENOENT) {
		print_message("use: %s\n", err.msg);
		c->wrong = true;
	}
	niwa_store_done(&c->f->store, &image);
}

static void *jostle(void *arg)
{
	struct crowd *c = arg;

	for (int i = 0; i < 60; i++) {
		char digit = (char)('0' + rand_r(&c->seed) % 4);
		struct niwa_snapshot_key key = fixture_key(digit);
		struct niwa_error err = {0};
		int what = rand_r(&c->seed) % 6, r = 0;

		if (what == 0)
			c->put += (r = fixture_put(c->f, digit, 256 * 1024, &err)) == 0;
		else if (what == 1)
			r = niwa_store_make_room(&c->f->store, &c->f->limits, 512 * 1024, NULL, NULL, &err);
		else if (what == 2)
			r = niwa_store_collect(&c->f->store, NULL, &err);
		else if (what == 3 && i % 4 == 0)
			r = niwa_store_remove(&c->f->store, &key, &err);
		else
			restore_one(c, digit);
		if (r < 0 && r != -ENOSPC) {
			print_message("%d: %s\n", what, err.msg);
			c->wrong = true;
		}
	}
	return NULL;
}

static void putting_using_evicting_and_collecting_go_on_beside_each_other(void **state)
{
	struct fixture *f = *state;
	struct crowd crowd[4];
	pthread_t thread[4];
	unsigned restored = 0, put = 0;

	f->limits.bytes = 1 * MIB;
	for (unsigned i = 0; i < 4; i++) {
		crowd[i] = (struct crowd){.f = f, .seed = i + 1};
		assert_int_equal(pthread_create(&thread[i], NULL, jostle, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_false(crowd[i].wrong);
		restored += crowd[i].restored;
		put += crowd[i].put;
	}
	assert_true(restored > 0 && put > 0);
	assert_int_equal(niwa_store_collect(&f->store, NULL, NULL), 0);
	assert_int_equal(fixture_count(f, "."), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_snapshot_comes_out_as_it_was_put_in),
		cmocka_unit_test(on_a_disk_it_does_so_too),
		TEST(there_is_nothing_under_another_key),
		TEST(only_the_owner_may_look_into_the_store),
		TEST(a_link_in_place_of_the_store_is_not_followed),
		TEST(a_truncated_or_missing_file_is_found_before_a_restore),
		TEST(a_flipped_bit_of_a_small_file_is_found_before_a_restore),
		TEST(a_flipped_bit_of_the_pages_is_found_by_a_whole_check),
		TEST(a_snapshot_of_the_same_key_is_replaced_and_keeps_its_counts),
		TEST(what_happened_to_a_snapshot_is_listed),
		TEST(wakes_are_forgotten_after_a_week),
		TEST(statistics_that_cannot_be_read_count_as_none),
		TEST(memory_of_a_moment_is_used_once),
		TEST(of_two_who_want_the_memory_of_a_moment_one_gets_it),
		TEST(what_somebody_restores_from_stays_until_he_is_done),
		TEST(what_is_in_use_can_be_replaced),
		TEST(one_that_is_being_written_is_no_leftover),
		TEST(damaged_ones_are_listed_with_the_reason_and_collected),
		TEST(they_are_listed_some_at_a_time),
		TEST(the_least_valuable_goes_first),
		TEST(none_goes_for_a_disk_that_stays_full),
		TEST(an_image_that_nobody_wants_any_more_gets_no_name),
		TEST(one_in_use_and_the_one_just_taken_are_not_evicted),
		TEST(a_snapshot_larger_than_one_may_be_is_refused),
		TEST(a_layer_of_too_many_or_too_deep_folders_is_refused),
		TEST(without_an_inventory_nothing_is_committed),
		TEST(putting_using_evicting_and_collecting_go_on_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
