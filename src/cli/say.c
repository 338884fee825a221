/* SPDX-License-Identifier: MIT
 *
 * What the program says on standard error, and the way to the engine.
 */
#include <stdarg.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/client.h"

int niwa_cli_fail(const struct niwa_error *err)
{
	(void)fflush(stdout); /* what was listed comes before the reason why it ends */
	(void)fputs("niwa: ", stderr);
	for (const char *p = err->msg; *p; p++) /* nothing an app or a peer said may steer a terminal */
		(void)fputc((unsigned char)*p < ' ' && *p != '\n' ? '?' : *p, stderr);
	(void)fputc('\n', stderr);
	return NIWA_EXIT_FAILED;
}

void niwa_cli_note(const struct niwa_cli *cli, const char *fmt, ...)
{
	va_list ap;

	if (cli->quiet)
		return;
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

int niwa_cli_connect(struct niwa_cli *cli, struct niwa_client **ret)
{
	struct niwa_error err = {0};
	int r = niwa_client_open(cli->socket, ret, &err);

	if (r < 0)
		(void)niwa_cli_fail(&err);
	return r;
}
