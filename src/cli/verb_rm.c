/* SPDX-License-Identifier: MIT
 *
 * niwa rm: takes apps out of the store, all named or none.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/transaction.h"
#include "cli/verb_list.h"

enum { OPT_YES };
const struct niwa_option niwa_options_rm[] = {
	{'y', "yes", NULL, "do not ask"},
	{0},
};

static bool confirmed(const struct niwa_cli *cli)
{
	char answer[16] = "";

	if (cli->option[OPT_YES] || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return true;
	if (cli->word_count == 1)
		(void)fprintf(stderr, "Remove %s? Its instances stop, its address refuses; volumes stay. [y/N] ",
			      cli->words[0]);
	else
		(void)fprintf(stderr,
			      "Remove %d apps? Their instances stop, their addresses refuse; volumes stay. [y/N] ",
			      cli->word_count);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

int niwa_verb_rm(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *result = NULL;

	if (!confirmed(cli)) {
		(void)fputs("niwa: nothing was removed\n", stderr);
		return NIWA_EXIT_FAILED;
	}
	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	if (niwa_transaction_run(cli, client, NULL, cli->words, &result, &err) < 0)
		return niwa_cli_fail(&err);
	if (cli->json)
		(void)niwa_answer_print(result);
	else if (!cli->quiet)
		(void)printf("removed %llu\n", (unsigned long long)niwa_answer_number(result, "removed"));
	json_decref(result);
	return NIWA_EXIT_DONE;
}
