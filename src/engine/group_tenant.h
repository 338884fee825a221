/* SPDX-License-Identifier: MIT
 *
 * The control groups of tenants that have limits: "t<id>" in niwa's own group of each hierarchy that limits something,
 * with the groups of its instances in it. An instance stays in the group that it was started in.
 */
#ifndef NIWA_ENGINE_GROUP_TENANT_H
#define NIWA_ENGINE_GROUP_TENANT_H

#include "engine/engine_private.h"
#include "engine/group_limit.h"

/* The host as an instance's plans see it: with its tenant's group in the paths. Borrows from e and from itself. */
struct niwa_group_host {
	struct niwa_host host;
	char v2[300], memory[300], cpu[300], pids[300];
};
const struct niwa_host *niwa_group_host(const struct niwa_engine *e, const struct niwa_instance *i,
					struct niwa_group_host *buf);

/* Before an instance is made, which is going to be in its tenant's groups if that has limits: they are there, and the
 * limits that can be set are. */
int niwa_group_tenant_join(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err);
/* An instance that an earlier niwad has made, in the group that its tag says: 0: in none. */
void niwa_group_tenant_adopt(struct niwa_engine *e, struct niwa_instance *i, uint32_t group_tenant);
/* It is gone. With the last one the group goes. */
void niwa_group_tenant_left(struct niwa_engine *e, struct niwa_instance *i);
/* The limits of a tenant have changed: they are written off the loop, soon; those that changed last are written last.
 */
void niwa_group_tenant_change(struct niwa_engine *e, struct niwa_tenant *tenant);
/* Each second: what could not be begun. */
void niwa_group_tenant_write(struct niwa_engine *e);
/* Nothing is left in it. */
void niwa_group_tenant_drop(struct niwa_engine *e, uint32_t tenant);
/* Groups of tenants that have no instance. */
int niwa_group_tenant_collect(struct niwa_engine *e);

/* v2, where the kernel says that a fork was refused by the limit of all of them: Linux 6.11. A descriptor that is
 * ready (EPOLLPRI) then and holds "max COUNT". -errno. */
int niwa_group_tenant_watch_processes(const struct niwa_engine *e, const struct niwa_tenant *tenant);

/* What all its instances in the group use; 0 where it is not known. */
struct niwa_group_usage {
	uint64_t memory_bytes, processes;
};
void niwa_group_tenant_usage(const struct niwa_engine *e, const struct niwa_tenant *tenant,
			     struct niwa_group_usage *ret);
/* Of their memory what they cannot do without, as niwa_group_needs_in; 0 where it is not known. */
uint64_t niwa_group_tenant_needs(const struct niwa_engine *e, const struct niwa_tenant *tenant);
/* So much more of the instance may go to swap, as far as its tenant is concerned. */
bool niwa_group_tenant_has_swap(const struct niwa_engine *e, const struct niwa_instance *i, uint64_t bytes);

#endif
