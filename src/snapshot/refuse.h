/* SPDX-License-Identifier: MIT
 *
 * Refusals in our own words: what a file says is wrong, and the system's text for the code ("Bad message") would only
 * confuse.
 */
#ifndef NIWA_SNAPSHOT_REFUSE_H
#define NIWA_SNAPSHOT_REFUSE_H

#include "base/error.h"

/* As niwa_fail with NIWA_PERMANENT, without the text of the code at its end. Returns -code. */
int niwa_snapshot_refuse(struct niwa_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
