/* SPDX-License-Identifier: MIT
 *
 * Why an app is awake at this moment: all that keeps it from sleeping, of which the governor needs only the first.
 */
#include "engine/rpc_awake.h"

#include <stdio.h>

#include "base/clock.h"
#include "engine/busy.h"
#include "engine/schedule.h"
#include "engine/sleep.h"
#include "net/diag.h"

static void add(json_t *list, json_t *reason)
{
	(void)json_array_append_new(list, reason);
}

static void add_count(json_t *list, const char *why, unsigned count)
{
	if (count)
		add(list, json_pack("{s:s,s:i}", "why", why, "count", (int)count));
}

static json_int_t realtime(uint64_t at_us)
{
	return (json_int_t)(niwa_realtime_us() + at_us - niwa_now_us());
}

static void add_moment(json_t *list, const char *why, uint64_t at_us)
{
	if (at_us)
		add(list, json_pack("{s:s,s:I}", "why", why, "at", realtime(at_us)));
}

static void add_busy(json_t *list, struct niwa_instance *i)
{
	const char *why = "";
	uint64_t until = niwa_busy_until(i, &why);

	if (until > niwa_now_us())
		add(list, json_pack("{s:s,s:I}", "why", why, "until", realtime(until)));
}

static void add_connections(json_t *list, const struct niwa_instance *i)
{
	unsigned active = 0, total = 0;

	if (i->diag_fd < 0)
		return;
	if (niwa_sleep_too_many_sockets(i)) {
		add_count(list, "connections", NIWA_SLEEP_SOCKETS_MAX);
		return;
	}
	if (niwa_diag_active(i->diag_fd, i->spec->sleep.connection_us, &active, &total) == 0)
		add_count(list, "connections", total);
	if (i->spec->sleep.answer_us && niwa_diag_owed(i->diag_fd, i->spec->sleep.answer_us) > 0)
		add(list, json_pack("{s:s}", "why", "answer"));
}

json_t *niwa_rpc_awake(struct niwa_app *app)
{
	struct niwa_instance *i = app->current;
	json_t *list;

	if (!i || app->state != NIWA_RUNNING || i->life != NIWA_LIFE_SERVING || !(list = json_array()))
		return NULL;
	add_busy(list, i);
	if (app->resident)
		add(list, json_pack("{s:s}", "why", "resident"));
	else if (!i->spec->sleep.freeze_us && !i->spec->sleep.save_us)
		add(list, json_pack("{s:s}", "why", "never sleeps"));
	add_count(list, "commands", i->execs);
	add_count(list, "waiting", app->waiting);
	add_connections(list, i);
	add_moment(list, "bytes", i->bytes_at_us);
	add_moment(list, "cpu", i->cpu_at_us);
	return list;
}
