/* SPDX-License-Identifier: MIT
 *
 * tenant.show: what is declared of a tenant, and what its apps use of it.
 */
#include "engine/rpc.h"
#include "engine/tenant_limit.h"

void niwa_rpc_tenant_show(struct niwa_call *call)
{
	const char *name = json_string_value(json_object_get(call->params, "name"));
	const struct niwa_tenant *tenant;
	json_t *r, *limits;

	if (!name) {
		niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER, "params.name: a tenant's name is missing");
		return;
	}
	tenant = niwa_map_get_str(call->engine->tenants, name);
	limits = tenant ? niwa_tenant_limits_show(call->engine, tenant) : NULL;
	r = json_pack("{s:o, s:I}", "record", niwa_tenant_limits_record(call->engine, name), "apps",
		      (json_int_t)(tenant ? tenant->apps : 0));
	if (r && limits)
		(void)json_object_set(r, "uses", json_object_get(limits, "uses"));
	json_decref(limits);
	niwa_call_answer(call, r);
}
