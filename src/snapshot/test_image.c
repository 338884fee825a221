/* SPDX-License-Identifier: MIT
 *
 * CRIU's files, of a real dump of Apache with PHP (corpus/image): read, cut, flipped, edited.
 */
#include "test_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "snapshot/image.h"

static void the_processes_of_a_dump_are_read(void **state)
{
	size_t len;
	NIWA_AUTO(niwa_free_ptr) uint8_t *data = fixture_sample("pstree", &len);
	struct niwa_criu_tasks tasks;

	assert_int_equal(niwa_criu_read_tasks(data, len, &tasks, NULL), 0);
	assert_int_equal(tasks.root_pid, 101);
	assert_int_equal(tasks.processes, 4);
	assert_int_equal(tasks.threads, 4);
	assert_int_equal(tasks.free_pid, 300);
}

static void the_files_of_a_dump_are_read(void **state)
{
	size_t len, programs = 0, scripts = 0, null = 0;
	NIWA_AUTO(niwa_free_ptr) uint8_t *data = fixture_sample("files", &len);
	struct niwa_criu_files files;

	assert_int_equal(niwa_criu_read_files(data, len, &files, NULL), 0);
	assert_true(files.count > 40);
	for (size_t i = 0; i < files.count; i++) {
		const struct niwa_criu_file *f = &files.file[i];

		assert_int_equal(f->path[0], '/');
		if (strcmp(f->path, "/usr/sbin/apache2") == 0) {
			programs++;
			assert_int_equal(f->size, 733696);
			assert_true(S_ISREG(f->mode));
		}
		scripts += strcmp(f->path, "/srv/php") == 0 && S_ISDIR(f->mode);
		null += strcmp(f->path, "/dev/null") == 0 && S_ISCHR(f->mode);
	}
	assert_int_equal(programs, 1);
	assert_int_equal(scripts, 1);
	assert_true(null >= 1);
	niwa_criu_files_fini(&files);
	niwa_criu_files_fini(&files);
}

static void a_file_mapped_shared_for_writing_is_marked(void **state)
{
	/* file, prot, status, flags of the descriptor: a shared mapping that can be written now, or later, or not */
	static const struct {
		uint8_t file, prot, status[2], fdflags;
		bool marked;
	} cases[] = {{7, 3, {0x81, 1}, 0, true},
		     {7, 1, {0x81, 1}, 2, true},
		     {7, 1, {0x81, 1}, 0, false},
		     {7, 3, {0xc1, 0}, 2, false},
		     {8, 3, {0x81, 1}, 2, false}};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		uint8_t area[] = {8,
				  1,
				  16,
				  1,
				  24,
				  0,
				  32,
				  cases[i].file,
				  40,
				  cases[i].prot,
				  48,
				  1,
				  56,
				  cases[i].status[0],
				  cases[i].status[1],
				  64,
				  1,
				  80,
				  cases[i].fdflags};
		uint8_t image[256] = {0x19, 0x43, 0x56, 0x54, 0x20, 0x28, 0x49, 0x57};
		struct niwa_criu_file file = {.id = 7};
		struct niwa_criu_files files = {&file, 1};
		struct niwa_error err = {0};
		size_t len = 12;

		if (cases[i].status[1] == 0) { /* a number of one byte */
			area[13] = 0x41;
			memmove(area + 14, area + 15, sizeof(area) - 15);
		}
		for (uint8_t field = 1; field <= 12; field++) {
			image[len++] = (uint8_t)(field << 3);
			image[len++] = 1;
		}
		image[len++] = 14 << 3 | 2;
		image[len++] = (uint8_t)(sizeof(area) - (cases[i].status[1] == 0));
		memcpy(image + len, area, sizeof(area));
		len += sizeof(area) - (cases[i].status[1] == 0);
		image[8] = (uint8_t)(len - 12);
		if (niwa_criu_read_memory(image, len, &files, &err) < 0)
			fail_msg("case %zu: %s", i, err.msg);
		assert_int_equal(file.written_in_memory, cases[i].marked);
	}
}

