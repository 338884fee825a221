/* SPDX-License-Identifier: MIT
 *
 * niwa apply: files → checked records → one transaction. Every mistake of every file is shown before
 * the engine is asked for anything.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/priority.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/blame.h"
#include "cli/transaction.h"
#include "cli/verb_list.h"
#include "spec/file.h"

enum { OPT_DRY_RUN };
const struct niwa_option niwa_options_apply[] = {
	{'n', "dry-run", NULL, "check, and say what would change; change nothing"},
	{0},
};

#define MISTAKES_SHOWN 20
#define LARGE_BYTES    (128 * 1024) /* of files together: some 0.1 s of work */

struct mistakes {
	unsigned count;
	struct niwa_text later; /* of this file, said after its first one */
};

static void say_mistake(const char *msg, struct mistakes *m)
{
	if (m->count++ < MISTAKES_SHOWN)
		(void)fprintf(stderr, "niwa: %s\n", msg);
}

static void keep_mistake(const char *msg, void *arg)
{
	struct mistakes *m = arg;

	if (m->count++ < MISTAKES_SHOWN - 1)
		niwa_text_addf(&m->later, "niwa: %s\n", msg);
}

/* The engine and what it wakes go before the reading of thousands of apps. */
static void make_way(const struct niwa_cli *cli)
{
	off_t bytes = 0;
	struct stat st;

	for (int i = 0; i < cli->word_count; i++)
		if (stat(cli->words[i], &st) == 0)
			bytes += st.st_size;
	if (bytes > LARGE_BYTES)
		niwa_priority_lower();
}

/* Loads one file; *ret stays empty when there were mistakes. */
static void load_file(const char *path, struct mistakes *m, struct niwa_file_records *ret)
{
	struct niwa_error err = {0};

	if (niwa_file_load_records(path, keep_mistake, m, ret, &err) < 0) {
		(void)fprintf(stderr, "niwa: %s\n%s", err.msg, m->later.data ? m->later.data : "");
		m->count++;
	}
	niwa_text_fini(&m->later);
}

