/* SPDX-License-Identifier: MIT
 *
 * One order for each app named. Orders are given one after the other on one connection.
 */
#include "cli/each_app.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/human.h"

/* What was to stop runs again, because somebody waits for it: it is not an error, and not what was asked for. */
static bool is_started_again(const json_t *result)
{
	const char *state = niwa_answer_text(result, "state");

	return json_object_get(result, "waiting") && strcmp(state, "stopped") != 0 && strcmp(state, "saved") != 0;
}

static void print_answer(const struct niwa_cli *cli, const char *name, const json_t *result, uint64_t elapsed_us)
{
	char took[32], state[64];

	if (cli->quiet)
		return;
	if (json_object_get(result, "took_us"))
		elapsed_us = niwa_answer_number(result, "took_us");
	if (is_started_again(result)) {
		(void)printf("%s: stopped, and started again by %" PRIu64 " waiting connections (%s)\n", name,
			     niwa_answer_number(result, "waiting"), niwa_human_took(elapsed_us, took, sizeof(took)));
		return;
	}
	(void)printf("%s: %s (%s)\n", name, niwa_answer_safe(result, "state", state, sizeof(state)),
		     niwa_human_took(elapsed_us, took, sizeof(took)));
}

int niwa_each_app(struct niwa_cli *cli, const char *method)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	json_t *all = json_array();
	int status = NIWA_EXIT_DONE;

	if (niwa_cli_connect(cli, &client) < 0) {
		json_decref(all);
		return NIWA_EXIT_FAILED;
	}
	for (int i = 0; i < cli->word_count; i++) {
		uint64_t since = niwa_now_us();
		struct niwa_error err = {0};
		json_t *result = NULL;
		int r = niwa_client_call(client, method, json_pack("{s:s}", "name", cli->words[i]), NIWA_RPC_WAKE_MS,
					 &result, &err);

		if (r < 0)
			status = niwa_cli_fail(&err);
		else if (cli->json)
			(void)json_array_append_new(all,
						    json_pack("{s:s, s:O}", "name", cli->words[i], "result", result));
		else
			print_answer(cli, cli->words[i], result, niwa_now_us() - since);
		json_decref(result);
		if (r < 0 && r != -EREMOTEIO)
			break; /* the connection is of no use any more */
	}
	if (cli->json)
		(void)niwa_answer_print(all);
	json_decref(all);
	return status;
}
