/* SPDX-License-Identifier: MIT
 *
 * The second half of adoption: what adopted instances were doing goes on.
 */
#ifndef NIWA_ENGINE_RESUME_H
#define NIWA_ENGINE_RESUME_H

#include "engine/engine_private.h"

/* Every instance that is marked `adopting`. The kernel's elements are brought up to date by the caller, afterwards. */
void niwa_resume_all(struct niwa_engine *e);

#endif
