/* SPDX-License-Identifier: MIT
 *
 * niwa ls: pages of rows from the engine, as a table, as names (-q), or as a JSON array with a row a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/table.h"
#include "cli/verb_list.h"

#define PAGE 500

enum { OPT_STATE, OPT_TENANT };
const struct niwa_option niwa_options_ls[] = {
	{0, "state", "STATE", "only apps in this sleep state (running, frozen, stopped, ...)"},
	{0, "tenant", "TENANT", "only apps of this tenant"},
	{0},
};

static const struct niwa_column columns[] = {
	{.title = "APP", .shrink_to = 16},
	{.title = "TENANT", .shrink_to = 8, .importance = 5},
	{.title = "STATE"},
	{.title = "ADDRESS", .importance = 1},
	{.title = "PORTS", .shrink_to = 8, .importance = 3},
	{.title = "LAST WAKE", .importance = 2},
	{.title = "TOOK", .right = true, .importance = 4},
	{.title = "BY", .importance = 6},
};

struct listing {
	const struct niwa_cli *cli;
	struct niwa_table *table;
	uint64_t now_us;
	size_t count;
};

static void add_to_table(struct listing *l, const json_t *row)
{
	const json_t *wake = json_object_get(row, "last_wake");
	char ports[512], ago[32], took[32];
	const char *cells[] = {
		niwa_answer_text(row, "name"),
		niwa_answer_text(row, "tenant"),
		niwa_answer_text(row, "state"),
		niwa_answer_text(row, "service_address"),
		niwa_answer_ports(row, ports, sizeof(ports)),
		niwa_human_ago(niwa_answer_number(wake, "at"), l->now_us, ago, sizeof(ago)),
		niwa_answer_number(wake, "took_us")
			? niwa_human_took(niwa_answer_number(wake, "took_us"), took, sizeof(took))
			: "",
		niwa_answer_text(wake, "path"),
	};

	niwa_table_row(l->table, cells);
}

static int add_row(struct listing *l, const json_t *row)
{
	char *text, name[1024];

	l->count++;
	if (l->cli->json) {
		text = json_dumps(row, JSON_COMPACT);
		if (!text)
			return -ENOMEM;
		(void)printf("%s%s", l->count > 1 ? ",\n" : "", text);
		free(text);
	} else if (l->cli->quiet) {
		(void)puts(niwa_answer_safe(row, "name", name, sizeof(name)));
	} else {
		add_to_table(l, row);
	}
	return 0;
}

static json_t *page_params(const struct niwa_cli *cli, const char *after)
{
	json_t *p = json_pack("{s:i}", "limit", PAGE);

	if (*after)
		(void)json_object_set_new(p, "after", json_string(after));
	if (cli->option[OPT_STATE])
		(void)json_object_set_new(p, "state", json_string(cli->option[OPT_STATE]));
	if (cli->option[OPT_TENANT])
		(void)json_object_set_new(p, "tenant", json_string(cli->option[OPT_TENANT]));
	if (cli->word_count)
		(void)json_object_set_new(p, "match", json_string(cli->words[0]));
	return p;
}

static int each_page(struct listing *l, struct niwa_client *client, struct niwa_error *err)
{
	char after[512] = "";
	int r = 0;

	do {
		json_t *result = NULL;
		const json_t *row;
		size_t i;

		r = niwa_client_call(client, "app.list", page_params(l->cli, after), NIWA_RPC_DEADLINE_MS, &result,
				     err);
		if (r < 0)
			return r;
		json_array_foreach(json_object_get(result, "apps"), i, row)
		{
			r = add_row(l, row);
			if (r < 0)
				break;
		}
		if (r < 0)
			(void)niwa_fail(err, NIWA_TEMPORARY, -r, "list the apps");
		(void)snprintf(after, sizeof(after), "%s", niwa_answer_text(result, "next"));
		json_decref(result);
	} while (r == 0 && *after);
	return r;
}

static void note_nothing(const struct listing *l)
{
	if (l->cli->word_count || l->cli->option[OPT_STATE] || l->cli->option[OPT_TENANT])
		niwa_cli_note(l->cli, "no app matches");
	else
		niwa_cli_note(l->cli, "no app is declared yet; 'niwa apply FILE' declares some");
}

int niwa_verb_ls(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	struct listing l = {.cli = cli, .table = table, .now_us = niwa_realtime_us()};
	struct niwa_error err = {0};
	int r;

	if (!table || niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (cli->json)
		(void)fputs("[", stdout);
	r = each_page(&l, client, &err);
	if (cli->json)
		(void)fputs("]\n", stdout);
	if (r < 0)
		return niwa_cli_fail(&err);
	if (!l.count && (!cli->json || cli->word_count))
		note_nothing(&l);
	else if (!cli->json && !cli->quiet)
		(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
	return !l.count && cli->word_count ? NIWA_EXIT_FAILED : NIWA_EXIT_DONE;
}
