/* SPDX-License-Identifier: MIT
 *
 * niwa logs: the engine says where an app's log is, the file is read with the user's rights.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/log_reader.h"
#include "cli/verb_list.h"

#define LINES_DEFAULT 100
#define LOOK_MS       1000

enum { OPT_FOLLOW, OPT_LINES };
const struct niwa_option niwa_options_logs[] = {
	{'f', "follow", NULL, "go on with what comes"},
	{'n', "lines", "N", "begin N lines before the end (default 100), or: all"},
	{0},
};

static int ask_path(struct niwa_cli *cli, char *path, size_t size)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *result = NULL;

	if (niwa_cli_connect(cli, &client) < 0)
		return -1;
	if (niwa_client_call(client, "app.log", json_pack("{s:s}", "name", cli->words[0]), NIWA_RPC_DEADLINE_MS,
			     &result, &err) < 0) {
		(void)niwa_cli_fail(&err);
		return -1;
	}
	(void)snprintf(path, size, "%s", niwa_answer_text(result, "path"));
	json_decref(result);
	return 0;
}

/* The reader of our output is gone (a pager that was left). */
static bool output_is_closed(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLNVAL));
}

int niwa_verb_logs(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_log_reader_free) struct niwa_log_reader *reader = NULL;
	const char *count = cli->option[OPT_LINES];
	bool follow = cli->option[OPT_FOLLOW];
	uint64_t lines = LINES_DEFAULT;
	struct niwa_error err = {0};
	char path[4096];
	int r;

	if (count && !strcmp(count, "all"))
		lines = UINT64_MAX;
	else if (count && niwa_parse_u64(count, UINT64_MAX - 1, &lines) < 0)
		return niwa_cli_usage(cli, "-n '%s': a number or 'all' is needed", count);
	if (ask_path(cli, path, sizeof(path)) < 0)
		return NIWA_EXIT_FAILED;
	r = niwa_log_reader_open(path, follow ? NIWA_LOG_FOLLOW : NIWA_LOG_ONCE, &reader, &err);
	if (r == 0)
		r = niwa_log_reader_tail(reader, lines, STDOUT_FILENO, &err);
	while (r == 0 && follow && !output_is_closed())
		r = niwa_log_reader_follow(reader, LOOK_MS, STDOUT_FILENO, &err);
	return r < 0 ? niwa_cli_fail(&err) : NIWA_EXIT_DONE;
}
