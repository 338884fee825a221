/* SPDX-License-Identifier: MIT
 *
 * Admission. /proc/meminfo is read at most each READ_US; where it cannot be read nothing is refused for it.
 */
#include "engine/admit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "engine/app.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/past.h"
#include "governor/pressure.h"

#define READ_US       (10 * NIWA_MS)
#define RESERVE_SHARE 20 /* of all memory, where nothing is configured */
#define RESERVE_MAX   (UINT64_C(1) << 30)

static void look(struct niwa_engine *e)
{
	struct niwa_memory memory = {0};
	uint64_t now = niwa_now_us();
	char text[8192];

	if (e->memory_read_us && now - e->memory_read_us < READ_US)
		return;
	e->memory_read_us = now;
	if (niwa_file_read("/proc/meminfo", text, sizeof(text)) < 0 || niwa_memory_read_info(text, &memory) < 0) {
		e->memory_available = UINT64_MAX;
		return;
	}
	e->memory_available = memory.available_bytes;
	e->memory_total = memory.total_bytes;
}

uint64_t niwa_admit_reserve(const struct niwa_engine *e)
{
	uint64_t share = e->memory_total / RESERVE_SHARE;

	if (e->config.memory_reserve)
		return e->config.memory_reserve;
	return share < RESERVE_MAX ? share : RESERVE_MAX;
}

/* The record is read only where it decides. */
static uint64_t needs(struct niwa_engine *e, struct niwa_app *app, uint64_t there)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	uint64_t bytes = e->config.start_memory;
	struct niwa_error err;

	if (app->past && app->past->needs_bytes)
		return app->past->needs_bytes;
	if (bytes > there && niwa_app_spec_read(e, app, &spec, &err) == 0 && spec->limits.memory_bytes &&
	    spec->limits.memory_bytes < bytes)
		return spec->limits.memory_bytes;
	return bytes;
}

void niwa_admit(struct niwa_engine *e, struct niwa_app *app, struct niwa_admission *ret)
{
	const struct niwa_instance *i;
	uint64_t taken;

	look(e);
	taken = niwa_admit_reserve(e);
	LIST_FOREACH(i, &e->places, place_link)
	taken += i->place.needs_bytes;
	ret->free_bytes = e->memory_available > taken ? e->memory_available - taken : 0;
	if (!ret->needs_bytes)
		ret->needs_bytes = needs(e, app, ret->free_bytes);
	ret->missing_bytes = ret->needs_bytes > ret->free_bytes ? ret->needs_bytes - ret->free_bytes : 0;
}

uint64_t niwa_admit_tenant(struct niwa_engine *e, const struct niwa_app *app, uint64_t needs_bytes)
{
	struct niwa_tenant *tenant = app->tenant;
	uint64_t turn = 0, taken;
	const struct niwa_instance *i;

	if (!tenant->limits || !tenant->limits->memory_bytes || !tenant->grouped)
		return 0;
	/* once a turn of the loop: what an instance has taken until it was ready is not in what was read before */
	if (sd_event_get_iteration(e->event, &turn) < 0 || turn != tenant->memory_turn) {
		tenant->memory_turn = turn;
		tenant->memory_bytes = niwa_group_tenant_needs(e, tenant);
	}
	taken = tenant->memory_bytes + needs_bytes;
	LIST_FOREACH(i, &e->places, place_link)
	taken += i->tenant == tenant ? i->place.needs_bytes : 0;
	return taken > tenant->limits->memory_bytes ? taken - tenant->limits->memory_bytes : 0;
}

bool niwa_admit_may_wait(const struct niwa_engine *e, const struct niwa_app *app)
{
	const struct niwa_instance *i;

	if (!app->past || !app->past->needs_bytes || e->memory.swap_free_bytes > app->past->needs_bytes)
		return false;
	LIST_FOREACH(i, &app->tenant->instance_list, tenant_link)
	if (i->app && !i->app->resident && i->spec && i->spec->sleep.save_us)
		return true;
	return false;
}

void niwa_admit_note(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_app_past *past = niwa_app_past(app);
	uint64_t bytes;

	if (past && app->current && niwa_group_needs(e, app->current->id, &bytes) == 0 && bytes)
		past->needs_bytes = bytes;
}
