/* SPDX-License-Identifier: MIT
 *
 * What was set over the limits of an app's record (niwa set): kept in the store, written into the control groups of its
 * instances. Plans are made from the record alone, because the keys of images are made from plans.
 */
#ifndef NIWA_ENGINE_LIMIT_SET_H
#define NIWA_ENGINE_LIMIT_SET_H

#include "engine/engine_private.h"

struct niwa_limit_set {
	bool cpu, memory, busy; /* set; busy: being changed */
	struct niwa_limits limits;
};

/* As the store has it; NULL: nothing. What cannot be read is left out, and told. */
void niwa_limits_load(struct niwa_app *app, const char *text);
/* What holds for an instance of that record. */
struct niwa_limits niwa_limits_over(const struct niwa_app *app, const struct niwa_limits *record);
/* Before the instance's program, or its image, goes on; and of one that was adopted. */
void niwa_limits_begin(struct niwa_engine *e, struct niwa_instance *i);
/* The CPU of one instance, for now: not kept, and not in force any more for one that a new niwad adopts. */
int niwa_limits_cpu(struct niwa_engine *e, struct niwa_instance *i, uint32_t centi, struct niwa_error *err);
/* {"cpu": "200%"} of what is set; NULL: nothing. */
json_t *niwa_limits_set(const struct niwa_app *app);

typedef void niwa_limits_done_fn(const struct niwa_error *err, void *arg);
/* changes: {"cpu": "200%", "memory": null}; null takes back. fn (err NULL: it is in force and stored) is called once,
 * at once when a change is not allowed. Memory below what an instance uses refuses all. */
void niwa_limits_change(struct niwa_engine *e, struct niwa_app *app, const json_t *changes, niwa_limits_done_fn *fn,
			void *arg);

#endif
