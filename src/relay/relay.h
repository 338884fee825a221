/* SPDX-License-Identifier: MIT
 *
 * niwa-relay as an object: accepts the connections of apps that sleep, asks the engine, connects to the instance
 * and moves bytes both ways. One thread, one sd-event loop (its own); connections live in an epoll set that is one
 * source of that loop (docs/adr: sd-event alone needs quadratic time when thousands are ready). Everything is
 * bounded by struct niwa_relay_limits. Holds no privilege and parses client bytes only to answer PostgreSQL.
 */
#ifndef NIWA_RELAY_RELAY_H
#define NIWA_RELAY_RELAY_H

#include <stdint.h>

#include "base/error.h"

struct niwa_relay; /* opaque */

/* listener: the transparent listening socket, -1: none; engine: a connected SOCK_SEQPACKET socket. Both are taken
 * (also when this fails) and made non-blocking. RLIMIT_NOFILE as it is now decides the bound of connections. */
int niwa_relay_new(int listener, int engine, struct niwa_relay **ret, struct niwa_error *err);
/* Cuts every connection. */
void niwa_relay_free(struct niwa_relay **relay);

/* Each change of state and each end of a connection is logged, at level DEBUG. */
void niwa_relay_log_moves(struct niwa_relay *relay);

/* Runs until it was told to drain (DRAIN, SIGTERM, SIGINT, or the engine's socket ended) and the last connection
 * is over. 0 or -errno. SIGTERM and SIGINT must be blocked. */
int niwa_relay_run(struct niwa_relay *relay, struct niwa_error *err);
/* One turn of the loop, waiting at most timeout_us; for tests. Returns 0, 1 when the relay is done, -errno. */
int niwa_relay_turn(struct niwa_relay *relay, uint64_t timeout_us);

#endif
