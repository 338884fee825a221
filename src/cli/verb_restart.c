/* SPDX-License-Identifier: MIT
 *
 * niwa restart: replaces instances by fresh ones.
 */
#include "cli/each_app.h"
#include "cli/verb_list.h"

int niwa_verb_restart(struct niwa_cli *cli)
{
	return niwa_each_app(cli, "app.restart");
}
