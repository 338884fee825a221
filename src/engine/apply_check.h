/* SPDX-License-Identifier: MIT
 *
 * What the first wake of an applied app would miss: its image, its command and user in it, the sources of its volumes.
 * Noted while the app is taken, looked at in the background after the commit. A missing one is no mistake (it may come
 * later), so it is a warning. Each image, command and source is looked at once, however many apps have it.
 */
#ifndef NIWA_ENGINE_APPLY_CHECK_H
#define NIWA_ENGINE_APPLY_CHECK_H

#include "engine/engine_private.h"

#define NIWA_APPLY_LOOKS_MAX 256                     /* of a transaction; what is beyond is found by the wake */
#define NIWA_APPLY_LOOKS_US  (2 * UINT64_C(1000000)) /* a source on a server that is away must not hold the answer */

struct niwa_apply_checks;

/* Makes *checks with the first app. Without memory nothing is noted. */
void niwa_apply_check_note(struct niwa_apply_checks **checks, const struct niwa_app_spec *spec);
void niwa_apply_checks_free(struct niwa_apply_checks **checks);

/* Takes checks (NULL is fine). fn runs once, perhaps at once, and takes warnings: an array of
 * {app, key, message, others?: how many more apps}. */
typedef void niwa_apply_checked_fn(json_t *warnings, void *arg);
void niwa_apply_check_run(struct niwa_engine *e, struct niwa_apply_checks *checks, niwa_apply_checked_fn *fn,
			  void *arg);

#endif
