/* SPDX-License-Identifier: MIT
 *
 * Tests of time zones and of times that come again. Zones are made here from their rules, so that no file of the host
 * is needed; the calendar is checked against the library's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/memory.h"
#include "spec/times.h"

#define VIENNA  "CET-1CEST,M3.5.0,M10.5.0/3"
#define CHATHAM "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45"
#define HAVANA  "CST5CDT,M3.2.0/0,M11.1.0/1" /* at midnight */
#define INDIA   "IST-5:30"

static void put32(uint8_t **p, uint32_t n)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*(*p)++ = (uint8_t)(n >> shift);
}

static void put64(uint8_t **p, int64_t n)
{
	put32(p, (uint32_t)((uint64_t)n >> 32));
	put32(p, (uint32_t)n);
}

static void put_header(uint8_t **p, uint32_t times, uint32_t types)
{
	memcpy(*p, "TZif2", 5);
	memset(*p + 5, 0, 15);
	*p += 20;
	for (int i = 0; i < 3; i++)
		put32(p, 0);
	put32(p, times);
	put32(p, types);
	put32(p, 4);
}

/* A file of changes to offsets, in turn, and a rule. */
static size_t make_file(uint8_t *file, const int64_t *at, const int32_t *offsets, uint32_t count, const char *rule)
{
	uint8_t *p = file;

	put_header(&p, 0, 1);
	memset(p, 0, 10);
	p += 10;
	put_header(&p, count, count + 1);
	for (uint32_t i = 0; i < count; i++)
		put64(&p, at[i]);
	for (uint32_t i = 0; i < count; i++)
		*p++ = (uint8_t)(i + 1);
	for (uint32_t i = 0; i <= count; i++) {
		put32(&p, (uint32_t)offsets[i]);
		*p++ = 0;
		*p++ = 0;
	}
	memcpy(p, "ABC", 4);
	p += 4;
	return (size_t)(p - file) + (size_t)sprintf((char *)p, "\n%s\n", rule);
}

static struct niwa_zone *zone_of(const char *rule)
{
	static const int32_t none[] = {0};
	struct niwa_zone *zone = NULL;
	struct niwa_error err = {0};
	uint8_t file[512];

	if (niwa_zone_parse(file, make_file(file, NULL, none, 0, rule), &zone, &err) < 0)
		print_error("%s: %s\n", rule, err.msg);
	assert_non_null(zone);
	return zone;
}

/* "2026-03-29 02:30" or with ":ss", as if it were UTC. */
static int64_t at(const char *text)
{
	int year, month, day, hour, minute, second = 0;

	assert_true(sscanf(text, "%d-%d-%d %d:%d:%d", &year, &month, &day, &hour, &minute, &second) >= 5);
	return niwa_day_of(year, (unsigned)month, (unsigned)day) * NIWA_DAY_S + hour * 3600 + minute * 60 + second;
}

static const char *text_of(int64_t seconds)
{
	static char text[4][64];
	static int turn;
	unsigned month, day;
	int64_t year, of_day = seconds - niwa_day_floor(seconds) * NIWA_DAY_S;
	char *t = text[turn++ % 4];

	if (seconds == INT64_MAX)
		return "never";
	niwa_day_split(niwa_day_floor(seconds), &year, &month, &day);
	(void)snprintf(t, 64, "%d-%02u-%02u %02d:%02d", (int)year, month, day, (int)(of_day / 3600),
		       (int)(of_day / 60 % 60));
	return t;
}

static void the_calendar_is_the_library_s(void **state)
{
	for (int64_t day = -200000; day < 200000; day += 7) {
		time_t seconds = (time_t)(day * NIWA_DAY_S);
		struct tm tm;
		int64_t year;
		unsigned month, of_month;

		assert_non_null(gmtime_r(&seconds, &tm));
		niwa_day_split(day, &year, &month, &of_month);
		assert_int_equal(year, tm.tm_year + 1900);
		assert_int_equal(month, tm.tm_mon + 1);
		assert_int_equal(of_month, tm.tm_mday);
		assert_int_equal(niwa_day_week(day), tm.tm_wday);
		assert_int_equal(niwa_day_of(year, month, of_month), day);
		assert_int_equal(niwa_day_floor(day * NIWA_DAY_S + 86399), day);
	}
}

