/* SPDX-License-Identifier: MIT
 *
 * The engine's socket: JSON-RPC 2.0, a text a line, roles, bounded buffers (docs/rpc.md). Transport and dispatch;
 * the methods are in rpc_*.c, listed in one table with the role each needs. A second socket, api.sock, is for programs
 * that are not trusted with more than role api.
 */
#ifndef NIWA_ENGINE_RPC_H
#define NIWA_ENGINE_RPC_H

#include "engine/engine_private.h"

#define NIWA_RPC_LINE_MAX (1024 * 1024)
#define NIWA_RPC_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10) /* of the socket's work, behind that of wakes */

enum niwa_role { NIWA_ROLE_API, NIWA_ROLE_ADMIN, NIWA_ROLE_ROOT };

struct niwa_rpc_conn;

/* One request that is being answered, perhaps later. Ends with exactly one of answer, fail. */
struct niwa_call {
	struct niwa_engine *engine;
	struct niwa_rpc_conn *conn; /* NULL when the client has gone */
	json_t *id;                 /* NULL: a notification, nothing is sent */
	json_t *params;             /* an object */
	int fds[16];                /* that came with the request; closed with it */
	size_t nfds;
	LIST_ENTRY(niwa_call) link;
};

typedef void niwa_method_fn(struct niwa_call *call);

struct niwa_method {
	const char *name;
	enum niwa_role role;
	niwa_method_fn *fn;
};
extern const struct niwa_method niwa_methods[]; /* ends with a NULL name */

int niwa_rpc_open(struct niwa_engine *e, struct niwa_error *err);
void niwa_rpc_close(struct niwa_engine *e);

#define NIWA_RPC_FAILED      (-32000)
#define NIWA_RPC_NO_APP      (-32001)
#define NIWA_RPC_NOT_ALLOWED (-32002)
#define NIWA_RPC_BAD_PARAMS  (-32602)

void niwa_call_answer(struct niwa_call *call, json_t *result); /* takes the reference; NULL: out of memory */
void niwa_call_fail(struct niwa_call *call, int code, const struct niwa_error *err);
/* The same with data.app and data.key, unless app is empty. */
void niwa_call_fail_at(struct niwa_call *call, int code, const struct niwa_error *err, const char *app,
		       const char *key);
void niwa_call_fail_text(struct niwa_call *call, int code, enum niwa_error_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A message to the connection that no request asked for. Takes params. */
void niwa_rpc_notify(struct niwa_rpc_conn *conn, const char *method, json_t *params);

/* How many connections there are. */
size_t niwa_rpc_connections(const struct niwa_engine *e);
/* Bytes that the connection has not read yet. */
size_t niwa_rpc_backlog(const struct niwa_rpc_conn *conn);
/* Ends the connection at the next turn, without what it has not read. */
void niwa_rpc_cut(struct niwa_rpc_conn *conn);

/* What a method keeps per connection, released with it. */
struct niwa_rpc_state {
	struct niwa_cmdb_txn *txn;
	uint64_t txn_id;
	size_t txn_changes;
	struct niwa_publish_claims *claims; /* of txn */
	struct niwa_folder_claims *folders; /* of txn */
	struct niwa_route_claims *routes;   /* of txn */
	struct niwa_apply_checks *checks;   /* of txn */
	struct niwa_names_watch *names;     /* names.watch; NULL: it does not watch */
	LIST_HEAD(, niwa_rpc_exec) execs;
};
struct niwa_rpc_state *niwa_rpc_state(struct niwa_rpc_conn *conn);
void niwa_rpc_exec_conn_gone(struct niwa_engine *e, struct niwa_rpc_state *state);

/* The app named by params.name, or NULL after having failed the call. */
struct niwa_app *niwa_call_app(struct niwa_call *call);
/* Wakes the app; done(error or NULL, call) answers the call, at once or later. Without memory the call has failed. */
void niwa_call_wake(struct niwa_call *call, struct niwa_app *app,
		    void (*done)(const struct niwa_error *err, void *call));

niwa_method_fn niwa_rpc_apply_begin, niwa_rpc_apply_put, niwa_rpc_apply_remove, niwa_rpc_apply_commit;
niwa_method_fn niwa_rpc_tenant_show;
niwa_method_fn niwa_rpc_app_list, niwa_rpc_app_show, niwa_rpc_top;
niwa_method_fn niwa_rpc_app_wake, niwa_rpc_app_freeze, niwa_rpc_app_stop, niwa_rpc_app_restart, niwa_rpc_app_log;
niwa_method_fn niwa_rpc_app_set;
niwa_method_fn niwa_rpc_app_exec, niwa_rpc_exec_signal;
niwa_method_fn niwa_rpc_snapshot_list, niwa_rpc_snapshot_remove, niwa_rpc_snapshot_take, niwa_rpc_snapshot_verify;
niwa_method_fn niwa_rpc_names_watch;
niwa_method_fn niwa_rpc_ping, niwa_rpc_host_status, niwa_rpc_metrics_get, niwa_rpc_image_prepare;

#endif
