/* SPDX-License-Identifier: MIT
 *
 * When is a started instance ready? listen: a LISTEN socket in its network namespace, looked up without a
 * connection; http: besides, the relay's GET is answered; notify: READY=1 on its socket.
 */
#ifndef NIWA_ENGINE_READY_H
#define NIWA_ENGINE_READY_H

#include "engine/engine_private.h"

/* Looks at once, and again until ready or the deadline; then calls niwa_wake_ready / niwa_rotate_ready, or stops
 * the instance with a failure. */
void niwa_ready_begin(struct niwa_engine *e, struct niwa_instance *i);
/* What it sends to its NOTIFY_SOCKET is read from now on, if it has one: that it is ready, that it is busy. */
void niwa_ready_watch_notify(struct niwa_engine *e, struct niwa_instance *i);
/* The relay's answer to a CHECK. */
void niwa_ready_checked(struct niwa_engine *e, uint64_t ticket, int error, const char *text);
/* It has ended: nobody wants that answer any more. */
void niwa_ready_forget(struct niwa_engine *e, struct niwa_instance *i);
/* A serving instance listens on none of its ports any more: it leaves `awake` until it does. READY=1 is said once, so
 * it is not waited for again. */
void niwa_ready_lost(struct niwa_engine *e, struct niwa_instance *i, const char *why);
/* 1: the port the app is ready by (its first one by default) has a listener; 0: no; -errno. */
int niwa_ready_listens(const struct niwa_instance *i);
/* 1: any of its ports has one. */
/* Can clients reach it there by IPv6? Without ula_prefix nowhere. */
bool niwa_ready_listens6(const struct niwa_instance *i, uint16_t port);
int niwa_ready_listens_at_all(const struct niwa_instance *i);

#endif