/* Reads a file as what it is; what comes out is not looked at. */
static int read_as(const char *name, const uint8_t *data, size_t len)
{
	struct niwa_criu_files files = {0};
	struct niwa_criu_tasks tasks;
	struct niwa_error err = {0};
	uint32_t user_ns;
	size_t offset;
	int r;

	if (strcmp(name, "files") == 0) {
		r = niwa_criu_read_files(data, len, &files, &err);
		niwa_criu_files_fini(&files);
	} else if (strcmp(name, "memory") == 0) {
		r = niwa_criu_read_memory(data, len, &files, &err);
	} else if (strcmp(name, "pstree") == 0) {
		r = niwa_criu_read_tasks(data, len, &tasks, &err);
	} else if (strcmp(name, "inventory") == 0) {
		r = niwa_criu_find_user_ns(data, len, &offset, &err);
		if (r == 0)
			assert_true(offset < len && data[offset] < 0x80);
	} else {
		r = niwa_criu_read_user_ns(data, len, &user_ns, &err);
	}
	if (r < 0)
		assert_true(err.kind == NIWA_PERMANENT && *err.msg);
	return r;
}

static const char *const samples[] = {"files", "pstree", "inventory", "ids-101", "memory"};

static void a_file_cut_within_a_message_is_refused(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(samples); i++) {
		size_t len, accepted = 0;
		NIWA_AUTO(niwa_free_ptr) uint8_t *data = fixture_sample(samples[i], &len);

		for (size_t cut = 0; cut < len; cut++) {
			NIWA_AUTO(niwa_free_ptr) uint8_t *exact = malloc(cut ? cut : 1);

			memcpy(exact, data, cut); /* its end is where the sanitizers look */
			accepted += read_as(samples[i], exact, cut) == 0;
		}
		/* At the end of a message it cannot be told: the manifest knows the size. */
		assert_true(accepted < (strcmp(samples[i], "files") == 0    ? 128
					: strcmp(samples[i], "pstree") == 0 ? 4
									    : 1));
		assert_int_equal(read_as(samples[i], data, len), 0);
	}
}

static void flipped_bits_do_no_harm(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(samples); i++) {
		size_t len, refused = 0;
		NIWA_AUTO(niwa_free_ptr) uint8_t *data = fixture_sample(samples[i], &len);

		for (size_t bit = 0; bit<8 * len; bit += len> 1024 ? 7 : 1) {
			data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			refused += read_as(samples[i], data, len) < 0;
			data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		print_message("%s: %zu flipped bits are refused\n", samples[i], refused);
		assert_true(refused > len / 8);
	}
}

/* ---- messages by hand ---- */

#define COMMON    "\x19\x43\x56\x54"
#define PSTREE    COMMON "\x30\x30\x27\x50"
#define IDS       COMMON "\x30\x20\x43\x54"
#define INVENTORY "\x16\x31\x31\x58"
#define FILES     COMMON "\x38\x31\x30\x56"
#define IDS_BODY  "\x08\x01\x10\x01\x18\x01\x20\x01"
#define BYTES(s)  s, sizeof(s) - 1

