/* SPDX-License-Identifier: MIT
 *
 * The table of methods, and those that act on one app: wake, freeze, stop, restart, log, exec.
 */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/busy.h"
#include "engine/applog.h"
#include "engine/dump.h"
#include "engine/exec.h"
#include "engine/leave.h"
#include "engine/past.h"
#include "engine/resident.h"
#include "engine/restore.h"
#include "engine/rotate.h"
#include "engine/rpc.h"
#include "engine/rpc_show.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"
#include "engine/start.h"
#include "engine/wake.h"

const struct niwa_method niwa_methods[] = {
	{"ping", NIWA_ROLE_API, niwa_rpc_ping},
	{"host.status", NIWA_ROLE_API, niwa_rpc_host_status},
	{"metrics.get", NIWA_ROLE_API, niwa_rpc_metrics_get},
	{"app.list", NIWA_ROLE_API, niwa_rpc_app_list},
	{"app.show", NIWA_ROLE_ADMIN, niwa_rpc_app_show}, /* what is in the environment of apps is secret */
	{"app.wake", NIWA_ROLE_API, niwa_rpc_app_wake},
	{"app.log", NIWA_ROLE_API, niwa_rpc_app_log},
	{"top", NIWA_ROLE_API, niwa_rpc_top},
	{"app.freeze", NIWA_ROLE_ADMIN, niwa_rpc_app_freeze},
	{"app.stop", NIWA_ROLE_ADMIN, niwa_rpc_app_stop},
	{"app.restart", NIWA_ROLE_ADMIN, niwa_rpc_app_restart},
	{"app.set", NIWA_ROLE_ADMIN, niwa_rpc_app_set},
	{"app.exec", NIWA_ROLE_ADMIN, niwa_rpc_app_exec},
	{"exec.signal", NIWA_ROLE_ADMIN, niwa_rpc_exec_signal},
	{"apply.begin", NIWA_ROLE_ADMIN, niwa_rpc_apply_begin},
	{"apply.put", NIWA_ROLE_ADMIN, niwa_rpc_apply_put},
	{"apply.remove", NIWA_ROLE_ADMIN, niwa_rpc_apply_remove},
	{"apply.commit", NIWA_ROLE_ADMIN, niwa_rpc_apply_commit},
	{"tenant.show", NIWA_ROLE_API, niwa_rpc_tenant_show},
	{"names.watch", NIWA_ROLE_API, niwa_rpc_names_watch},
	{"snapshot.list", NIWA_ROLE_API, niwa_rpc_snapshot_list},
	{"snapshot.remove", NIWA_ROLE_ADMIN, niwa_rpc_snapshot_remove},
	{"snapshot.take", NIWA_ROLE_ADMIN, niwa_rpc_snapshot_take},
	{"snapshot.verify", NIWA_ROLE_ADMIN, niwa_rpc_snapshot_verify},
	{"image.prepare", NIWA_ROLE_ADMIN, niwa_rpc_image_prepare},
	{NULL, NIWA_ROLE_ROOT, NULL},
};

static json_t *state_of(const struct niwa_app *app)
{
	return json_pack("{s:s}", "state", niwa_state_name(app->state));
}

static void on_awake(const struct niwa_error *err, void *arg)
{
	struct niwa_call *call = arg;
	struct niwa_app *app;
	json_t *result;

	if (err) {
		niwa_call_fail(call, NIWA_RPC_FAILED, err);
		return;
	}
	app = niwa_call_app(call);
	if (!app)
		return;
	result = state_of(app);
	if (app->past) {
		(void)json_object_set_new(result, "took_us", json_integer((json_int_t)app->past->last_took_us));
		(void)json_object_set_new(result, "stages", niwa_rpc_stages(&app->past->last));
	}
	niwa_call_answer(call, result);
}

void niwa_rpc_app_wake(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);

	if (!app)
		return;
	if (app->past)
		app->past->not_before_us = 0; /* a person asks: the back-off is for machines */
	niwa_call_wake(call, app, on_awake);
}

/* Waiting for a state. */

static void on_state(struct niwa_app *app, bool reached, void *arg)
{
	struct niwa_call *call = arg;
	char why[80];

	if (reached)
		niwa_call_answer(call, state_of(app));
	else
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "%s is %s instead (%s)", app->name,
				    niwa_state_name(app->state), niwa_app_last_why(app, why, sizeof(why)));
}

