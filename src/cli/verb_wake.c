/* SPDX-License-Identifier: MIT
 *
 * niwa wake: brings apps to running, as a connection would.
 */
#include "cli/each_app.h"
#include "cli/verb_list.h"

int niwa_verb_wake(struct niwa_cli *cli)
{
	return niwa_each_app(cli, "app.wake");
}
