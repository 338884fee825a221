/* SPDX-License-Identifier: MIT
 *
 * Labels of an app as they are kept in memory, and which apps a listing wants. Pure.
 */
#ifndef NIWA_ENGINE_LABELS_H
#define NIWA_ENGINE_LABELS_H

#include <stdbool.h>

#include <jansson.h>

/* labels: "key=value", NULL-terminated (NULL: none). *ret: one piece of memory for niwa_labels_have, to be freed; NULL
 * when there is none. 0 or -ENOMEM. */
int niwa_labels_pack(char *const *labels, char **ret);
/* label: "key=value", or "key" alone for any value. */
bool niwa_labels_have(const char *packed, const char *label);
/* As an object; NULL when there is none. */
json_t *niwa_labels_json(const char *packed);

/* NULL: any. match is a pattern of fnmatch(3); label as for niwa_labels_have. */
struct niwa_filter {
	const char *state, *tenant, *match, *label;
};
struct niwa_filter_facts {
	const char *name, *state, *tenant, *labels;
};
bool niwa_filter_passes(const struct niwa_filter *filter, const struct niwa_filter_facts *app);

#endif
