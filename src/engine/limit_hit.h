/* SPDX-License-Identifier: MIT
 *
 * Limits that were hit: noticed where the kernel tells (the OOM killer, a fork that was refused) or the engine decides
 * (a start that was refused), recorded with the processes of that moment. Bounded: a few of an app, some hundred in
 * all, some processes each.
 */
#ifndef NIWA_ENGINE_LIMIT_HIT_H
#define NIWA_ENGINE_LIMIT_HIT_H

#include "engine/engine_private.h"

enum niwa_hit_kind {
	NIWA_HIT_MEMORY,
	NIWA_HIT_PROCESSES,
	NIWA_HIT_TENANT_MEMORY,
	NIWA_HIT_TENANT_PROCESSES,
	NIWA_HIT_TENANT_AWAKE,
	NIWA_HIT_HOST_MEMORY,
};

/* Begins to watch the groups of an instance whose groups are there. */
void niwa_limit_watch(struct niwa_engine *e, struct niwa_instance *i);
/* Once a second. */
void niwa_limit_look_round(struct niwa_engine *e);
void niwa_limit_unwatch(struct niwa_instance *i);
/* Nobody is in its group any more. */
void niwa_limit_unwatch_tenant(struct niwa_tenant *tenant);
/* It has ended: what was hit just before is recorded. The kernel's kill for lack of memory, by whose limit: text for
 * people, "" when there was none. */
const char *niwa_limit_ended(struct niwa_engine *e, struct niwa_instance *i);
/* A start was refused. text: of the refusal. */
void niwa_limit_refused(struct niwa_engine *e, struct niwa_app *app, enum niwa_hit_kind kind, const char *text);

/* [{at, limit, text, count, processes: [{pid, app, command, memory_bytes, cpu_us}]}], newest last. */
json_t *niwa_limit_hits_show(const struct niwa_app *app);
void niwa_limit_hits_forget(struct niwa_app *app);

#endif
