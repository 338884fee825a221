/* SPDX-License-Identifier: MIT
 *
 * Linux has the nice value and the policy per thread, and 0 means the calling one.
 */
#include "base/priority.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE_LOWER    5
#define NICE_RAISED   (-10)
#define SLICE_NS      UINT64_C(100000) /* the shortest that Linux has */
#define RESET_ON_FORK 1

struct attr { /* struct sched_attr, which glibc has only of late */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Since Linux 6.12 the runtime is the slice; before, it means nothing. */
static int set(int nice)
{
	const struct attr attr = {
		.size = sizeof(attr),
		.policy = SCHED_OTHER,
		.flags = RESET_ON_FORK,
		.nice = nice,
		.runtime = SLICE_NS,
	};

	return (int)syscall(SYS_sched_setattr, 0, &attr, 0);
}

void niwa_priority_raise(void)
{
	if (set(NICE_RAISED) < 0)
		(void)set(getpriority(PRIO_PROCESS, 0)); /* the slice needs no right; without it, it is only slower */
}

void niwa_priority_lower(void)
{
	(void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}); /* preempts nobody when it wakes */
	if (getpriority(PRIO_PROCESS, 0) < NICE_LOWER)
		(void)setpriority(PRIO_PROCESS, 0, NICE_LOWER); /* without it only others are slower */
}
