/* SPDX-License-Identifier: MIT
 *
 * For the files of the table of keys: where a field is, and units.
 */
#ifndef NIWA_SPEC_SCHEMA_TABLE_H
#define NIWA_SPEC_SCHEMA_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "spec/schema_private.h"

#define FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define APP(member)         FIELD(struct niwa_app_spec, member)
#define MS(n)               ((n)*UINT64_C(1000))
#define SEC(n)              ((n)*UINT64_C(1000000))
#define DAY(n)              SEC((n)*UINT64_C(86400))
#define KIB(n)              ((n)*UINT64_C(1024))
#define MIB(n)              KIB((n)*UINT64_C(1024))
#define GROUP(keys_)        .keys = (keys_), .count = NIWA_ARRAY_LEN(keys_)

extern const struct niwa_group niwa_schema_limits, niwa_schema_scale;

#endif
