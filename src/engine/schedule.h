/* SPDX-License-Identifier: MIT
 *
 * Schedules: hours in which an app is awake (awake), times at which it is woken (wake). One timer for all apps, at the
 * next one that is due; one app a turn of the loop, and for a minute none while many starts wait: who visits goes
 * first. An app that has neither holds a NULL pointer.
 *
 * Clocks. Times are those of CLOCK_REALTIME. When it is set forward, what was passed over is due once. When it is set
 * back, nothing that was dealt with within the last hour comes again; by more than that, everything is counted anew, a
 * few apps a turn. Until when times were dealt with is the time of the file STATE_DIR/scheduled, written each minute
 * and after each due time; what a niwad that starts finds missed since then is due once.
 */
#ifndef NIWA_ENGINE_SCHEDULE_H
#define NIWA_ENGINE_SCHEDULE_H

#include "engine/engine_private.h"

int niwa_schedule_open(struct niwa_engine *e, struct niwa_error *err);
void niwa_schedule_close(struct niwa_engine *e);
/* Adoption is over: from now on apps are woken. */
void niwa_schedule_begin(struct niwa_engine *e);

/* The app's record says so now; NULL: it is removed. -ENOMEM. A zone that cannot be read is logged, and its times do
 * not come. */
int niwa_schedule_declare(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec);

/* Until when the app is not to sleep, CLOCK_MONOTONIC; 0: its schedule does not say. ret_why: "its hours", "wake". */
uint64_t niwa_schedule_busy_until(const struct niwa_app *app, const char **ret_why);
/* It is within its hours: it is to have an instance. */
bool niwa_schedule_is_on(const struct niwa_app *app);
/* When it is woken next, since 1970; 0: never. */
uint64_t niwa_schedule_next_us(const struct niwa_app *app);

#endif
