/* SPDX-License-Identifier: MIT
 *
 * niwa help: explains; also prints what the build checks in: completion and the manual's list of verbs.
 */
#include <stdio.h>

#include "cli/verb_list.h"

enum { OPT_COMPLETION, OPT_MAN };
const struct niwa_option niwa_options_help[] = {
	{0, "completion", NULL, "print the bash completion"},
	{0, "man", NULL, "print the manual's list of verbs (mdoc)"},
	{0},
};

int niwa_verb_help(struct niwa_cli *cli)
{
	const struct niwa_verb *verb;

	if (cli->option[OPT_COMPLETION]) {
		niwa_help_completion(stdout);
	} else if (cli->option[OPT_MAN]) {
		niwa_help_man(stdout);
	} else if (cli->word_count) {
		verb = niwa_verb_find(cli->words[0]);
		if (!verb)
			return niwa_cli_usage(cli, "there is no verb '%.60s'", cli->words[0]);
		niwa_help_verb(stdout, verb);
	} else {
		niwa_help_overview(stdout);
	}
	return NIWA_EXIT_DONE;
}
