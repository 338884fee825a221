/* SPDX-License-Identifier: MIT
 *
 * What a file declares of a tenant: limits over all of its apps together. As with apps (spec/app.h): made from JSON,
 * checked, defaults filled in.
 */
#ifndef NIWA_SPEC_TENANT_H
#define NIWA_SPEC_TENANT_H

#include <stdint.h>

#include <jansson.h>

#include "base/error.h"

struct niwa_tenant_limits { /* 0: no limit */
	uint64_t memory_bytes;
	uint32_t cpu_centi; /* hundredths of a percent of one CPU */
	uint32_t processes;
	uint32_t awake; /* instances at once */
	uint32_t wakes; /* starts at once */
};

struct niwa_tenant_spec {
	char *name;
	struct niwa_tenant_limits limits;
};

void niwa_tenant_spec_free(struct niwa_tenant_spec **spec);
/* err->msg begins with the key; ret_key as in niwa_app_from_json. */
int niwa_tenant_from_json(const json_t *json, struct niwa_tenant_spec **ret, char *ret_key, struct niwa_error *err);
/* Canonical; {"name": ...} alone: no limits. New reference, NULL when out of memory. */
json_t *niwa_tenant_to_json(const struct niwa_tenant_spec *spec);

#endif
