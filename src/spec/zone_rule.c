/* SPDX-License-Identifier: MIT
 *
 * "CET-1CEST,M3.5.0,M10.5.0/3": read, and answered from.
 */
#include "spec/zone_private.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "spec/zone.h"

static bool read_name(const char **at)
{
	const char *s = *at;

	if (*s == '<') {
		s += strcspn(s, ">");
		if (*s != '>')
			return false;
		*at = s + 1;
		return true;
	}
	while (isalpha((unsigned char)*s))
		s++;
	if (s - *at < 3)
		return false;
	*at = s;
	return true;
}

static bool read_number(const char **at, int max, int *ret)
{
	int n = 0, digits = 0;

	for (; isdigit((unsigned char)**at && digits < 4 ? **at : 0); (*at)++, digits++)
		n = n * 10 + (**at - '0');
	*ret = n;
	return digits > 0 && n <= max;
}

/* [+-]h[h[h]][:mm[:ss]] */
static bool read_time(const char **at, int32_t *ret)
{
	int sign = **at == '-' ? -1 : 1, h, m = 0, s = 0;

	if (**at == '-' || **at == '+')
		(*at)++;
	if (!read_number(at, 167, &h))
		return false;
	if (**at == ':' && ((*at)++, !read_number(at, 59, &m)))
		return false;
	if (**at == ':' && ((*at)++, !read_number(at, 59, &s)))
		return false;
	*ret = sign * (h * 3600 + m * 60 + s);
	return true;
}

static bool read_turn(const char **at, struct niwa_zone_turn *ret)
{
	*ret = (struct niwa_zone_turn){.kind = NIWA_TURN_DAY, .second = 2 * 3600};
	if (*(*at)++ != ',')
		return false;
	if (**at == 'M') {
		ret->kind = NIWA_TURN_WEEKDAY;
		(*at)++;
		if (!read_number(at, 12, &ret->month) || *(*at)++ != '.' || !read_number(at, 5, &ret->week) ||
		    *(*at)++ != '.' || !read_number(at, 6, &ret->day) || ret->month < 1 || ret->week < 1)
			return false;
	} else {
		if (**at == 'J') {
			ret->kind = NIWA_TURN_JULIAN;
			(*at)++;
		}
		if (!read_number(at, 365, &ret->day) || (ret->kind == NIWA_TURN_JULIAN && ret->day < 1))
			return false;
	}
	if (**at != '/')
		return true;
	(*at)++;
	return read_time(at, &ret->second);
}

int niwa_zone_rule_parse(const char *text, struct niwa_zone_rule *ret)
{
	struct niwa_zone_rule rule = {0};
	int32_t west;

	if (!read_name(&text) || !read_time(&text, &west))
		return -EINVAL;
	rule.standard = rule.summer = -west;
	if (*text) {
		rule.has_summer = true;
		rule.summer = rule.standard + 3600;
		if (!read_name(&text))
			return -EINVAL;
		if (*text && *text != ',') {
			if (!read_time(&text, &west))
				return -EINVAL;
			rule.summer = -west;
		}
		if (!read_turn(&text, &rule.begin) || !read_turn(&text, &rule.end) || *text)
			return -EINVAL;
	}
	if (rule.standard > NIWA_ZONE_OFFSET_MAX || rule.standard < -NIWA_ZONE_OFFSET_MAX ||
	    rule.summer > NIWA_ZONE_OFFSET_MAX || rule.summer < -NIWA_ZONE_OFFSET_MAX)
		return -EINVAL;
	*ret = rule;
	return 0;
}

/* The second of the wall's clock at which it comes in this year. */
static int64_t turn_at(const struct niwa_zone_turn *t, int64_t year)
{
	int64_t day = niwa_day_of(year, 1, 1), leap = niwa_day_of(year, 3, 1) - niwa_day_of(year, 2, 29);
	int64_t next;

	switch (t->kind) {
	case NIWA_TURN_JULIAN: /* 60 is always 1 March */
		day += t->day - 1 + (leap && t->day >= 60);
		break;
	case NIWA_TURN_DAY:
		day += t->day;
		break;
	case NIWA_TURN_WEEKDAY:
		day = niwa_day_of(year, (unsigned)t->month, 1);
		next = t->month == 12 ? niwa_day_of(year + 1, 1, 1) : niwa_day_of(year, (unsigned)t->month + 1, 1);
		day += ((unsigned)t->day + 7 - niwa_day_week(day)) % 7 + 7 * ((int64_t)t->week - 1);
		while (day >= next) /* the fifth is the last */
			day -= 7;
		break;
	}
	return day * NIWA_DAY_S + t->second;
}

int32_t niwa_zone_rule_offset(const struct niwa_zone_rule *rule, int64_t at)
{
	int64_t year, begin, end;
	unsigned month, day;
	bool summer;

	if (!rule->has_summer)
		return rule->standard;
	niwa_day_split(niwa_day_floor(at + rule->standard), &year, &month, &day);
	begin = turn_at(&rule->begin, year) - rule->standard;
	end = turn_at(&rule->end, year) - rule->summer;
	summer = begin < end ? at >= begin && at < end : at >= begin || at < end;
	return summer ? rule->summer : rule->standard;
}
