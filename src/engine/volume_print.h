/* SPDX-License-Identifier: MIT
 *
 * Fingerprints of an app's volumes: of those that it may write to, and of what it only reads (read-only volumes, a
 * folder as its image). They differ when anything there was written, by whomever. Touch nothing of the engine: for
 * threads.
 */
#ifndef NIWA_ENGINE_VOLUME_PRINT_H
#define NIWA_ENGINE_VOLUME_PRINT_H

#include "base/error.h"
#include "base/text.h"
#include "engine/roots.h"
#include "spec/app.h"

#define NIWA_PRINT_ENTRIES 4096 /* files and folders of all volumes together */
#define NIWA_PRINT_DEPTH   32

/* Appends a line. -E2BIG (NIWA_PERMANENT): more than that can be compared. About 2 us a file. */
int niwa_volume_print(const struct niwa_app_spec *spec, struct niwa_text *out, struct niwa_error *err);
/* 0: nothing was written since that print; NIWA_TEMPORARY when something was. Nobody can tell whether the app had seen
 * it before it stood still. */
int niwa_volume_compare(const struct niwa_app_spec *spec, const char *before, struct niwa_error *err);

/* What memory takes for written is on its disk when this returns: else a power failure would leave files that are older
 * than the memory, and look the same. */
int niwa_volume_sync(const struct niwa_app_spec *spec, struct niwa_error *err);

/* At a dump, into the manifest: of those of the trees that are no more files than that, all together; which ones is in
 * there too. What belongs to a writable volume is passed over. -ESTALE (NIWA_PERMANENT) when something was written
 * since began_ns (of 1970): what the app has read may be older. */
int niwa_trees_look(const struct niwa_roots *roots, uint64_t trees, int64_t began_ns, struct niwa_manifest *manifest,
		    struct niwa_error *err);
/* Before a restore: -ESTALE (NIWA_PERMANENT) when one of them was written since. About 2 us a file. */
int niwa_trees_compare(const struct niwa_roots *roots, const struct niwa_manifest *manifest, struct niwa_error *err);

#endif
