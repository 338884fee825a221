/* SPDX-License-Identifier: MIT
 *
 * Times and sizes as people read them.
 */
#include "cli/human.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"

char *niwa_human_took(uint64_t us, char *buf, size_t size)
{
	if (us < 1000)
		(void)snprintf(buf, size, "%" PRIu64 " us", us);
	else if (us < 999950)
		(void)snprintf(buf, size, "%.1f ms", (double)us / 1e3);
	else if (us < 100 * NIWA_SEC)
		(void)snprintf(buf, size, "%.2f s", (double)us / 1e6);
	else
		(void)snprintf(buf, size, "%" PRIu64 " min", us / (60 * NIWA_SEC));
	return buf;
}

char *niwa_human_ago(uint64_t at_us, uint64_t now_us, char *buf, size_t size)
{
	static const struct {
		uint64_t below, unit;
		const char *name;
	} steps[] = {
		{60, 1, "s"},
		{3600, 60, "min"},
		{48 * 3600, 3600, "h"},
		{UINT64_MAX, 24 * 3600, "d"},
	};
	uint64_t s = now_us > at_us ? (now_us - at_us) / NIWA_SEC : 0;

	if (!at_us)
		(void)snprintf(buf, size, "-");
	else if (s == 0)
		(void)snprintf(buf, size, "now");
	for (size_t i = 0; at_us && s && i < NIWA_ARRAY_LEN(steps); i++) {
		if (s < steps[i].below) {
			(void)snprintf(buf, size, "%" PRIu64 " %s ago", s / steps[i].unit, steps[i].name);
			break;
		}
	}
	return buf;
}

char *niwa_human_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 && unit + 1 < NIWA_ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	if (unit == 0)
		(void)snprintf(buf, size, bytes ? "%" PRIu64 " B" : "%" PRIu64, bytes);
	else
		(void)snprintf(buf, size, "%.1f %s", value, units[unit]);
	return buf;
}
