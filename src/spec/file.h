/* SPDX-License-Identifier: MIT
 *
 * App files: YAML text → checked app records. Runs in the command line, with the user's rights.
 * The whole file is checked before anything is returned; every message says file:line, the key, what
 * was found and what is allowed. Anchors and aliases are allowed up to a bound (no "billion laughs").
 */
#ifndef NIWA_SPEC_FILE_H
#define NIWA_SPEC_FILE_H

#include <stddef.h>

#include <jansson.h>

#include "base/error.h"

#define NIWA_FILE_MAX (64 * 1024 * 1024) /* bytes of an app file */

/* Reads one app file ("-": standard input). *ret is a JSON array of canonical app objects
 * (niwa_app_to_json), env files read and merged. err->msg: "blog.yaml:7: apps[0].ports[0].port: ...".
 * Duplicate keys, duplicate app names, unknown keys are errors. Further problems beyond the first go to
 * `also` (called once for each, may be NULL). */
int niwa_file_load(const char *path, void (*also)(const char *msg, void *arg), void *arg, json_t **ret,
		   struct niwa_error *err);

/* The same with the tenants that the file declares. Free with json_decref. */
struct niwa_file_records {
	json_t *apps, *tenants; /* arrays of canonical objects */
};
int niwa_file_load_records(const char *path, void (*also)(const char *msg, void *arg), void *arg,
			   struct niwa_file_records *ret, struct niwa_error *err);

/* The first one for text in memory. */
struct niwa_file_text {
	const char *name; /* for messages */
	const char *path; /* env files are looked up beside it */
	const char *text;
	size_t len;
};
int niwa_file_load_text(const struct niwa_file_text *file, void (*also)(const char *msg, void *arg), void *arg,
			json_t **ret, struct niwa_error *err);

/* Compose file → app file text (YAML, to be freed) and a list of what could not be carried over,
 * one line each (to be freed). */
int niwa_compose_import(const char *path, const char *tenant, char **ret_yaml, char **ret_left_out,
			struct niwa_error *err);

/* The section of niwa.yaml(5) that lists every key (mdoc), from the schema table. To be freed. */
char *niwa_schema_man(void);

#endif
