/* SPDX-License-Identifier: MIT
 *
 * Connections of the engine's socket. One request a connection and turn of the loop, at a lower priority than
 * wakes, so that a long conversation delays nobody's connection.
 */
#include "engine/rpc.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/apply_check.h"
#include "engine/folder_claim.h"
#include "engine/names.h"
#include "engine/publish_claim.h"
#include "engine/route_claim.h"
#include "engine/wake.h"

#define OUT_MAX    (16 * 1024 * 1024)
#define CALLS_MAX  64 /* unanswered ones of a connection */
#define READ_CHUNK 65536
#define PAUSE_US   100000 /* of accepting, while there are no descriptors */
#define API_MAX    16     /* connections to api.sock */

/* niwad.sock, whose clients command, and api.sock, whose clients look. */
enum door { DOOR_ALL, DOOR_API, DOORS };

struct niwa_rpc_conn {
	struct niwa_engine *engine;
	int fd;
	enum door door; /* that it came by */
	enum niwa_role role;
	sd_event_source *source, *more;
	char *in;
	size_t in_len, in_size, scanned;
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds;
	struct niwa_text out;
	size_t out_sent;
	unsigned calls_count;
	bool lines;   /* `in` may hold another whole line */
	bool ended;   /* the client has ended its half, and reads on */
	bool closing; /* after what is queued has been sent */
	LIST_HEAD(, niwa_call) calls;
	struct niwa_rpc_state state;
	LIST_ENTRY(niwa_rpc_conn) link;
};

struct niwa_rpc {
	int fds[DOORS];
	sd_event_source *sources[DOORS], *resume; /* resume: NULL or over when accepting */
	struct niwa_log_limit log_accept;
	unsigned counts[DOORS];
	LIST_HEAD(, niwa_rpc_conn) conns;
};

struct niwa_rpc_state *niwa_rpc_state(struct niwa_rpc_conn *conn)
{
	return &conn->state;
}

static void close_fds(int *fds, size_t *nfds)
{
	for (size_t i = 0; i < *nfds; i++)
		niwa_fd_close(&fds[i]);
	*nfds = 0;
}

static void conn_free(struct niwa_rpc_conn *c)
{
	struct niwa_engine *e = c->engine;
	struct niwa_call *call;

	LIST_REMOVE(c, link);
	e->rpc->counts[c->door]--;
	niwa_names_watch_free(&c->state.names);
	LIST_FOREACH(call, &c->calls, link)
	call->conn = NULL;
	niwa_cmdb_txn_free(&c->state.txn);
	niwa_publish_claims_free(e, &c->state.claims);
	niwa_folder_claims_free(e, &c->state.folders);
	niwa_route_claims_free(e, &c->state.routes);
	niwa_apply_checks_free(&c->state.checks);
	niwa_rpc_exec_conn_gone(e, &c->state);
	(void)sd_event_source_disable_unref(c->source);
	(void)sd_event_source_disable_unref(c->more);
	close_fds(c->fds, &c->nfds);
	niwa_fd_close(&c->fd);
	niwa_text_fini(&c->out);
	free(c->in);
	free(c);
}

/* Output. */