void niwa_rpc_app_freeze(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);
	struct niwa_error err;

	if (!app)
		return;
	if (app->state == NIWA_FROZEN || app->state == NIWA_PAGED) {
		niwa_call_answer(call, state_of(app));
		return;
	}
	if (app->state != NIWA_RUNNING) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_CALLER, "%s is %s; only a running app can be frozen",
				    app->name, niwa_state_name(app->state));
		return;
	}
	if (app->resident) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_CALLER,
				    "%s is resident: it does not sleep; niwa stop ends it until somebody wants it",
				    app->name);
		return;
	}
	if (app->fresh || niwa_start_is_beside(app)) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY,
				    "%s is being replaced; freeze it when the fresh instance serves", app->name);
		return;
	}
	if (niwa_dump_is_under_way(app->current)) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "an image of %s is being taken", app->name);
		return;
	}
	if (app->current->execs) { /* it would stand still, and nothing that reaches its network would free it */
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY,
				    "%s cannot be frozen while a command of 'niwa exec' runs in it (%u); end it first",
				    app->name, app->current->execs);
		return;
	}
	niwa_scale_shrink(call->engine, app, "frozen on request");
	if (niwa_sleep_usage(call->engine, app->current, &app->current->seen_bytes, &app->current->seen_cpu_us) < 0 ||
	    niwa_app_watch(app, NIWA_FROZEN, 0, on_state, call) < 0) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "cannot look at %s", app->name);
		return;
	}
	(void)niwa_busy_until(app->current, NULL); /* what it said before does not count */
	if (niwa_sleep_freeze(call->engine, app->current, "asked for", &err) < 0)
		niwa_app_unwatch(app); /* answers: not reached */
}

static void on_stopped(struct niwa_app *app, bool reached, void *arg)
{
	struct niwa_call *call = arg;
	json_t *result;

	if (!reached) {
		on_state(app, reached, arg);
		return;
	}
	result = state_of(app);
	(void)json_object_set_new(result, "waiting", json_integer((json_int_t)app->waiting));
	niwa_call_answer(call, result);
}

void niwa_rpc_app_stop(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);

	if (!app)
		return;
	niwa_resident_stop(call->engine, app);
	if (niwa_state_is_down(app->state)) {
		niwa_call_answer(call, state_of(app));
		return;
	}
	/* Connections that wait may have it started again at once: what counts is the end of this instance. */
	if (niwa_app_watch(app, NIWA_STOPPED, app->current ? app->current->id : 0, on_stopped, call) < 0) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
		return;
	}
	niwa_leave_all(call->engine, app, "asked for");
}

static void on_restarted(struct niwa_app *app, bool reached, void *arg)
{
	struct niwa_call *call = arg;

	if (reached)
		niwa_call_answer(call, state_of(app));
	else
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "%s was not restarted: it is %s (%s)",
				    app->name, niwa_state_name(app->state), niwa_app_last_error(app));
}

/* Whoever asks for a restart does not want to have the old memory back. */
static void forget_memory(struct niwa_engine *e, struct niwa_app *app)
{
	if (app->state == NIWA_SAVING)
		niwa_leave_stop(e, app->current, "asked for");
	if (app->state == NIWA_RESTORING && app->current)
		niwa_restore_give_up(e, app->current);
	if (!app->snapshot || !app->snapshot->usable)
		return;
	if (app->snapshot->shared)
		app->start_once = niwa_state_is_down(app->state);
	else
		niwa_snapshot_drop(e, app, "a restart was asked for");
	niwa_snapshot_settle_one(e, app, "a restart was asked for");
}

void niwa_rpc_app_restart(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);

	if (!app)
		return;
	forget_memory(call->engine, app);
	if (app->state != NIWA_RUNNING) { /* its next instance is a fresh one anyway */
		niwa_rotate(call->engine, app, "asked for");
		niwa_call_answer(call, state_of(app));
		return;
	}
	niwa_scale_age(app);
	if (niwa_app_watch(app, NIWA_RUNNING, app->current->id, on_restarted, call) < 0)
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
	else
		niwa_rotate(call->engine, app, "asked for");
}

