/* SPDX-License-Identifier: MIT
 *
 * How old memory is that was kept while its app slept: a lifetime holds over any number of instances that have it one
 * after the other. Counted by the host's monotonic clock as long as the host runs, so no change of the clock on the
 * wall matters; over a reboot the clock on the wall is all there is. Touches nothing of the engine: for threads.
 */
#ifndef NIWA_ENGINE_AGE_H
#define NIWA_ENGINE_AGE_H

#include <stdint.h>

#include "snapshot/manifest.h"

/* The first 32 bits of the kernel's random name of this boot; 0: not known. */
uint32_t niwa_age_boot(void);
/* At the dump: it has lived so long. */
void niwa_age_note(struct niwa_manifest *m, uint64_t age_us);
/* How old it is now. */
uint64_t niwa_age_now(const struct niwa_manifest *m);

#endif