static void a_rule_says_when_summer_is(void **state)
{
	static const struct {
		const char *rule, *utc;
		int32_t offset;
	} rows[] = {
		{VIENNA, "2026-03-29 00:59:59", 3600},
		{VIENNA, "2026-03-29 01:00", 7200},
		{VIENNA, "2026-10-25 00:59:59", 7200},
		{VIENNA, "2026-10-25 01:00", 3600},
		{VIENNA, "2099-07-01 00:00", 7200},
		{VIENNA, "1999-12-31 23:30", 3600},
		{CHATHAM, "2026-01-01 00:00", 49500},
		{CHATHAM, "2026-04-04 13:59:59", 49500},
		{CHATHAM, "2026-04-04 14:00", 45900},
		{CHATHAM, "2026-09-26 13:59:59", 45900},
		{CHATHAM, "2026-09-26 14:00", 49500},
		{INDIA, "2026-06-01 00:00", 19800},
		{"<-03>3", "2026-06-01 00:00", -10800},
		{"XXX3YYY,J60/0,J300/0", "2024-03-01 02:59", -10800},
		{"XXX3YYY,J60/0,J300/0", "2024-03-01 03:00", -7200},
		{"XXX3YYY,59/0,300/0", "2024-02-29 03:00", -7200}, /* counted from 0, with the leap day */
		{"EET-2EEST,M3.5.0/0,M10.5.0/0", "2026-03-28 21:59:59", 7200},
		{"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29 00:59:59", -7200}, /* the evening before */
		{"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29 01:00", -3600},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(rows); i++) {
		struct niwa_zone *zone = zone_of(rows[i].rule);

		if (niwa_zone_offset(zone, at(rows[i].utc)) != rows[i].offset)
			print_error("%s at %s\n", rows[i].rule, rows[i].utc);
		assert_int_equal(niwa_zone_offset(zone, at(rows[i].utc)), rows[i].offset);
		niwa_zone_free(&zone);
	}
	assert_int_equal(niwa_zone_offset(NULL, 0), 0);
}

static void a_table_comes_before_the_rule(void **state)
{
	const int64_t when[] = {1000, 2000};
	const int32_t offsets[] = {60, 7200, -3600};
	struct niwa_zone *zone = NULL;
	struct niwa_error err;
	uint8_t file[512];
	int64_t instants[2];

	assert_int_equal(niwa_zone_parse(file, make_file(file, when, offsets, 2, "XXX1"), &zone, &err), 0);
	assert_int_equal(niwa_zone_offset(zone, 999), 60);
	assert_int_equal(niwa_zone_offset(zone, 1000), 7200);
	assert_int_equal(niwa_zone_offset(zone, 1999), 7200);
	assert_int_equal(niwa_zone_offset(zone, 2000), -3600);
	assert_int_equal(niwa_zone_offset(zone, 1000000), -3600);
	assert_int_equal(niwa_zone_instants(zone, 500000, instants), 1);
	niwa_zone_free(&zone);
	assert_null(zone);
}

