/* SPDX-License-Identifier: MIT
 *
 * What apps print: from the pipe that keep holds into LOG_DIR/APP.log, each line with its time; renamed to
 * APP.log.1 beyond config.log_max. The pipe outlives niwad, so nothing is lost while it restarts. The log goes with
 * the app.
 */
#ifndef NIWA_ENGINE_APPLOG_H
#define NIWA_ENGINE_APPLOG_H

#include "engine/engine_private.h"

/* Sets i->log, which all instances of the app share; NULL: what it prints is lost. Given back with _close. */
int niwa_applog_open(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err);
void niwa_applog_close(struct niwa_instance *i);
/* The app is new, removed, or another tenant's from now on: who comes after does not see what was printed. What
 * instances that end still print is lost. */
void niwa_applog_forget(struct niwa_engine *e, struct niwa_app *app);
/* Removes what a killed niwad had no time to. */
int niwa_applog_collect(struct niwa_engine *e);
/* Begins to read the instance's pipe. */
void niwa_applog_watch(struct niwa_engine *e, struct niwa_instance *i);
/* Reads what is left. */
void niwa_applog_drain(struct niwa_engine *e, struct niwa_instance *i);
/* The last line the app printed, as ": its last line was '...'", or "". */
void niwa_applog_last_line(struct niwa_engine *e, const struct niwa_instance *i, char *buf, size_t size);
void niwa_applog_path(const struct niwa_engine *e, const struct niwa_app *app, char *buf, size_t size);

#endif
