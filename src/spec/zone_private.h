/* SPDX-License-Identifier: MIT
 *
 * The rule at the end of a TZif file: POSIX' TZ, with the hours of RFC 8536 (-167 to 167).
 */
#ifndef NIWA_SPEC_ZONE_PRIVATE_H
#define NIWA_SPEC_ZONE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#define NIWA_ZONE_OFFSET_MAX (26 * 3600)

struct niwa_zone_turn { /* a day of each year, and the second of it by the clocks as they are before */
	enum { NIWA_TURN_JULIAN, NIWA_TURN_DAY, NIWA_TURN_WEEKDAY } kind;
	int month, week, day; /* day: of the week, or of the year */
	int32_t second;
};

struct niwa_zone_rule {
	int32_t standard, summer; /* ahead of UTC */
	bool has_summer;
	struct niwa_zone_turn begin, end; /* of summer time */
};

int niwa_zone_rule_parse(const char *text, struct niwa_zone_rule *ret);
int32_t niwa_zone_rule_offset(const struct niwa_zone_rule *rule, int64_t at);

#endif
