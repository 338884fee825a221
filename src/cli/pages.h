/* SPDX-License-Identifier: MIT
 *
 * All apps that a filter lets through, page by page from the engine, in the order of their names.
 */
#ifndef NIWA_CLI_PAGES_H
#define NIWA_CLI_PAGES_H

#include <jansson.h>

#include "base/error.h"

struct niwa_client;

/* NULL: any. match is a shell pattern over the name, label "key=value" or "key". */
struct niwa_pages {
	const char *state, *tenant, *label, *match;
};

/* Calls fn for each row; ends with what fn returns when that is negative (fn has filled err then). 0 or -errno. */
typedef int niwa_row_fn(const json_t *row, void *arg, struct niwa_error *err);
int niwa_pages_each(struct niwa_client *client, const struct niwa_pages *pages, niwa_row_fn *fn, void *arg,
		    struct niwa_error *err);

#endif
