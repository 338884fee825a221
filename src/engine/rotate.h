/* SPDX-License-Identifier: MIT
 *
 * Replacing an instance by a fresh one: at the end of its lifetime, when its app changed, on request. `overlap`: the
 * fresh one is ready before the old one drains; `handover`: new connections are held while the old one stops and the
 * fresh one starts. A sleeping instance is only stopped: the next wake makes a fresh one.
 */
#ifndef NIWA_ENGINE_ROTATE_H
#define NIWA_ENGINE_ROTATE_H

#include "engine/engine_private.h"

void niwa_rotate(struct niwa_engine *e, struct niwa_app *app, const char *why);
/* The stored record changed from the generation `before`. Instances stay when it is for routes only. */
void niwa_rotate_changed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec,
			 uint64_t before);
/* No successor is wanted any more: one that is not ready yet ends, and nobody is told of a failure. */
void niwa_rotate_cancel(struct niwa_engine *e, struct niwa_app *app, const char *why);
/* Does the record let two of its instances live beside each other? */
bool niwa_rotate_declared(const struct niwa_app_spec *spec);
/* The same of the record that the instance was made from, which is not its app's any more when it was adopted. */
bool niwa_rotate_made_for(const struct niwa_instance *i);
/* It is the turn of the fresh one of an overlap (start.h): it is made, and is *ret, or is not wanted any more. */
int niwa_rotate_make(struct niwa_engine *e, struct niwa_app *app, const char *why, struct niwa_instance **ret,
		     struct niwa_error *err);
/* Starts the clock of an instance's lifetime. */
void niwa_rotate_arm(struct niwa_engine *e, struct niwa_instance *i);
/* The fresh instance of an overlap is ready, or has failed. */
void niwa_rotate_ready(struct niwa_engine *e, struct niwa_instance *fresh);
void niwa_rotate_failed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err);
/* Lets a replaced instance finish its connections, then stops it. */
void niwa_rotate_drain(struct niwa_engine *e, struct niwa_instance *i);
void niwa_rotate_drain_within(struct niwa_engine *e, struct niwa_instance *i, uint64_t within_us);

#endif
