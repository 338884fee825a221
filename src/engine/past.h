/* SPDX-License-Identifier: MIT
 *
 * What is remembered of an app that was awake. Sleeping ones are many, so it is small: the reasons of their moves are
 * the same few texts, which are kept once for all of them.
 */
#ifndef NIWA_ENGINE_PAST_H
#define NIWA_ENGINE_PAST_H

#include "engine/engine_private.h"

/* Never NULL unless memory is out. */
struct niwa_app_past *niwa_app_past(struct niwa_app *app);
void niwa_app_past_free(struct niwa_app *app);
/* A move of its state. */
void niwa_app_note_move(struct niwa_app *app, enum niwa_state from, enum niwa_state to, const char *why);
/* Why it moved: n-th of its history, from the oldest one; "" when there was none or nothing is known.
 * Returns buf. */
char *niwa_app_why(const struct niwa_app *app, unsigned n, char *buf, size_t size);
char *niwa_app_last_why(const struct niwa_app *app, char *buf, size_t size);
/* The wake under way, if there is one, has ended so: it is counted, with its stages when it went well. */
void niwa_app_note_woke(struct niwa_app *app, enum niwa_wake_outcome outcome);
/* The wake under way goes on as a start, because the image could not be restored. */
void niwa_app_note_fell_back(const struct niwa_app *app);
/* What went wrong last, "". */
void niwa_app_note_error(struct niwa_app *app, const char *text);
const char *niwa_app_last_error(const struct niwa_app *app);

#endif
