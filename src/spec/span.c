/* SPDX-License-Identifier: MIT
 *
 * Hours of the week: "Mon-Fri 08:00-18:00", "22:00-06:00", "Sat,Sun".
 */
#include "spec/times.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "spec/times_private.h"

#define DAY_MINUTES 1440
#define ALL_DAYS    0x7f
#define DAYS_AHEAD  15 /* the only hours of a week may be those that the clocks skip */

static bool read_day(const char **at, unsigned *ret)
{
	size_t len = 0;
	int day;

	while (isalpha((unsigned char)(*at)[len]))
		len++;
	day = niwa_name_index(*at, len, niwa_weekday_names, 7);
	if (day < 0)
		return false;
	*at += len;
	*ret = (unsigned)day;
	return true;
}

/* "Mon-Fri,Sun"; a range may go over the end of the week. */
static bool read_days(const char **at, uint8_t *ret)
{
	unsigned first, last;

	for (;; (*at)++) {
		if (!read_day(at, &first))
			return false;
		last = first;
		if (**at == '-' && ((*at)++, !read_day(at, &last)))
			return false;
		for (unsigned n = first;; n = (n + 1) % 7) {
			*ret |= (uint8_t)(1u << n);
			if (n == last)
				break;
		}
		if (**at != ',')
			return true;
	}
}

/* "08:00"; 24:00 is the end of a day. */
static bool read_time(const char **at, uint16_t *ret)
{
	const char *s = *at;
	unsigned hour, minute;

	if (!isdigit((unsigned char)s[0]) || !isdigit((unsigned char)s[1]) || s[2] != ':' ||
	    !isdigit((unsigned char)s[3]) || !isdigit((unsigned char)s[4]))
		return false;
	hour = (unsigned)(s[0] - '0') * 10 + (unsigned)(s[1] - '0');
	minute = (unsigned)(s[3] - '0') * 10 + (unsigned)(s[4] - '0');
	*at += 5;
	*ret = (uint16_t)(hour * 60 + minute);
	return minute < 60 && *ret <= DAY_MINUTES;
}

static bool read_span(const char *at, struct niwa_span *span)
{
	*span = (struct niwa_span){.to = DAY_MINUTES};
	if (isalpha((unsigned char)*at)) {
		if (!read_days(&at, &span->weekdays))
			return false;
		if (!*at)
			return true;
		if (*at++ != ' ')
			return false;
	} else {
		span->weekdays = ALL_DAYS;
	}
	return read_time(&at, &span->from) && *at++ == '-' && read_time(&at, &span->to) && !*at &&
	       span->from != span->to && span->from < DAY_MINUTES;
}

int niwa_span_parse(const char *text, struct niwa_span *ret, struct niwa_error *err)
{
	struct niwa_span span;

	if (!read_span(text, &span))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "allowed: days, hours or both, such as Mon-Fri 08:00-18:00, Sat,Sun or 22:00-06:00");
	*ret = span;
	return 0;
}

void niwa_spans_look(const struct niwa_span *spans, unsigned count, const struct niwa_zone *zone, int64_t at,
		     int64_t *ret_end, int64_t *ret_next)
{
	int64_t today = niwa_day_floor(at + niwa_zone_offset(zone, at));

	*ret_end = 0;
	*ret_next = INT64_MAX;
	for (unsigned i = 0; i < count; i++) {
		const struct niwa_span *s = &spans[i];

		for (int64_t day = today - 2; day < today + DAYS_AHEAD; day++) {
			int64_t begin[2], end[2];

			if (!(s->weekdays >> niwa_day_week(day) & 1))
				continue;
			(void)niwa_zone_instants(zone, day * NIWA_DAY_S + s->from * 60, begin);
			(void)niwa_zone_instants(zone, (day + (s->to <= s->from)) * NIWA_DAY_S + s->to * 60, end);
			if (begin[0] >= end[1] || end[1] <= at)
				continue;
			if (begin[0] > at) {
				if (begin[0] < *ret_next)
					*ret_next = begin[0];
				break;
			}
			if (end[1] > *ret_end)
				*ret_end = end[1];
		}
	}
}
