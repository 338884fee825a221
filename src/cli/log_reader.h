/* SPDX-License-Identifier: MIT
 *
 * An app's log file: the last lines of NAME.log.1 and NAME.log, then what comes, across rotations.
 */
#ifndef NIWA_CLI_LOG_READER_H
#define NIWA_CLI_LOG_READER_H

#include <stdint.h>

#include "base/error.h"

struct niwa_log_reader; /* opaque */

/* Opens path for the last `lines` lines (UINT64_MAX: all). follow: watches it with inotify. A file that is not
 * there yet is an empty one. */
enum niwa_log_mode { NIWA_LOG_ONCE, NIWA_LOG_FOLLOW };
int niwa_log_reader_open(const char *path, enum niwa_log_mode mode, struct niwa_log_reader **ret,
			 struct niwa_error *err);
void niwa_log_reader_free(struct niwa_log_reader **reader);

/* Writes the last lines to out_fd; to a terminal control characters as \xNN, elsewhere as they are. */
int niwa_log_reader_tail(struct niwa_log_reader *reader, uint64_t lines, int out_fd, struct niwa_error *err);
/* Waits up to timeout_ms for more and writes it. 0, also when nothing came. */
int niwa_log_reader_follow(struct niwa_log_reader *reader, unsigned timeout_ms, int out_fd, struct niwa_error *err);

#endif
