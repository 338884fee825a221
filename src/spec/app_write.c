/* SPDX-License-Identifier: MIT
 *
 * Record → canonical JSON: sorted keys, nothing that a missing key would give.
 */
#include "spec/schema_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define KEYS_MAX 64 /* of one group */

static json_t *write_group(const struct niwa_app_spec *app, const struct niwa_group *group, const char *base,
			   const char *defaults);

static bool is_default(const struct niwa_app_spec *app, const struct niwa_key *key, const char *base,
		       const char *defaults)
{
	if (key->omit)
		return key->omit(app, base);
	if (key->fallback)
		return memcmp(base + key->offset, defaults + key->offset, key->size) == 0;
	/* A text or a list without a fallback: missing when NULL. */
	return *(void *const *)(base + key->offset) == NULL;
}

static json_t *write_list(const struct niwa_app_spec *app, const struct niwa_key *key, const char *base)
{
	size_t count = *(const size_t *)(base + key->count_offset);
	const char *element = *(char *const *)(base + key->offset);
	json_t *list = json_array();

	for (size_t i = 0; list && i < count; i++, element += key->group->size)
		if (json_array_append_new(list,
					  write_group(app, key->group, element, niwa_group_defaults(key->group))) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* 0 with *ret (NULL: nothing to write), or -ENOMEM. */
static int write_value(const struct niwa_app_spec *app, const struct niwa_key *key, const char *base,
		       const char *defaults, json_t **ret)
{
	*ret = NULL;
	if (key->file_only)
		return 0;
	if (key->kind == &niwa_kind_group)
		*ret = write_group(app, key->group, base, defaults);
	else if (key->kind == &niwa_kind_list)
		*ret = write_list(app, key, base);
	else if (is_default(app, key, base, defaults))
		return 0;
	else
		*ret = key->kind->write(key, base + key->offset);
	if (!*ret)
		return -ENOMEM;
	/* Nothing in it: as good as missing. */
	if ((json_is_object(*ret) && json_object_size(*ret) == 0) ||
	    (json_is_array(*ret) && json_array_size(*ret) == 0)) {
		json_decref(*ret);
		*ret = NULL;
	}
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp((*(const struct niwa_key *const *)a)->name, (*(const struct niwa_key *const *)b)->name);
}

static json_t *write_group(const struct niwa_app_spec *app, const struct niwa_group *group, const char *base,
			   const char *defaults)
{
	const struct niwa_key *sorted[KEYS_MAX];
	json_t *object = json_object();

	if (group->count > KEYS_MAX)
		abort();
	for (size_t i = 0; i < group->count; i++)
		sorted[i] = &group->keys[i];
	qsort(sorted, group->count, sizeof(sorted[0]), compare_keys);
	for (size_t i = 0; object && i < group->count; i++) {
		json_t *value;

		if (write_value(app, sorted[i], base, defaults, &value) < 0 ||
		    (value && json_object_set_new_nocheck(object, sorted[i]->name, value) < 0)) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

json_t *niwa_app_to_json(const struct niwa_app_spec *spec)
{
	return write_group(spec, &niwa_schema_app, (const char *)spec, niwa_group_defaults(&niwa_schema_app));
}

json_t *niwa_record_write(const struct niwa_group *group, const void *record)
{
	return write_group(NULL, group, record, niwa_group_defaults(group));
}
