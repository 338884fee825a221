/* SPDX-License-Identifier: MIT
 *
 * What the governor's function (governor/governor.h) is asked, from what the engine knows of an app.
 */
#ifndef NIWA_ENGINE_GOVERN_H
#define NIWA_ENGINE_GOVERN_H

#include "engine/engine_private.h"
#include "governor/governor.h"

/* Somebody wanted the app at this moment (CLOCK_MONOTONIC): the gap since the visit before is remembered. */
void niwa_govern_visit(struct niwa_app *app, uint64_t at_us);
/* The instance has become quiet: how much it holds is measured, once. */
void niwa_govern_measure(struct niwa_engine *e, struct niwa_instance *i);
/* How deep it should be after so much quiet, and when to ask again. */
void niwa_govern_ask(struct niwa_engine *e, const struct niwa_instance *i, uint64_t quiet_us,
		     struct niwa_governor_answer *ret);
/* "quiet for sleep.save", or what was learnt. */
const char *niwa_govern_why(const struct niwa_governor_answer *answer, const char *declared);
/* What saving it now would lose for each MiB; the least goes first. */
double niwa_govern_value(struct niwa_engine *e, const struct niwa_instance *i);
/* There is swap for so much more. */
bool niwa_govern_can_page(const struct niwa_engine *e, uint64_t bytes);

#endif
