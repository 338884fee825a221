/* SPDX-License-Identifier: MIT
 *
 * Env files: KEY=value lines. Nothing is expanded; a later line wins.
 */
#ifndef NIWA_SPEC_ENV_FILE_PRIVATE_H
#define NIWA_SPEC_ENV_FILE_PRIVATE_H

#include <stddef.h>

#include <jansson.h>

#include "base/error.h"

#define NIWA_ENV_FILE_MAX (1024 * 1024)

/* *ret: an object of texts, new reference. err->msg names the file and the line. */
int niwa_env_file_read(const char *path, json_t **ret, struct niwa_error *err);
/* The same for text in memory, which is changed. */
int niwa_env_text_read(const char *name, char *text, size_t len, json_t **ret, struct niwa_error *err);

#endif
