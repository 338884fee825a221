/* SPDX-License-Identifier: MIT
 *
 * niwa image: what is below STATE_DIR/images. Listing and removing work on the folders, as root; `host` belongs to
 * the engine.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/doctor.h"
#include "cli/human.h"
#include "cli/table.h"
#include "cli/verb_list.h"

#define CONFIG_MAX (1024 * 1024) /* bytes of an image's config.json */

enum { OPT_FORCE, OPT_CONFIG };
const struct niwa_option niwa_options_image[] = {
	{0, "force", NULL, "rm: also an image that apps name"},
	{'c', "config", "FILE", "the niwad.conf that names the state_dir"},
	{0},
};

/* STATE_DIR/images. */
static void images_folder(const struct niwa_cli *cli, char *buf, size_t size)
{
	struct niwa_probe_host host;

	niwa_probe_host_defaults(&host);
	(void)niwa_probe_host_ask(&host, cli->option[OPT_CONFIG]); /* else the defaults */
	(void)snprintf(buf, size, "%s/images", host.state_dir);
}

static bool is_image_name(const char *name)
{
	if (!*name || strlen(name) > 64 || !strcmp(name, "host") || !strncmp(name, "host.", 5))
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name) && name[0] != '.' &&
	       name[0] != '_' && name[0] != '-';
}

/* --- ls --- */

static json_t *read_config(const char *folder, const char *name)
{
	char path[PATH_MAX];
	json_error_t je;
	struct stat st;
	json_t *json;

	(void)snprintf(path, sizeof(path), "%s/%s/config.json", folder, name);
	if (stat(path, &st) < 0 || st.st_size > CONFIG_MAX)
		return NULL;
	json = json_load_file(path, 0, &je);
	if (!json_is_object(json)) {
		json_decref(json);
		return NULL;
	}
	(void)json_object_set_new(json, "name", json_string(name));
	(void)json_object_set_new(json, "at", json_integer((json_int_t)st.st_mtim.tv_sec * (json_int_t)NIWA_SEC));
	return json;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(niwa_answer_text(*(json_t *const *)a, "name"), niwa_answer_text(*(json_t *const *)b, "name"));
}

static json_t *sorted(json_t *list)
{
	size_t count = json_array_size(list);
	json_t **items = niwa_zalloc(count * sizeof(struct json_t *)), *result = json_array();

	for (size_t i = 0; items && i < count; i++)
		items[i] = json_array_get(list, i);
	if (items && count)
		qsort(items, count, sizeof(json_t *), by_name);
	for (size_t i = 0; items && i < count; i++)
		(void)json_array_append(result, items[i]);
	free(items);
	json_decref(list);
	return result;
}

static int read_images(const char *folder, json_t **ret, struct niwa_error *err)
{
	DIR *dir = opendir(folder);
	const struct dirent *e;
	json_t *list = json_array();

	if (!dir && errno != ENOENT) {
		json_decref(list);
		return niwa_fail(err, NIWA_PERMANENT, errno, "list '%s' (only root may)", folder);
	}
	while (dir && (e = readdir(dir))) {
		json_t *image = is_image_name(e->d_name) ? read_config(folder, e->d_name) : NULL;

		if (image)
			(void)json_array_append_new(list, image);
	}
	if (dir)
		(void)closedir(dir); /* read only */
	*ret = sorted(list);
	return 0;
}

