/* SPDX-License-Identifier: MIT
 *
 * niwa set: limits over those of an app's record, at once.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/verb_list.h"

/* {"cpu": "200%", "memory": null} of the words behind the app's name; NULL: one of them is not KEY=VALUE. */
static json_t *limits_of(const struct niwa_cli *cli)
{
	json_t *limits = json_object();

	for (int i = 1; i < cli->word_count; i++) {
		const char *equals = strchr(cli->words[i], '=');
		NIWA_AUTO(niwa_free_ptr) char *key = niwa_strdup(cli->words[i]);

		if (!equals || !key) {
			(void)fprintf(stderr, "niwa: set: '%s': KEY=VALUE is wanted, such as cpu=200%%\n",
				      cli->words[i]);
			json_decref(limits);
			return NULL;
		}
		key[equals - cli->words[i]] = '\0';
		(void)json_object_set_new(limits, key, equals[1] ? json_string(equals + 1) : json_null());
	}
	return limits;
}

static void print(const struct niwa_cli *cli, const json_t *result)
{
	const json_t *limits = json_object_get(result, "limits"), *set = json_object_get(result, "set");
	static const char *const keys[] = {"cpu", "memory"};

	(void)printf("%s:", cli->words[0]);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++)
		(void)printf(" %s=%s%s", keys[i], niwa_answer_text(limits, keys[i]),
			     json_object_get(set, keys[i]) ? "" : " (as in its record)");
	(void)putchar('\n');
}

int niwa_verb_set(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	json_t *limits = limits_of(cli), *result = NULL;
	struct niwa_error err = {0};
	int r;

	if (!limits)
		return NIWA_EXIT_USAGE;
	if (niwa_cli_connect(cli, &client) < 0) {
		json_decref(limits);
		return NIWA_EXIT_FAILED;
	}
	r = niwa_client_call(client, "app.set", json_pack("{s:s,s:o}", "name", cli->words[0], "limits", limits),
			     NIWA_RPC_WAKE_MS, &result, &err);
	if (r < 0)
		return niwa_cli_fail(&err);
	if (cli->json)
		(void)niwa_answer_print(result);
	else if (!cli->quiet)
		print(cli, result);
	json_decref(result);
	return NIWA_EXIT_DONE;
}
