/* SPDX-License-Identifier: MIT
 *
 * Limits of tenants: the registry, and who is told when they change.
 */
#include "engine/tenant_limit.h"

#include <errno.h>

#include "base/log.h"
#include "base/memory.h"
#include "engine/group_tenant.h"
#include "engine/start.h"
#include "spec/tenant.h"

static int take(struct niwa_engine *e, const char *text, struct niwa_error *err)
{
	NIWA_AUTO(niwa_tenant_spec_free) struct niwa_tenant_spec *spec = NULL;
	json_t *json = json_loads(text, 0, NULL);
	int r = json ? niwa_tenant_from_json(json, &spec, NULL, err) : niwa_fail(err, NIWA_PERMANENT, 0, "no JSON");

	json_decref(json);
	if (r < 0)
		return r;
	r = niwa_map_put_str(e->tenant_limits, spec->name, spec);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "limits of tenant %s", spec->name);
	(void)NIWA_TAKE(spec);
	return 0;
}

static int load_one(const char *tenant, const char *text, void *arg)
{
	struct niwa_error err;

	/* one bad record must not keep the others from holding */
	if (take(arg, text, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "limits of tenant %s: %s; they are left out", tenant, err.msg);
	return 0;
}

int niwa_tenant_limits_load(struct niwa_engine *e, struct niwa_error *err)
{
	return niwa_cmdb_each_tenant(e->cmdb, load_one, e, err);
}

void niwa_tenant_limits_find(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	const struct niwa_tenant_spec *spec = niwa_map_get_str(e->tenant_limits, tenant->name);

	tenant->limits = spec ? &spec->limits : NULL;
	niwa_wake_queue_limit(&e->starts, &tenant->starts, spec ? spec->limits.wakes : 0);
}

static bool same(const struct niwa_tenant_spec *a, const struct niwa_tenant_spec *b)
{
	if (!a || !b)
		return a == b;
	return a->limits.memory_bytes == b->limits.memory_bytes && a->limits.cpu_centi == b->limits.cpu_centi &&
	       a->limits.processes == b->limits.processes && a->limits.awake == b->limits.awake &&
	       a->limits.wakes == b->limits.wakes;
}

bool niwa_tenant_limits_set(struct niwa_engine *e, const char *name, const char *text)
{
	struct niwa_tenant_spec *old = niwa_map_del_str(e->tenant_limits, name);
	struct niwa_tenant *tenant = niwa_map_get_str(e->tenants, name);
	struct niwa_error err;
	bool changed;

	if (text && take(e, text, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "limits of tenant %s: %s", name, err.msg);
	changed = !same(old, niwa_map_get_str(e->tenant_limits, name));
	if (tenant) {
		niwa_tenant_limits_find(e, tenant);
		if (changed || !tenant->limits_written)
			niwa_group_tenant_change(e, tenant);
		niwa_start_look(e);
	}
	niwa_tenant_spec_free(&old);
	return changed;
}

bool niwa_tenant_is_full(const struct niwa_tenant *tenant)
{
	return tenant->limits && tenant->limits->awake && tenant->instances >= tenant->limits->awake;
}

json_t *niwa_tenant_limits_record(const struct niwa_engine *e, const char *name)
{
	const struct niwa_tenant_spec *spec = niwa_map_get_str(e->tenant_limits, name);

	return spec ? niwa_tenant_to_json(spec) : json_pack("{s:s}", "name", name);
}

json_t *niwa_tenant_limits_show(struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	const struct niwa_tenant_spec *spec = niwa_map_get_str(e->tenant_limits, tenant->name);
	struct niwa_group_usage usage;
	json_t *json, *limits;

	if (!spec)
		return NULL;
	niwa_group_tenant_usage(e, tenant, &usage);
	json = niwa_tenant_to_json(spec);
	limits = json_incref(json_object_get(json, "limits"));
	json_decref(json);
	return json_pack("{s:o*, s:{s:I, s:I, s:I, s:I}}", "limits", limits, "uses", "memory_bytes",
			 (json_int_t)usage.memory_bytes, "processes", (json_int_t)usage.processes, "awake",
			 (json_int_t)tenant->instances, "wakes", (json_int_t)tenant->starts.busy);
}
