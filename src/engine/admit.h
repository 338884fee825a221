/* SPDX-License-Identifier: MIT
 *
 * Is there memory for another start? What the app needed last time, or else what it may have at most and start_memory,
 * has to fit into what the host has available beyond memory_reserve and beyond what the starts under way may still
 * take.
 */
#ifndef NIWA_ENGINE_ADMIT_H
#define NIWA_ENGINE_ADMIT_H

#include "engine/engine_private.h"

struct niwa_admission {
	uint64_t needs_bytes;   /* of this app; not 0 before: known from a look before */
	uint64_t missing_bytes; /* 0: it may start */
	uint64_t free_bytes;    /* that there is for it */
};
void niwa_admit(struct niwa_engine *e, struct niwa_app *app, struct niwa_admission *ret);
/* The same for limits.memory of its tenant: what is missing of it, 0 where there is none. Cached files do not count. */
uint64_t niwa_admit_tenant(struct niwa_engine *e, const struct niwa_app *app, uint64_t needs_bytes);
/* Nobody of its tenant is idle: what it needs was measured, and others may become idle; so the kernel would end
 * somebody for certain, and waiting may help. */
bool niwa_admit_may_wait(const struct niwa_engine *e, const struct niwa_app *app);
/* An app that is awake is about to leave: what it uses is what it needs next time. */
void niwa_admit_note(struct niwa_engine *e, struct niwa_app *app);
/* What is not touched: memory_reserve, or what it stands for. */
uint64_t niwa_admit_reserve(const struct niwa_engine *e);

#endif
