/* SPDX-License-Identifier: MIT
 *
 * What of an instance's plan has to be looked up on this host: owners of volumes, egress lists.
 */
#ifndef NIWA_ENGINE_VOLUME_H
#define NIWA_ENGINE_VOLUME_H

#include "engine/engine_private.h"

struct stat;

/* Fills tenant_id_base and volume_ids; refuses a volume whose source is missing, with what to do. */
int niwa_volume_params(const struct niwa_instance *i, struct niwa_instance_params *p, struct niwa_error *err);
/* What the source is. 0 or -errno; ret is written only on success. */
int niwa_volume_stat(const struct niwa_volume *v, struct stat *ret);
/* Is the source there? Says of the first volume, volumes[0]. May be called from any thread. */
int niwa_volume_look(const struct niwa_volume *v, struct niwa_error *err);
/* Where the instance may go, besides service addresses. */
void niwa_volume_egress(struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change);
/* The name servers of this host have changed: what running instances of the tenant may ask follows. */
void niwa_volume_name_servers(struct niwa_engine *e, const struct niwa_tenant *tenant);
/* First id on disk of a tenant's files; 0: it has no volume with such files. */
uint32_t niwa_volume_tenant_base(const struct niwa_tenant *tenant);

#endif