/* Adds the apps of a file to all; a name that an earlier file has is a mistake. */
static int merge(json_t *all, json_t *apps, const char *path, struct niwa_map *files, struct mistakes *mistakes)
{
	json_t *app;
	size_t i;
	int r;

	json_array_foreach(apps, i, app)
	{
		const char *name = niwa_answer_text(app, "name"), *other = niwa_map_get_str(files, name);
		char text[1024];

		if (other) {
			(void)snprintf(text, sizeof(text), "%s: app '%s' is declared in %s already", path, name, other);
			say_mistake(text, mistakes);
			continue;
		}
		r = json_array_append(all, app) < 0 ? -ENOMEM : 0;
		if (r == 0) /* the name is borrowed from the app, which all holds now */
			r = niwa_map_put_str(files, niwa_answer_text(app, "name"), (void *)(uintptr_t)path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* As merge. */
static int merge_tenants(json_t *all, json_t *tenants, struct niwa_map *seen, const char *path,
			 struct mistakes *mistakes)
{
	json_t *tenant;
	size_t i;
	int r;

	json_array_foreach(tenants, i, tenant)
	{
		const char *name = niwa_answer_text(tenant, "name");
		char text[1024];

		if (niwa_map_get_str(seen, name)) {
			(void)snprintf(text, sizeof(text), "%s: tenant '%s' is declared in another file already", path,
				       name);
			say_mistake(text, mistakes);
			continue;
		}
		r = json_array_append(all, tenant) < 0 ? -ENOMEM : niwa_map_put_str(seen, name, tenant);
		if (r < 0)
			return r;
	}
	return 0;
}

static void records_fini(struct niwa_file_records *records)
{
	json_decref(records->apps);
	json_decref(records->tenants);
	*records = (struct niwa_file_records){0};
}

/* Reads all files; files gets name → path. Negative when there were mistakes, which were said. */
static int load_files(const struct niwa_cli *cli, struct niwa_map *files, struct niwa_file_records *ret)
{
	struct mistakes mistakes = {0};
	struct niwa_file_records all = {json_array(), json_array()};
	NIWA_AUTO(niwa_map_free) struct niwa_map *tenants = niwa_map_new(NIWA_MAP_STRING);
	int r = files && tenants && all.apps && all.tenants ? 0 : -ENOMEM;

	for (int i = 0; i < cli->word_count && r == 0; i++) {
		struct niwa_file_records records = {0};

		load_file(cli->words[i], &mistakes, &records);
		if (records.apps)
			r = merge(all.apps, records.apps, cli->words[i], files, &mistakes);
		if (records.tenants && r == 0)
			r = merge_tenants(all.tenants, records.tenants, tenants, cli->words[i], &mistakes);
		records_fini(&records);
	}
	if (mistakes.count > MISTAKES_SHOWN)
		(void)fprintf(stderr, "niwa: and %u more mistakes\n", mistakes.count - MISTAKES_SHOWN);
	if (mistakes.count)
		(void)fputs("niwa: nothing was changed\n", stderr);
	if (r < 0)
		(void)fputs("niwa: out of memory\n", stderr);
	if (mistakes.count || r < 0) {
		records_fini(&all);
		return -EINVAL;
	}
	*ret = all;
	return 0;
}

/* what: stands before each name */
static void print_names(const json_t *names, const char *kind, const char *what, uint64_t count)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(names, kind), i, name)(void)
		printf("%s%s\n", what, json_string_value(name) ? json_string_value(name) : "");
	if (count > i && i)
		(void)printf("%sand %" PRIu64 " more\n", what, count - i);
}

static void print_result(const struct niwa_cli *cli, const json_t *result, const char *would)
{
	const json_t *names = json_object_get(result, "names"), *tenants = json_object_get(result, "tenants");
	uint64_t added = niwa_answer_number(result, "added"), changed = niwa_answer_number(result, "changed");
	uint64_t limits = niwa_answer_number(tenants, "changed"), same = niwa_answer_number(tenants, "unchanged");

	if (cli->json) {
		(void)niwa_answer_print(result);
		return;
	}
	if (!cli->quiet) {
		print_names(names, "tenants", "~ limits of tenant ", limits);
		print_names(names, "added", "+ ", added);
		print_names(names, "changed", "~ ", changed);
	}
	(void)printf("%sadded %" PRIu64 ", changed %" PRIu64 ", unchanged %" PRIu64, would, added, changed,
		     niwa_answer_number(result, "unchanged"));
	if (limits || same)
		(void)printf("; limits of tenants: changed %" PRIu64 ", unchanged %" PRIu64, limits, same);
	(void)printf("\n");
}

/* --dry-run: compares each record with the engine's. */

struct difference {
	json_t *added, *changed, *tenants; /* names */
	json_int_t unchanged, tenants_unchanged;
};

static int compare_app(struct niwa_client *client, const json_t *app, struct difference *d, struct niwa_error *err)
{
	json_t *now = NULL;
	int r = niwa_client_call(client, "app.show", json_pack("{s:O}", "name", json_object_get(app, "name")),
				 NIWA_RPC_DEADLINE_MS, &now, err);

	if (r == -EREMOTEIO && niwa_client_error_code(client) == NIWA_RPC_NO_APP)
		r = json_array_append(d->added, json_object_get(app, "name"));
	else if (r == 0 && json_equal(json_object_get(now, "record"), app))
		d->unchanged++;
	else if (r == 0)
		r = json_array_append(d->changed, json_object_get(app, "name"));
	json_decref(now);
	return r;
}

static int compare_tenant(struct niwa_client *client, const json_t *tenant, struct difference *d,
			  struct niwa_error *err)
{
	json_t *now = NULL;
	int r = niwa_client_call(client, "tenant.show", json_pack("{s:O}", "name", json_object_get(tenant, "name")),
				 NIWA_RPC_DEADLINE_MS, &now, err);

	if (r == 0 && json_equal(json_object_get(now, "record"), tenant))
		d->tenants_unchanged++;
	else if (r == 0)
		r = json_array_append(d->tenants, json_object_get(tenant, "name"));
	json_decref(now);
	return r;
}

/* In the form of apply.commit's answer. */
static int compare(struct niwa_client *client, const struct niwa_file_records *records, json_t **ret,
		   struct niwa_error *err)
{
	struct difference d = {json_array(), json_array(), json_array(), 0, 0};
	json_t *record;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && (record = json_array_get(records->tenants, i)); i++)
		r = compare_tenant(client, record, &d, err);
	for (i = 0; r == 0 && (record = json_array_get(records->apps, i)); i++)
		r = compare_app(client, record, &d, err);
	if (r == 0)
		*ret = json_pack("{s:I, s:I, s:I, s:{s:I, s:I}, s:{s:O, s:O, s:O}}", "added",
				 (json_int_t)json_array_size(d.added), "changed",
				 (json_int_t)json_array_size(d.changed), "unchanged", d.unchanged, "tenants", "changed",
				 (json_int_t)json_array_size(d.tenants), "unchanged", d.tenants_unchanged, "names",
				 "added", d.added, "changed", d.changed, "tenants", d.tenants);
	json_decref(d.added);
	json_decref(d.changed);
	json_decref(d.tenants);
	return r;
}

int niwa_verb_apply(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	NIWA_AUTO(niwa_map_free) struct niwa_map *files = niwa_map_new(NIWA_MAP_STRING);
	struct niwa_blame blame;
	struct niwa_file_records records;
	json_t *result = NULL;
	struct niwa_error err = {0};
	bool dry = cli->option[OPT_DRY_RUN];
	int r;

	make_way(cli);
	if (load_files(cli, files, &records) < 0)
		return NIWA_EXIT_FAILED;
	if (niwa_cli_connect(cli, &client) < 0) {
		records_fini(&records);
		return NIWA_EXIT_FAILED;
	}
	if (dry)
		r = compare(client, &records, &result, &err);
	else
		r = niwa_transaction_put(cli, client, &records, &result, &err);
	blame = (struct niwa_blame){.apps = records.apps, .files = files};
	if (r == 0) {
		niwa_blame_warnings(&blame, json_object_get(result, "warnings"));
		print_result(cli, result, dry ? "would be: " : "");
		if (!cli->json)
			niwa_blame_print(json_object_get(result, "warnings"));
	} else if (r == -EREMOTEIO) {
		niwa_blame_error(&blame, client, &err);
	}
	records_fini(&records);
	json_decref(result);
	if (r == 0)
		return NIWA_EXIT_DONE;
	(void)niwa_cli_fail(&err);
	if (r == -EREMOTEIO)
		(void)fputs("niwa: nothing was changed\n", stderr);
	return NIWA_EXIT_FAILED;
}