void niwa_rpc_app_log(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);
	char path[PATH_MAX];

	if (!app)
		return;
	niwa_applog_path(call->engine, app, path, sizeof(path));
	niwa_call_answer(call, json_pack("{s:s}", "path", path));
}

/* exec. */

struct niwa_rpc_exec {
	LIST_ENTRY(niwa_rpc_exec) link;
	struct niwa_engine *engine;
	struct niwa_rpc_conn *conn; /* NULL: nobody listens any more */
	uint64_t id;
};

static void on_exec_done(int code, int status, const struct niwa_error *err, void *arg)
{
	struct niwa_rpc_exec *x = arg;
	json_t *p = json_pack("{s:I,s:i,s:i}", "exec", (json_int_t)x->id, "code", code, "status", status);

	if (err)
		(void)json_object_set_new(p, "error", json_string(err->msg));
	if (x->conn) {
		LIST_REMOVE(x, link);
		niwa_rpc_notify(x->conn, "exec.exited", p);
	} else {
		json_decref(p);
	}
	free(x);
}

void niwa_rpc_exec_conn_gone(struct niwa_engine *e, struct niwa_rpc_state *state)
{
	struct niwa_rpc_exec *x;

	while ((x = LIST_FIRST(&state->execs))) {
		LIST_REMOVE(x, link);
		x->conn = NULL;
		niwa_exec_signal(e, x->id, SIGHUP);
	}
}

static char **strings_of(const json_t *array)
{
	char **list = json_array_size(array) ? niwa_zalloc((json_array_size(array) + 1) * sizeof(char *)) : NULL;
	json_t *item;
	size_t i;

	if (list)
		json_array_foreach((json_t *)(uintptr_t)array, i, item) list[i] =
			(char *)(uintptr_t)json_string_value(item);
	return list;
}

static void exec_now(const struct niwa_error *wake_err, void *arg)
{
	struct niwa_call *call = arg;
	struct niwa_app *app = wake_err ? NULL : niwa_call_app(call);
	bool on_terminal = json_is_true(json_object_get(call->params, "terminal"));
	struct niwa_terminal terminal = {
		.rows = (uint16_t)json_integer_value(json_object_get(call->params, "rows")),
		.columns = (uint16_t)json_integer_value(json_object_get(call->params, "columns"))};
	struct niwa_rpc_exec *x;
	struct niwa_error err;
	char **argv;
	int r;

	if (wake_err)
		niwa_call_fail(call, NIWA_RPC_FAILED, wake_err);
	if (!app)
		return;
	argv = strings_of(json_object_get(call->params, "argv"));
	x = niwa_zalloc(sizeof(*x));
	if (!argv || !argv[0] || !x || !call->conn) {
		niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER, "params.argv: a command is missing");
		free(argv);
		free(x);
		return;
	}
	x->engine = call->engine;
	x->conn = call->conn;
	r = niwa_exec_begin(call->engine, app, argv, on_terminal ? &terminal : NULL, call->fds, call->nfds,
			    on_exec_done, x, &x->id, &err);
	free(argv);
	if (r < 0) {
		free(x);
		niwa_call_fail(call, NIWA_RPC_FAILED, &err);
		return;
	}
	LIST_INSERT_HEAD(&niwa_rpc_state(call->conn)->execs, x, link);
	niwa_call_answer(call, json_pack("{s:I}", "exec", (json_int_t)x->id));
}

void niwa_rpc_app_exec(struct niwa_call *call)
{
	struct niwa_app *app = niwa_call_app(call);

	if (!app)
		return;
	niwa_call_wake(call, app, exec_now);
}

void niwa_rpc_exec_signal(struct niwa_call *call)
{
	uint64_t id = (uint64_t)json_integer_value(json_object_get(call->params, "exec"));
	int signal = (int)json_integer_value(json_object_get(call->params, "signal"));
	struct niwa_rpc_exec *x;

	LIST_FOREACH(x, &niwa_rpc_state(call->conn)->execs, link)
	if (x->id == id && signal > 0 && signal < 65) {
		niwa_exec_signal(call->engine, id, signal);
		niwa_call_answer(call, json_object());
		return;
	}
	niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER, "no such command on this connection");
}
