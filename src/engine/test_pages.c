/* SPDX-License-Identifier: MIT
 *
 * Which memory is paged: areas out of smaps texts, whole and cut short; moving that of a child. Whether the kernel then
 * writes it somewhere is a matter of swap.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
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

#include "base/clock.h"
#include "engine/pages.h"

#define HEAP                                                                                                           \
	"55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]\n"                            \
	"Size:                132 kB\nRss:                  40 kB\nAnonymous:            40 kB\n"                      \
	"Swap:                  8 kB\nVmFlags: rd wr mr mw me ac \n"
#define CODE                                                                                                           \
	"7f0000000000-7f0000200000 r-xp 00000000 08:01 42                         /usr/lib/x-1.so\n"                   \
	"Rss:                2048 kB\nAnonymous:             4 kB\nSwap:                  0 kB\nVmFlags: rd ex mr \n"
#define LOCKED                                                                                                         \
	"7f1000000000-7f1000010000 rw-p 00000000 00:00 0 \n"                                                           \
	"Rss:                  64 kB\nAnonymous:            64 kB\nSwap:                  4 kB\nVmFlags: rd wr lo \n"
#define VVAR                                                                                                           \
	"7ffc00000000-7ffc00004000 r--p 00000000 00:00 0                          [vvar]\nRss: 0 kB\nVmFlags: rd io "  \
	"pf \n"

/* "OUT IN" a letter an area: o wanted out, i wanted in, b both, - neither. */
static void check(const char *text, const char *want)
{
	char line[4352] = "", got[64] = "", copy[4096];
	struct niwa_pages_area area;
	FILE *in;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	in = *copy ? fmemopen(copy, strlen(copy), "r") : fopen("/dev/null", "re");
	assert_non_null(in);
	while (strlen(got) < sizeof(got) - 1 && niwa_pages_next(in, line, sizeof(line), &area)) {
		bool out = niwa_pages_wanted(&area, NIWA_PAGES_OUT), back = niwa_pages_wanted(&area, NIWA_PAGES_IN);

		assert_true(area.begin < area.end);
		got[strlen(got)] = out && back ? 'b' : out ? 'o' : back ? 'i' : '-';
	}
	(void)fclose(in);
	assert_string_equal(got, want);
}

static void anonymous_memory_is_paged_and_that_of_files_is_not(void **state)
{
	check(HEAP, "b");
	check(CODE, "-");
	check(LOCKED, "-");
	check(VVAR, "-");
	check(HEAP CODE LOCKED VVAR HEAP, "b---b");
}

static void a_text_that_is_no_smaps_has_no_area(void **state)
{
	check("", "");
	check("nonsense\n\n-\n5-\n5-4 r\n", "");
	check("7f0000000000-7f0000200000 rw-p", "-");
	check("Rss: 5 kB\n" HEAP "Rss", "b");
}

static void the_areas_of_this_very_process_are_read_to_the_end(void **state)
{
	char line[4352] = "";
	struct niwa_pages_area area;
	uint64_t here = (uint64_t)(uintptr_t)&area, last = 0;
	FILE *in = fopen("/proc/self/smaps", "re");
	bool found = false;

	assert_non_null(in);
	while (niwa_pages_next(in, line, sizeof(line), &area)) {
		assert_true(area.begin >= last);
		last = area.end;
		found |= area.begin <= here && here < area.end;
	}
	(void)fclose(in);
	assert_true(found);
}

static void an_area_of_terabytes_has_no_more_pieces_than_one_of_a_few_gigabytes(void **state)
{
	struct niwa_pages_area area = {.begin = 0x10000, .end = 0x10000 + (UINT64_C(20) << 20)};

	assert_int_equal(niwa_pages_piece(&area), 1 << 20);
	area.end = area.begin + (UINT64_C(14) << 40);
	assert_true((area.end - area.begin) / niwa_pages_piece(&area) <= 4096);
}

static pid_t a_child(size_t bytes)
{
	pid_t pid = fork();
	char *memory;

	if (pid)
		return pid;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(1);
	memset(memory, 1, bytes);
	(void)kill(getpid(), SIGSTOP);
	for (size_t n = 0; n < bytes; n++)
		if (memory[n] != 1)
			_exit(2);
	_exit(0);
}

static int move(const char *procs, bool stop, uint64_t deadline_us, struct niwa_pages_job *job)
{
	*job = (struct niwa_pages_job){.way = NIWA_PAGES_OUT, .deadline_us = deadline_us};
	(void)snprintf(job->procs, sizeof(job->procs), "%s", procs);
	atomic_init(&job->stop, stop);
	return niwa_pages_move(job);
}

/* Without CAP_SYS_NICE the kernel refuses. */
static bool as_expected(int r)
{
	return r == 0 || (geteuid() != 0 && r == -EPERM);
}

static void memory_of_a_process_that_stands_still_is_paged_and_is_whole_afterwards(void **state)
{
	const size_t bytes = 8 << 20;
	char procs[] = "/tmp/niwa-test-procs.XXXXXX", text[64];
	struct niwa_pages_job job;
	pid_t pid = a_child(bytes);
	int fd = mkstemp(procs), status;

	assert_true(pid > 0 && fd >= 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	(void)snprintf(text, sizeof(text), "%d\n", (int)pid);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_true(as_expected(move(procs, false, niwa_now_us() + 30 * NIWA_SEC, &job)));
	assert_true(job.complete && job.processes == 1);
	assert_true(geteuid() != 0 || job.asked_bytes >= bytes);
	assert_true(as_expected(move(procs, true, niwa_now_us() + 30 * NIWA_SEC, &job)));
	assert_true(!job.complete && job.asked_bytes == 0);
	assert_true(as_expected(move(procs, false, 0, &job)));
	assert_true(!job.complete && job.asked_bytes == 0);
	(void)kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	/* it has ended */
	assert_int_equal(move(procs, false, niwa_now_us() + 30 * NIWA_SEC, &job), 0);
	assert_true(job.complete && job.processes == 0);
	(void)close(fd);
	(void)unlink(procs);
	assert_int_equal(move(procs, false, niwa_now_us() + NIWA_SEC, &job), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_memory_is_paged_and_that_of_files_is_not),
		cmocka_unit_test(a_text_that_is_no_smaps_has_no_area),
		cmocka_unit_test(the_areas_of_this_very_process_are_read_to_the_end),
		cmocka_unit_test(an_area_of_terabytes_has_no_more_pieces_than_one_of_a_few_gigabytes),
		cmocka_unit_test(memory_of_a_process_that_stands_still_is_paged_and_is_whole_afterwards),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
