/* SPDX-License-Identifier: MIT
 *
 * niwa freeze: freezes running apps now.
 */
#include "cli/each_app.h"
#include "cli/verb_list.h"

int niwa_verb_freeze(struct niwa_cli *cli)
{
	return niwa_each_app(cli, "app.freeze");
}
