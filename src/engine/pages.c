/* SPDX-License-Identifier: MIT
 *
 * process_madvise(2) over the areas of a process, in pieces, so that a wake stops it within milliseconds. Memory of
 * files is left to the kernel: it is clean, often shared, and would come back from a disk.
 */
#include "engine/pages.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define PIECE_BYTES   (UINT64_C(1) << 20)
#define PIECES_MAX    4096 /* of an area: of one of terabytes hardly anything is there */
#define LINE_ROOM     4352 /* a path, and what stands before it */
#define PROCESSES_MAX 1024

static bool is_header(const char *line, struct niwa_pages_area *area)
{
	char *dash, *rest;
	uint64_t begin = strtoull(line, &dash, 16), end;

	if (dash == line || *dash != '-')
		return false;
	end = strtoull(dash + 1, &rest, 16);
	if (*rest != ' ' || end <= begin)
		return false;
	*area = (struct niwa_pages_area){.begin = begin, .end = end};
	return true;
}

static void read_field(const char *line, struct niwa_pages_area *area)
{
	if (strncmp(line, "Rss:", 4) == 0)
		area->resident_kib = strtoull(line + 4, NULL, 10);
	else if (strncmp(line, "Anonymous:", 10) == 0)
		area->anonymous_kib = strtoull(line + 10, NULL, 10);
	else if (strncmp(line, "Swap:", 5) == 0)
		area->swapped_kib = strtoull(line + 5, NULL, 10);
	else if (strncmp(line, "VmFlags:", 8) == 0)
		area->locked = strstr(line, " lo") || strstr(line, " io") || strstr(line, " pf") || strstr(line, " ht");
}

bool niwa_pages_next(FILE *smaps, char *line, size_t size, struct niwa_pages_area *ret)
{
	struct niwa_pages_area area, other;

	while (!is_header(line, &area))
		if (!fgets(line, (int)size, smaps))
			return false;
	while (fgets(line, (int)size, smaps) && !is_header(line, &other))
		read_field(line, &area);
	if (feof(smaps))
		line[0] = '\0';
	*ret = area;
	return true;
}

bool niwa_pages_wanted(const struct niwa_pages_area *area, enum niwa_pages_way way)
{
	if (area->locked)
		return false;
	if (way == NIWA_PAGES_IN)
		return area->swapped_kib > 0;
	return area->anonymous_kib > 0 && area->anonymous_kib >= area->resident_kib / 2;
}

static bool is_over(struct niwa_pages_job *job)
{
	return atomic_load(&job->stop) || niwa_now_us() >= job->deadline_us;
}

uint64_t niwa_pages_piece(const struct niwa_pages_area *area)
{
	uint64_t pieces = (area->end - area->begin) / PIECE_BYTES / PIECES_MAX;

	return (pieces + 1) * PIECE_BYTES;
}

static int move_area(struct niwa_pages_job *job, int pidfd, const struct niwa_pages_area *area)
{
	uint64_t at = area->begin, most = niwa_pages_piece(area);

	while (at < area->end && !is_over(job)) {
		uint64_t piece = area->end - at < most ? area->end - at : most;
		struct iovec iov = {.iov_base = (void *)(uintptr_t)at, .iov_len = piece};

		/* a sparse area has pieces of nothing: they cost a walk of its page tables */
		if (syscall(SYS_process_madvise, pidfd, &iov, 1UL,
			    job->way == NIWA_PAGES_OUT ? MADV_PAGEOUT : MADV_WILLNEED, 0U) < 0)
			return -errno;
		at += piece;
	}
	job->asked_bytes += 1024 * (job->way == NIWA_PAGES_OUT ? area->anonymous_kib : area->swapped_kib);
	return 0;
}

/* The group is read again behind the pidfd: a number that was used anew in between is not of it. */
static bool is_in_group(const struct niwa_pages_job *job, pid_t pid)
{
	FILE *f = fopen(job->procs, "re");
	bool found = false;
	int other;

	while (f && !found && fscanf(f, "%d", &other) == 1)
		found = other == pid;
	if (f)
		(void)fclose(f); /* read only */
	return found;
}

static int move_process(struct niwa_pages_job *job, pid_t pid)
{
	NIWA_AUTO_FD pidfd = pidfd_open(pid, 0);
	char path[64], line[LINE_ROOM] = "";
	struct niwa_pages_area area;
	FILE *smaps;
	int r = 0;

	if (pidfd < 0 || !is_in_group(job, pid))
		return 0; /* it has ended */
	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	smaps = fopen(path, "re");
	if (!smaps)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	while (!is_over(job) && niwa_pages_next(smaps, line, sizeof(line), &area))
		if (niwa_pages_wanted(&area, job->way)) {
			int one = move_area(job, pidfd, &area);

			if (one < 0 && r == 0)
				r = one;
		}
	(void)fclose(smaps); /* read only */
	job->processes++;
	return r == -ESRCH ? 0 : r;
}

int niwa_pages_move(struct niwa_pages_job *job)
{
	pid_t pids[PROCESSES_MAX];
	unsigned count = 0;
	int pid, r = 0;
	FILE *f = fopen(job->procs, "re");

	if (!f)
		return -errno;
	while (count < PROCESSES_MAX && fscanf(f, "%d", &pid) == 1)
		pids[count++] = pid;
	(void)fclose(f); /* read only */
	for (unsigned n = 0; n < count && !is_over(job); n++) {
		int one = move_process(job, pids[n]);

		if (one < 0 && r == 0)
			r = one;
	}
	job->complete = !is_over(job);
	return r;
}
