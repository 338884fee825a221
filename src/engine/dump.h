/* SPDX-License-Identifier: MIT
 *
 * Taking a snapshot of an app that has become ready. In order: the app's warm requests; a moment without connections;
 * out of `awake`, so that new connections are held; CRIU, which leaves the app stopped; a copy of what it has written;
 * the app goes on and the held connections are its own; beside that the image is made whole and gets its name.
 * Nothing of this changes the app's state. CRIU killed in the middle may break the app: its instance is ended then, and
 * a fresh one answers.
 */
#ifndef NIWA_ENGINE_DUMP_H
#define NIWA_ENGINE_DUMP_H

#include "engine/engine_private.h"

struct niwa_dump;

/* The current instance has become ready: a snapshot is taken soon, if one is wanted. */
void niwa_dump_when_quiet(struct niwa_engine *e, struct niwa_instance *i);
/* Now, and even if there is one. 0, or why not. */
int niwa_dump_ask(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err);
/* 0: its memory would be saved now. -EBUSY: later, -EOPNOTSUPP: not at all, as of niwa_dump_moment; looks at nothing
 * outside of niwad. */
int niwa_dump_may_save(struct niwa_engine *e, const struct niwa_instance *i);
/* Hibernation: the idle instance, out of `awake`, is saved as it is, and ended when that is on disk; its app is saving.
 * A connection that comes meanwhile has it go on. -EBUSY: too many are being saved, try later; else -errno: it is not
 * done, the caller stops it. */
int niwa_dump_moment(struct niwa_engine *e, struct niwa_instance *i, const char *why);
/* Somebody came, or the app is stopped: it goes on at once where its memory has no name on disk yet. */
void niwa_dump_give_up(struct niwa_instance *i);
/* The app stands still, or is about to: nothing may be done to its processes. */
bool niwa_dump_is_under_way(const struct niwa_instance *i);
/* The relay's answer to a warm request. False: it was none. */
bool niwa_dump_warmed(struct niwa_engine *e, struct niwa_instance *i, uint64_t ticket);
void niwa_dump_instance_gone(struct niwa_engine *e, struct niwa_instance *i);

#endif
