/* SPDX-License-Identifier: MIT
 *
 * Linux has nice value, policy and slice per thread, and 0 means the calling one.
 */
#include "base/priority.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE_LOWER    5
#define NICE_RAISED   (-10)
#define SLICE_MIN_NS  UINT64_C(100000) /* the shortest and the longest that Linux has */
#define SLICE_MAX_NS  UINT64_C(100000000)
#define RESET_ON_FORK 1

struct attr { /* struct sched_attr, which glibc has only of late */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Since Linux 6.12 the runtime is the slice; before, it means nothing. Who has the shorter one need not wait for the
 * end of the other's. */
static int set(uint32_t policy, uint64_t flags, int nice, uint64_t slice_ns)
{
	const struct attr attr = {
		.size = sizeof(attr), .policy = policy, .flags = flags, .nice = nice, .runtime = slice_ns};

	return (int)syscall(SYS_sched_setattr, 0, &attr, 0);
}

void niwa_priority_lower(void)
{
	int nice = getpriority(PRIO_PROCESS, 0);

	/* batch: preempts nobody when it wakes. Without all this only others are slower */
	(void)set(SCHED_BATCH, 0, nice < NICE_LOWER ? NICE_LOWER : nice, SLICE_MAX_NS);
}

void niwa_priority_raise(void)
{
	if (set(SCHED_OTHER, RESET_ON_FORK, NICE_RAISED, SLICE_MIN_NS) < 0) /* the slice needs no right */
		(void)set(SCHED_OTHER, RESET_ON_FORK, getpriority(PRIO_PROCESS, 0), SLICE_MIN_NS);
}
