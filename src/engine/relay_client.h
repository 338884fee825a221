/* SPDX-License-Identifier: MIT
 *
 * niwad's side of the conversation with niwa-relay: its start (through keep), its listener, tickets.
 */
#ifndef NIWA_ENGINE_RELAY_CLIENT_H
#define NIWA_ENGINE_RELAY_CLIENT_H

#include "engine/engine_private.h"

/* Opens the transparent listener if niwa-keep had none. Before any published port is bound: where the relay of a
 * niwa-keep that is no more still has them, this waits for its end. */
int niwa_relay_listen(struct niwa_engine *e, struct niwa_error *err);
/* After adoption: takes over the relay that runs, or starts one. */
int niwa_relay_begin(struct niwa_engine *e, struct niwa_error *err);
void niwa_relay_close(struct niwa_engine *e); /* the end of niwad */
void niwa_relay_kept(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);

void niwa_relay_ready(struct niwa_engine *e, const struct niwa_waiter *w, const struct niwa_instance *i);
void niwa_relay_fail(struct niwa_engine *e, const struct niwa_waiter *w);
void niwa_relay_hold(struct niwa_engine *e, const struct niwa_waiter *w);
/* HTTP ready check, the app's name is the one asked for; the answer goes to niwa_ready_checked. */
int niwa_relay_check(struct niwa_engine *e, uint64_t ticket, const struct niwa_instance *i, uint16_t port,
		     const char *path);
void niwa_relay_ask_stats(struct niwa_engine *e);

#endif
