/* SPDX-License-Identifier: MIT
 *
 * The five fields of cron: read, and counted on from an instant.
 */
#include "spec/times.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"
#include "spec/times_private.h"

#define DAYS_AHEAD (45 * 366) /* 29 February on a Sunday is 40 years away at most */
#define TEXT_MAX   200

const char *const niwa_weekday_names[7] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
static const char *const months[12] = {"jan", "feb", "mar", "apr", "may", "jun",
				       "jul", "aug", "sep", "oct", "nov", "dec"};

enum field { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct {
	const char *what;
	unsigned min, max;
	const char *const *names; /* the first is of `min` */
	size_t name_count;
	const char *allowed;
} fields[FIELDS] = {
	[MINUTE] = {"minute", 0, 59, NULL, 0, "0 to 59"},
	[HOUR] = {"hour", 0, 23, NULL, 0, "0 to 23"},
	[DAY] = {"day of the month", 1, 31, NULL, 0, "1 to 31"},
	[MONTH] = {"month", 1, 12, months, 12, "1 to 12 or jan to dec"},
	[WEEKDAY] = {"day of the week", 0, 7, niwa_weekday_names, 7, "0 to 7 or sun to sat"},
};

static const struct {
	const char *name, *stands_for;
} shorts[] = {
	{"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
};

int niwa_name_index(const char *text, size_t len, const char *const *names, size_t count)
{
	for (size_t i = 0; len == 3 && i < count; i++)
		if (strncasecmp(text, names[i], 3) == 0)
			return (int)i;
	return -1;
}

/* A number or a name. */
static bool read_value(enum field f, const char **at, unsigned *ret)
{
	const char *s = *at;
	size_t len = 0;
	int name;

	while (isalnum((unsigned char)s[len]))
		len++;
	name = niwa_name_index(s, len, fields[f].names, fields[f].name_count);
	*at = s + len;
	if (name >= 0) {
		*ret = (unsigned)name + fields[f].min;
		return true;
	}
	*ret = 0;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		*ret = *ret * 10 + (unsigned)(s[i] - '0');
	}
	return len > 0 && len <= 2 && *ret >= fields[f].min && *ret <= fields[f].max;
}

/* A value, a range or '*', with a step behind the latter two: *at ends at ',' or the end. */
static bool read_item(enum field f, const char **at, uint64_t *bits)
{
	unsigned first = fields[f].min, last = fields[f].max, step = 1, size = fields[f].max - fields[f].min + 1;
	bool range = true;

	if (**at == '*') {
		(*at)++;
		if (f == WEEKDAY)
			last = 6; /* else a step would meet Sunday from both ends */
	} else {
		if (!read_value(f, at, &first))
			return false;
		last = first;
		range = **at == '-';
		if (range && ((*at)++, !read_value(f, at, &last)))
			return false;
		if (f == WEEKDAY && range && last == 0)
			last = 7; /* fri-sun */
		if (first > last)
			return false;
	}
	if (**at == '/') {
		size_t digits = strspn(++*at, "0123456789");

		if (!range || digits == 0 || digits > 2)
			return false;
		step = (unsigned)((*at)[0] - '0');
		if (digits == 2)
			step = step * 10 + (unsigned)((*at)[1] - '0');
		*at += digits;
		if (step == 0 || step >= size)
			return false;
	}
	for (unsigned n = first; n <= last; n += step)
		*bits |= UINT64_C(1) << (f == WEEKDAY ? n % 7 : n);
	return **at == '\0' || **at == ',';
}

static int read_field(enum field f, const char *text, uint64_t *ret, struct niwa_error *err)
{
	const char *at = text;
	char quoted[48];

	*ret = 0;
	while (read_item(f, &at, ret)) {
		if (!*at)
			return 0;
		at++; /* a comma: one more has to follow */
	}
	return niwa_fail(err, NIWA_CALLER, 0,
			 "%s '%s'; allowed: %s, ranges such as %s, lists with ',', * and steps "
			 "such as */%u",
			 fields[f].what, niwa_quote(text, strlen(text), quoted, sizeof(quoted)), fields[f].allowed,
			 f == WEEKDAY ? "mon-fri"
			 : f == MONTH ? "jun-aug"
				      : "1-5",
			 f == WEEKDAY ? 2 : 3);
}

/* Splits into the five fields, in place. */
static bool split(char *text, char *ret[FIELDS])
{
	char *save = NULL;
	unsigned n = 0;

	for (char *f = strtok_r(text, " \t", &save); f; f = strtok_r(NULL, " \t", &save)) {
		if (n == FIELDS)
			return false;
		ret[n++] = f;
	}
	return n == FIELDS;
}

static bool day_matches(const struct niwa_cron *c, int64_t day)
{
	unsigned month, of_month;
	int64_t year;
	bool a, b;

	niwa_day_split(day, &year, &month, &of_month);
	a = c->days >> of_month & 1;
	b = c->weekdays >> niwa_day_week(day) & 1;
	return (c->months >> month & 1) && (c->any_day || c->any_weekday ? a && b : a || b);
}

int niwa_cron_parse(const char *text, struct niwa_cron *ret, struct niwa_error *err)
{
	char copy[TEXT_MAX], *field[FIELDS];
	uint64_t bits[FIELDS];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(shorts); i++)
		if (strcmp(text, shorts[i].name) == 0)
			text = shorts[i].stands_for;
	if (strlen(text) >= sizeof(copy))
		return niwa_fail(err, NIWA_CALLER, 0, "longer than %d characters", TEXT_MAX - 1);
	(void)snprintf(copy, sizeof(copy), "%s", text);
	if (!split(copy, field))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "allowed: five fields as in crontab(5): minute, hour, day of the month, month, day of "
				 "the week; or @hourly, @daily, @weekly, @monthly, @yearly");
	for (int f = 0; f < FIELDS; f++)
		if (read_field((enum field)f, field[f], &bits[f], err) < 0)
			return -EINVAL;
	*ret = (struct niwa_cron){.minutes = bits[MINUTE],
				  .hours = (uint32_t)bits[HOUR],
				  .days = (uint32_t)bits[DAY],
				  .months = (uint16_t)bits[MONTH],
				  .weekdays = (uint8_t)bits[WEEKDAY],
				  .any_day = *field[DAY] == '*',
				  .any_weekday = *field[WEEKDAY] == '*',
				  .follows = *field[HOUR] == '*' || *field[MINUTE] == '*'};
	if (niwa_cron_next(ret, NULL, 0) == INT64_MAX)
		return niwa_fail(err, NIWA_CALLER, 0, "a day that never comes");
	return 0;
}

