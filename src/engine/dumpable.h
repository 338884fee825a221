/* SPDX-License-Identifier: MIT
 *
 * What has to be known of an instance to make an image of it, and how that survives niwad: its command's pid, what its
 * clocks are ahead, the key of its start, when it was ready. It is in the instance's tag; the rest (layer, log pipe,
 * first process) comes with its descriptors.
 */
#ifndef NIWA_ENGINE_DUMPABLE_H
#define NIWA_ENGINE_DUMPABLE_H

#include "engine/engine_private.h"

/* Of its command, as numbered inside. */
pid_t niwa_dumpable_pid(const struct niwa_instance *i);
void niwa_dumpable_tag(const struct niwa_instance *i, struct niwa_tag *tag);
/* An adopted one gets back what its tag says; without memory it is not dumped. */
void niwa_dumpable_adopt(struct niwa_instance *i, const struct niwa_tag *tag);
/* It may be dumped, and was started as it would be today. Else nobody would restore from its image: an upgrade changes
 * keys. */
bool niwa_dumpable_is_current(struct niwa_engine *e, struct niwa_instance *i);
/* Before CRIU, which takes along what descends from the command. NIWA_PERMANENT: there is a process whose parent has
 * ended, which an image would lose; NIWA_TEMPORARY: niwa exec has one. */
int niwa_dumpable_look(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_error *err);
/* The same after it, while everything stands still. NIWA_TEMPORARY also when such a process has ended in between. */
int niwa_dumpable_look_again(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_error *err);
/* The images on disk have found their apps: adopted instances without one get theirs. */
void niwa_dumpables_begin(struct niwa_engine *e);

#endif
