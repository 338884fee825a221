/* SPDX-License-Identifier: MIT
 *
 * When an image is taken: the app's warm requests, one after the other; then looks until nobody is connected.
 */
#include "engine/dump_private.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "engine/app.h"
#include "engine/dumpable.h"
#include "engine/rebuild.h"
#include "engine/relay_client.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"

#define FIRST_TRY_US  (30 * NIWA_MS)
#define AUTO_LEAST_US (40 * NIWA_MS) /* what starts sooner than this gains nothing */
#define WARM_TICKET   (UINT64_C(1) << 63)
#define WARM_US       (2 * NIWA_SEC) /* that an answer is waited for */

static bool has_one(const struct niwa_instance *i)
{
	const struct niwa_app_snapshot *s = i->app->snapshot;

	return s && (s->usable || s->refused) && strcmp(s->key.hex, i->snapshot->key.hex) == 0;
}

static int on_try(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;
	struct niwa_engine *e = i->engine;
	const struct niwa_app_snapshot *s = i->app->snapshot;
	uint64_t now = niwa_now_us();
	struct niwa_error err;

	(void)source, (void)usec;
	i->snapshot->timer = sd_event_source_disable_unref(i->snapshot->timer);
	if (!e->snapshots || i->snapshot->dump || i->life != NIWA_LIFE_SERVING || has_one(i))
		return 0;
	if (s && now < s->not_before_us)
		niwa_dump_try_at(e, i, s->not_before_us - now);
	else if (!e->snapshots->scanned || e->dumping >= NIWA_DUMPS_MAX || !niwa_dump_may_stand_still(i))
		niwa_dump_try_later(e, i);
	else if (niwa_dumpable_is_current(e, i) && niwa_dump_begin(e, i, &err) < 0)
		niwa_dump_try_later(e, i);
	return 0;
}

/* A connection may last for hours; who waits for the end of one waits no longer than it has lasted. */
void niwa_dump_try_later(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_snapshot *s = i->snapshot;

	(void)niwa_fault("niwad.dump-later");
	s->try_pause_us = s->try_pause_us ? s->try_pause_us * 2 : NIWA_DUMP_AGAIN_US;
	if (s->try_pause_us > NIWA_DUMP_LATEST_US)
		s->try_pause_us = NIWA_DUMP_LATEST_US;
	niwa_dump_try_at(e, i, s->try_pause_us);
}

void niwa_dump_try_at(struct niwa_engine *e, struct niwa_instance *i, uint64_t pause_us)
{
	i->snapshot->timer = sd_event_source_disable_unref(i->snapshot->timer);
	(void)sd_event_add_time_relative(e->event, &i->snapshot->timer, CLOCK_MONOTONIC, pause_us, NIWA_MS, on_try,
					 i); /* without memory there is no image this time */
}

static void warm_next(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_snapshot *s = i->snapshot;
	char *path = i->spec->warm ? i->spec->warm[s->warm_next] : NULL;
	uint16_t port = i->spec->ready.port;

	for (size_t n = 0; path && i->spec->ready.kind != NIWA_READY_HTTP && n < i->spec->port_count; n++)
		if (i->spec->ports[n].protocol == NIWA_PROTO_HTTP) {
			port = i->spec->ports[n].number;
			break;
		}
	if (path) {
		if (s->warm_next++ == 0)
			s->warm_began_us = niwa_now_us();
		s->warm_ticket = WARM_TICKET | ++e->next_check;
		if (niwa_map_put(e->checks, s->warm_ticket, i) == 0 &&
		    niwa_relay_check(e, s->warm_ticket, i, port, path) == 0) {
			niwa_dump_try_at(e, i, WARM_US); /* the answer comes before */
			return;
		}
		(void)niwa_map_del(e->checks, s->warm_ticket);
		s->warm_ticket = 0;
	}
	niwa_dump_try_at(e, i, FIRST_TRY_US);
}

bool niwa_dump_warmed(struct niwa_engine *e, struct niwa_instance *i, uint64_t ticket)
{
	if (!i->snapshot || i->snapshot->warm_ticket != ticket)
		return false;
	i->snapshot->warm_ticket = 0;
	if (i->snapshot->warm_next == 1)
		i->snapshot->warm_took_us = niwa_now_us() - i->snapshot->warm_began_us;
	if (i->life == NIWA_LIFE_SERVING && i->app->current == i)
		warm_next(e, i);
	return true;
}

void niwa_dump_when_quiet(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t took = i->stages.ready_us - i->began_us;

	if (i->app->shares && !i->restored)
		niwa_rebuild_visited(e, i->app);
	if (i->app->shares)
		return;
	if (!e->snapshots || !i->snapshot || i->restored || has_one(i) || niwa_snapshot_hibernates(e, i->spec))
		return;
	if (i->spec->snapshot == NIWA_SNAPSHOT_AUTO && !i->spec->warm && took < AUTO_LEAST_US) {
		struct niwa_app_snapshot *s = niwa_snapshot_of(i->app);

		if (s)
			(void)snprintf(s->reason, sizeof(s->reason),
				       "it starts in %llu ms: an image would not be faster",
				       (unsigned long long)(took / NIWA_MS));
		return;
	}
	warm_next(e, i);
}

int niwa_dump_ask(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err)
{
	struct niwa_instance *i = app->current;

	if (!i || !i->snapshot || app->state != NIWA_RUNNING)
		return niwa_fail(err, NIWA_CALLER, 0, "%s is not running from a start of its own", app->name);
	if (app->snapshot) {
		app->snapshot->refused = app->snapshot->usable = false;
		app->snapshot->pause_us = app->snapshot->not_before_us = 0;
	}
	i->snapshot->try_pause_us = 0;
	niwa_dump_try_at(e, i, 1);
	return 0;
}
