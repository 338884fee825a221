/* SPDX-License-Identifier: MIT
 *
 * TZif and the rule behind it ("CET-1CEST,M3.5.0,M10.5.0/3"). All numbers of a file are checked against its length
 * before they are used.
 */
#include "spec/zone.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/memory.h"
#include "spec/zone_private.h"

#define ZONES       "/usr/share/zoneinfo/"
#define HEADER      44
#define TYPE_BYTES  6
#define CHANGES_MAX 4096

struct change {
	int64_t at;
	int32_t offset; /* from then on */
};

struct niwa_zone {
	int32_t first; /* before the first change */
	bool has_rule;
	struct niwa_zone_rule rule; /* after the last one */
	size_t count;
	struct change changes[];
};

/* What a header counts. */
struct counts {
	uint32_t utc, std, leap, time, type, chars;
};

bool niwa_is_zone_name(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > NIWA_ZONE_NAME_MAX || *s == '/' || s[len - 1] == '/' || strstr(s, "//"))
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") == len;
}

char *niwa_zone_path(const char *name, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s%s", name ? ZONES : "/etc/localtime", name ? name : "");
	return buf;
}

static uint32_t number32(const uint8_t *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return be32toh(n);
}

static int64_t number64(const uint8_t *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return (int64_t)be64toh(n);
}

static bool read_header(const uint8_t *p, size_t len, uint8_t *ret_version, struct counts *ret)
{
	if (len < HEADER || memcmp(p, "TZif", 4) != 0)
		return false;
	*ret_version = p[4];
	*ret = (struct counts){number32(p + 20), number32(p + 24), number32(p + 28),
			       number32(p + 32), number32(p + 36), number32(p + 40)};
	return ret->time <= CHANGES_MAX && ret->type > 0 && ret->type <= 256 && ret->chars <= 4096 &&
	       ret->leap <= 4096 && ret->utc <= ret->type && ret->std <= ret->type;
}

static size_t body_length(const struct counts *c, size_t time_bytes)
{
	return c->time * (time_bytes + 1) + c->type * TYPE_BYTES + c->chars + c->leap * (time_bytes + 4) + c->std +
	       c->utc;
}

static int32_t type_offset(const uint8_t *types, uint8_t type)
{
	return (int32_t)number32(types + (size_t)type * TYPE_BYTES);
}

/* The second, 64-bit part of the file; len is what is left of it. */
static int read_body(const uint8_t *p, size_t len, const struct counts *c, struct niwa_zone *z)
{
	const uint8_t *index = p + c->time * 8, *types = index + c->time;
	size_t body = body_length(c, 8);
	char rule[128];

	for (size_t i = 0; i < c->time; i++) {
		if (index[i] >= c->type || (i && number64(p + i * 8) <= z->changes[i - 1].at))
			return -EINVAL;
		z->changes[i] = (struct change){number64(p + i * 8), type_offset(types, index[i])};
		if (abs(z->changes[i].offset) > NIWA_ZONE_OFFSET_MAX)
			return -EINVAL;
	}
	z->count = c->time;
	z->first = type_offset(types, 0);
	if (abs(z->first) > NIWA_ZONE_OFFSET_MAX)
		return -EINVAL;
	p += body;
	len -= body;
	if (len < 2 || *p != '\n' || len - 2 >= sizeof(rule))
		return len ? -EINVAL : 0;
	memcpy(rule, p + 1, len - 1);
	rule[len - 1] = '\0';
	rule[strcspn(rule, "\n")] = '\0';
	z->has_rule = *rule;
	return *rule ? niwa_zone_rule_parse(rule, &z->rule) : 0;
}