static void what_is_no_zone_is_refused(void **state)
{
	static const int32_t offsets[] = {0, 0, 0};
	static const int64_t backwards[] = {2000, 1000};
	static const int32_t far[] = {0, 1 << 20};
	static const char *const rules[] = {"X",
					    "CET",
					    "CET-1CEST",
					    "CET-1CEST,M13.1.0,M1.1.0",
					    "CET-1CEST,M3.5.0",
					    "CET-1CEST,M3.0.0,M10.5.0",
					    "CET-1CEST,M3.5.7,M10.5.0",
					    "CET-300",
					    "<CET-1",
					    "CET-1CEST,J0,J1",
					    "CET-1CEST,366,1",
					    "CET-1CEST,M3.5.0,M10.5.0x"};
	struct niwa_zone *zone = NULL;
	struct niwa_error err;
	uint8_t file[512];
	size_t len;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(rules); i++) {
		len = make_file(file, NULL, offsets, 0, rules[i]);
		assert_int_equal(niwa_zone_parse(file, len, &zone, &err), -EINVAL);
	}
	assert_int_equal(niwa_zone_parse(file, make_file(file, backwards, offsets, 2, "XXX1"), &zone, &err), -EINVAL);
	assert_int_equal(niwa_zone_parse(file, make_file(file, backwards, far, 1, "XXX1"), &zone, &err), -EINVAL);
	len = make_file(file, NULL, offsets, 0, VIENNA);
	for (size_t cut = 0; cut < len; cut++) /* each of them, in memory of its own size */ {
		uint8_t *copy = niwa_zalloc(cut + 1);

		memcpy(copy, file, cut);
		if (niwa_zone_parse(copy, cut, &zone, &err) == 0)
			niwa_zone_free(&zone);
		free(copy);
	}
	assert_null(zone);
}

static void names_of_zones_lead_nowhere_else(void **state)
{
	assert_true(niwa_is_zone_name("Europe/Vienna"));
	assert_true(niwa_is_zone_name("Etc/GMT+3"));
	assert_true(niwa_is_zone_name("UTC"));
	assert_false(niwa_is_zone_name(""));
	assert_false(niwa_is_zone_name("/etc/passwd"));
	assert_false(niwa_is_zone_name("../../../etc/passwd"));
	assert_false(niwa_is_zone_name("Europe//Vienna"));
	assert_false(niwa_is_zone_name("Europe/"));
	assert_false(niwa_is_zone_name("Europe/Vienna x"));
}

static void clocks_show_some_times_twice_and_some_never(void **state)
{
	struct niwa_zone *vienna = zone_of(VIENNA);
	int64_t r[2];

	assert_int_equal(niwa_zone_instants(vienna, at("2026-07-01 12:00"), r), 1);
	assert_int_equal(r[0], at("2026-07-01 10:00"));
	assert_int_equal(niwa_zone_instants(vienna, at("2026-03-29 02:30"), r), 0);
	assert_int_equal(r[0], at("2026-03-29 01:00"));
	assert_int_equal(niwa_zone_instants(vienna, at("2026-03-29 02:00"), r), 0);
	assert_int_equal(niwa_zone_instants(vienna, at("2026-03-29 03:00"), r), 1);
	assert_int_equal(niwa_zone_instants(vienna, at("2026-10-25 02:30"), r), 2);
	assert_int_equal(r[0], at("2026-10-25 00:30"));
	assert_int_equal(r[1], at("2026-10-25 01:30"));
	assert_int_equal(niwa_zone_instants(vienna, at("2026-10-25 03:00"), r), 1);
	assert_int_equal(niwa_zone_instants(NULL, 5, r), 1);
	assert_int_equal(r[0], 5);
	niwa_zone_free(&vienna);
}

struct row {
	const char *cron, *zone, *after; /* after and what follows: as the clocks in UTC show it */
	const char *next[4];
};

