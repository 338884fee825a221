/* SPDX-License-Identifier: MIT
 *
 * niwa: the command line. Parses, dispatches, and makes sure that an output that could not be written is a
 * failure.
 */
#include <locale.h>
#include <stdio.h>

#include "base/standard.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
	struct niwa_cli cli = {0};
	int status;

	if (niwa_standard_hold() < 0)
		return NIWA_EXIT_FAILED;
	(void)setlocale(LC_CTYPE, "");
	status = niwa_cli_parse(&cli, argc, argv) - 1;
	if (status < 0)
		status = cli.verb->run(&cli);
	niwa_cli_fini(&cli);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("niwa: write the output");
		return status ? status : NIWA_EXIT_FAILED;
	}
	return status;
}
