/* SPDX-License-Identifier: MIT
 *
 * A fingerprint of an app's writable volumes: it differs when anything in them was written, by whomever. Touches
 * nothing of the engine: for threads.
 */
#ifndef NIWA_ENGINE_VOLUME_PRINT_H
#define NIWA_ENGINE_VOLUME_PRINT_H

#include "base/error.h"
#include "base/text.h"
#include "spec/app.h"

#define NIWA_PRINT_ENTRIES 4096 /* files and folders of all volumes together */
#define NIWA_PRINT_DEPTH   32

/* Appends a line. -E2BIG (NIWA_PERMANENT): more than that can be compared. About 2 us a file. */
int niwa_volume_print(const struct niwa_app_spec *spec, struct niwa_text *out, struct niwa_error *err);
/* 0: nothing was written since that print; NIWA_TEMPORARY when something was. Nobody can tell whether the app had seen
 * it before it stood still. */
int niwa_volume_compare(const struct niwa_app_spec *spec, const char *before, struct niwa_error *err);

#endif
