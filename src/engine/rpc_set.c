/* SPDX-License-Identifier: MIT
 *
 * app.set: limits over those of the record.
 */
#include "base/memory.h"
#include "engine/app.h"
#include "engine/limit_set.h"
#include "engine/rpc.h"
#include "engine/rpc_show.h"

void niwa_rpc_show_limits(const struct niwa_app *app, const struct niwa_app_spec *spec, json_t *r)
{
	const struct niwa_limits now = niwa_limits_over(app, &spec->limits);
	json_t *set = niwa_limits_set(app);

	(void)json_object_set_new(r, "limits",
				  json_pack("{s:o,s:o}", "cpu", niwa_limit_write("cpu", &now), "memory",
					    niwa_limit_write("memory", &now)));
	if (set)
		(void)json_object_set_new(r, "set", set);
}

static void on_set(const struct niwa_error *err, void *arg)
{
	struct niwa_call *call = arg;
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	struct niwa_app *app;
	struct niwa_error why;
	json_t *result;

	if (err) {
		niwa_call_fail(call, err->kind == NIWA_CALLER ? NIWA_RPC_BAD_PARAMS : NIWA_RPC_FAILED, err);
		return;
	}
	app = niwa_call_app(call);
	if (!app)
		return;
	if (niwa_app_spec_read(call->engine, app, &spec, &why) < 0) {
		niwa_call_fail(call, NIWA_RPC_FAILED, &why);
		return;
	}
	result = json_pack("{s:s}", "state", niwa_state_name((enum niwa_state)app->state));
	niwa_rpc_show_limits(app, spec, result);
	niwa_call_answer(call, result);
}

void niwa_rpc_app_set(struct niwa_call *call)
{
	const json_t *limits = json_object_get(call->params, "limits");
	struct niwa_app *app = niwa_call_app(call);

	if (!app)
		return;
	if (!json_object_size(limits)) {
		niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER,
				    "params.limits: an object with cpu or memory is missing");
		return;
	}
	niwa_limits_change(call->engine, app, limits, on_set, call);
}