static void print_images(const json_t *images)
{
	static const struct niwa_column columns[] = {
		{.title = "IMAGE"},
		{.title = "SOURCE", .shrink_to = 12},
		{.title = "DIGEST", .shrink_to = 19, .importance = 1},
		{.title = "IMPORTED"},
	};
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	const json_t *image;
	char ago[32];
	size_t i;

	if (!table)
		return;
	niwa_table_row(table, (const char *[]){"host", "/usr and parts of /etc of this host", "", ""});
	json_array_foreach(images, i, image)
	{
		const char *cells[] = {
			niwa_answer_text(image, "name"), niwa_answer_text(image, "source"),
			niwa_answer_text(image, "digest"),
			niwa_human_ago(niwa_answer_number(image, "at"), niwa_realtime_us(), ago, sizeof(ago))};

		niwa_table_row(table, cells);
	}
	(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
}

static int image_ls(struct niwa_cli *cli)
{
	struct niwa_error err = {0};
	json_t *images = NULL;
	const json_t *image;
	char folder[512];
	size_t i;

	images_folder(cli, folder, sizeof(folder));
	if (read_images(folder, &images, &err) < 0)
		return niwa_cli_fail(&err);
	if (cli->json) {
		(void)niwa_answer_print(images);
	} else if (cli->quiet) {
		(void)puts("host");
		json_array_foreach(images, i, image)(void) puts(niwa_answer_text(image, "name"));
	} else {
		print_images(images);
	}
	json_decref(images);
	return NIWA_EXIT_DONE;
}

/* --- rm --- */

/* Does the record of one of these apps name the image? 1: yes, user says which. */
static int page_uses(struct niwa_client *client, const json_t *apps, const char *image, char *user, size_t size,
		     struct niwa_error *err)
{
	const json_t *row;
	size_t i;

	json_array_foreach(apps, i, row)
	{
		json_t *app = NULL;
		int r = niwa_client_call(client, "app.show", json_pack("{s:O}", "name", json_object_get(row, "name")),
					 NIWA_RPC_DEADLINE_MS, &app, err);

		if (r == 0 && !strcmp(niwa_answer_text(json_object_get(app, "record"), "image"), image)) {
			(void)snprintf(user, size, "%s", niwa_answer_text(row, "name"));
			r = 1;
		}
		json_decref(app);
		if (r == 1 || (r < 0 && niwa_client_error_code(client) != NIWA_RPC_NO_APP))
			return r;
	}
	return 0;
}

static int is_used(struct niwa_client *client, const char *image, char *user, size_t size, struct niwa_error *err)
{
	char after[512] = "";
	int r;

	do {
		json_t *page = NULL;

		r = niwa_client_call(client, "app.list", json_pack("{s:i, s:s}", "limit", 500, "after", after),
				     NIWA_RPC_DEADLINE_MS, &page, err);
		if (r == 0)
			r = page_uses(client, json_object_get(page, "apps"), image, user, size, err);
		(void)snprintf(after, sizeof(after), "%s", niwa_answer_text(page, "next"));
		json_decref(page);
	} while (r == 0 && *after);
	return r;
}

/* Renamed away first: nobody sees a half-removed image. */
static int remove_image(const char *folder, const char *name, struct niwa_error *err)
{
	char path[PATH_MAX], doomed[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void)snprintf(doomed, sizeof(doomed), "%s/.removed-%s-%d", folder, name, (int)getpid());
	if (rename(path, doomed) < 0)
		return niwa_fail(err, NIWA_CALLER, errno, "remove the image '%s' ('niwa image ls' lists them)", name);
	return niwa_remove_tree(doomed, err);
}

static int image_rm(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	char folder[512], user[256];

	if (cli->word_count < 2)
		return niwa_cli_usage(cli, "which image?");
	for (int i = 1; i < cli->word_count; i++)
		if (!is_image_name(cli->words[i]))
			return niwa_cli_usage(cli, "'%.80s' is not the name of an imported image", cli->words[i]);
	if (!cli->option[OPT_FORCE] && niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	images_folder(cli, folder, sizeof(folder));
	for (int i = 1; i < cli->word_count; i++) {
		int r = client ? is_used(client, cli->words[i], user, sizeof(user), &err) : 0;

		if (r == 1)
			r = niwa_fail(&err, NIWA_CALLER, 0,
				      "the image '%s' is used by %s; --force removes it all the same", cli->words[i],
				      user);
		if (r == 0)
			r = remove_image(folder, cli->words[i], &err);
		if (r < 0)
			return niwa_cli_fail(&err);
		niwa_cli_note(cli, "removed %s", cli->words[i]);
	}
	if (client) /* drops what the engine remembers of images */
		(void)niwa_client_call(client, "image.prepare", NULL, NIWA_RPC_WAKE_MS, NULL, &err);
	return NIWA_EXIT_DONE;
}

/* --- prepare --- */

static int image_prepare(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};

	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (niwa_client_call(client, "image.prepare", NULL, NIWA_RPC_WAKE_MS, NULL, &err) < 0)
		return niwa_cli_fail(&err);
	niwa_cli_note(cli, "host is up to date; apps get it with their next instance");
	return NIWA_EXIT_DONE;
}

int niwa_verb_image(struct niwa_cli *cli)
{
	static const struct {
		const char *word;
		niwa_verb_fn *run;
	} parts[] = {{"ls", image_ls}, {"rm", image_rm}, {"prepare", image_prepare}};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(parts); i++)
		if (!strcmp(parts[i].word, cli->words[0]))
			return parts[i].run(cli);
	return niwa_cli_usage(cli, "'%.60s'?", cli->words[0]);
}