static const struct row rows[] = {
	{"* * * * *", NULL, "2026-11-23 10:15:30", {"2026-11-23 10:16", "2026-11-23 10:17"}},
	{"* * * * *", NULL, "2026-12-31 23:59", {"2027-01-01 00:00"}},
	{"*/15 * * * *", NULL, "2026-11-23 10:15", {"2026-11-23 10:30", "2026-11-23 10:45", "2026-11-23 11:00"}},
	{"*/25 * * * *", NULL, "2026-11-23 10:26", {"2026-11-23 10:50", "2026-11-23 11:00", "2026-11-23 11:25"}},
	{"5-10/2,30 4 * * *", NULL, "2026-11-23 04:05", {"2026-11-23 04:07", "2026-11-23 04:09", "2026-11-23 04:30"}},
	{"0 0 * * *", NULL, "2026-11-23 00:00", {"2026-11-24 00:00", "2026-11-25 00:00"}},
	{"59 23 31 12 *", NULL, "2026-11-23 00:00", {"2026-12-31 23:59", "2027-12-31 23:59"}},
	{"0 9 * * mon-fri", NULL, "2026-11-20 09:00", {"2026-11-23 09:00", "2026-11-24 09:00"}}, /* from a Friday */
	{"0 9 * * 1-5", NULL, "2026-11-20 09:00", {"2026-11-23 09:00"}},
	{"0 9 * * 0", NULL, "2026-11-20 09:00", {"2026-11-22 09:00", "2026-11-29 09:00"}},
	{"0 9 * * 7", NULL, "2026-11-20 09:00", {"2026-11-22 09:00", "2026-11-29 09:00"}},
	{"0 9 * * Fri-Sun", NULL, "2026-11-20 09:00", {"2026-11-21 09:00", "2026-11-22 09:00", "2026-11-27 09:00"}},
	{"0 9 * * */3", NULL, "2026-11-20 09:00", {"2026-11-21 09:00", "2026-11-22 09:00", "2026-11-25 09:00"}},
	{"0 0 * jan,JUL *", NULL, "2026-01-31 00:00", {"2026-07-01 00:00"}},
	/* days of both kinds: one of them is enough */
	{"0 0 13 * fri", NULL, "2026-11-01 00:00", {"2026-11-06 00:00", "2026-11-13 00:00", "2026-11-20 00:00"}},
	{"0 0 1 * mon", NULL, "2026-11-24 00:00", {"2026-11-30 00:00", "2026-12-01 00:00", "2026-12-07 00:00"}},
	/* but both where one begins with a star */
	{"0 0 */2 * fri", NULL, "2026-11-01 00:00", {"2026-11-13 00:00", "2026-11-27 00:00", "2026-12-11 00:00"}},
	/* years without such a day */
	{"0 0 29 2 *", NULL, "2026-01-01 00:00", {"2028-02-29 00:00", "2032-02-29 00:00"}},
	{"0 0 29 2 *", NULL, "2096-03-01 00:00", {"2104-02-29 00:00"}},
	{"0 0 29 2 */7", NULL, "2088-03-01 00:00", {"2128-02-29 00:00"}}, /* on a Sunday */
	{"0 0 31 * *", NULL, "2026-03-31 00:00", {"2026-05-31 00:00", "2026-07-31 00:00"}},
	{"0 0 30 2,4 *", NULL, "2026-01-01 00:00", {"2026-04-30 00:00", "2027-04-30 00:00"}},
	{"@daily", NULL, "2026-11-23 12:00", {"2026-11-24 00:00"}},
	{"@weekly", NULL, "2026-11-23 12:00", {"2026-11-29 00:00"}},
	{"@hourly", INDIA, "2026-11-23 12:00", {"2026-11-23 12:30", "2026-11-23 13:30"}},
	{"30 8 * * *", INDIA, "2026-11-23 02:59", {"2026-11-23 03:00", "2026-11-24 03:00"}},
	{"30 8 * * *", VIENNA, "2026-07-01 06:30", {"2026-07-02 06:30"}},
	/* clocks jump from 02:00 to 03:00: what is skipped comes at the jump, once */
	{"30 2 * * *", VIENNA, "2026-03-28 01:00", {"2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"}},
	{"0,30 2 * * *", VIENNA, "2026-03-28 02:00", {"2026-03-29 01:00", "2026-03-30 00:00"}},
	{"0 2,3 * * *", VIENNA, "2026-03-28 03:00", {"2026-03-29 01:00", "2026-03-30 00:00", "2026-03-30 01:00"}},
	/* what comes each hour has no hour there */
	{"30 * * * *", VIENNA, "2026-03-29 00:00", {"2026-03-29 00:30", "2026-03-29 01:30", "2026-03-29 02:30"}},
	{"*/30 * * * *", VIENNA, "2026-03-29 00:30", {"2026-03-29 01:00", "2026-03-29 01:30"}},
	{"*/30 2 * * *", VIENNA, "2026-03-28 02:00", {"2026-03-30 00:00", "2026-03-30 00:30"}},
	/* clocks go back from 03:00 to 02:00: the first time only */
	{"30 2 * * *", VIENNA, "2026-10-24 12:00", {"2026-10-25 00:30", "2026-10-26 01:30"}},
	{"30 2 * * *", VIENNA, "2026-10-25 00:45", {"2026-10-26 01:30"}},
	{"15,45 2 * * *", VIENNA, "2026-10-25 00:30", {"2026-10-25 00:45", "2026-10-26 01:15"}},
	/* but each hour is an hour */
	{"30 * * * *", VIENNA, "2026-10-25 00:00", {"2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"}},
	{"*/20 2 * * *", VIENNA, "2026-10-25 00:20", {"2026-10-25 00:40", "2026-10-25 01:00", "2026-10-25 01:20"}},
	/* at midnight: a day begins an hour later, another ends twice */
	{"0 0 * * *", HAVANA, "2026-03-07 12:00", {"2026-03-08 05:00", "2026-03-09 04:00"}},
	{"0 23 * * *", "XXX0YYY,M6.1.0/0,M10.1.0/0", "2026-10-02 23:00", {"2026-10-03 22:00", "2026-10-04 23:00"}},
	{"30 * * * *", "XXX0YYY,M6.1.0/0,M10.1.0/0", "2026-10-03 22:00", {"2026-10-03 22:30", "2026-10-03 23:30"}},
	/* half an hour */
	{"15 2 * * *",
	 "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
	 "2026-10-03 00:00",
	 {"2026-10-03 15:30", "2026-10-04 15:15"}},
};

