/* SPDX-License-Identifier: MIT
 *
 * niwa image: imported images are folders below STATE_DIR/images that root handles here; `host` belongs to the engine.
 * Which image an instance runs on only the engine knows: it is asked before anything is taken away.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/doctor.h"
#include "cli/human.h"
#include "cli/niwa_process.h"
#include "cli/table.h"
#include "cli/verb_list.h"
#include "container/image_import.h"

#define PAGE       500
#define IMPORT_IDS 65536 /* user ids that an import needs */

enum { OPT_FORCE, OPT_REPLACE, OPT_CONFIG };
const struct niwa_option niwa_options_image[] = {
	{0, "force", NULL, "rm: also an image that apps name"},
	{0, "replace", NULL, "import: in the place of the image of that name"},
	{'c', "config", "FILE", "the niwad.conf that names the state_dir (default: the engine's)"},
	{0},
};

struct work {
	struct niwa_cli *cli;
	struct niwa_probe_host host; /* its state_dir and run_dir */
	struct niwa_client *client;  /* NULL: niwa does not run, nothing is in use */
	const char *image;
	char user[256]; /* the app that was found to use it */
	struct niwa_error err;
};

/* Whose images: those of the file that was named, else of the engine that answers, else of niwad's configuration. */
static int open_work(struct work *w, struct niwa_cli *cli)
{
	const char *path = cli->option[OPT_CONFIG];
	int r = niwa_probe_host_find(&w->host, cli->socket, path);

	w->cli = cli;
	if (r < 0 && path)
		return niwa_fail(&w->err, NIWA_CALLER, 0,
				 "read '%s': 'niwad --config FILE --print-config' says what is wrong", path);
	return 0; /* else the defaults */
}

/* Connects to the engine, unless nothing of niwa runs. */
static int connect_if_running(struct work *w)
{
	char keep[300];
	int r = niwa_client_open(w->cli->socket, &w->client, &w->err);

	if (r == 0)
		return 0;
	(void)snprintf(keep, sizeof(keep), "%s/keep.sock", w->host.run_dir);
	if ((r == -ENOENT || r == -ECONNREFUSED) && !niwa_socket_is_listened_on(keep))
		return 0;
	return r;
}

static void close_work(struct work *w)
{
	if (w->client) /* lets the engine forget what it remembers of images */
		(void)niwa_client_call(w->client, "image.prepare", NULL, NIWA_RPC_WAKE_MS, NULL, NULL);
	niwa_client_free(&w->client);
}

/* --- who uses an image --- */

enum usage { NAMED, RUNNING };

/* 1: the app of this row uses the image. */
static int row_uses(struct work *w, const json_t *row, enum usage usage)
{
	json_t *app = NULL;
	int r;

	if (usage == RUNNING && !niwa_answer_number(row, "instances"))
		return 0;
	r = niwa_client_call(w->client, "app.show", json_pack("{s:O}", "name", json_object_get(row, "name")),
			     NIWA_RPC_DEADLINE_MS, &app, &w->err);
	if (r == -EREMOTEIO && niwa_client_error_code(w->client) == NIWA_RPC_NO_APP)
		r = 0; /* removed meanwhile */
	if (r == 0 && !strcmp(niwa_answer_text(json_object_get(app, "record"), "image"), w->image)) {
		(void)niwa_answer_safe(row, "name", w->user, sizeof(w->user));
		r = 1;
	}
	json_decref(app);
	return r;
}

/* 1: an app uses w->image (w->user), 0: none, else -errno. */
static int is_used(struct work *w, enum usage usage)
{
	char after[512] = "";
	int r = 0;

	while (w->client) {
		json_t *page = NULL;
		const json_t *row;
		size_t i;

		r = niwa_client_call(w->client, "app.list", json_pack("{s:i, s:s}", "limit", PAGE, "after", after),
				     NIWA_RPC_DEADLINE_MS, &page, &w->err);
		json_array_foreach(json_object_get(page, "apps"), i, row)
		{
			r = row_uses(w, row, usage);
			if (r != 0)
				break;
		}
		(void)snprintf(after, sizeof(after), "%s", niwa_answer_text(page, "next"));
		json_decref(page);
		if (r != 0 || !*after)
			break;
	}
	return r;
}

/* For the library: what cannot be told is in use. */
static bool root_is_in_use(const char *root, void *arg)
{
	return is_used(arg, RUNNING) != 0;
}

/* --- ls --- */

struct listing {
	const struct work *work;
	struct niwa_table *table;
	json_t *json;
};

struct row {
	const char *name, *source, *digest; /* digest NULL, at 0: has none */
	uint64_t at;
};

static void list_row(struct listing *l, const struct row *row)
{
	const char *digest = row->digest ? row->digest : "";
	char ago[32] = "";

	if (l->work->cli->json)
		(void)json_array_append_new(l->json,
					    json_pack("{s:s, s:s, s:s, s:I}", "name", row->name, "digest", digest,
						      "source", row->source, "at", (json_int_t)row->at));
	else if (l->work->cli->quiet)
		(void)puts(row->name);
	else if (l->table) {
		if (row->digest)
			(void)niwa_human_ago(row->at, niwa_realtime_us(), ago, sizeof(ago));
		niwa_table_row(l->table, (const char *[]){row->name, row->source, digest, ago});
	}
}

