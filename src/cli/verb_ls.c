/* SPDX-License-Identifier: MIT
 *
 * niwa ls: pages of rows from the engine, as a table, as names (-q), or as a JSON array with a row a line.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/pages.h"
#include "cli/table.h"
#include "cli/verb_list.h"

enum { OPT_STATE, OPT_TENANT, OPT_LABEL, OPT_NAME };
const struct niwa_option niwa_options_ls[] = {
	{0, "state", "STATE", "only apps in this sleep state (running, frozen, stopped, ...)"},
	{0, "tenant", "TENANT", "only apps of this tenant"},
	{0, "label", "KEY[=VALUE]", "only apps with this label"},
	{0, "name", "PATTERN", "only apps whose name matches, as the word"},
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

/* "running (3)": so many instances, if there are several. */
static char *state_of(const json_t *row, char *buf, size_t size)
{
	uint64_t instances = niwa_answer_number(row, "instances");

	(void)snprintf(buf, size, "%s", niwa_answer_text(row, "state"));
	if (instances > 1)
		(void)snprintf(buf + strlen(buf), size - strlen(buf), " (%" PRIu64 ")", instances);
	return buf;
}

static void add_to_table(struct listing *l, const json_t *row)
{
	const json_t *wake = json_object_get(row, "last_wake");
	char ports[512], ago[32], took[32], state[64];
	const char *cells[] = {
		niwa_answer_text(row, "name"),
		niwa_answer_text(row, "tenant"),
		state_of(row, state, sizeof(state)),
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

static int add_row(const json_t *row, void *arg, struct niwa_error *err)
{
	struct listing *l = arg;
	char *text, name[1024];

	l->count++;
	if (l->cli->json) {
		text = json_dumps(row, JSON_COMPACT);
		if (!text)
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list the apps");
		(void)printf("%s%s", l->count > 1 ? ",\n" : "", text);
		free(text);
	} else if (l->cli->quiet) {
		(void)puts(niwa_answer_safe(row, "name", name, sizeof(name)));
	} else {
		add_to_table(l, row);
	}
	return 0;
}

static bool filters(const struct niwa_pages *p)
{
	return p->state || p->tenant || p->label || p->match;
}

static void note_nothing(const struct listing *l, const struct niwa_pages *pages)
{
	if (filters(pages))
		niwa_cli_note(l->cli, "no app matches");
	else
		niwa_cli_note(l->cli, "no app is declared yet; 'niwa apply FILE' declares some");
}

int niwa_verb_ls(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	struct listing l = {.cli = cli, .table = table, .now_us = niwa_realtime_us()};
	const struct niwa_pages pages = {
		.state = cli->option[OPT_STATE],
		.tenant = cli->option[OPT_TENANT],
		.label = cli->option[OPT_LABEL],
		.match = cli->word_count ? cli->words[0] : cli->option[OPT_NAME],
	};
	struct niwa_error err = {0};
	int r;

	if (cli->word_count && cli->option[OPT_NAME])
		return niwa_cli_usage(cli, "a pattern and --name: one of them is enough");
	if (!table || niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (cli->json)
		(void)fputs("[", stdout);
	r = niwa_pages_each(client, &pages, add_row, &l, &err);
	if (cli->json)
		(void)fputs("]\n", stdout);
	if (r < 0)
		return niwa_cli_fail(&err);
	if (!l.count && (!cli->json || pages.match))
		note_nothing(&l, &pages);
	else if (!cli->json && !cli->quiet)
		(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
	return !l.count && pages.match ? NIWA_EXIT_FAILED : NIWA_EXIT_DONE;
}