static void a_time_comes_when_the_clocks_show_it(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(rows); i++) {
		struct niwa_zone *zone = rows[i].zone ? zone_of(rows[i].zone) : NULL;
		int64_t now = at(rows[i].after);
		struct niwa_error err = {0};
		struct niwa_cron cron;

		if (niwa_cron_parse(rows[i].cron, &cron, &err) < 0)
			fail_msg("%s: %s", rows[i].cron, err.msg);
		for (size_t n = 0; n < 4 && rows[i].next[n]; n++) {
			now = niwa_cron_next(&cron, zone, now);
			if (strcmp(text_of(now), rows[i].next[n]) != 0)
				fail_msg("'%s' in %s after %s, number %zu: %s, expected %s", rows[i].cron,
					 rows[i].zone ? rows[i].zone : "UTC", rows[i].after, n, text_of(now),
					 rows[i].next[n]);
		}
		niwa_zone_free(&zone);
	}
}

/* Minute by minute, as a cron that looks at the clocks would. */
static void counting_ahead_meets_what_looking_each_minute_meets(void **state)
{
	static const char *const times[] = {"*/7 * * * *", "13 */5 * * *", "0 3 1,15 * *", "5 * * * sun", "0 0 * * *"};
	struct niwa_zone *zone = zone_of(CHATHAM);

	for (size_t i = 0; i < NIWA_ARRAY_LEN(times); i++) {
		struct niwa_cron cron;
		int64_t from = at("2026-03-20 00:00"), until = at("2026-04-20 00:00"), next;

		assert_int_equal(niwa_cron_parse(times[i], &cron, NULL), 0);
		next = niwa_cron_next(&cron, zone, from);
		for (int64_t t = from + 60; t <= until; t += 60) {
			int64_t local = t + niwa_zone_offset(zone, t), day = niwa_day_floor(local), year;
			unsigned month, of_month, minute = (unsigned)((local - day * NIWA_DAY_S) / 60);
			bool again = niwa_zone_offset(zone, t - 3600) > niwa_zone_offset(zone, t) && !cron.follows;
			bool comes;

			niwa_day_split(day, &year, &month, &of_month);
			comes = (cron.minutes >> minute % 60 & 1) && (cron.hours >> minute / 60 & 1) &&
				(cron.days >> of_month & 1) && (cron.weekdays >> niwa_day_week(day) & 1) && !again;
			if (comes != (next == t))
				fail_msg("'%s': at %s, counted %s", times[i], text_of(t), text_of(next));
			if (comes)
				next = niwa_cron_next(&cron, zone, t);
		}
	}
	niwa_zone_free(&zone);
}

