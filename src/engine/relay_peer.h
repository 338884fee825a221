/* SPDX-License-Identifier: MIT
 *
 * The relays that live: the one that accepts, and those before it that drain: they listen no more, wait for the apps of
 * the clients they hold, and end with their last connection. Tickets are counted by each relay for itself; in the
 * engine each has the number of its relay in the upper bits. Known to niwa-keep are their processes and, for a niwad
 * that comes after this one, the engine's ends of their sockets.
 */
#ifndef NIWA_ENGINE_RELAY_PEER_H
#define NIWA_ENGINE_RELAY_PEER_H

#include "base/relay_protocol.h"
#include "engine/channel.h"
#include "engine/engine_private.h"

#define NIWA_RELAYS_MAX 16 /* one that drains and is older than that many is ended */

struct niwa_relay_peer {
	struct niwa_engine *engine;
	struct niwa_channel *channel; /* NULL: not yet, or no more */
	uint64_t instance;            /* niwa-keep's number */
	uint64_t serial;              /* the upper bits of its tickets */
	uint64_t program;             /* 0: not known */
	pid_t pid;
	int pidfd, end; /* adopted: of its process; the engine's end until there is a channel; else -1 */
	bool drains;
	LIST_ENTRY(niwa_relay_peer) link; /* in engine.relay_peers, newest first */
};

struct niwa_relay_peer *niwa_relay_peer_new(struct niwa_engine *e, uint64_t instance);
void niwa_relay_peer_free(struct niwa_relay_peer **peer);
struct niwa_relay_peer *niwa_relay_peer_find(const struct niwa_engine *e, uint64_t instance); /* or NULL */

/* The relay that an engine's ticket belongs to, or NULL: it is no more. */
struct niwa_relay_peer *niwa_relay_peer_of(const struct niwa_engine *e, uint64_t ticket);
uint64_t niwa_relay_peer_ticket(const struct niwa_relay_peer *peer, uint64_t ticket); /* the relay's → the engine's */
uint64_t niwa_relay_peer_own(uint64_t ticket);                                        /* and back */

/* It accepts no more: another one is to be started. */
void niwa_relay_peer_drains(struct niwa_relay_peer *peer);

/* Which file of relays this is: changes with every installation. 0: there is none. */
uint64_t niwa_relay_program(const struct niwa_engine *e);

/* Adoption: a relay that runs; then its end, if an earlier niwad has stored it because it drains (takes fd). */
void niwa_relay_peer_adopt(struct niwa_engine *e, const struct niwa_keep_msg *m, const struct niwa_tag *tag, int *fds,
			   size_t nfds);
void niwa_relay_peer_adopt_end(struct niwa_engine *e, const char *name, int fd);

#endif
