/* SPDX-License-Identifier: MIT
 *
 * Verbs that order one thing for each app named: wake, freeze, stop, restart.
 */
#ifndef NIWA_CLI_EACH_APP_H
#define NIWA_CLI_EACH_APP_H

#include "cli/cli.h"

/* Calls method for each word; prints "NAME STATE" and what it took, or with --json an array of the answers.
 * One that fails does not stop the others; then the status is NIWA_EXIT_FAILED. */
int niwa_each_app(struct niwa_cli *cli, const char *method);

#endif
