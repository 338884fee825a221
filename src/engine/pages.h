/* SPDX-License-Identifier: MIT
 *
 * Which memory of a process goes to swap, from /proc/PID/smaps, and moving it. For threads: touches nothing of the
 * engine.
 */
#ifndef NIWA_ENGINE_PAGES_H
#define NIWA_ENGINE_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum niwa_pages_way {
	NIWA_PAGES_OUT, /* what is anonymous and resident */
	NIWA_PAGES_IN,  /* what is in swap */
};

struct niwa_pages_area {
	uint64_t begin, end;
	uint64_t resident_kib, anonymous_kib, swapped_kib;
	bool locked; /* or not ordinary memory: left alone */
};

/* The next area of an smaps text; false at its end. line: of size bytes, holds the line that was read ahead; "" at the
 * beginning. */
bool niwa_pages_next(FILE *smaps, char *line, size_t size, struct niwa_pages_area *ret);
/* Should it be moved this way? */
bool niwa_pages_wanted(const struct niwa_pages_area *area, enum niwa_pages_way way);

/* It is moved in pieces of so many bytes, between which a wake is noticed. */
uint64_t niwa_pages_piece(const struct niwa_pages_area *area);

struct niwa_pages_job {
	char procs[512]; /* cgroup.procs of the group */
	enum niwa_pages_way way;
	uint64_t deadline_us; /* CLOCK_MONOTONIC */
	atomic_bool stop;
	uint64_t asked_bytes, processes;
	bool complete; /* neither stopped nor late */
};
/* 0 or -errno of the first process that refused; those after it are tried all the same. */
int niwa_pages_move(struct niwa_pages_job *job);

#endif