int niwa_zone_parse(const void *data, size_t len, struct niwa_zone **ret, struct niwa_error *err)
{
	const uint8_t *p = data;
	struct counts c;
	uint8_t version;
	struct niwa_zone *z;
	size_t skip;

	if (!read_header(p, len, &version, &c) || version < '2')
		return niwa_fail(err, NIWA_PERMANENT, 0, "not a TZif file of version 2 or later");
	skip = HEADER + body_length(&c, 4);
	if (skip > len || !read_header(p + skip, len - skip, &version, &c) || HEADER + body_length(&c, 8) > len - skip)
		return niwa_fail(err, NIWA_PERMANENT, 0, "a TZif file that is cut");
	z = niwa_zalloc(sizeof(*z) + c.time * sizeof(z->changes[0]));
	if (!z)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read a time zone");
	if (read_body(p + skip + HEADER, len - skip - HEADER, &c, z) < 0) {
		free(z);
		return niwa_fail(err, NIWA_PERMANENT, 0, "a TZif file that makes no sense");
	}
	*ret = z;
	return 0;
}

int niwa_zone_open(const char *name, struct niwa_zone **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *data = niwa_zalloc(NIWA_ZONE_FILE_MAX);
	char path[sizeof(ZONES) + NIWA_ZONE_NAME_MAX];
	ssize_t len;
	int r;

	if (!data)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read a time zone");
	niwa_zone_path(name, path, sizeof(path));
	len = niwa_file_read(path, data, NIWA_ZONE_FILE_MAX);
	if (len == -ENOENT && !name) {
		*ret = NULL;
		return 0;
	}
	if (len < 0)
		return niwa_fail(err, NIWA_PERMANENT, (int)-len, "time zone '%s': read '%s'", name ? name : "local",
				 path);
	r = niwa_zone_parse(data, (size_t)len, ret, err);
	return r < 0 ? niwa_fail_in(err, r, "time zone: '%s'", path) : 0;
}

void niwa_zone_free(struct niwa_zone **zone)
{
	free(*zone);
	*zone = NULL;
}

int32_t niwa_zone_offset(const struct niwa_zone *zone, int64_t at)
{
	size_t low = 0, high = zone ? zone->count : 0;

	if (!zone)
		return 0;
	if (zone->has_rule && (zone->count == 0 || at >= zone->changes[zone->count - 1].at))
		return niwa_zone_rule_offset(&zone->rule, at);
	while (low < high) { /* the number of changes up to `at` */
		size_t middle = (low + high) / 2;

		if (zone->changes[middle].at <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? zone->changes[low - 1].offset : zone->first;
}

/* The clocks jump over `local`: at the first instant from which they are ahead of it. */
static int64_t jump(const struct niwa_zone *zone, int64_t local, int32_t before, int32_t after)
{
	int64_t low = local - after, high = local - before; /* shows less; shows more */

	while (high - low > 1) {
		int64_t middle = low + (high - low) / 2;

		if (middle + niwa_zone_offset(zone, middle) < local)
			low = middle;
		else
			high = middle;
	}
	return high;
}

int niwa_zone_instants(const struct niwa_zone *zone, int64_t local, int64_t ret[2])
{
	/* no place on earth is further than a day from UTC, none changes its clocks twice within two */
	int32_t before = niwa_zone_offset(zone, local - NIWA_DAY_S), after = niwa_zone_offset(zone, local + NIWA_DAY_S);
	bool first = niwa_zone_offset(zone, local - before) == before;
	bool second = niwa_zone_offset(zone, local - after) == after;

	if (!first && !second) {
		ret[0] = ret[1] = jump(zone, local, before, after);
		return 0;
	}
	ret[0] = local - (first ? before : after);
	ret[1] = local - (second ? after : before);
	return ret[0] == ret[1] ? 1 : 2;
}

int64_t niwa_day_floor(int64_t seconds)
{
	return seconds / NIWA_DAY_S - (seconds % NIWA_DAY_S < 0);
}

unsigned niwa_day_week(int64_t days)
{
	return (unsigned)(((days + 4) % 7 + 7) % 7); /* 1970 began on a Thursday */
}

/* Years that begin in March have their leap day at the end; 400 of them are an era of 146,097 days. */
int64_t niwa_day_of(int64_t year, unsigned month, unsigned day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400, of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void niwa_day_split(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, of_era = z - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;

	*ret_day = (unsigned)(of_year - (153 * month + 2) / 5 + 1);
	*ret_month = (unsigned)(month < 10 ? month + 3 : month - 9);
	*ret_year = year + era * 400 + (*ret_month <= 2);
}