/* The first minute of the day from `from` on that matches; -1: none. */
static int first_minute(const struct niwa_cron *c, unsigned from)
{
	for (unsigned hour = from / 60; hour < 24; hour++) {
		uint64_t minutes = c->minutes;

		if (!(c->hours >> hour & 1))
			continue;
		if (hour == from / 60)
			minutes &= ~UINT64_C(0) << from % 60;
		if (minutes)
			return (int)(hour * 60) + __builtin_ctzll(minutes);
	}
	return -1;
}

static void take_if_next(int64_t at, int64_t after, int64_t *best)
{
	if (at > after && at < *best)
		*best = at;
}

/* A day on which clocks may change: each of its times is looked at. */
static void look_at_change(const struct niwa_cron *c, const struct niwa_zone *zone, int64_t day, int64_t after,
			   int64_t *best)
{
	for (int minute = first_minute(c, 0); minute >= 0; minute = first_minute(c, (unsigned)minute + 1)) {
		int64_t at[2];
		int count = niwa_zone_instants(zone, day * NIWA_DAY_S + minute * 60, at);

		if (count == 0 && c->follows)
			continue;
		take_if_next(at[0], after, best);
		if (count == 2 && c->follows)
			take_if_next(at[1], after, best);
	}
}

static void look_at_day(const struct niwa_cron *c, const struct niwa_zone *zone, int64_t day, int64_t after,
			int64_t *best)
{
	int64_t midnight = day * NIWA_DAY_S, since;
	int32_t offset = niwa_zone_offset(zone, midnight - NIWA_DAY_S);
	int minute;

	if (niwa_zone_offset(zone, midnight + 2 * NIWA_DAY_S) != offset) {
		look_at_change(c, zone, day, after, best);
		return;
	}
	since = after + offset - midnight; /* of this day, seconds that are over */
	if (since >= 1439 * 60)
		return;
	minute = first_minute(c, since < 0 ? 0 : (unsigned)(since / 60) + 1);
	if (minute >= 0)
		take_if_next(midnight + minute * 60 - offset, after, best);
}

/* The first day from this one on that is in one of its months. */
static int64_t skip_months(const struct niwa_cron *c, int64_t day)
{
	unsigned month, of_month;
	int64_t year;

	niwa_day_split(day, &year, &month, &of_month);
	if (c->months >> month & 1)
		return day;
	do {
		year += month == 12;
		month = month % 12 + 1;
	} while (!(c->months >> month & 1));
	return niwa_day_of(year, month, 1);
}

int64_t niwa_cron_next(const struct niwa_cron *cron, const struct niwa_zone *zone, int64_t after)
{
	/* a day before: clocks that go back at midnight show the end of a day once more */
	int64_t day = niwa_day_floor(after + niwa_zone_offset(zone, after)) - 1, end = day + DAYS_AHEAD;
	int64_t best = INT64_MAX;

	for (; day < end; day++) {
		bool found = best != INT64_MAX;

		if (!found)
			day = skip_months(cron, day);
		if (day_matches(cron, day))
			look_at_day(cron, zone, day, after, &best);
		if (found) /* for the same reason a day more */
			break;
	}
	return best;
}
