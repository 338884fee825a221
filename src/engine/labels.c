/* SPDX-License-Identifier: MIT
 *
 * Labels packed into one piece of memory, and filters of listings.
 */
#include "engine/labels.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "base/memory.h"

int niwa_labels_pack(char *const *labels, char **ret)
{
	size_t bytes = 1;
	char *at;

	*ret = NULL;
	for (char *const *l = labels; l && *l; l++)
		bytes += strlen(*l) + 1;
	if (bytes == 1)
		return 0;
	at = *ret = niwa_zalloc(bytes);
	if (!at)
		return -ENOMEM;
	for (; *labels; labels++)
		at = stpcpy(at, *labels) + 1;
	return 0;
}

bool niwa_labels_have(const char *packed, const char *label)
{
	size_t len = strlen(label);
	char end = strchr(label, '=') ? '\0' : '=';

	for (const char *l = packed; l && *l; l += strlen(l) + 1)
		if (strncmp(l, label, len) == 0 && l[len] == end)
			return true;
	return false;
}

json_t *niwa_labels_json(const char *packed)
{
	json_t *labels = packed ? json_object() : NULL;

	for (const char *l = packed; l && *l; l += strlen(l) + 1) {
		const char *equals = strchr(l, '=');

		(void)json_object_setn_new_nocheck(labels, l, (size_t)(equals - l), json_string_nocheck(equals + 1));
	}
	return labels;
}

bool niwa_filter_passes(const struct niwa_filter *f, const struct niwa_filter_facts *app)
{
	return (!f->tenant || strcmp(app->tenant, f->tenant) == 0) &&
	       (!f->state || strcmp(app->state, f->state) == 0) &&
	       (!f->label || niwa_labels_have(app->labels, f->label)) &&
	       (!f->match || fnmatch(f->match, app->name, 0) == 0);
}