static void list_one(const char *name, const char *digest, const char *source, void *arg)
{
	struct listing *l = arg;
	char path[PATH_MAX];
	struct stat st = {0};

	(void)snprintf(path, sizeof(path), "%s/images/%s/config.json", l->work->host.state_dir, name);
	(void)stat(path, &st); /* 0: not known */
	list_row(l, &(struct row){name, source, digest, (uint64_t)st.st_mtim.tv_sec * NIWA_SEC});
}

static int image_ls(struct niwa_cli *cli)
{
	static const struct niwa_column columns[] = {
		{.title = "IMAGE"},
		{.title = "SOURCE", .shrink_to = 12},
		{.title = "DIGEST", .shrink_to = 19, .importance = 1},
		{.title = "IMPORTED"},
	};
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	struct work w = {0};
	struct listing l = {.work = &w, .table = table, .json = json_array()};
	int r;

	r = open_work(&w, cli);
	if (r == 0) {
		list_row(&l, &(struct row){.name = "host", .source = "/usr and parts of /etc of this host"});
		r = niwa_image_list(w.host.state_dir, list_one, &l, &w.err);
	}
	if (r == 0 && cli->json)
		(void)niwa_answer_print(l.json);
	else if (r == 0 && !cli->quiet && table)
		(void)niwa_table_print(table, stdout, niwa_terminal_width(STDOUT_FILENO));
	json_decref(l.json);
	return r < 0 ? niwa_cli_fail(&w.err) : NIWA_EXIT_DONE;
}

/* --- import --- */

static void say_stage(const char *stage, void *arg)
{
	struct work *w = arg;

	niwa_cli_note(w->cli, "%s: %s ...", w->image, stage);
}

static int image_import(struct niwa_cli *cli)
{
	struct work w = {0};
	struct niwa_image_import import = {.progress = say_stage, .in_use = root_is_in_use, .arg = &w};
	uint64_t since = niwa_now_us();
	char took[32];
	int r;

	if (cli->word_count != 3)
		return niwa_cli_usage(cli,
				      "import needs a name and a source, such as docker://docker.io/library/nginx");
	r = open_work(&w, cli);
	w.image = import.name = cli->words[1];
	import.source = cli->words[2];
	import.state_dir = w.host.state_dir;
	if (w.host.lease_base >= 2 * IMPORT_IDS) /* just below the instances' */
		import.id_base = (uint32_t)(w.host.lease_base - IMPORT_IDS);
	import.mode = cli->option[OPT_REPLACE] ? NIWA_IMPORT_REPLACE : NIWA_IMPORT_NEW;
	if (r == 0 && import.mode == NIWA_IMPORT_REPLACE)
		r = connect_if_running(&w);
	if (r == 0)
		r = niwa_image_import(&import, &w.err);
	close_work(&w);
	if (r < 0)
		return niwa_cli_fail(&w.err);
	niwa_cli_note(cli, "imported in %s; an app uses it with: image: %s",
		      niwa_human_took(niwa_now_us() - since, took, sizeof(took)), w.image);
	return NIWA_EXIT_DONE;
}

/* --- rm --- */

static int remove_one(struct work *w)
{
	int r = w->cli->option[OPT_FORCE] ? 0 : is_used(w, NAMED);

	if (r == 1)
		return niwa_fail(&w->err, NIWA_CALLER, EBUSY,
				 "remove '%s': %s names it; --force removes it all the same", w->image, w->user);
	if (r == 0)
		r = niwa_image_remove(w->host.state_dir, w->image, root_is_in_use, w, &w->err);
	if (r == -EBUSY && *w->user)
		r = niwa_fail(&w->err, NIWA_CALLER, 0, "remove '%s': %s runs on it; 'niwa stop %s' first", w->image,
			      w->user, w->user);
	return r;
}

static int image_rm(struct niwa_cli *cli)
{
	struct work w = {0};
	int r;

	if (cli->word_count < 2)
		return niwa_cli_usage(cli, "which image?");
	r = open_work(&w, cli);
	if (r == 0)
		r = connect_if_running(&w);
	for (int i = 1; i < cli->word_count && r == 0; i++) {
		w.image = cli->words[i];
		r = remove_one(&w);
		if (r == 0)
			niwa_cli_note(cli, "removed %s", w.image);
	}
	close_work(&w);
	return r < 0 ? niwa_cli_fail(&w.err) : NIWA_EXIT_DONE;
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
	} parts[] = {{"ls", image_ls}, {"import", image_import}, {"rm", image_rm}, {"prepare", image_prepare}};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(parts); i++)
		if (!strcmp(parts[i].word, cli->words[0]))
			return parts[i].run(cli);
	return niwa_cli_usage(cli, "'%.60s'?", cli->words[0]);
}
