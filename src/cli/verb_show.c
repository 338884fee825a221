/* SPDX-License-Identifier: MIT
 *
 * niwa show: everything the engine knows about one app, the reason of its state first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/show_awake.h"
#include "cli/table.h"
#include "cli/tree.h"
#include "cli/verb_list.h"

/* A line of the head: nothing when there is no value. Foreign text is made safe. */
static void line(const char *title, const char *value)
{
	char safe[1024];

	if (*value)
		(void)printf("  %-10s %s\n", title, niwa_quote(value, strlen(value), safe, sizeof(safe)));
}

/* ", for 10.0.0.7 at port 80", ", on request", ", by its schedule". */
static void add_who(const json_t *wake, char *text, size_t size)
{
	const char *by = niwa_answer_text(wake, "by"), *from = niwa_answer_text(wake, "from");
	uint64_t port = niwa_answer_number(wake, "port");
	size_t len = strlen(text);

	if (*from && port)
		(void)snprintf(text + len, size - len, ", for %s at port %" PRIu64, from, port);
	else if (*from)
		(void)snprintf(text + len, size - len, ", for %s", from);
	else if (strcmp(by, "request") == 0)
		(void)snprintf(text + len, size - len, ", on request");
	else if (*by)
		(void)snprintf(text + len, size - len, ", by %s", by);
}

static void print_wake(const json_t *app)
{
	const json_t *wake = json_object_get(app, "last_wake");
	const char *path = niwa_answer_text(wake, "path");
	uint64_t us = niwa_answer_number(wake, "took_us");
	char ago[32], took[32], text[512];

	if (!json_is_object(wake))
		return;
	(void)snprintf(text, sizeof(text), "%s, %s%s%s%s",
		       niwa_human_ago(niwa_answer_number(wake, "at"), niwa_realtime_us(), ago, sizeof(ago)),
		       us ? "took " : "not reached", us ? niwa_human_took(us, took, sizeof(took)) : "",
		       *path ? ", by " : "", path);
	add_who(wake, text, sizeof(text));
	line("last wake", text);
}

static void print_stages(const json_t *app)
{
	static const char *const names[] = {"accepted", "decided",   "cloned",    "executed",
					    "ready",    "connected", "first_byte"};
	const json_t *stages = json_object_get(app, "stages");
	struct niwa_text text = {0};
	uint64_t before = 0;
	char took[32];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		uint64_t at = niwa_answer_number(stages, names[i]);

		if (!json_object_get(stages, names[i]) || i == 0)
			continue;
		niwa_text_addf(&text, "%s%s +%s", text.len ? ", " : "", names[i],
			       niwa_human_took(at > before ? at - before : 0, took, sizeof(took)));
		before = at;
	}
	line("stages", text.data ? text.data : "");
	niwa_text_fini(&text);
}

/* Only what is not as in its record. */
static void print_limits(const json_t *app)
{
	const json_t *set = json_object_get(app, "set"), *record = json_object_get(app, "record");
	struct niwa_text text = {0};
	const char *key, *before;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)set, key, value)
	{
		before = niwa_answer_text(json_object_get(record, "limits"), key);
		niwa_text_addf(&text, "%s%s=%s over %s of the record", text.len ? ", " : "", key,
			       json_string_value(value) ?: "", *before ? before : "none");
	}
	line("set", text.data ? text.data : "");
	niwa_text_fini(&text);
}

static void print_numbers(const json_t *app)
{
	uint64_t waiting = niwa_answer_number(app, "waiting");
	char text[128], size[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64 ", %" PRIu64 " failed", niwa_answer_number(app, "wakes"),
		       niwa_answer_number(app, "failures"));
	if (json_object_get(app, "wakes"))
		line("wakes", text);
	line("last error", niwa_answer_text(app, "last_error"));
	line("waits", niwa_answer_text(app, "waits_for"));
	(void)snprintf(text, sizeof(text), "%" PRIu64 " connections", waiting);
	if (waiting)
		line("waiting", text);
	if (json_object_get(app, "memory_bytes"))
		line("memory", niwa_human_bytes(niwa_answer_number(app, "memory_bytes"), size, sizeof(size)));
	print_limits(app);
	if (json_object_get(app, "cpu_us"))
		line("cpu", niwa_human_took(niwa_answer_number(app, "cpu_us"), size, sizeof(size)));
}

/* How it is woken, and what both ways took. */
static void print_snapshot(const json_t *app)
{
	const json_t *s = json_object_get(app, "snapshot");
	uint64_t cold = niwa_answer_number(s, "cold_us"), restored = niwa_answer_number(s, "restored_us");
	const char *why_not = niwa_answer_text(s, "why_not");
	char a[32], b[32], text[512];

	if (!json_is_object(s))
		return;
	(void)snprintf(text, sizeof(text), "by %s%s%s%s%s",
		       strcmp(niwa_answer_text(s, "wakes_by"), "restore") ? "a start" : "a restore",
		       cold ? ", a start takes " : "", cold ? niwa_human_took(cold, a, sizeof(a)) : "",
		       restored ? ", a restore " : "", restored ? niwa_human_took(restored, b, sizeof(b)) : "");
	line("woken", text);
	(void)snprintf(text, sizeof(text), "not used: %s", why_not);
	if (!*why_not)
		(void)niwa_human_bytes(niwa_answer_number(s, "bytes"), text, sizeof(text));
	if (niwa_answer_number(s, "sharers") > 1)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "; shared by %" PRIu64 " apps",
			       niwa_answer_number(s, "sharers"));
	line("snapshot", text);
}