static void whatever_is_not_expected_is_refused_by_name(void **state)
{
	static const struct {
		const char *sample, *data;
		size_t len;
		const char *said;
	} cases[] = {
		{"ids-101", BYTES(""), "magic"},
		{"ids-101", BYTES(COMMON "\x30\x20\x43\x55"), "magic"},
		{"ids-101", BYTES(IDS), "exactly one"},
		{"ids-101", BYTES(IDS "\x0a\0\0\0" IDS_BODY), "ends within"},
		{"ids-101", BYTES(IDS "\x08\0\0\0" IDS_BODY), "no user_ns_id"},
		{"ids-101", BYTES(IDS "\x0a\0\0\0" IDS_BODY "\x50\x01x"), "exactly one"},
		{"ids-101", BYTES(IDS "\x0a\0\0\0" IDS_BODY "\x50\x01\0\0\0\0"), "exactly one"},
		{"ids-101", BYTES(IDS "\x0c\0\0\0" IDS_BODY "\x50\x01\x50\x02"), "twice"},
		{"ids-101", BYTES(IDS "\x0c\0\0\0" IDS_BODY "\x50\x01\x68\x01"), "not known"},
		{"ids-101", BYTES(IDS "\x0b\0\0\0" IDS_BODY "\x50\x80\x01"), "longer than a byte"},
		{"ids-101", BYTES(IDS "\x0b\0\0\0" IDS_BODY "\x50\x81\x00"), "not a message"},
		{"ids-101", BYTES(IDS "\x0a\0\0\0" IDS_BODY "\x52\x00"), "another type"},
		{"ids-101", BYTES(IDS "\x0a\0\0\0" IDS_BODY "\x52\x05"), "not a message"},
		{"ids-101", BYTES(IDS "\x09\0\0\0" IDS_BODY "\x50"), "not a message"},
		{"ids-101", BYTES(IDS "\x0d\0\0\0" IDS_BODY "\x55\1\2\3\4"), "not a message"},
		{"ids-101", BYTES(IDS "\x09\0\0\0\x00\x10\x01\x18\x01\x20\x01\x50\x01"), "not a message"},
		{"ids-101", BYTES(IDS "\x0e\0\0\0" IDS_BODY "\x50\xff\xff\xff\xff\x1f"), "too large"},
		{"inventory", BYTES(INVENTORY "\x02\0\0\0\x08\x02"), "no root_ids"},
		{"inventory", BYTES(INVENTORY "\x04\0\0\0\x08\x02\x1a\x00"), "ids: no vm_id"},
		{"inventory", BYTES(INVENTORY "\x04\0\0\0\x08\x02\x3a\x00"), "not known"},
		{"pstree", BYTES(PSTREE), "no process"},
		{"pstree", BYTES(PSTREE "\x08\0\0\0\x08\x65\x10\x01\x18\x65\x20\x65"), "not one tree"},
		{"pstree", BYTES(PSTREE "\x08\0\0\0\x08\x00\x10\x00\x18\x65\x20\x65"), "not one tree"},
		{"pstree", BYTES(PSTREE "\x06\0\0\0\x08\x65\x10\x00\x18\x65"), "no sid"},
		{"files", BYTES(FILES "\x04\0\0\0\x08\x02\x10\x01"), "its type"},
		{"files", BYTES(FILES "\x06\0\0\0\x08\x01\x10\x01\x22\x00"), "its type"},
		{"files", BYTES(FILES "\x06\0\0\0\x08\x02\x10\x01\x1a\x00"), "its type"},
		{"files", BYTES(FILES "\x08\0\0\0\x08\x02\x10\x01\x22\x00\x2a\x00"), "its type"},
		{"files", BYTES(FILES "\x06\0\0\0\x08\x01\x10\x01\x1a\x00"), "regular file: no id"},
		{"files",
		 BYTES(FILES "\x12\0\0\0\x08\x01\x10\x02\x1a\x0c\x08\x02\x10\0\x18\0\x2a\0\x32\x02"
			     "ab"),
		 "no absolute path"},
		{"files",
		 BYTES(FILES "\x12\0\0\0\x08\x01\x10\x02\x1a\x0c\x08\x02\x10\0\x18\0\x2a\0\x32\x02"
			     "/\0"),
		 "no absolute path"},
		{"files",
		 BYTES(FILES "\x12\0\0\0\x08\x01\x10\x03\x1a\x0c\x08\x02\x10\0\x18\0\x2a\0\x32\x02"
			     "/a"),
		 "two numbers"},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		const uint8_t *data = (const uint8_t *)cases[i].data;
		struct niwa_criu_files files;
		struct niwa_criu_tasks tasks;
		struct niwa_error err = {0};
		uint32_t user_ns;
		size_t offset;
		int r = 0;

		switch (cases[i].sample[0]) {
		case 'f':
			r = niwa_criu_read_files(data, cases[i].len, &files, &err);
			break;
		case 'p':
			r = niwa_criu_read_tasks(data, cases[i].len, &tasks, &err);
			break;
		case 'i':
			r = cases[i].sample[1] == 'n' ? niwa_criu_find_user_ns(data, cases[i].len, &offset, &err)
						      : niwa_criu_read_user_ns(data, cases[i].len, &user_ns, &err);
			break;
		default:
			fail();
		}
		if (r != -EBADMSG || !strstr(err.msg, cases[i].said))
			fail_msg("case %zu: %d, '%s' instead of '%s'", i, r, err.msg, cases[i].said);
	}
}

