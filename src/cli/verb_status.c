/* SPDX-License-Identifier: MIT
 *
 * niwa status: the engine and the host as the engine sees it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/human.h"
#include "cli/tree.h"
#include "cli/verb_list.h"

static void print_status(const json_t *pong, const json_t *host)
{
	char ago[32], version[64];

	(void)printf("niwad %s, process %" PRIu64 ", started %s, %" PRIu64 " apps\n",
		     niwa_answer_safe(pong, "version", version, sizeof(version)), niwa_answer_number(pong, "pid"),
		     niwa_human_ago(niwa_answer_number(pong, "started_us"), niwa_realtime_us(), ago, sizeof(ago)),
		     niwa_answer_number(pong, "apps"));
	niwa_tree_print(stdout, host, 2);
	if (strcmp(niwa_answer_text(pong, "version"), NIWA_VERSION) != 0)
		(void)printf("niwa is of version %s: restart the engine to bring both together\n", NIWA_VERSION);
}

int niwa_verb_status(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *pong = NULL, *host = NULL;
	int r;

	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	r = niwa_client_call(client, "ping", NULL, NIWA_RPC_DEADLINE_MS, &pong, &err);
	if (r == 0)
		r = niwa_client_call(client, "host.status", NULL, NIWA_RPC_DEADLINE_MS, &host, &err);
	if (r == 0 && cli->json) {
		json_t *both = json_pack("{s:O, s:O}", "engine", pong, "host", host);

		(void)niwa_answer_print(both);
		json_decref(both);
	} else if (r == 0) {
		print_status(pong, host);
	}
	json_decref(pong);
	json_decref(host);
	return r < 0 ? niwa_cli_fail(&err) : NIWA_EXIT_DONE;
}
