/* SPDX-License-Identifier: MIT
 *
 * Limits of a control group that lives: widened and narrowed. Touches files only, so that a thread may do it: the
 * kernel takes its time to have memory back.
 */
#ifndef NIWA_ENGINE_GROUP_LIMIT_H
#define NIWA_ENGINE_GROUP_LIMIT_H

#include "container/instance.h"
#include "spec/app.h"

/* Where the limits of one instance are, or of a tenant. */
struct niwa_limit_place {
	bool unified;
	bool whole;                 /* who is in it ends together when memory runs out: an instance, not a tenant */
	char cpu[300], memory[300]; /* folders; "": this host has no such controller for us */
	uint32_t cpu_max_centi;     /* of the group above, where that refuses more (v1); 0: any */
};
void niwa_limit_place(const struct niwa_host *host, uint64_t id, struct niwa_limit_place *ret);

/* 0: set, or the instance has ended. -EBUSY: its processes use more, also after what can be had back was taken; then
 * nothing is changed, and nothing is killed. */
int niwa_limit_memory(const struct niwa_limit_place *place, uint64_t bytes, struct niwa_error *err);
int niwa_limit_cpu(const struct niwa_limit_place *place, uint32_t centi, struct niwa_error *err);
/* v1 refuses a share that is less than one below it: whoever in this folder has more gets as much. */
void niwa_limit_cpu_below(const char *folder, uint32_t centi);
/* Both; the memory first, which may fail. */
int niwa_limit_both(const struct niwa_limit_place *place, const struct niwa_limits *limits, struct niwa_error *err);

#endif
