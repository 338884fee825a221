/* SPDX-License-Identifier: MIT
 *
 * The age of kept memory.
 */
#include "engine/age.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* The first 32 bits of the kernel's random name of this boot; 0: not known. */
static uint64_t this_boot(void)
{
	NIWA_AUTO_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[9] = "";

	return fd >= 0 && read(fd, text, 8) == 8 ? strtoul(text, NULL, 16) : 0;
}

void niwa_age_note(struct niwa_manifest *m, uint64_t age_us)
{
	m->age_us = age_us;
	m->host_us = niwa_now_us();
	m->boot = this_boot();
}

uint64_t niwa_age_now(const struct niwa_manifest *m)
{
	bool same = m->boot && m->boot == this_boot();
	uint64_t then = same ? m->host_us : m->taken_us, now = same ? niwa_now_us() : niwa_realtime_us();

	return m->age_us + (now > then ? now - then : 0);
}
