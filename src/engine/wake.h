/* SPDX-License-Identifier: MIT
 *
 * Waking: waiters come, at most one start per app is under way, all waiters are answered together.
 */
#ifndef NIWA_ENGINE_WAKE_H
#define NIWA_ENGINE_WAKE_H

#include "engine/engine_private.h"

struct niwa_waiter *niwa_waiter_new(struct niwa_app *app, uint64_t ticket, uint16_t port, uint32_t client);

/* Somebody wants the app. Takes the waiter: it is answered now or later, exactly once. accepted_us: when the
 * connection came (now for a request of the socket). */
void niwa_wake(struct niwa_engine *e, struct niwa_app *app, struct niwa_waiter *w, uint64_t accepted_us);
/* A wake begins: counted, its stages started. path: "start" (or "restore", which is decided later)
 * or "thaw"; w may be NULL. */
void niwa_wake_note(struct niwa_engine *e, struct niwa_app *app, const struct niwa_waiter *w, const char *path,
		    uint64_t accepted_us);
/* What the wake under way does, of one that has changed its way. */
void niwa_wake_note_path(struct niwa_app *app, const char *path);
/* The client of a ticket has gone. */
void niwa_wake_gone(struct niwa_engine *e, uint64_t ticket);

/* The relay tells how its connection for an answered ticket went; a failed one waits again. */
void niwa_wake_connected(struct niwa_engine *e, uint64_t ticket, int error, uint64_t connected_us);

/* The app is running: all its waiters are told. */
void niwa_wake_answer_all(struct niwa_engine *e, struct niwa_app *app);
void niwa_wake_fail_all(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err);
/* The app is about to be freed: those that the relay connects still are refused. */
void niwa_wake_forget(struct niwa_engine *e, const struct niwa_app *app);
/* As niwa_wake_fail_all, counted as refused for this reason. */
void niwa_wake_refuse_all(struct niwa_engine *e, struct niwa_app *app, enum niwa_refusal_reason reason,
			  const struct niwa_error *err);

/* Begins a start, now or when it may (start.h). The app is stopped or stopping with nothing left. */
void niwa_wake_start(struct niwa_engine *e, struct niwa_app *app, const char *why);
/* The same, never from an image. */
void niwa_wake_start_cold(struct niwa_engine *e, struct niwa_app *app, const char *why);
/* It is known which images are on disk, or that there are none: starts that waited for that. */
void niwa_wake_images_known(struct niwa_engine *e);
/* A start that has not begun is given up; its waiters are told. */
void niwa_wake_unqueue(struct niwa_engine *e, struct niwa_app *app, const char *why);
/* What was refused, and nobody waits for, is tried again in a second. */
void niwa_wake_again(struct niwa_engine *e, struct niwa_app *app);
/* The current instance is ready. */
void niwa_wake_ready(struct niwa_engine *e, struct niwa_instance *i);
/* The instance of a starting app is being given up: its waiters are told, the next start waits for the back-off. The
 * caller stops the instance. */
void niwa_wake_gave_up(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err);
/* An instance that served for a minute has ended in order: failures before it no longer count. */
void niwa_wake_healthy(const struct niwa_instance *i);
/* A start failed, or the running instance ended by itself: answers, back-off, restart policy. */
void niwa_wake_failed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err);
/* The same of a start that did not come to its first instruction: whatever the app may be woken from is as good as
 * before. */
void niwa_wake_not_begun(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err);

#endif
