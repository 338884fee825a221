/* SPDX-License-Identifier: MIT
 *
 * JSON-RPC over the engine's Unix socket. The socket is non-blocking; every wait is a poll with what is left
 * of the deadline.
 */
#include "cli/client.h"

#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/text.h"

struct niwa_client {
	int fd;
	uint64_t id;     /* of the last request */
	long error_code; /* of the last error answer */
	json_t *error_data;
	struct niwa_text in; /* received, not yet consumed */
	json_t *notes;       /* array of notifications */
};

static const char *open_hint(int code)
{
	switch (code) {
	case ENOENT:
	case ECONNREFUSED:
		return "the engine is not running; start it with 'systemctl start niwad' (without systemd: 'niwa-keep' "
		       "and 'niwad' as root), or name its socket with --socket";
	case EACCES:
	case EPERM:
		return "only root and members of group niwa may talk to the engine; use sudo, or 'usermod -aG niwa "
		       "USER' "
		       "and log in again (the group is root-equivalent)";
	case EAGAIN:
		return "the engine has too many connections waiting; try again";
	default:
		return NULL;
	}
}

int niwa_client_take(int *fd, struct niwa_client **ret)
{
	struct niwa_client *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->notes = json_array();
	if (!c->notes) {
		free(c);
		return -ENOMEM;
	}
	c->fd = NIWA_TAKE_FD(*fd);
	*ret = c;
	return 0;
}

int niwa_client_open(const char *path, struct niwa_client **ret, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = niwa_ipc_connect(path, SOCK_STREAM);
	const char *hint;
	int r;

	if (fd < 0) {
		int code = -fd;

		r = niwa_fail(err, NIWA_TEMPORARY, code, "connect to the engine at '%s'", path);
		hint = open_hint(code);
		if (hint && err) {
			size_t len = strlen(err->msg);

			(void)snprintf(err->msg + len, sizeof(err->msg) - len, "\n  %s", hint);
		}
		return r;
	}
	r = niwa_client_take(&fd, ret);
	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "connect to the engine") : 0;
}

void niwa_client_free(struct niwa_client **client)
{
	struct niwa_client *c = *client;

	if (!c)
		return;
	niwa_fd_close(&c->fd);
	niwa_text_fini(&c->in);
	json_decref(c->notes);
	json_decref(c->error_data);
	free(c);
	*client = NULL;
}

int niwa_client_fd(const struct niwa_client *client)
{
	return client->fd;
}

long niwa_client_error_code(const struct niwa_client *client)
{
	return client->error_code;
}

const json_t *niwa_client_error_data(const struct niwa_client *client)
{
	return client->error_data;
}

/* Waits for events until the deadline. 0, -ETIMEDOUT or -errno. */
static int wait_for(int fd, short events, uint64_t until_us)
{
	for (;;) {
		uint64_t now = niwa_now_us();
		struct pollfd p = {.fd = fd, .events = events};
		uint64_t left_ms = until_us > now ? (until_us - now + 999) / NIWA_MS : 0;
		int n = poll(&p, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && niwa_now_us() >= until_us)
			return -ETIMEDOUT;
	}
}

static int send_some(int fd, const char *data, size_t len, const struct niwa_client_fds *fds)
{
	ssize_t n;
	int r;

	if (fds) { /* one byte carries the descriptors, so that they are never sent twice */
		r = niwa_ipc_send(fd, data, 1, fds->fds, fds->count);
		return r < 0 ? r : 1;
	}
	n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : (int)n;
}

