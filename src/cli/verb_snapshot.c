/* SPDX-License-Identifier: MIT
 *
 * niwa snapshot: what images there are, and orders about them. The engine does the work.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/table.h"
#include "cli/verb_list.h"

#define VERIFY_MS  300000u
#define TAKE_US    (60 * NIWA_SEC) /* that an image is waited for */
#define TAKE_PAUSE 100000          /* us between looks */

enum { OPT_ALL };
const struct niwa_option niwa_options_snapshot[] = {
	{0, "all", NULL, "with rm: the others that share the image lose it too"},
	{0},
};

static const struct niwa_column columns[] = {
	{.title = "APP", .shrink_to = 16},
	{.title = "SIZE", .right = true},
	{.title = "RESTORES", .right = true, .importance = 2},
	{.title = "FAILED", .right = true, .importance = 4},
	{.title = "LAST RESTORE", .importance = 3},
	{.title = "RESTORE", .right = true},
	{.title = "START", .right = true},
	{.title = "APPS", .right = true, .importance = 6},
	{.title = "KIND", .importance = 5},
	{.title = "KEY", .shrink_to = 8, .importance = 1},
	{.title = "NOTE", .shrink_to = 16},
};

static const char *number(const json_t *row, const char *key, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%llu", (unsigned long long)niwa_answer_number(row, key));
	return buf;
}

static const char *took(const json_t *row, const char *key, char *buf, size_t size)
{
	return niwa_answer_number(row, key) ? niwa_human_took(niwa_answer_number(row, key), buf, size) : "";
}

static void add_image(struct niwa_table *table, const json_t *row)
{
	char size[32], restores[32], failed[32], ago[32], restored[32], cold[32], sharers[32];
	const char *damaged = niwa_answer_text(row, "damaged"), *failure = niwa_answer_text(row, "last_failure");
	const char *cells[] = {
		niwa_answer_text(row, "app"),
		niwa_human_bytes(niwa_answer_number(row, "bytes"), size, sizeof(size)),
		number(row, "restores", restores, sizeof(restores)),
		number(row, "failures", failed, sizeof(failed)),
		niwa_human_ago(niwa_answer_number(row, "last_restore_at"), niwa_realtime_us(), ago, sizeof(ago)),
		took(row, "restored_us", restored, sizeof(restored)),
		took(row, "cold_us", cold, sizeof(cold)),
		number(row, "sharers", sharers, sizeof(sharers)),
		niwa_answer_text(row, "kind"),
		niwa_answer_text(row, "key"),
		*damaged ? damaged : failure,
	};

	niwa_table_row(table, cells);
}

static void add_without(struct niwa_table *table, const json_t *row)
{
	const char *cells[NIWA_ARRAY_LEN(columns)] = {niwa_answer_text(row, "app")};

	cells[NIWA_ARRAY_LEN(columns) - 1] = niwa_answer_text(row, "why");
	niwa_table_row(table, cells);
}

