/* SPDX-License-Identifier: MIT
 *
 * The functions and options of the verbs, one file each. Options end with an empty row; a verb names the
 * positions of its own in an enum beside the table.
 */
#ifndef NIWA_CLI_VERB_LIST_H
#define NIWA_CLI_VERB_LIST_H

#include "cli/cli.h"

niwa_verb_fn niwa_verb_apply, niwa_verb_ls, niwa_verb_show, niwa_verb_wake, niwa_verb_freeze, niwa_verb_stop,
	niwa_verb_restart, niwa_verb_set, niwa_verb_logs, niwa_verb_exec, niwa_verb_rm, niwa_verb_top, niwa_verb_import,
	niwa_verb_image, niwa_verb_snapshot, niwa_verb_doctor, niwa_verb_status, niwa_verb_version, niwa_verb_help;

extern const struct niwa_option niwa_options_apply[], niwa_options_ls[], niwa_options_logs[], niwa_options_exec[],
	niwa_options_rm[], niwa_options_top[], niwa_options_import[], niwa_options_image[], niwa_options_doctor[],
	niwa_options_snapshot[], niwa_options_help[], niwa_options_none[];

#endif
