/* SPDX-License-Identifier: MIT
 *
 * The engine as a whole: made, loaded, run, ended.
 */
#ifndef NIWA_ENGINE_ENGINE_H
#define NIWA_ENGINE_ENGINE_H

#include "engine/config.h"

struct niwa_engine;

/* Opens everything and loads the apps; adoption happens in the loop. */
int niwa_engine_new(const struct niwa_config *config, struct niwa_engine **ret, struct niwa_error *err);
/* Runs until SIGTERM or SIGINT. Instances go on. Returns the exit status. */
int niwa_engine_run(struct niwa_engine *e);
void niwa_engine_free(struct niwa_engine **e);
/* Adoption is complete: the socket is opened, the supervisor is told. */
void niwa_engine_serve(struct niwa_engine *e);

#endif
