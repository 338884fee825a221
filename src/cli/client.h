/* SPDX-License-Identifier: MIT
 *
 * The client's side of the engine's socket (docs/rpc.md): JSON-RPC 2.0, one JSON text a line, bounded, with
 * a deadline for every wait. One call at a time; notifications that arrive meanwhile are kept (bounded).
 */
#ifndef NIWA_CLI_CLIENT_H
#define NIWA_CLI_CLIENT_H

#include <stddef.h>

#include <jansson.h>

#include "base/error.h"

#define NIWA_RPC_LINE_MAX    (1024 * 1024)
#define NIWA_RPC_NOTES_MAX   64
#define NIWA_RPC_DEADLINE_MS 30000u
#define NIWA_RPC_WAKE_MS     (15u * 60 * 1000) /* longer than the deadlines of apps: the engine answers first */
#define NIWA_RPC_NO_APP      (-32001)          /* error codes, as in niwa_client_error_code */
#define NIWA_RPC_NOT_ALLOWED (-32002)
#define NIWA_RPC_NO_METHOD   (-32601)

struct niwa_client; /* opaque */

/* Connects. err says what to do when there is no engine or no permission. */
int niwa_client_open(const char *path, struct niwa_client **ret, struct niwa_error *err);
/* Takes a connected stream socket (tests). */
int niwa_client_take(int *fd, struct niwa_client **ret);
void niwa_client_free(struct niwa_client **client);
int niwa_client_fd(const struct niwa_client *client); /* for poll; owned by the client */

/* One call. Takes params (NULL: an empty object). *ret (may be NULL) is a new reference. Returns 0,
 * -ETIMEDOUT, -ECONNRESET, -EPROTO, or -EREMOTEIO for an error that the engine answered. */
int niwa_client_call(struct niwa_client *client, const char *method, json_t *params, unsigned deadline_ms, json_t **ret,
		     struct niwa_error *err);
/* The same; the descriptors travel with the first byte of the request and stay the caller's. */
struct niwa_client_fds {
	const int *fds;
	size_t count;
};
int niwa_client_call_fds(struct niwa_client *client, const char *method, json_t *params,
			 const struct niwa_client_fds *fds, json_t **ret, struct niwa_error *err);
/* The JSON-RPC code of the last -EREMOTEIO. */
long niwa_client_error_code(const struct niwa_client *client);
/* Its data, borrowed until the next call; NULL: none. */
const json_t *niwa_client_error_data(const struct niwa_client *client);

/* The next notification, waiting up to deadline_ms (0: only what is here). -EAGAIN: none in that time. */
int niwa_client_next(struct niwa_client *client, unsigned deadline_ms, json_t **ret, struct niwa_error *err);

#endif
