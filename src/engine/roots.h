/* SPDX-License-Identifier: MIT
 *
 * Where the files of the host are that an instance sees: its image, the host's /usr, its volumes. What was mapped or
 * open in it is looked up there, at a dump and before a restore.
 */
#ifndef NIWA_ENGINE_ROOTS_H
#define NIWA_ENGINE_ROOTS_H

#include "engine/engine_private.h"
#include "snapshot/manifest.h"

#define NIWA_ROOTS_MAX (NIWA_VOLUMES_MAX + 6)
struct niwa_roots {
	struct niwa_manifest_root root[NIWA_ROOTS_MAX];
	size_t count;
	uint64_t trees; /* by position: those that the app only reads, and others may write to (volume_print.h) */
	char *text[NIWA_ROOTS_MAX];
};
/* Descriptors are opened; after a failure there is nothing to close. */
int niwa_roots_open(const struct niwa_instance_params *p, struct niwa_roots *ret, struct niwa_error *err);
void niwa_roots_close(struct niwa_roots *roots);

#endif
