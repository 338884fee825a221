/* SPDX-License-Identifier: MIT
 *
 * Times that come again: those of cron ("0,30 * * * *"), and hours of the week ("Mon-Fri 08:00-18:00"). Pure: text in,
 * a small struct out, and when it comes next after an instant. Where clocks change it is cron's custom:
 *   a time that the clocks skip comes at the moment they jump; one that they show twice comes the first time;
 *   but with a field of hours or minutes that begins with '*' (each hour, every quarter) it is what the clocks show
 * that counts: skipped times do not come, and those shown twice come twice. Hours of the week begin at the jump when
 * the clocks skip their beginning, and end the second time the clocks show their end.
 */
#ifndef NIWA_SPEC_TIMES_H
#define NIWA_SPEC_TIMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "spec/zone.h"

struct niwa_cron { /* a bit a value */
	uint64_t minutes;
	uint32_t hours, days;      /* days: 1 to 31 */
	uint16_t months;           /* 1 to 12 */
	uint8_t weekdays;          /* Sunday 0 */
	bool any_day, any_weekday; /* the field begins with '*'; when neither does, either of the two is enough */
	bool follows;              /* the clocks, see above */
};

struct niwa_span {
	uint8_t weekdays;  /* that it begins on, Sunday bit 0 */
	uint16_t from, to; /* minutes of the day; not later than from: of the next day */
};

/* err->msg: "minute '61': allowed: 0 to 59, ...". A time that never comes (31 February) is refused. */
int niwa_cron_parse(const char *text, struct niwa_cron *ret, struct niwa_error *err);
int niwa_span_parse(const char *text, struct niwa_span *ret, struct niwa_error *err);

/* The first time after `after`; INT64_MAX: none in the next 45 years. */
int64_t niwa_cron_next(const struct niwa_cron *cron, const struct niwa_zone *zone, int64_t after);
/* Whether one of the spans is on at `at`: ret_end is then the end of the one that ends last, else 0. ret_next: the next
 * beginning after `at`, INT64_MAX: none. */
void niwa_spans_look(const struct niwa_span *spans, unsigned count, const struct niwa_zone *zone, int64_t at,
		     int64_t *ret_end, int64_t *ret_next);

#endif
