/* SPDX-License-Identifier: MIT
 *
 * What the manifest of an image says of the instance that it is taken of; the store adds what lies on disk.
 */
#ifndef NIWA_ENGINE_DUMP_MANIFEST_H
#define NIWA_ENGINE_DUMP_MANIFEST_H

#include "engine/engine_private.h"
#include "snapshot/manifest.h"

/* The instance stands still, or is about to. moment: its memory is saved as it sleeps. 0 or -errno. */
int niwa_dump_manifest(const struct niwa_instance *i, bool moment, struct niwa_manifest *m, struct niwa_error *err);

#endif