static void what_cron_does_not_know_is_refused_with_what_is_allowed(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "five fields"},
		{"* * * *", "five fields"},
		{"* * * * * *", "five fields"},
		{"@reboot", "five fields"},
		{"60 * * * *", "minute '60'; allowed: 0 to 59"},
		{"-1 * * * *", "minute '-1'"},
		{"* 24 * * *", "hour '24'; allowed: 0 to 23"},
		{"* * 0 * *", "day of the month '0'; allowed: 1 to 31"},
		{"* * 32 * *", "day of the month '32'"},
		{"* * * 13 *", "month '13'; allowed: 1 to 12 or jan to dec"},
		{"* * * foo *", "month 'foo'"},
		{"* * * janu *", "month 'janu'"},
		{"* * * * 8", "day of the week '8'; allowed: 0 to 7 or sun to sat"},
		{"* * * * jan", "day of the week 'jan'"},
		{"30-10 * * * *", "minute '30-10'"},
		{"*/0 * * * *", "minute '*/0'"},
		{"*/60 * * * *", "minute '*/60'"},
		{"*/ * * * *", "minute '*/'"},
		{"5/10 * * * *", "minute '5/10'"},
		{"1,,2 * * * *", "minute '1,,2'"},
		{"1, * * * *", "minute '1,'"},
		{"1- * * * *", "minute '1-'"},
		{"1-2-3 * * * *", "minute '1-2-3'"},
		{"** * * * *", "minute '**'"},
		{"1x * * * *", "minute '1x'"},
		{"999999999999 * * * *", "minute '999999999999'"},
		{"L * * * *", "minute 'L'"},
		{"0 0 31 2 *", "never comes"},
		{"0 0 30 feb *", "never comes"},
		{"0 0 31 4,6,9,11 *", "never comes"},
	};
	struct niwa_cron cron;
	struct niwa_error err;
	char text[1000];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(bad); i++) {
		err.msg[0] = '\0';
		assert_int_equal(niwa_cron_parse(bad[i].text, &cron, &err), -EINVAL);
		if (!strstr(err.msg, bad[i].says))
			fail_msg("'%s': %s", bad[i].text, err.msg);
	}
	memset(text, '*', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(niwa_cron_parse(text, &cron, &err), -EINVAL);
}

