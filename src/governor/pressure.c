/* SPDX-License-Identifier: MIT
 *
 * Reading and judging memory pressure.
 */
#include "governor/pressure.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Stalls also come from one app at its own limit; they count for the host where memory is not plentiful. */
#define SOME_MANY 400
#define FULL_MANY 100
#define PLENTY    4 /* a quarter of all memory is available: not the host's stalls */
#define STEP      64

static const char *line_of(const char *text, const char *key)
{
	size_t len = strlen(key);

	while (text && strncmp(text, key, len) != 0) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return text ? text + len : NULL;
}

int niwa_memory_read_info(const char *text, struct niwa_memory *memory)
{
	const struct {
		const char *key;
		uint64_t *at;
		bool needed;
	} lines[] = {{"MemTotal:", &memory->total_bytes, true},
		     {"MemAvailable:", &memory->available_bytes, true},
		     {"SwapTotal:", &memory->swap_bytes, false},
		     {"SwapFree:", &memory->swap_free_bytes, false}};

	for (size_t n = 0; n < NIWA_ARRAY_LEN(lines); n++) {
		const char *value = line_of(text, lines[n].key);

		if (!value && lines[n].needed)
			return -EBADMSG;
		*lines[n].at = value ? strtoull(value, NULL, 10) * 1024 : 0;
	}
	return 0;
}

static uint64_t stalled(const char *text, const char *key)
{
	const char *line = line_of(text, key), *end, *at;

	if (!line)
		return 0;
	end = strchr(line, '\n');
	at = strstr(line, "total=");
	return at && (!end || at < end) ? strtoull(at + strlen("total="), NULL, 10) : 0;
}

int niwa_memory_read_stalls(const char *text, struct niwa_memory *memory)
{
	if (!line_of(text, "some "))
		return -EBADMSG;
	memory->some_us = stalled(text, "some ");
	memory->full_us = stalled(text, "full ");
	return 0;
}

static unsigned thousandths(uint64_t before, uint64_t now, uint64_t elapsed_us)
{
	uint64_t part = now > before && elapsed_us ? (now - before) * 1000 / elapsed_us : 0;

	return part > 1000 ? 1000 : (unsigned)part;
}

void niwa_pressure_judge(const struct niwa_memory *before, const struct niwa_memory *now, uint64_t elapsed_us,
			 uint64_t reserve_bytes, struct niwa_pressure *ret)
{
	struct niwa_pressure p = {0};
	uint64_t spare = now->available_bytes > reserve_bytes ? now->available_bytes - reserve_bytes : 0;

	if (before) {
		p.some = thousandths(before->some_us, now->some_us, elapsed_us);
		p.full = thousandths(before->full_us, now->full_us, elapsed_us);
	}
	if (reserve_bytes && spare < 3 * reserve_bytes)
		p.scarcity = (unsigned)(1000 - spare * 1000 / (3 * reserve_bytes));
	if (now->available_bytes < reserve_bytes)
		p.wanted_bytes = reserve_bytes - now->available_bytes + reserve_bytes / 8;
	if ((p.some >= SOME_MANY || p.full >= FULL_MANY) && now->available_bytes < now->total_bytes / PLENTY &&
	    p.wanted_bytes < now->total_bytes / STEP) {
		p.wanted_bytes = now->total_bytes / STEP;
		p.scarcity = 1000;
	}
	*ret = p;
}