static int send_all(struct niwa_client *c, const char *data, size_t len, const struct niwa_client_fds *fds,
		    uint64_t until_us)
{
	size_t done = 0;

	while (done < len) {
		int n = send_some(c->fd, data + done, len - done, done ? NULL : fds);

		if (n == -EAGAIN || n == -EINTR) {
			n = wait_for(c->fd, POLLOUT, until_us);
			if (n < 0)
				return n;
			continue;
		}
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return 0;
}

/* Reads once. 0, -ECONNRESET at the end of the stream, -EFBIG for a line that is too long, or -errno. */
static int receive(struct niwa_client *c, uint64_t until_us)
{
	char buf[65536];
	ssize_t n;
	int r = wait_for(c->fd, POLLIN, until_us);

	if (r < 0)
		return r;
	n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	niwa_text_add_bytes(&c->in, buf, (size_t)n);
	if (c->in.failed)
		return -ENOMEM;
	return 0;
}

/* Takes one line out of the buffer. 1: *ret is set; 0: no whole line is there. */
static int take_line(struct niwa_client *c, json_t **ret)
{
	char *end = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
	json_error_t je;
	size_t used;

	if (!end)
		return c->in.len > NIWA_RPC_LINE_MAX ? -EFBIG : 0;
	used = (size_t)(end - c->in.data) + 1;
	*ret = json_loadb(c->in.data, used, JSON_REJECT_DUPLICATES, &je);
	memmove(c->in.data, c->in.data + used, c->in.len - used);
	c->in.len -= used;
	if (!json_is_object(*ret)) {
		json_decref(*ret);
		*ret = NULL;
		return -EPROTO;
	}
	return 1;
}

static int next_message(struct niwa_client *c, uint64_t until_us, json_t **ret)
{
	for (;;) {
		int r = take_line(c, ret);

		if (r != 0)
			return r < 0 ? r : 0;
		r = receive(c, until_us);
		if (r < 0)
			return r;
	}
}

static int fail_wait(struct niwa_error *err, int r, const char *method)
{
	switch (r) {
	case -ETIMEDOUT:
		return niwa_fail(err, NIWA_TEMPORARY, ETIMEDOUT,
				 "wait for the engine's answer to '%s' (it is busy or stuck; see its log)", method);
	case -ECONNRESET:
	case -EPIPE:
		return niwa_fail(
			err, NIWA_TEMPORARY, ECONNRESET,
			"the engine closed the connection during '%s' (it was stopped or restarted; try again)",
			method);
	case -EPROTO:
	case -EFBIG:
		return niwa_fail(err, NIWA_PERMANENT, EPROTO,
				 "what answers '%s' at the engine's socket does not speak its protocol", method);
	default:
		return niwa_fail(err, NIWA_TEMPORARY, -r, "talk to the engine ('%s')", method);
	}
}

static enum niwa_error_kind kind_of(const char *name)
{
	if (name && !strcmp(name, "temporary"))
		return NIWA_TEMPORARY;
	return name && !strcmp(name, "caller") ? NIWA_CALLER : NIWA_PERMANENT;
}

static int fail_remote(struct niwa_client *c, const json_t *error, const char *method, struct niwa_error *err)
{
	json_t *data = json_object_get(error, "data");
	const char *text = json_string_value(json_object_get(error, "message"));

	c->error_code = (long)json_integer_value(json_object_get(error, "code"));
	json_decref(c->error_data);
	c->error_data = json_incref(data);
	if (c->error_code == NIWA_RPC_NO_METHOD)
		(void)niwa_fail(err, NIWA_PERMANENT, 0,
				"the running engine does not know '%s' (it is of another version than this program; "
				"restart it: 'systemctl restart niwad')",
				method);
	else
		(void)niwa_fail(err, kind_of(json_string_value(json_object_get(data, "kind"))), 0, "%s",
				text ? text : "the engine failed without a reason");
	return -EREMOTEIO;
}

static char *request_text(uint64_t id, const char *method, json_t *params, size_t *ret_len)
{
	json_t *req = json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)id, "method", method,
				"params", params ? params : json_object());
	char *text = req ? json_dumps(req, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(req);
	if (text) {
		text[len] = '\n'; /* in place of the terminator: the length is what counts */
		*ret_len = len + 1;
	}
	return text;
}

/* Waits for the answer with our id; keeps notifications. */
static int await_answer(struct niwa_client *c, uint64_t until_us, json_t **ret)
{
	for (;;) {
		json_t *msg = NULL;
		int r = next_message(c, until_us, &msg);

		if (r < 0)
			return r;
		if (json_object_get(msg, "method")) {
			if (json_array_size(c->notes) >= NIWA_RPC_NOTES_MAX)
				(void)json_array_remove(c->notes, 0);
			(void)json_array_append_new(c->notes, msg);
			continue;
		}
		/* an error with a null id is for a request that could not be read: ours, there is no other */
		if (json_is_null(json_object_get(msg, "id")) ||
		    (uint64_t)json_integer_value(json_object_get(msg, "id")) == c->id) {
			*ret = msg;
			return 0;
		}
		json_decref(msg); /* an answer to a call that was given up */
	}
}

static int call(struct niwa_client *c, const char *method, json_t *params, const struct niwa_client_fds *fds,
		unsigned deadline_ms, json_t **ret, struct niwa_error *err)
{
	uint64_t until_us = niwa_now_us() + deadline_ms * NIWA_MS;
	json_t *answer = NULL, *result;
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	size_t len = 0;
	int r;

	text = request_text(++c->id, method, params, &len);
	if (!text)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make the request '%s'", method);
	if (len > NIWA_RPC_LINE_MAX)
		return niwa_fail(err, NIWA_CALLER, EMSGSIZE, "the request '%s' has %zu bytes, at most %d are allowed",
				 method, len, NIWA_RPC_LINE_MAX);
	r = send_all(c, text, len, fds, until_us);
	if (r == 0)
		r = await_answer(c, until_us, &answer);
	if (r < 0)
		return fail_wait(err, r, method);
	result = json_object_get(answer, "error");
	if (result) {
		r = fail_remote(c, result, method, err);
	} else {
		result = json_object_get(answer, "result");
		if (!result)
			r = fail_wait(err, -EPROTO, method);
		else if (ret)
			*ret = json_incref(result);
	}
	json_decref(answer);
	return r;
}

int niwa_client_call(struct niwa_client *client, const char *method, json_t *params, unsigned deadline_ms, json_t **ret,
		     struct niwa_error *err)
{
	return call(client, method, params, NULL, deadline_ms, ret, err);
}

int niwa_client_call_fds(struct niwa_client *client, const char *method, json_t *params,
			 const struct niwa_client_fds *fds, json_t **ret, struct niwa_error *err)
{
	return call(client, method, params, fds, NIWA_RPC_WAKE_MS, ret, err);
}

int niwa_client_next(struct niwa_client *client, unsigned deadline_ms, json_t **ret, struct niwa_error *err)
{
	uint64_t until_us = niwa_now_us() + deadline_ms * NIWA_MS;
	json_t *msg = NULL;

	if (json_array_size(client->notes)) {
		*ret = json_incref(json_array_get(client->notes, 0));
		(void)json_array_remove(client->notes, 0);
		return 0;
	}
	for (;;) {
		int r = next_message(client, until_us, &msg);

		if (r == -ETIMEDOUT)
			return -EAGAIN;
		if (r < 0)
			return fail_wait(err, r, "notifications");
		if (json_object_get(msg, "method")) {
			*ret = msg;
			return 0;
		}
		json_decref(msg);
	}
}
