/* SPDX-License-Identifier: MIT
 *
 * niwa import: a Compose file becomes a first app file. What could not be carried over is said, not hidden.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "cli/verb_list.h"
#include "spec/file.h"

enum { OPT_TENANT, OPT_OUTPUT, OPT_FORCE };
const struct niwa_option niwa_options_import[] = {
	{0, "tenant", "TENANT", "tenant of the apps (default: the project's name)"},
	{'o', "output", "FILE", "write there instead of standard output"},
	{0, "force", NULL, "replace FILE when it exists"},
	{0},
};

static int write_result(const struct niwa_cli *cli, const char *yaml)
{
	const char *path = cli->option[OPT_OUTPUT];
	struct niwa_error err = {0};

	if (!path || !strcmp(path, "-")) {
		(void)fputs(yaml, stdout); /* checked once when standard output is closed */
		return NIWA_EXIT_DONE;
	}
	if (!cli->option[OPT_FORCE] && access(path, F_OK) == 0) {
		(void)fprintf(stderr, "niwa: '%s' exists; --force replaces it\n", path);
		return NIWA_EXIT_FAILED;
	}
	if (niwa_file_replace(path, yaml, strlen(yaml), 0644, &err) < 0)
		return niwa_cli_fail(&err);
	niwa_cli_note(cli, "wrote %s; read it, then: niwa apply %s", path, path);
	return NIWA_EXIT_DONE;
}

int niwa_verb_import(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_free_ptr) char *yaml = NULL;
	NIWA_AUTO(niwa_free_ptr) char *left_out = NULL;
	struct niwa_error err = {0};

	if (niwa_compose_import(cli->words[0], cli->option[OPT_TENANT], &yaml, &left_out, &err) < 0)
		return niwa_cli_fail(&err);
	if (left_out && *left_out)
		niwa_cli_note(cli, "not carried over:\n%s", left_out);
	return write_result(cli, yaml);
}