static void numbers_for_criu_are_free_of_those_in_the_dump(void **state)
{
	/* threads 310 and 370, in two bytes each; group 400, session 420: the first 64 in a row begin at 421 */
	static const uint8_t data[] =
		PSTREE "\x10\0\0\0\x08\x02\x10\x00\x18\x90\x03\x20\xa4\x03\x28\xb6\x02\x28\xf2\x02";
	struct niwa_criu_tasks tasks;
	struct niwa_error err = {0};

	if (niwa_criu_read_tasks(data, sizeof(data) - 1, &tasks, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(tasks.root_pid, 2);
	assert_int_equal(tasks.threads, 2);
	assert_int_equal(tasks.free_pid, 421);
}

/* ---- the edit ---- */

static int folder_with_samples(char *dir)
{
	size_t len;
	int fd;

	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(samples); i++) {
		NIWA_AUTO(niwa_free_ptr) uint8_t *data = fixture_sample(samples[i], &len);
		NIWA_AUTO(niwa_free_ptr) char *name = niwa_asprintf("%s.img", samples[i]);

		fixture_file(fd, name, data, len);
	}
	return fd;
}

static void the_edit_changes_one_byte_and_is_done_once(void **state)
{
	char dir[] = "/tmp/niwa-image-XXXXXX";
	NIWA_AUTO_FD fd = folder_with_samples(dir), file = openat(fd, "inventory.img", O_RDONLY | O_CLOEXEC);
	size_t len, changed = 0;
	NIWA_AUTO(niwa_free_ptr) uint8_t *before = fixture_sample("inventory", &len);
	uint8_t after[256];

	for (int i = 0; i < 2; i++) {
		changed = 0;
		assert_int_equal(niwa_criu_edit(fd, 101, NULL), 0);
		assert_int_equal(pread(file, after, sizeof(after), 0), len);
		for (size_t at = 0; at < len; at++) {
			if (after[at] == before[at])
				continue;
			changed++;
			assert_int_equal(before[at - 1], 10 << 3); /* user_ns_id */
			assert_int_equal(after[at], 9);
		}
		assert_int_equal(changed, 1);
	}
	assert_int_equal(niwa_remove_tree(dir, NULL), 0);
}

static void what_cannot_be_edited_stays_as_it_is(void **state)
{
	char dir[] = "/tmp/niwa-image-XXXXXX";
	NIWA_AUTO_FD fd = folder_with_samples(dir);
	struct niwa_criu_files files = {0};
	struct niwa_criu_tasks tasks;
	struct niwa_error err = {0};

	assert_int_equal(niwa_criu_edit(fd, 102, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "ids-102.img"));
	assert_int_equal(unlinkat(fd, "files.img", 0), 0);
	assert_int_equal(niwa_criu_look(fd, &files, &tasks, &err), -ENOENT);
	assert_int_equal(symlinkat("pstree.img", fd, "files.img"), 0);
	assert_int_equal(niwa_criu_look(fd, &files, &tasks, &err), -ELOOP);
	assert_int_equal(unlinkat(fd, "inventory.img", 0), 0);
	assert_int_equal(mkfifoat(fd, "inventory.img", 0600), 0);
	assert_true(niwa_criu_edit(fd, 101, &err) < 0); /* and does not wait for a writer */
	assert_int_equal(niwa_remove_tree(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_processes_of_a_dump_are_read),
		cmocka_unit_test(the_files_of_a_dump_are_read),
		cmocka_unit_test(a_file_mapped_shared_for_writing_is_marked),
		cmocka_unit_test(a_file_cut_within_a_message_is_refused),
		cmocka_unit_test(flipped_bits_do_no_harm),
		cmocka_unit_test(whatever_is_not_expected_is_refused_by_name),
		cmocka_unit_test(numbers_for_criu_are_free_of_those_in_the_dump),
		cmocka_unit_test(the_edit_changes_one_byte_and_is_done_once),
		cmocka_unit_test(what_cannot_be_edited_stays_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
