/* SPDX-License-Identifier: MIT
 *
 * A time zone as an object: what the clocks on the walls there say at an instant, and when they say what. The library's
 * own functions know one zone a process, through its environment. Read from a TZif file (RFC 8536) with the rule at its
 * end, so also for years that no table names. Instants are seconds since 1970 (UTC); `local` ones are the reading of
 * the wall's clock counted the same way.
 */
#ifndef NIWA_SPEC_ZONE_H
#define NIWA_SPEC_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NIWA_ZONE_FILE_MAX (64 * 1024)
#define NIWA_ZONE_NAME_MAX 64
#define NIWA_DAY_S         INT64_C(86400)

struct niwa_zone; /* opaque; immutable */

/* A name as those below /usr/share/zoneinfo: "Europe/Vienna", "Etc/GMT+3"; the file need not be there. */
bool niwa_is_zone_name(const char *s);
/* The path of the file of a zone; NULL: the host's own, /etc/localtime. Returns buf. */
char *niwa_zone_path(const char *name, char *buf, size_t size);

/* The content of a TZif file; nothing of it is borrowed. */
int niwa_zone_parse(const void *data, size_t len, struct niwa_zone **ret, struct niwa_error *err);
/* The zone of that name, NULL the host's own, which is UTC where there is no /etc/localtime. */
int niwa_zone_open(const char *name, struct niwa_zone **ret, struct niwa_error *err);
void niwa_zone_free(struct niwa_zone **zone);

/* Seconds that the clocks are ahead of UTC. zone NULL: UTC itself, here and below. */
int32_t niwa_zone_offset(const struct niwa_zone *zone, int64_t at);
/* The instants at which the clocks show `local`: returns how many, 0 to 2, the earlier one first. With 0 (they skip it)
 * ret[0] is the instant of the jump, with 1 both are the same. */
int niwa_zone_instants(const struct niwa_zone *zone, int64_t local, int64_t ret[2]);

/* The calendar: days since 1970, the day of the week with Sunday 0. */
int64_t niwa_day_of(int64_t year, unsigned month, unsigned day);
void niwa_day_split(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day);
unsigned niwa_day_week(int64_t days);
int64_t niwa_day_floor(int64_t seconds); /* the day that this second is in */

#endif
