/* SPDX-License-Identifier: MIT
 *
 * What a record says of times, made ready for counting: its hours (awake) and its times of cron (wake), each with its
 * zone. Pure but for the zones, which are read when it is made. All instants are seconds since 1970.
 */
#ifndef NIWA_ENGINE_AGENDA_H
#define NIWA_ENGINE_AGENDA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/zones.h"
#include "spec/app.h"
#include "spec/times.h"

#define NIWA_AGENDA_BACK_S 3600 /* a clock set back by up to this does not repeat what was dealt with */

struct niwa_agenda {
	const struct niwa_zone_named *hours_zone, *wake_zone;
	unsigned span_count, cron_count;
	uint64_t for_us;          /* that it stays awake */
	struct niwa_span *spans;  /* span_count of them, behind the crons */
	struct niwa_cron crons[]; /* cron_count */
};

struct niwa_agenda_look {
	int64_t wake;       /* the next time of cron; INT64_MAX: none */
	int64_t hours_end;  /* of the hours that are on; 0: none are */
	int64_t hours_next; /* when the next ones begin; INT64_MAX: never */
};

/* *ret NULL: the record says nothing of times. */
int niwa_agenda_make(struct niwa_zones *zones, const struct niwa_app_spec *spec, struct niwa_agenda **ret,
		     struct niwa_error *err);

/* What comes. dealt: the last instant up to which times of cron were dealt with; what lies between it and now has been
 * missed, and the first of it is `wake`. */
struct niwa_agenda_look niwa_agenda_look(const struct niwa_agenda *a, int64_t now, int64_t dealt);
/* dealt, where the clock may have been set back since: what is later than now by more than NIWA_AGENDA_BACK_S is no
 * longer believed. */
int64_t niwa_agenda_believe(int64_t dealt, int64_t now);
/* The earliest instant at which something changes. */
int64_t niwa_agenda_due(const struct niwa_agenda_look *look);
/* Seconds that the wake which was dealt with last is still to keep the app awake; 0: none. */
int64_t niwa_agenda_rest(const struct niwa_agenda *a, int64_t now);

#endif
