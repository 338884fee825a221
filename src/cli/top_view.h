/* SPDX-License-Identifier: MIT
 *
 * What `niwa top` shows: the engine's answer as rows, a table, a line of sums. Nothing here talks to anybody.
 */
#ifndef NIWA_CLI_TOP_VIEW_H
#define NIWA_CLI_TOP_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

enum niwa_top_sort {
	NIWA_TOP_CPU,
	NIWA_TOP_MEMORY,
	NIWA_TOP_WAKES,
	NIWA_TOP_CONNECTIONS,
	NIWA_TOP_STATE,
	NIWA_TOP_NAME, /* of those who use most CPU */
	NIWA_TOP_SORTS,
};
#define NIWA_TOP_SORT_NAMES "cpu, memory, wakes, connections, state or name"

const char *niwa_top_sort_name(enum niwa_top_sort sort);
int niwa_top_sort_by_name(const char *name); /* or -EINVAL */
int niwa_top_sort_by_key(char key);          /* of the keyboard; or -EINVAL */
/* As the engine calls it. */
const char *niwa_top_sort_asked(enum niwa_top_sort sort);

/* The rows of an answer to `top` in the order they are shown, borrowed from it; NULL: it has none. */
json_t *niwa_top_rows(json_t *answer, bool tenants, enum niwa_top_sort sort);

/* At most limit rows; width as for niwa_table_print. 0 or -ENOMEM. */
int niwa_top_print(const json_t *rows, bool tenants, size_t limit, FILE *out, unsigned width);
/* "3 running and 1 asleep of 5 apps, 20.1 % CPU, 70 MiB, 5 connections" */
void niwa_top_print_sums(const json_t *answer, FILE *out);

#endif
