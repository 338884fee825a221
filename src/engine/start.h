/* SPDX-License-Identifier: MIT
 *
 * Starts that are to begin: they wait for a place (wake_queue.h), for a folder that another instance still has, or for
 * memory (admit.h), each with a bound. A start holds its place from its plan until it is ready or has ended, but not
 * while it waits for somebody else: for another app that it wakes, or for whatever uses no CPU.
 */
#ifndef NIWA_ENGINE_START_H
#define NIWA_ENGINE_START_H

#include "engine/engine_private.h"

int niwa_start_open(struct niwa_engine *e, struct niwa_error *err);
void niwa_start_close(struct niwa_engine *e);

/* The app, which is NIWA_STARTING or NIWA_RESTORING, begins to start, now or when it may. Who waits for it is told if
 * there is no room. */
void niwa_start_push(struct niwa_engine *e, struct niwa_app *app);
/* One more instance of an app that runs, beside the one that it has: to replace that one, or to share its load. It is
 * made when it is its turn and there is memory for it; some of them at a time, behind starts that are waited for. Then
 * niwa_rotate_make or niwa_scale_make is called, or niwa_rotate_failed or niwa_scale_failed. why: static. False: that
 * is under way already. */
enum niwa_start_kind { NIWA_START_APP, NIWA_START_SUCCESSOR, NIWA_START_COPY };
bool niwa_start_push_beside(struct niwa_engine *e, struct niwa_app *app, enum niwa_start_kind kind, const char *why);
/* Nothing of that kind is wanted any more; NIWA_START_APP: of either. */
void niwa_start_drop_beside(struct niwa_engine *e, struct niwa_app *app, enum niwa_start_kind kind);
/* Such a start waits. */
bool niwa_start_is_beside(const struct niwa_app *app);

/* It waits for nothing any more. True: it did. */
bool niwa_start_drop(struct niwa_engine *e, struct niwa_app *app);
/* No visitor waits for the start that was just pushed: its app is resident, or it is its time. */
void niwa_start_for_resident(struct niwa_engine *e, struct niwa_app *app);
/* It was visitors who wanted this start. */
void niwa_start_for_visitors(struct niwa_app *app);
/* Only visitors wanted it, and there are none left: it is given up. */
void niwa_start_unwanted(struct niwa_engine *e, struct niwa_app *app);
/* It has another tenant now. */
void niwa_start_moved(struct niwa_engine *e, struct niwa_app *app);

/* The costly part of its start is over, or it has ended; more than once is fine. */
void niwa_start_give_back(struct niwa_instance *i);
/* What `asker` does is to wait for `app`: if it is starting it holds no place meanwhile, and `app` goes first. */
void niwa_start_awaited(struct niwa_engine *e, struct niwa_instance *asker, struct niwa_app *app);
/* Starts that waited for a folder are tried again. */
void niwa_start_folders_changed(struct niwa_engine *e);
unsigned niwa_start_waiting_for_folders(const struct niwa_engine *e);
/* Something that a start may wait for has changed: memory, the apps of a tenant that are awake. */
void niwa_start_look(struct niwa_engine *e);

/* What a start that has not begun waits for, for people; "" for others. Returns buf. */
const char *niwa_start_explain(const struct niwa_engine *e, const struct niwa_app *app, char *buf, size_t size);

#endif
