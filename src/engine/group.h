/* SPDX-License-Identifier: MIT
 *
 * The control groups of instances: freeze, kill, usage, removal, in both layouts (all v2; or v2 for freezing and
 * v1 for limits).
 */
#ifndef NIWA_ENGINE_GROUP_H
#define NIWA_ENGINE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine_private.h"

/* Finds out the layout and makes niwa's own groups; fills e->host. */
int niwa_group_detect(struct niwa_engine *e, struct niwa_error *err);

int niwa_group_freeze(struct niwa_engine *e, uint64_t id, bool frozen); /* asks; 0 or -errno */
/* 1 frozen, 0 not, -errno. */
int niwa_group_is_frozen(struct niwa_engine *e, uint64_t id);
/* 1 when asked to freeze. */
int niwa_group_freeze_asked(struct niwa_engine *e, uint64_t id);
/* A descriptor on which EPOLLPRI tells that `frozen` may have changed. */
int niwa_group_open_events(struct niwa_engine *e, uint64_t id);
int niwa_group_events_frozen(int fd);

void niwa_group_kill(struct niwa_engine *e, uint64_t id);
/* 0 when nothing is left, -EBUSY while processes are dying. */
int niwa_group_remove(struct niwa_engine *e, uint64_t id);

/* The file that lists them, for threads, which must not ask for it themselves. */
void niwa_group_procs(struct niwa_engine *e, uint64_t id, char *buf, size_t size);
/* Every process of the group, host pids. */
int niwa_group_each_process(struct niwa_engine *e, uint64_t id, int (*fn)(pid_t pid, void *arg), void *arg);
int niwa_group_cpu_us(struct niwa_engine *e, uint64_t id, uint64_t *ret);
int niwa_group_memory(struct niwa_engine *e, uint64_t id, uint64_t *ret_bytes);
/* What its processes could not do without: not the files that are cached for them, but what of them is in swap, where
 * most of a paged app is. The second: of a folder, without what is in swap. */
int niwa_group_needs(struct niwa_engine *e, uint64_t id, uint64_t *ret_bytes);
int niwa_group_needs_in(const struct niwa_engine *e, const char *folder, uint64_t *ret_bytes);
/* How many of its processes the kernel has killed for lack of memory; how many forks it has refused; how many there
 * are. 0 also where it is not known. */
uint64_t niwa_group_killed(struct niwa_engine *e, uint64_t id);
uint64_t niwa_group_forks_refused(struct niwa_engine *e, uint64_t id);
uint64_t niwa_group_processes(struct niwa_engine *e, uint64_t id);
/* Its own limit of memory was reached, not only that of the group above. */
bool niwa_group_was_full(struct niwa_engine *e, uint64_t id);
/* A descriptor that is ready when its memory ran out (v1: EPOLLIN), or its limit was reached (v2: EPOLLPRI); with
 * EPOLLPRI when a fork was refused. -errno. */
int niwa_group_watch_memory(struct niwa_engine *e, uint64_t id);
int niwa_group_watch_processes(struct niwa_engine *e, uint64_t id);
/* Every instance number that has a group. */
int niwa_group_each(struct niwa_engine *e, int (*fn)(uint64_t id, void *arg), void *arg);

#endif