static void print_head(const json_t *app)
{
	const char *why = niwa_answer_text(app, "why");
	char text[1024];

	(void)printf("%s\n", niwa_answer_safe(app, "name", text, sizeof(text)));
	line("tenant", niwa_answer_text(app, "tenant"));
	(void)snprintf(text, sizeof(text), "%s%s%s", niwa_answer_text(app, "state"), *why ? ": " : "", why);
	line("state", text);
	line("address", niwa_answer_text(app, "service_address"));
	if (*niwa_answer_text(app, "service_address6"))
		line("", niwa_answer_text(app, "service_address6"));
	line("ports", niwa_answer_ports(app, text, sizeof(text)));
	line("url", niwa_answer_text(app, "url"));
	line("awake", niwa_show_awake(app, niwa_realtime_us(), text, sizeof(text)));
	print_wake(app);
	line("next wake", niwa_show_next_wake(app, niwa_realtime_us(), text, sizeof(text)));
	line("refused", niwa_show_refused(app, text, sizeof(text)));
	print_stages(app);
	print_numbers(app);
	print_snapshot(app);
}

static void print_instances(const json_t *app)
{
	static const struct niwa_column columns[] = {
		{.title = "  INSTANCE"},
		{.title = "LIFE"},
		{.title = "PID", .right = true},
		{.title = "PRIVATE ADDRESS"},
		{.title = "CONNECTIONS", .right = true},
		{.title = "BEGAN"},
	};
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	const json_t *instance;
	size_t i;

	if (!table)
		return;
	json_array_foreach(json_object_get(app, "instances"), i, instance)
	{
		char id[32], pid[32], connections[32], ago[32];
		const char *cells[] = {
			id,
			niwa_answer_text(instance, "life"),
			pid,
			niwa_answer_text(instance, "private_address"),
			connections,
			niwa_human_ago(niwa_answer_number(instance, "began_at"), niwa_realtime_us(), ago, sizeof(ago))};

		(void)snprintf(id, sizeof(id), "  %" PRIu64, niwa_answer_number(instance, "id"));
		(void)snprintf(pid, sizeof(pid), "%" PRIu64, niwa_answer_number(instance, "pid"));
		(void)snprintf(connections, sizeof(connections), "%" PRIu64,
			       niwa_answer_number(instance, "connections"));
		niwa_table_row(table, cells);
		if (*niwa_answer_text(instance, "private_address6"))
			niwa_table_row(table, (const char *[]){"", "", "",
							       niwa_answer_text(instance, "private_address6"), "", ""});
	}
	if (niwa_table_rows(table)) {
		(void)putchar('\n');
		(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
	}
}

static void print_history(const json_t *app)
{
	static const struct niwa_column columns[] = {
		{.title = "  HISTORY"}, {.title = "FROM"}, {.title = "TO"}, {.title = "WHY", .shrink_to = 10}};
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	const json_t *entry;
	size_t i;

	if (!table)
		return;
	json_array_foreach(json_object_get(app, "history"), i, entry)
	{
		char ago[34] = "  ";
		const char *cells[] = {ago, niwa_answer_text(entry, "from"), niwa_answer_text(entry, "to"),
				       niwa_answer_text(entry, "why")};

		(void)niwa_human_ago(niwa_answer_number(entry, "at"), niwa_realtime_us(), ago + 2, sizeof(ago) - 2);
		niwa_table_row(table, cells);
	}
	if (niwa_table_rows(table)) {
		(void)putchar('\n');
		(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
	}
}

/* The newest with the processes of that moment, the others in a line each. */
static void print_hits(const json_t *app)
{
	const json_t *hits = json_object_get(app, "limit_hits"), *hit, *process;
	char when[40], text[512], bytes[32], took[32];
	size_t i, n;

	json_array_foreach(hits, i, hit)
	{
		uint64_t count = niwa_answer_number(hit, "count");

		(void)snprintf(text, sizeof(text), "%s: %s: %s",
			       niwa_human_ago(niwa_answer_number(hit, "at"), niwa_realtime_us(), when, sizeof(when)),
			       niwa_answer_text(hit, "limit"), niwa_answer_text(hit, "text"));
		if (count > 1)
			(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), " (%" PRIu64 " times)", count);
		(void)fputs(i ? "" : "\n", stdout);
		line("limit hit", text);
	}
	json_array_foreach(json_object_get(json_array_get(hits, json_array_size(hits) - 1), "processes"), n, process)
	{
		(void)snprintf(text, sizeof(text), "%" PRIu64 " %s of %s, %s, cpu %s",
			       niwa_answer_number(process, "pid"), niwa_answer_text(process, "command"),
			       niwa_answer_text(process, "app"),
			       niwa_human_bytes(niwa_answer_number(process, "memory_bytes"), bytes, sizeof(bytes)),
			       niwa_human_took(niwa_answer_number(process, "cpu_us"), took, sizeof(took)));
		line("", text);
	}
}

static void print_rest(const json_t *app)
{
	const json_t *record = json_object_get(app, "record"), *warning;
	size_t i;

	json_array_foreach(json_object_get(app, "warnings"), i, warning)
	{
		(void)fputs(i ? "" : "\n", stdout);
		line("warning", json_string_value(warning) ? json_string_value(warning) : "");
	}
	if (json_is_object(record)) {
		(void)puts("\n  declared as");
		niwa_tree_print(stdout, record, 4);
	}
}

int niwa_verb_show(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *app = NULL;

	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (niwa_client_call(client, "app.show", json_pack("{s:s}", "name", cli->words[0]), NIWA_RPC_DEADLINE_MS, &app,
			     &err) < 0)
		return niwa_cli_fail(&err);
	if (cli->json) {
		(void)niwa_answer_print(app);
	} else {
		print_head(app);
		print_instances(app);
		print_history(app);
		print_hits(app);
		print_rest(app);
	}
	json_decref(app);
	return NIWA_EXIT_DONE;
}
