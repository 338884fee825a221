/* SPDX-License-Identifier: MIT
 *
 * Is memory short? Pure: from the texts of /proc/meminfo and /proc/pressure/memory (Documentation/accounting/psi.rst)
 * to how much should be freed and how dear memory is.
 */
#ifndef NIWA_GOVERNOR_PRESSURE_H
#define NIWA_GOVERNOR_PRESSURE_H

#include <stdint.h>

struct niwa_memory {
	uint64_t total_bytes, available_bytes, swap_bytes, swap_free_bytes;
	uint64_t some_us, full_us; /* stalled since the boot: at least one, all at once; 0 without PSI */
};

/* 0, or -EBADMSG: it does not say how much is available. */
int niwa_memory_read_info(const char *text, struct niwa_memory *memory);
int niwa_memory_read_stalls(const char *text, struct niwa_memory *memory);

struct niwa_pressure {
	uint64_t wanted_bytes; /* to be freed; 0: there is enough */
	unsigned scarcity;     /* 0 with four times the reserve available, 1000 at the reserve */
	unsigned some, full;   /* stalled, thousandths of the time since the sample before */
};

/* before: of elapsed_us ago; NULL: there is none, stalls are not judged. */
void niwa_pressure_judge(const struct niwa_memory *before, const struct niwa_memory *now, uint64_t elapsed_us,
			 uint64_t reserve_bytes, struct niwa_pressure *ret);

#endif
