/* SPDX-License-Identifier: MIT
 *
 * The farewell of an instance. Its processes are gone; what they had written and the ends of their connections may be
 * under way still, and are delivered by the kernel of its network namespace. The namespace, its address and its
 * translated connections stay until its peers have taken everything, for `linger` at most. Nothing else of it does.
 */
#ifndef NIWA_ENGINE_FAREWELL_H
#define NIWA_ENGINE_FAREWELL_H

#include "engine/engine_private.h"

/* May somebody have something to get from it? False also when `linger_instances` have one already. */
bool niwa_farewell_is_due(const struct niwa_engine *e, const struct niwa_instance *i);

/* Takes its descriptor in the namespace and its address; its element in `marks` is there. */
void niwa_farewell_begin(struct niwa_engine *e, struct niwa_instance *i);

/* One that an earlier niwad had begun, as niwa-keep has it stored; takes fd. */
void niwa_farewell_adopt(struct niwa_engine *e, const char *name, int fd);

/* Into the tables, which are made anew. */
void niwa_farewell_elements(const struct niwa_engine *e, struct niwa_net_txn *txn);

/* For the collection of leftovers. */
bool niwa_farewell_has_mark(const struct niwa_engine *e, uint32_t mark);
bool niwa_farewell_has_veth(const struct niwa_engine *e, const char *name);

/* The end of niwad, not of the farewells that are stored. */
void niwa_farewells_close(struct niwa_engine *e);

#endif
