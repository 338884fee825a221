/* SPDX-License-Identifier: MIT
 *
 * Time zones of the host that schedules use, each read once and again when its file is another one.
 */
#ifndef NIWA_ENGINE_ZONES_H
#define NIWA_ENGINE_ZONES_H

#include <stdbool.h>

#include "base/error.h"
#include "spec/zone.h"

struct niwa_zones;      /* those that were asked for */
struct niwa_zone_named; /* one of them; lives as long as they */

struct niwa_zones *niwa_zones_new(void);
void niwa_zones_free(struct niwa_zones **zones);

/* name NULL: the host's own. */
int niwa_zones_get(struct niwa_zones *zones, const char *name, struct niwa_zone_named **ret, struct niwa_error *err);
/* NULL is UTC, and so is the zone of NULL. Good until the next niwa_zones_look. */
const struct niwa_zone *niwa_zone_now(const struct niwa_zone_named *named);
/* Looks whether files have changed. True: a zone is another one. */
bool niwa_zones_look(struct niwa_zones *zones);

#endif
