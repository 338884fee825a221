/* SPDX-License-Identifier: MIT
 *
 * What is kept of an app's past over a restart of niwad, as bytes: when it was visited last, how long its wakes take,
 * what it needs, and the gaps between its visits. Small, because an app that is visited is written again and again:
 * some 15 bytes and 3 for each bucket of gaps that is not empty. Pure. What is read back may be anything: all of it is
 * checked, and what cannot be is nothing known.
 */
#ifndef NIWA_ENGINE_PAST_RECORD_H
#define NIWA_ENGINE_PAST_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "governor/gaps.h"

#define NIWA_PAST_RECORD_MAX 160

struct niwa_past_record {
	uint32_t boot;        /* of the host, in which: */
	uint64_t visited_us;  /* CLOCK_MONOTONIC, in whole milliseconds; 0: never */
	uint64_t woke_us;     /* a wake that is no thaw takes so long; 0: not known */
	uint64_t needs_bytes; /* in whole KiB; 0: not known */
	struct niwa_gaps gaps;
};

size_t niwa_past_record_pack(const struct niwa_past_record *record, uint8_t buf[NIWA_PAST_RECORD_MAX]);
/* False: this is no record of ours, or one of a later version; nothing is written. */
bool niwa_past_record_unpack(const uint8_t *data, size_t len, struct niwa_past_record *ret);

#endif
