/* SPDX-License-Identifier: MIT
 *
 * One change of the store through the engine: puts and removals, committed together or not at all. A transaction
 * dies with its connection, so an interrupted program leaves nothing behind.
 */
#ifndef NIWA_CLI_TRANSACTION_H
#define NIWA_CLI_TRANSACTION_H

#include <jansson.h>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/client.h"

/* Puts all tenants and apps (arrays) of `records`; shows progress on a terminal. *ret: as below. */
struct niwa_file_records;
int niwa_transaction_put(const struct niwa_cli *cli, struct niwa_client *client,
			 const struct niwa_file_records *records, json_t **ret, struct niwa_error *err);
/* Puts all apps (array) and removes the names (NULL-terminated, may be NULL); shows progress on a terminal.
 * *ret: the answer of apply.commit. */
int niwa_transaction_run(const struct niwa_cli *cli, struct niwa_client *client, const json_t *apps,
			 char *const *remove, json_t **ret, struct niwa_error *err);

#endif
