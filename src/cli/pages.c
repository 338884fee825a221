/* SPDX-License-Identifier: MIT
 *
 * app.list, until there is no next page. A page may be empty and not the last: the engine looks at some apps a call.
 */
#include "cli/pages.h"

#include <stdio.h>
#include <string.h>

#include "cli/answer.h"
#include "cli/client.h"

#define PAGE 200 /* rows: the most that the engine gives */

static json_t *params(const struct niwa_pages *pages, const char *after)
{
	const struct {
		const char *key, *value;
	} all[] = {{"after", *after ? after : NULL},
		   {"state", pages->state},
		   {"tenant", pages->tenant},
		   {"label", pages->label},
		   {"match", pages->match}};
	json_t *p = json_pack("{s:i}", "limit", PAGE);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].value)
			(void)json_object_set_new(p, all[i].key, json_string(all[i].value));
	return p;
}

int niwa_pages_each(struct niwa_client *client, const struct niwa_pages *pages, niwa_row_fn *fn, void *arg,
		    struct niwa_error *err)
{
	char after[512] = "";
	int r;

	do {
		json_t *result = NULL;
		const json_t *row;
		size_t i;

		r = niwa_client_call(client, "app.list", params(pages, after), NIWA_RPC_DEADLINE_MS, &result, err);
		json_array_foreach(json_object_get(result, "apps"), i, row)
		{
			r = fn(row, arg, err);
			if (r < 0)
				break;
		}
		(void)snprintf(after, sizeof(after), "%s", niwa_answer_text(result, "next"));
		json_decref(result);
	} while (r == 0 && *after);
	return r;
}
