/* SPDX-License-Identifier: MIT
 *
 * What apps print: from the pipe that keep holds into LOG_DIR/APP.log, each line with its time; renamed to
 * APP.log.1 beyond config.log_max. The pipe outlives niwad, so nothing is lost while it restarts.
 */
#ifndef NIWA_ENGINE_APPLOG_H
#define NIWA_ENGINE_APPLOG_H

#include "engine/engine_private.h"

int niwa_applog_open(struct niwa_engine *e, const char *app, struct niwa_log_file *log, struct niwa_error *err);
/* Begins to read the instance's pipe. */
void niwa_applog_watch(struct niwa_engine *e, struct niwa_instance *i);
/* Reads what is left. */
void niwa_applog_drain(struct niwa_engine *e, struct niwa_instance *i);
/* The last line the app printed, as ": its last line was '...'", or "". */
void niwa_applog_last_line(struct niwa_engine *e, const struct niwa_instance *i, char *buf, size_t size);
void niwa_applog_path(const struct niwa_engine *e, const char *app, char *buf, size_t size);

#endif
