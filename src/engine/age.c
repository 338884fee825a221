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

uint32_t niwa_age_boot(void)
{
	NIWA_AUTO_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[9] = "";

	return fd >= 0 && read(fd, text, 8) == 8 ? (uint32_t)strtoul(text, NULL, 16) : 0;
}

void niwa_age_note(struct niwa_manifest *m, uint64_t age_us)
{
	m->age_us = age_us;
	m->host_us = niwa_now_us();
	m->boot = niwa_age_boot();
}

uint64_t niwa_age_now(const struct niwa_manifest *m)
{
	bool same = m->boot && m->boot == niwa_age_boot();
	uint64_t then = same ? m->host_us : m->taken_us, now = same ? niwa_now_us() : niwa_realtime_us();

	return m->age_us + (now > then ? now - then : 0);
}