static void print_list(const struct niwa_cli *cli, const json_t *answer)
{
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	const json_t *row;
	char name[512];
	size_t i;

	if (!table)
		return;
	json_array_foreach(json_object_get(answer, "snapshots"), i, row)
	{
		if (cli->quiet)
			(void)puts(niwa_answer_safe(row, "app", name, sizeof(name)));
		else
			add_image(table, row);
	}
	if (cli->quiet)
		return;
	json_array_foreach(json_object_get(answer, "none"), i, row) add_without(table, row);
	if (niwa_table_rows(table))
		(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
	else
		niwa_cli_note(cli, "no app has an image");
}

/* Page by page, until there is no next one: *ret is all of them as if they were one. */
static int read_all(struct niwa_client *client, json_t **ret, struct niwa_error *err)
{
	json_t *all = json_pack("{s:[],s:[]}", "snapshots", "none"), *page, *value;
	char after[512] = "";
	const char *key;
	int r;

	do {
		page = NULL;
		r = niwa_client_call(client, "snapshot.list", *after ? json_pack("{s:s}", "after", after) : NULL,
				     NIWA_RPC_DEADLINE_MS, &page, err);
		(void)snprintf(after, sizeof(after), "%s", niwa_answer_text(page, "next"));
		json_object_foreach(page, key, value)
		{
			if (json_is_array(value))
				(void)json_array_extend(json_object_get(all, key), value);
			else if (strcmp(key, "next") != 0)
				(void)json_object_set(all, key, value);
		}
		json_decref(page);
	} while (r == 0 && *after);
	if (r < 0)
		json_decref(all);
	else
		*ret = all;
	return r;
}

static int list(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *answer = NULL;

	if (cli->word_count > 1)
		return niwa_cli_usage(cli, "ls takes no further words");
	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (read_all(client, &answer, &err) < 0)
		return niwa_cli_fail(&err);
	if (cli->json)
		(void)niwa_answer_print(answer);
	else
		print_list(cli, answer);
	json_decref(answer);
	return NIWA_EXIT_DONE;
}

/* 1: the image is there. 0: not yet. */
static int look(struct niwa_client *client, const char *name, json_t **ret, struct niwa_error *err)
{
	json_t *app = NULL, *s;
	int r = niwa_client_call(client, "app.show", json_pack("{s:s}", "name", name), NIWA_RPC_DEADLINE_MS, &app, err);

	if (r < 0)
		return r;
	s = json_object_get(app, "snapshot");
	if (json_is_true(json_object_get(s, "usable"))) {
		*ret = json_incref(s);
		r = 1;
	} else if (json_is_true(json_object_get(s, "refused"))) {
		r = niwa_fail(err, NIWA_PERMANENT, 0, "%s: %s", name, niwa_answer_text(s, "why_not"));
	}
	json_decref(app);
	return r;
}

static int wait_for_image(struct niwa_client *client, const char *name, json_t **ret, struct niwa_error *err)
{
	uint64_t until = niwa_now_us() + TAKE_US;
	int r;

	while ((r = look(client, name, ret, err)) == 0 && niwa_now_us() < until)
		(void)usleep(TAKE_PAUSE);
	if (r == 0)
		return niwa_fail(err, NIWA_TEMPORARY, 0,
				 "%s: no image yet: it is taken when nobody is connected to the app", name);
	return r < 0 ? r : 0;
}

static void print_done(const struct niwa_cli *cli, const char *name, const char *order, const json_t *answer)
{
	char size[32];

	if (cli->quiet)
		return;
	if (strcmp(order, "take") == 0)
		(void)printf("%s: image taken, %s\n", name,
			     niwa_human_bytes(niwa_answer_number(answer, "bytes"), size, sizeof(size)));
	else if (niwa_answer_number(answer, "others"))
		(void)printf("%s: image no longer used; %" PRIu64 " others share it (--all removes it)\n", name,
			     niwa_answer_number(answer, "others"));
	else
		(void)printf("%s: image %s\n", name, strcmp(order, "rm") == 0 ? "removed" : "is whole");
}

static int order_one(struct niwa_cli *cli, struct niwa_client *client, const char *name, json_t **ret,
		     struct niwa_error *err)
{
	const char *order = cli->words[0];
	bool all = cli->option[OPT_ALL] && strcmp(order, "rm") == 0;
	const char *method = strcmp(order, "take") == 0 ? "snapshot.take"
			     : strcmp(order, "rm") == 0 ? "snapshot.remove"
							: "snapshot.verify";
	int r = niwa_client_call(client, method, json_pack(all ? "{s:s,s:b}" : "{s:s}", "name", name, "all", 1),
				 VERIFY_MS, ret, err);

	if (r < 0 || strcmp(order, "take") != 0)
		return r;
	json_decref(*ret);
	*ret = NULL;
	return wait_for_image(client, name, ret, err);
}

static int order_each(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	json_t *all = json_array();
	int status = NIWA_EXIT_DONE;

	if (niwa_cli_connect(cli, &client) < 0)
		status = NIWA_EXIT_FAILED;
	for (int i = 1; client && i < cli->word_count; i++) {
		struct niwa_error err = {0};
		json_t *answer = NULL;

		if (order_one(cli, client, cli->words[i], &answer, &err) < 0)
			status = niwa_cli_fail(&err);
		else if (cli->json)
			(void)json_array_append_new(all,
						    json_pack("{s:s, s:O}", "name", cli->words[i], "result", answer));
		else
			print_done(cli, cli->words[i], cli->words[0], answer);
		json_decref(answer);
	}
	if (cli->json)
		(void)niwa_answer_print(all);
	json_decref(all);
	return status;
}

int niwa_verb_snapshot(struct niwa_cli *cli)
{
	const char *order = cli->words[0];

	if (strcmp(order, "ls") == 0)
		return list(cli);
	if (strcmp(order, "take") != 0 && strcmp(order, "rm") != 0 && strcmp(order, "verify") != 0)
		return niwa_cli_usage(cli, "'%s' is none of ls, take, rm and verify", order);
	if (cli->word_count < 2)
		return niwa_cli_usage(cli, "%s needs the name of an app", order);
	return order_each(cli);
}
