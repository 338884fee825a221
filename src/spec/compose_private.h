/* SPDX-License-Identifier: MIT
 *
 * Compose file → app file, the parts. A service becomes JSON with its variables filled in; each of its keys is carried
 * over by a function or listed as left out with the reason. Nothing is dropped without a line.
 */
#ifndef NIWA_SPEC_COMPOSE_PRIVATE_H
#define NIWA_SPEC_COMPOSE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "base/text.h"
#include "spec/yaml_private.h"

#define NIWA_VOLUMES_DIR "/srv/volumes" /* where named volumes go */

struct niwa_compose {
	const char *name;   /* of the file, for messages */
	const char *folder; /* absolute: relative paths start here */
	const char *tenant;
	const struct niwa_yaml_node *services;
	const json_t *variables; /* of .env beside the file */
	struct niwa_text left_out;
	bool no_memory;
	/* the service at hand */
	const char *service;
	const struct niwa_yaml_node *node;
	const json_t *json;
	const char *key; /* whose variables are being filled in */
	json_t *app;     /* with the keys of an app file */
};

/* "compose.yml:12: web.networks: ..." for a key of the service at hand ("ports[0]"). */
void niwa_compose_note(struct niwa_compose *c, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Sets a key of an object; takes value, notices when memory is out. */
void niwa_compose_set(struct niwa_compose *c, json_t *object, const char *key, json_t *value);
void niwa_compose_append(struct niwa_compose *c, json_t *list, json_t *value);
/* The object at a key of the app, made when it is not there. NULL: out of memory. */
json_t *niwa_compose_group(struct niwa_compose *c, const char *key);

/* compose_keys.c: carries over what it can of the service at hand. */
void niwa_compose_carry(struct niwa_compose *c);

/* compose_ports.c, compose_volumes.c */
void niwa_compose_ports(struct niwa_compose *c, const char *key, const json_t *value);
void niwa_compose_expose(struct niwa_compose *c, const char *key, const json_t *value);
void niwa_compose_guess_ports(struct niwa_compose *c, const char *image); /* when none were declared */
void niwa_compose_volumes(struct niwa_compose *c, const char *key, const json_t *value);

/* compose_text.c: a copy of json with $VARIABLE, ${VARIABLE:-default} and $$ replaced. NULL: out of memory. */
json_t *niwa_compose_interpolate(struct niwa_compose *c, const json_t *json);
/* Words as a shell splits them: quotes and backslashes, nothing else. A list; NULL: out of memory. */
json_t *niwa_compose_split(const char *text);
/* Apps as an app file. */
void niwa_compose_write(const json_t *apps, const char *from, const char *tenant, struct niwa_text *out);

/* A Compose file in memory. */
struct niwa_compose_file {
	const char *name;   /* for messages */
	const char *folder; /* absolute; .env and relative paths are looked up there */
	const char *tenant; /* NULL: from the file or the folder */
	const char *text;
	size_t len;
};
int niwa_compose_import_text(const struct niwa_compose_file *file, char **ret_yaml, char **ret_left_out,
			     struct niwa_error *err);

#endif