static void hours_of_the_week_begin_and_end(void **state)
{
	static const struct {
		const char *spans[3], *zone, *at, *end, *next;
	} table[] = {
		{{"Mon-Fri 08:00-18:00"}, NULL, "2026-11-23 07:59", "", "2026-11-23 08:00"},
		{{"Mon-Fri 08:00-18:00"}, NULL, "2026-11-23 08:00", "2026-11-23 18:00", "2026-11-24 08:00"},
		{{"Mon-Fri 08:00-18:00"}, NULL, "2026-11-23 18:00", "", "2026-11-24 08:00"},
		{{"Mon-Fri 08:00-18:00"}, NULL, "2026-11-27 18:00", "", "2026-11-30 08:00"},
		{{"Mon-Fri 08:00-18:00"}, VIENNA, "2026-07-01 06:00", "2026-07-01 16:00", "2026-07-02 06:00"},
		{{"22:00-06:00"}, NULL, "2026-11-23 23:00", "2026-11-24 06:00", "2026-11-24 22:00"},
		{{"22:00-06:00"}, NULL, "2026-11-23 05:59", "2026-11-23 06:00", "2026-11-23 22:00"},
		{{"fri 22:00-06:00"}, NULL, "2026-11-28 03:00", "2026-11-28 06:00", "2026-12-04 22:00"},
		{{"fri 22:00-06:00"}, NULL, "2026-11-27 03:00", "", "2026-11-27 22:00"},
		{{"Sat,Sun"}, NULL, "2026-11-28 03:00", "2026-11-29 00:00", "2026-11-29 00:00"},
		{{"sat-mon 00:00-24:00"}, NULL, "2026-11-30 23:59", "2026-12-01 00:00", "2026-12-05 00:00"},
		{{"08:00-12:00", "11:00-13:00"}, NULL, "2026-11-23 11:30", "2026-11-23 13:00", "2026-11-24 08:00"},
		{{"08:00-12:00", "11:00-13:00"}, NULL, "2026-11-23 10:30", "2026-11-23 12:00", "2026-11-23 11:00"},
		/* the clocks skip its beginning, its end, all of it */
		{{"sun 02:30-04:00"}, VIENNA, "2026-03-29 00:59", "", "2026-03-29 01:00"},
		{{"sun 02:30-04:00"}, VIENNA, "2026-03-29 01:00", "2026-03-29 02:00", "2026-04-05 00:30"},
		{{"sun 01:00-02:30"}, VIENNA, "2026-03-29 00:30", "2026-03-29 01:00", "2026-04-04 23:00"},
		{{"sun 02:10-02:50"}, VIENNA, "2026-03-29 00:30", "", "2026-04-05 00:10"},
		/* and show its beginning twice, its end twice */
		{{"sun 02:30-04:00"}, VIENNA, "2026-10-25 00:30", "2026-10-25 03:00", "2026-11-01 01:30"},
		{{"sun 01:00-02:30"}, VIENNA, "2026-10-25 01:29", "2026-10-25 01:30", "2026-11-01 00:00"},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(table); i++) {
		struct niwa_zone *zone = table[i].zone ? zone_of(table[i].zone) : NULL;
		struct niwa_span spans[3];
		struct niwa_error err = {0};
		int64_t end, next;
		unsigned n = 0;

		for (; n < 3 && table[i].spans[n]; n++)
			if (niwa_span_parse(table[i].spans[n], &spans[n], &err) < 0)
				fail_msg("%s", err.msg);
		niwa_spans_look(spans, n, zone, at(table[i].at), &end, &next);
		if (strcmp(end ? text_of(end) : "", table[i].end) != 0 || strcmp(text_of(next), table[i].next) != 0)
			fail_msg("'%s' at %s: until '%s', next %s", table[i].spans[0], table[i].at,
				 end ? text_of(end) : "", text_of(next));
		niwa_zone_free(&zone);
	}
}

static void what_are_no_hours_is_refused(void **state)
{
	static const char *const bad[] = {"",
					  "08:00",
					  "8:00-18:00",
					  "08:00-25:00",
					  "08:00-24:01",
					  "08:60-09:00",
					  "24:00-01:00",
					  "08:00-08:00",
					  "Mon-",
					  "Mon,",
					  "Foo",
					  "Mon 08:00-18",
					  "Mon  08:00-18:00",
					  "Monday",
					  "08:00-18:00 Mon",
					  "Mon-Fri\t08:00-09:00",
					  "Mon 08:00-18:00x",
					  "Mon-Fri-Sun",
					  ",Mon",
					  "08:00 - 18:00"};
	struct niwa_span span;
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(bad); i++)
		if (niwa_span_parse(bad[i], &span, &err) != -EINVAL || !strstr(err.msg, "such as Mon-Fri 08:00-18:00"))
			fail_msg("'%s'", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_calendar_is_the_library_s),
		cmocka_unit_test(a_rule_says_when_summer_is),
		cmocka_unit_test(a_table_comes_before_the_rule),
		cmocka_unit_test(what_is_no_zone_is_refused),
		cmocka_unit_test(names_of_zones_lead_nowhere_else),
		cmocka_unit_test(clocks_show_some_times_twice_and_some_never),
		cmocka_unit_test(a_time_comes_when_the_clocks_show_it),
		cmocka_unit_test(counting_ahead_meets_what_looking_each_minute_meets),
		cmocka_unit_test(what_cron_does_not_know_is_refused_with_what_is_allowed),
		cmocka_unit_test(hours_of_the_week_begin_and_end),
		cmocka_unit_test(what_are_no_hours_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
