/* SPDX-License-Identifier: MIT
 *
 * niwa version: this program and, when it runs, the engine.
 */
#include <stdio.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/verb_list.h"

int niwa_verb_version(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *pong = NULL;
	char engine[64] = "";

	if (niwa_client_open(cli->socket, &client, &err) == 0 &&
	    niwa_client_call(client, "ping", NULL, NIWA_RPC_DEADLINE_MS, &pong, &err) == 0)
		(void)niwa_answer_safe(pong, "version", engine, sizeof(engine));
	if (cli->json) {
		json_t *both = json_pack("{s:s, s:s?}", "niwa", NIWA_VERSION, "niwad", *engine ? engine : NULL);

		(void)niwa_answer_print(both);
		json_decref(both);
	} else {
		(void)printf("niwa %s\n", NIWA_VERSION);
		if (*engine)
			(void)printf("niwad %s (running)\n", engine);
		else
			niwa_cli_note(cli, "niwad: not asked: %s", err.msg);
	}
	json_decref(pong);
	return NIWA_EXIT_DONE;
}
