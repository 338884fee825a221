/* SPDX-License-Identifier: MIT
 *
 * Resident apps: what has no instance and should have one is started, one app a turn of the loop, behind everything
 * that somebody waits for. The pauses after failures are those of wake.c.
 */
#ifndef NIWA_ENGINE_RESIDENT_H
#define NIWA_ENGINE_RESIDENT_H

#include "engine/engine_private.h"

int niwa_resident_open(struct niwa_engine *e);
/* Adoption is over: it is known who has an instance. */
void niwa_resident_begin(struct niwa_engine *e);

/* The record says so, or no longer. Forgets that it was stopped on request. */
void niwa_resident_declare(struct niwa_engine *e, struct niwa_app *app, bool resident);
/* Its state has changed. */
void niwa_resident_moved(struct niwa_engine *e, struct niwa_app *app);
/* It was stopped on request and stays so until a connection comes, somebody wakes or changes it, or niwad starts. */
void niwa_resident_stop(struct niwa_engine *e, struct niwa_app *app);
/* Out of the queue: the app is removed. */
void niwa_resident_forget(struct niwa_engine *e, struct niwa_app *app);

#endif
