/* SPDX-License-Identifier: MIT
 *
 * Rows, table, sums.
 */
#include "cli/top_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/human.h"
#include "cli/table.h"

static const struct {
	const char *name, *asked;
	char key;
} sorts[NIWA_TOP_SORTS] = {
	[NIWA_TOP_CPU] = {"cpu", "cpu", 'c'},       [NIWA_TOP_MEMORY] = {"memory", "memory", 'm'},
	[NIWA_TOP_WAKES] = {"wakes", "wakes", 'w'}, [NIWA_TOP_CONNECTIONS] = {"connections", "connections", 'o'},
	[NIWA_TOP_STATE] = {"state", "state", 's'}, [NIWA_TOP_NAME] = {"name", "cpu", 'n'},
};

const char *niwa_top_sort_name(enum niwa_top_sort sort)
{
	return sorts[sort].name;
}

const char *niwa_top_sort_asked(enum niwa_top_sort sort)
{
	return sorts[sort].asked;
}

int niwa_top_sort_by_name(const char *name)
{
	for (int s = 0; s < NIWA_TOP_SORTS; s++)
		if (strcmp(sorts[s].name, name) == 0)
			return s;
	return -EINVAL;
}

int niwa_top_sort_by_key(char key)
{
	for (int s = 0; s < NIWA_TOP_SORTS; s++)
		if (sorts[s].key == key)
			return s;
	return -EINVAL;
}

static int by_name(const void *a, const void *b)
{
	const json_t *const *x = a, *const *y = b;

	return strcmp(niwa_answer_text(*x, "name"), niwa_answer_text(*y, "name"));
}

/* In place: the array keeps its references, in another order. */
static void sort_by_name(json_t *rows)
{
	size_t count = json_array_size(rows), i;
	NIWA_AUTO(niwa_free_ptr) json_t **list = niwa_zalloc((count + 1) * sizeof(json_t *));
	json_t *row;

	if (!list)
		return;
	json_array_foreach(rows, i, row) list[i] = json_incref(row);
	if (count)
		qsort(list, count, sizeof(*list), by_name);
	for (i = 0; i < count; i++)
		(void)json_array_set_new(rows, i, list[i]);
}

json_t *niwa_top_rows(json_t *answer, bool tenants, enum niwa_top_sort sort)
{
	json_t *rows = json_object_get(answer, tenants ? "tenants" : "apps");

	if (rows && sort == NIWA_TOP_NAME)
		sort_by_name(rows);
	return rows;
}

static const struct niwa_column app_columns[] = {
	{.title = "APP", .shrink_to = 16},
	{.title = "TENANT", .shrink_to = 8, .importance = 2},
	{.title = "STATE"},
	{.title = "CPU", .right = true},
	{.title = "MEMORY", .right = true},
	{.title = "WAKES", .right = true},
	{.title = "CONN", .right = true, .importance = 1},
};
static const struct niwa_column tenant_columns[] = {
	{.title = "TENANT", .shrink_to = 16}, {.title = "APPS", .right = true, .importance = 2},
	{.title = "RUNNING", .right = true},  {.title = "ASLEEP", .right = true, .importance = 1},
	{.title = "CPU", .right = true},      {.title = "MEMORY", .right = true},
	{.title = "WAKES", .right = true},    {.title = "CONN", .right = true, .importance = 1},
};

static double percent_of(const json_t *row)
{
	return json_number_value(json_object_get(row, "cpu_percent"));
}

struct cells {
	char cpu[24], memory[24], connections[24], wakes[24], apps[24], running[24], asleep[24];
};

static char *number(const json_t *row, const char *key, char buf[24])
{
	(void)snprintf(buf, 24, "%" PRIu64, niwa_answer_number(row, key));
	return buf;
}

static void add_row(struct niwa_table *table, const json_t *row, bool tenant)
{
	const char *name = niwa_answer_text(row, "name");
	struct cells c;

	(void)snprintf(c.cpu, sizeof(c.cpu), "%.1f %%", percent_of(row));
	(void)niwa_human_bytes(niwa_answer_number(row, "memory_bytes"), c.memory, sizeof(c.memory));
	(void)number(row, "connections", c.connections);
	(void)number(row, "wakes", c.wakes);
	if (tenant) {
		const char *cells[] = {name,
				       number(row, "apps", c.apps),
				       number(row, "running", c.running),
				       number(row, "asleep", c.asleep),
				       c.cpu,
				       c.memory,
				       c.wakes,
				       c.connections};

		niwa_table_row(table, cells);
	} else {
		const char *cells[] = {name,
				       niwa_answer_text(row, "tenant"),
				       niwa_answer_text(row, "state"),
				       c.cpu,
				       c.memory,
				       c.wakes,
				       c.connections};

		niwa_table_row(table, cells);
	}
}

int niwa_top_print(const json_t *rows, bool tenants, size_t limit, FILE *out, unsigned width)
{
	NIWA_AUTO(niwa_table_free)
	struct niwa_table *table = tenants ? niwa_table_new(tenant_columns, NIWA_ARRAY_LEN(tenant_columns))
					   : niwa_table_new(app_columns, NIWA_ARRAY_LEN(app_columns));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(rows) && i < limit; i++)
		add_row(table, json_array_get(rows, i), tenants);
	return niwa_table_print(table, out, width);
}

void niwa_top_print_sums(const json_t *answer, FILE *out)
{
	const json_t *total = json_object_get(answer, "total");
	char size[32];

	(void)fprintf(out,
		      "%" PRIu64 " running and %" PRIu64 " asleep of %" PRIu64 " apps, %.1f %% CPU, %s, %" PRIu64
		      " connections",
		      niwa_answer_number(total, "running"), niwa_answer_number(total, "asleep"),
		      niwa_answer_number(total, "apps"), percent_of(total),
		      niwa_human_bytes(niwa_answer_number(total, "memory_bytes"), size, sizeof(size)),
		      niwa_answer_number(total, "connections"));
}
