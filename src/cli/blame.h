/* SPDX-License-Identifier: MIT
 *
 * What the engine says of an app and a key, told as the checks of the file are: with file, line and key.
 */
#ifndef NIWA_CLI_BLAME_H
#define NIWA_CLI_BLAME_H

#include <jansson.h>

#include "base/error.h"
#include "base/map.h"
#include "cli/cli.h"
#include "cli/client.h"

/* Which file declared an app, and how. Strings and records are borrowed. */
struct niwa_blame {
	const json_t *apps;           /* all records */
	const struct niwa_map *files; /* name → path */
};

/* Rewrites err, the engine's answer, when it names an app and a key. */
void niwa_blame_error(const struct niwa_blame *b, const struct niwa_client *client, struct niwa_error *err);
/* Adds file, line and place to each of warnings (an array as apply.commit answers). */
void niwa_blame_warnings(const struct niwa_blame *b, json_t *warnings);
/* "niwa: warning: blog.yaml:7: apps[0].image of blog: ..." */
void niwa_blame_print(const json_t *warnings);

#endif
