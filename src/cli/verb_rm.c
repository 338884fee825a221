/* SPDX-License-Identifier: MIT
 *
 * niwa rm: takes apps out of the store, all or none: those that are named, or all that a tenant has or that have a
 * label.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/pages.h"
#include "cli/transaction.h"
#include "cli/verb_list.h"

enum { OPT_YES, OPT_TENANT, OPT_LABEL };
const struct niwa_option niwa_options_rm[] = {
	{'y', "yes", NULL, "do not ask"},
	{0, "tenant", "TENANT", "all apps of this tenant"},
	{0, "label", "KEY[=VALUE]", "all apps with this label; with --tenant: those that are both"},
	{0},
};

#define SHOWN 20 /* names before the question */

struct names {
	char **all; /* NULL-terminated */
	size_t count, size;
};

static void names_fini(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->all[i]);
	free(n->all);
}

static int add_name(const json_t *row, void *arg, struct niwa_error *err)
{
	struct names *n = arg;
	size_t size = n->size ? 2 * n->size : 64;
	char *name, **all = n->all;

	if (n->count + 1 >= n->size) {
		all = realloc(n->all, size * sizeof(char *));
		if (!all)
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list the apps");
		n->all = all;
		n->size = size;
	}
	name = niwa_strdup(niwa_answer_text(row, "name"));
	if (!name)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list the apps");
	all[n->count++] = name;
	all[n->count] = NULL;
	return 0;
}

/* What will go, before it is asked, or in the place of the question. */
static void show(const struct niwa_cli *cli, const struct names *n)
{
	if (cli->quiet)
		return;
	for (size_t i = 0; i < n->count && i < SHOWN; i++)
		(void)fprintf(stderr, "- %s\n", n->all[i]);
	if (n->count > SHOWN)
		(void)fprintf(stderr, "- and %zu more\n", n->count - SHOWN);
}

static bool answered_yes(size_t count, const char *name)
{
	char answer[16] = "";

	if (count == 1)
		(void)fprintf(stderr, "Remove %s? Its instances stop, its address refuses; volumes stay. [y/N] ", name);
	else
		(void)fprintf(stderr,
			      "Remove %zu apps? Their instances stop, their addresses refuse; volumes stay. [y/N] ",
			      count);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static bool can_ask(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int remove_names(struct niwa_cli *cli, struct niwa_client *client, char *const *names)
{
	struct niwa_error err = {0};
	json_t *result = NULL;

	if (niwa_transaction_run(cli, client, NULL, names, &result, &err) < 0)
		return niwa_cli_fail(&err);
	if (cli->json)
		(void)niwa_answer_print(result);
	else if (!cli->quiet)
		(void)printf("removed %llu\n", (unsigned long long)niwa_answer_number(result, "removed"));
	json_decref(result);
	return NIWA_EXIT_DONE;
}

static int nothing(void)
{
	(void)fputs("niwa: nothing was removed\n", stderr);
	return NIWA_EXIT_FAILED;
}

/* Who cannot be asked has to have said yes: a pattern may let more through than was thought of. */
static int remove_found(struct niwa_cli *cli, struct niwa_client *client, const struct names *found)
{
	if (!found->count) {
		niwa_cli_note(cli, "no app matches");
		return NIWA_EXIT_FAILED;
	}
	show(cli, found);
	if (!cli->option[OPT_YES] && !can_ask()) {
		(void)fprintf(stderr, "niwa: %zu apps would be removed; say --yes\n", found->count);
		return nothing();
	}
	if (!cli->option[OPT_YES] && !answered_yes(found->count, found->all[0]))
		return nothing();
	return remove_names(cli, client, found->all);
}

int niwa_verb_rm(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	const struct niwa_pages pages = {.tenant = cli->option[OPT_TENANT], .label = cli->option[OPT_LABEL]};
	struct niwa_error err = {0};
	struct names found = {0};
	int status;

	if (!cli->word_count == !(pages.tenant || pages.label))
		return niwa_cli_usage(cli, "either names of apps, or --tenant or --label");
	if (cli->word_count && !cli->option[OPT_YES] && can_ask() &&
	    !answered_yes((size_t)cli->word_count, cli->words[0]))
		return nothing();
	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (cli->word_count)
		return remove_names(cli, client, cli->words);
	if (niwa_pages_each(client, &pages, add_name, &found, &err) < 0)
		status = niwa_cli_fail(&err);
	else
		status = remove_found(cli, client, &found);
	names_fini(&found);
	return status;
}
