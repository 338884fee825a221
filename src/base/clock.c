/* SPDX-License-Identifier: MIT
 *
 * Clocks.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts); /* cannot fail for these clocks */
	return (uint64_t)ts.tv_sec * NIWA_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t niwa_now_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

uint64_t niwa_realtime_us(void)
{
	return read_us(CLOCK_REALTIME);
}

char *niwa_time_format(uint64_t realtime_us, char *buf, size_t size)
{
	time_t sec = (time_t)(realtime_us / NIWA_SEC);
	struct tm tm;
	size_t n;

	(void)gmtime_r(&sec, &tm);
	n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, size - n, ".%06uZ", (unsigned)(realtime_us % NIWA_SEC));
	return buf;
}
