/* SPDX-License-Identifier: MIT
 *
 * niwa stop: stops apps; they stay declared.
 */
#include "cli/each_app.h"
#include "cli/verb_list.h"

int niwa_verb_stop(struct niwa_cli *cli)
{
	return niwa_each_app(cli, "app.stop");
}
