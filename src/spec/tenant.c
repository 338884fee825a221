/* SPDX-License-Identifier: MIT
 *
 * The table of a tenant's keys, and reading and writing by it.
 */
#include "spec/tenant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/schema_private.h"

#define FIELD(member)                                                                                                  \
	.offset = offsetof(struct niwa_tenant_spec, member), .size = sizeof(((struct niwa_tenant_spec *)0)->member)
#define MIB(n) ((n)*UINT64_C(1048576))

static const struct niwa_key limit_keys[] = {
	{.name = "memory",
	 .kind = &niwa_kind_size,
	 FIELD(limits.memory_bytes),
	 .min = MIB(1),
	 .max = MIB(64 * 1024 * 1024),
	 .never = "none",
	 .fallback = "none",
	 .doc = "Memory of all its instances together; beyond it the kernel ends a process of one of them. When too "
		"little is left for one more to start, idle ones are put to sleep. Where the host has swap, as much "
		"again may be there, awake and asleep."},
	{.name = "cpu",
	 .kind = &niwa_kind_percent,
	 FIELD(limits.cpu_centi),
	 .min = 100,
	 .max = 10000000,
	 .never = "none",
	 .fallback = "none",
	 .doc = "Share of the CPUs for all its instances together; 100% is one whole CPU."},
	{.name = "processes",
	 .kind = &niwa_kind_number,
	 FIELD(limits.processes),
	 .min = 1,
	 .max = 4194304,
	 .never = "none",
	 .fallback = "none",
	 .doc = "Processes and threads of all its instances together."},
	{.name = "awake",
	 .kind = &niwa_kind_number,
	 FIELD(limits.awake),
	 .min = 1,
	 .max = 1000000,
	 .never = "none",
	 .fallback = "none",
	 .doc = "Instances at the same time, frozen ones too. For one more the app that was quiet longest is put to "
		"sleep; where none is idle the start waits for start_wait (niwad.conf) and is then refused."},
	{.name = "wakes",
	 .kind = &niwa_kind_number,
	 FIELD(limits.wakes),
	 .min = 1,
	 .max = 1024,
	 .never = "none",
	 .fallback = "none",
	 .derived = "all but one of concurrent_starts (niwad.conf)",
	 .doc = "Starts at the same time; others wait for their turn."},
};
static const struct niwa_group limit_group = {.keys = limit_keys, .count = NIWA_ARRAY_LEN(limit_keys)};

static const struct niwa_key tenant_keys[] = {
	{.name = "name",
	 .kind = &niwa_kind_text,
	 FIELD(name),
	 .check = niwa_is_tenant,
	 .required = true,
	 .allowed = "lower case letters, digits and inner '-' and '.', at most 63 characters, not 'any'",
	 .doc = "The tenant, as apps name it."},
	{.name = "limits",
	 .kind = &niwa_kind_group,
	 .group = &limit_group,
	 .doc = "What its apps may take together. They hold for instances that start from then on; a limit that is not "
		"declared any more ends at once."},
};
static struct niwa_tenant_spec tenant_defaults;
static bool tenant_filled;
const struct niwa_group niwa_schema_tenant = {
	.keys = tenant_keys,
	.count = NIWA_ARRAY_LEN(tenant_keys),
	.size = sizeof(struct niwa_tenant_spec),
	.defaults = &tenant_defaults,
	.filled = &tenant_filled,
};

void niwa_tenant_spec_free(struct niwa_tenant_spec **spec)
{
	if (*spec)
		free((*spec)->name);
	free(*spec);
	*spec = NULL;
}

int niwa_tenant_read(struct niwa_reader *r, const json_t *json, struct niwa_tenant_spec **ret)
{
	NIWA_AUTO(niwa_tenant_spec_free) struct niwa_tenant_spec *spec = niwa_zalloc(sizeof(*spec));
	int result = spec ? niwa_record_read(r, &niwa_schema_tenant, "a tenant", json, spec) : -ENOMEM;

	if (result == 0)
		*ret = NIWA_TAKE(spec);
	return result;
}

int niwa_tenant_from_json(const json_t *json, struct niwa_tenant_spec **ret, char *ret_key, struct niwa_error *err)
{
	struct niwa_first_problem first = {.ret_key = ret_key, .err = err};
	struct niwa_reader r = {.report = niwa_keep_first_problem, .arg = &first};
	int result;

	if (ret_key)
		*ret_key = '\0';
	result = niwa_tenant_read(&r, json, ret);
	return result == -ENOMEM ? niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read a tenant") : result;
}

json_t *niwa_tenant_to_json(const struct niwa_tenant_spec *spec)
{
	return niwa_record_write(&niwa_schema_tenant, spec);
}