static int flush(struct niwa_rpc_conn *c)
{
	while (c->out_sent < c->out.len) {
		ssize_t n =
			send(c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->out_sent += (size_t)n;
	}
	c->out.len = c->out_sent = 0;
	if (c->out.size > READ_CHUNK)
		niwa_text_fini(&c->out);
	return c->closing ? -ESHUTDOWN : 0;
}

/* Nothing is left to be sent, and nothing more will be. A client that has ended its half is still owed the answers to
 * what it asked, and the end of commands that it runs; when it closes altogether the kernel says EPOLLHUP. */
static bool is_over(const struct niwa_rpc_conn *c)
{
	if (c->out.len)
		return false;
	return c->closing || (c->ended && c->calls_count == 0 && LIST_EMPTY(&c->state.execs));
}

/* Who does not read is not read from, and nothing more is done for him; who sent many lines waits for his turns before
 * more is taken from him. */
static void watch(struct niwa_rpc_conn *c)
{
	bool idle = c->out.len == 0 && !c->closing, reads = idle && !c->lines && !c->ended;

	(void)sd_event_source_set_io_events(c->source, c->out.len ? EPOLLOUT : reads ? EPOLLIN : 0);
	(void)sd_event_source_set_enabled(c->more, is_over(c) || (idle && c->lines) ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void put_json(struct niwa_rpc_conn *c, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	if (text && c->out.len - c->out_sent + strlen(text) < OUT_MAX) {
		niwa_text_add(&c->out, text);
		niwa_text_add(&c->out, "\n");
	} else {
		c->closing = true; /* the client sees the end instead of an answer */
	}
	if (c->out.failed)
		c->closing = true;
	free(text);
	json_decref(message);
	(void)flush(c); /* an error is seen again by the loop */
	watch(c);
}

size_t niwa_rpc_connections(const struct niwa_engine *e)
{
	size_t n = 0;

	for (enum door d = 0; d < DOORS; d++)
		n += e->rpc->counts[d];
	return n;
}

size_t niwa_rpc_backlog(const struct niwa_rpc_conn *conn)
{
	return conn->out.len - conn->out_sent;
}

void niwa_rpc_cut(struct niwa_rpc_conn *conn)
{
	niwa_text_fini(&conn->out);
	conn->out_sent = 0;
	conn->closing = true;
	watch(conn);
}

void niwa_rpc_notify(struct niwa_rpc_conn *conn, const char *method, json_t *params)
{
	if (conn->closing)
		json_decref(params);
	else
		put_json(conn, json_pack("{s:s,s:s,s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}

static void call_free(struct niwa_call *call)
{
	if (call->conn) {
		call->conn->calls_count--;
		LIST_REMOVE(call, link);
		watch(call->conn); /* it may have been the last that an ended connection waited for */
	}
	close_fds(call->fds, &call->nfds);
	json_decref(call->id);
	json_decref(call->params);
	free(call);
}

void niwa_call_answer(struct niwa_call *call, json_t *result)
{
	if (call->conn && call->id)
		put_json(call->conn, json_pack("{s:s,s:O,s:o}", "jsonrpc", "2.0", "id", call->id, "result", result));
	else
		json_decref(result);
	call_free(call);
}

void niwa_call_fail_at(struct niwa_call *call, int code, const struct niwa_error *err, const char *app, const char *key)
{
	char text[NIWA_ERROR_MAX * 4];
	json_t *data = json_pack("{s:s}", "kind", niwa_error_kind_name(err->kind));

	if (*app) {
		(void)json_object_set_new(data, "app", json_string(app));
		(void)json_object_set_new(data, "key", json_string(key));
	}
	(void)niwa_quote(err->msg, strlen(err->msg), text, sizeof(text));
	if (call->conn && call->id)
		put_json(call->conn, json_pack("{s:s,s:O,s:{s:i,s:s,s:O}}", "jsonrpc", "2.0", "id", call->id, "error",
					       "code", code, "message", text, "data", data));
	json_decref(data);
	call_free(call);
}

void niwa_call_fail(struct niwa_call *call, int code, const struct niwa_error *err)
{
	niwa_call_fail_at(call, code, err, "", "");
}

void niwa_call_fail_text(struct niwa_call *call, int code, enum niwa_error_kind kind, const char *fmt, ...)
{
	struct niwa_error err;
	char text[NIWA_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)niwa_fail(&err, kind, 0, "%s", text);
	niwa_call_fail(call, code, &err);
}

struct niwa_app *niwa_call_app(struct niwa_call *call)
{
	const char *name = json_string_value(json_object_get(call->params, "name"));
	struct niwa_app *app;

	if (!name) {
		niwa_call_fail_text(call, NIWA_RPC_BAD_PARAMS, NIWA_CALLER,
				    "params.name: the name of an app is missing");
		return NULL;
	}
	app = niwa_app_by_name(call->engine, name);
	if (!app)
		niwa_call_fail_text(call, NIWA_RPC_NO_APP, NIWA_CALLER,
				    "no app is called '%.253s' (niwa ls lists them)", name);
	return app;
}

void niwa_call_wake(struct niwa_call *call, struct niwa_app *app,
		    void (*done)(const struct niwa_error *err, void *call))
{
	struct niwa_waiter *w = niwa_waiter_new(app, 0, 0, 0);

	if (!w) {
		niwa_call_fail_text(call, NIWA_RPC_FAILED, NIWA_TEMPORARY, "out of memory");
		return;
	}
	w->done = done;
	w->arg = call;
	w->since_us = niwa_now_us();
	niwa_wake(call->engine, app, w, w->since_us);
}

/* Input. */

static void protocol_error(struct niwa_rpc_conn *c, int code, const char *text, bool end)
{
	c->closing = end;
	put_json(c, json_pack("{s:s,s:n,s:{s:i,s:s}}", "jsonrpc", "2.0", "id", "error", "code", code, "message", text));
}

static void dispatch(struct niwa_rpc_conn *c, struct niwa_call *call, const char *method)
{
	for (const struct niwa_method *m = niwa_methods; m->name; m++) {
		if (strcmp(m->name, method) != 0)
			continue;
		if (c->role < m->role)
			niwa_call_fail_text(call, NIWA_RPC_NOT_ALLOWED, NIWA_CALLER,
					    "%s needs to be root or in group niwa", method);
		else
			m->fn(call);
		return;
	}
	niwa_call_fail_text(call, -32601, NIWA_CALLER, "no method '%.64s'", method);
}

static void handle_line(struct niwa_rpc_conn *c, const char *line, size_t len)
{
	json_error_t jerr;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &jerr), *params;
	const char *method = json_string_value(json_object_get(request, "method"));
	struct niwa_call *call;

	params = json_object_get(request, "params");
	if (!request || !method || (params && !json_is_object(params))) {
		close_fds(c->fds, &c->nfds);
		protocol_error(c, request ? -32600 : -32700,
			       request ? "not a JSON-RPC 2.0 request with params as an object" : jerr.text, false);
		json_decref(request);
		return;
	}
	call = c->calls_count < CALLS_MAX ? niwa_zalloc(sizeof(*call)) : NULL;
	if (!call) {
		close_fds(c->fds, &c->nfds);
		protocol_error(c, NIWA_RPC_FAILED, "too many requests are unanswered on this connection", true);
		json_decref(request);
		return;
	}
	call->engine = c->engine;
	call->conn = c;
	call->id = json_incref(json_object_get(request, "id"));
	call->params = params ? json_incref(params) : json_object();
	memcpy(call->fds, c->fds, sizeof(call->fds));
	call->nfds = c->nfds;
	c->nfds = 0;
	LIST_INSERT_HEAD(&c->calls, call, link);
	c->calls_count++;
	dispatch(c, call, method);
	json_decref(request);
}

/* Handles one line if there is a whole one. Returns 1 when another may be there. */
static int handle_one(struct niwa_rpc_conn *c)
{
	char *nl = c->in_len > c->scanned ? memchr(c->in + c->scanned, '\n', c->in_len - c->scanned) : NULL;
	size_t len;

	if (!nl) {
		c->scanned = c->in_len;
		if (c->in_len >= NIWA_RPC_LINE_MAX)
			protocol_error(c, -32600, "a line is longer than 1 MiB", true);
		return 0;
	}
	len = (size_t)(nl - c->in);
	if (len > 0)
		handle_line(c, c->in, len);
	c->in_len -= len + 1;
	memmove(c->in, nl + 1, c->in_len);
	c->scanned = 0;
	if (c->in_len == 0 && c->in_size > READ_CHUNK) {
		free(c->in);
		c->in = NULL;
		c->in_size = 0;
	}
	return c->in_len > 0 && !c->closing;
}

static int fill(struct niwa_rpc_conn *c)
{
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds;
	ssize_t n;

	if (c->in_size - c->in_len < READ_CHUNK) {
		size_t size = c->in_size ? c->in_size * 2 : READ_CHUNK;
		char *p;

		if (size > NIWA_RPC_LINE_MAX + READ_CHUNK)
			size = NIWA_RPC_LINE_MAX + READ_CHUNK;
		if (c->in_len >= size)
			return -EMSGSIZE;
		p = realloc(c->in, size);
		if (!p)
			return -ENOMEM;
		c->in = p;
		c->in_size = size;
	}
	n = niwa_ipc_recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, fds, &nfds);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	if (n == 0) {
		c->ended = true;
		return 0;
	}
	if (nfds) {
		close_fds(c->fds, &c->nfds);
		memcpy(c->fds, fds, nfds * sizeof(int));
		c->nfds = nfds;
	}
	c->in_len += (size_t)n;
	return 1;
}

static void go_on(struct niwa_rpc_conn *c)
{
	if (is_over(c))
		conn_free(c);
	else
		watch(c);
}

static int on_more(sd_event_source *s, void *arg)
{
	struct niwa_rpc_conn *c = arg;

	(void)s;
	if (c->lines)
		c->lines = handle_one(c);
	go_on(c);
	return 0;
}

static int on_conn(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_rpc_conn *c = arg;
	int r = 0;

	(void)s, (void)fd;
	if (revents & EPOLLOUT)
		r = flush(c);
	if (r == 0 && (revents & EPOLLIN))
		r = fill(c);
	if (r < 0 || (r == 0 && (revents & (EPOLLHUP | EPOLLERR)) && !(revents & EPOLLIN))) {
		conn_free(c);
		return 0;
	}
	if (r > 0)
		c->lines = handle_one(c);
	go_on(c);
	return 0;
}

/* Accepting. */

static enum niwa_role role_of(enum door door, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (door == DOOR_API || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return NIWA_ROLE_API;
	/* the socket's own mode lets in only root and the group */
	return peer.uid == 0 ? NIWA_ROLE_ROOT : NIWA_ROLE_ADMIN;
}

static int conn_new(struct niwa_engine *e, enum door door, int fd)
{
	struct niwa_rpc_conn *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->engine = e;
	c->fd = fd;
	c->door = door;
	c->role = role_of(door, fd);
	LIST_INIT(&c->calls);
	LIST_INIT(&c->state.execs);
	LIST_INSERT_HEAD(&e->rpc->conns, c, link);
	e->rpc->counts[door]++;
	if (sd_event_add_io(e->event, &c->source, fd, EPOLLIN, on_conn, c) < 0 ||
	    sd_event_add_defer(e->event, &c->more, on_more, c) < 0) {
		c->fd = -1;
		conn_free(c);
		return -ENOMEM;
	}
	(void)sd_event_source_set_enabled(c->more, SD_EVENT_OFF);
	(void)sd_event_source_set_priority(c->source, NIWA_RPC_PRIORITY);
	(void)sd_event_source_set_priority(c->more, NIWA_RPC_PRIORITY);
	return 0;
}

static int on_resume(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;

	(void)s, (void)usec;
	for (enum door d = 0; d < DOORS; d++)
		(void)sd_event_source_set_enabled(e->rpc->sources[d], SD_EVENT_ON);
	return 0;
}

/* Who cannot be let in stays in the queue, and the listener ready: the loop would do nothing else. */
static void pause_accepting(struct niwa_engine *e, int error)
{
	struct niwa_rpc *rpc = e->rpc;

	if (niwa_log_allow(&rpc->log_accept, 1, 10 * NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, NULL, "accept a connection to the engine's socket: %s; pausing",
			 strerrordesc_np(error));
	rpc->resume = sd_event_source_disable_unref(rpc->resume);
	if (sd_event_add_time_relative(e->event, &rpc->resume, CLOCK_MONOTONIC, PAUSE_US, 0, on_resume, e) < 0)
		return;
	for (enum door d = 0; d < DOORS; d++)
		(void)sd_event_source_set_enabled(rpc->sources[d], SD_EVENT_OFF);
}

static int on_listener(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_engine *e = arg;
	enum door door = fd == e->rpc->fds[DOOR_API] ? DOOR_API : DOOR_ALL;
	NIWA_AUTO_FD conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)s, (void)revents;
	if (conn < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(e, errno);
		return 0;
	}
	if (e->rpc->counts[door] >= (door == DOOR_API ? API_MAX : e->config.rpc_connections)) {
		static const char text[] =
			"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":"
			"\"too many connections (rpc_connections)\",\"data\":{\"kind\":\"temporary\"}}}\n";

		(void)send(conn, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		return 0;
	}
	if (conn_new(e, door, conn) == 0)
		conn = -1;
	return 0;
}

/* The socket's mode is what lets in: root and the group. */
static int open_door(struct niwa_engine *e, enum door door, gid_t group, struct niwa_error *err)
{
	static const char *const names[] = {[DOOR_ALL] = "niwad.sock", [DOOR_API] = "api.sock"};
	struct niwa_rpc *rpc = e->rpc;
	char path[256];
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s", e->config.run_dir, names[door]);
	rpc->fds[door] = niwa_ipc_listen(path, SOCK_STREAM, 0660);
	if (rpc->fds[door] < 0)
		return niwa_fail(err, NIWA_PERMANENT, -rpc->fds[door], "open '%s'", path);
	if (chown(path, 0, group) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "give '%s' to group %u", path, group);
	r = sd_event_add_io(e->event, &rpc->sources[door], rpc->fds[door], EPOLLIN, on_listener, e);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "watch '%s'", path);
	(void)sd_event_source_set_priority(rpc->sources[door], NIWA_RPC_PRIORITY);
	return 0;
}

int niwa_rpc_open(struct niwa_engine *e, struct niwa_error *err)
{
	const struct group *group = getgrnam("niwa");
	gid_t niwa = group ? group->gr_gid : (gid_t)-1;
	const struct passwd *api = getpwnam(e->config.api_user);
	int r;

	e->rpc = niwa_zalloc(sizeof(*e->rpc));
	if (!e->rpc)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open the engine's socket");
	e->rpc->fds[DOOR_ALL] = e->rpc->fds[DOOR_API] = -1;
	r = open_door(e, DOOR_API, api ? api->pw_gid : (gid_t)-1, err);
	if (r == 0)
		r = open_door(e, DOOR_ALL, niwa, err);
	return r;
}

void niwa_rpc_close(struct niwa_engine *e)
{
	struct niwa_rpc_conn *c;

	if (!e->rpc)
		return;
	while ((c = LIST_FIRST(&e->rpc->conns)))
		conn_free(c);
	(void)sd_event_source_disable_unref(e->rpc->resume);
	for (enum door d = 0; d < DOORS; d++) {
		(void)sd_event_source_disable_unref(e->rpc->sources[d]);
		niwa_fd_close(&e->rpc->fds[d]);
	}
	free(e->rpc);
	e->rpc = NULL;
}
