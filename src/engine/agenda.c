/* SPDX-License-Identifier: MIT
 *
 * Texts to times, and what of them comes next.
 */
#include "engine/agenda.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

static unsigned count(char *const *texts)
{
	unsigned n = 0;

	while (texts && texts[n])
		n++;
	return n;
}

static int read_zone(struct niwa_zones *zones, bool wanted, const char *name, const struct niwa_zone_named **ret,
		     struct niwa_error *err)
{
	struct niwa_zone_named *named = NULL;
	int r = wanted ? niwa_zones_get(zones, name, &named, err) : 0;

	*ret = named;
	return r;
}

int niwa_agenda_make(struct niwa_zones *zones, const struct niwa_app_spec *spec, struct niwa_agenda **ret,
		     struct niwa_error *err)
{
	unsigned spans = count(spec->awake.times), crons = count(spec->wake.at);
	struct niwa_agenda *a;
	int r;

	*ret = NULL;
	if (!spans && !crons)
		return 0;
	a = niwa_zalloc(sizeof(*a) + crons * sizeof(a->crons[0]) + spans * sizeof(a->spans[0]));
	if (!a)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make a schedule");
	a->for_us = spec->wake.for_us;
	a->spans = (struct niwa_span *)&a->crons[crons];
	r = read_zone(zones, spans, spec->awake.zone, &a->hours_zone, err);
	if (r == 0)
		r = read_zone(zones, crons, spec->wake.zone, &a->wake_zone, err);
	for (; r == 0 && a->span_count < spans; a->span_count++)
		r = niwa_span_parse(spec->awake.times[a->span_count], &a->spans[a->span_count], err);
	for (; r == 0 && a->cron_count < crons; a->cron_count++)
		r = niwa_cron_parse(spec->wake.at[a->cron_count], &a->crons[a->cron_count], err);
	if (r < 0) {
		free(a);
		return r;
	}
	*ret = a;
	return 0;
}

static int64_t next_wake(const struct niwa_agenda *a, int64_t after)
{
	int64_t best = INT64_MAX;

	for (unsigned i = 0; i < a->cron_count; i++) {
		int64_t at = niwa_cron_next(&a->crons[i], niwa_zone_now(a->wake_zone), after);

		if (at < best)
			best = at;
	}
	return best;
}

struct niwa_agenda_look niwa_agenda_look(const struct niwa_agenda *a, int64_t now, int64_t dealt)
{
	struct niwa_agenda_look look = {.wake = next_wake(a, dealt), .hours_next = INT64_MAX};

	if (a->span_count)
		niwa_spans_look(a->spans, a->span_count, niwa_zone_now(a->hours_zone), now, &look.hours_end,
				&look.hours_next);
	return look;
}

int64_t niwa_agenda_believe(int64_t dealt, int64_t now)
{
	return dealt - now > NIWA_AGENDA_BACK_S ? now : dealt;
}

int64_t niwa_agenda_due(const struct niwa_agenda_look *look)
{
	int64_t hours = look->hours_end ? look->hours_end : look->hours_next;

	return look->wake < hours ? look->wake : hours;
}

int64_t niwa_agenda_rest(const struct niwa_agenda *a, int64_t now)
{
	int64_t length = (int64_t)(a->for_us / NIWA_SEC), rest = 0;

	for (int64_t at = next_wake(a, now - length); at <= now; at = next_wake(a, at))
		rest = at + length - now;
	return rest;
}
