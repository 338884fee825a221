/* SPDX-License-Identifier: MIT
 *
 * The schema of an app: one table of keys (schema.c) from which checking, defaults, reading, writing, messages and
 * the manual's section come. A key names its kind; a kind knows how a value is read from text or JSON, written, and
 * described. Nothing else in niwa knows what a key may hold.
 */
#ifndef NIWA_SPEC_SCHEMA_PRIVATE_H
#define NIWA_SPEC_SCHEMA_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/text.h"
#include "spec/app.h"
#include "spec/tenant.h"

#define NIWA_KEY_PATH_MAX 128 /* bytes of "ports[0].protocol" */

struct niwa_key;
struct niwa_group;

/* One pass over one record. Problems are reported as they are found; reading goes on after them. */
struct niwa_reader {
	/* msg: "found 'htp'; allowed: http, smtp, ...", without the key */
	void (*report)(const char *path, const char *msg, void *arg);
	void *arg;
	unsigned problems;
	bool no_memory;
	size_t bytes; /* an upper bound of the canonical JSON so far */
	size_t path_len;
	char path[NIWA_KEY_PATH_MAX];
};

/* Reports a problem at the reader's path. */
void niwa_reader_problem(struct niwa_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, at a key below the path. */
void niwa_reader_problem_at(struct niwa_reader *r, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Longer path; both return the old length, which niwa_path_pop takes back. Too long a path is cut. */
size_t niwa_path_push(struct niwa_reader *r, const char *name);
size_t niwa_path_push_index(struct niwa_reader *r, size_t index);
void niwa_path_pop(struct niwa_reader *r, size_t old_len);
/* Counts text that will be part of the record. */
void niwa_reader_count(struct niwa_reader *r, const char *text);

/* Text of others in a line for a terminal: control characters become '?'. */
void niwa_clean_line(char *line);

struct niwa_kind {
	/* Scalars: text → *field. 0, -EINVAL (not allowed), -ENOMEM. */
	int (*parse)(const struct niwa_key *key, const char *text, void *field);
	/* Others. Reports its own problems. */
	void (*read)(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field);
	json_t *(*write)(const struct niwa_key *key, const void *field); /* NULL: out of memory */
	/* What is allowed, for messages and the manual; key->allowed comes first. */
	void (*allowed)(const struct niwa_key *key, struct niwa_text *out);
	bool integer, boolean; /* a JSON integer, true or false is taken too */
};

struct niwa_key {
	const char *name;
	const struct niwa_kind *kind;
	size_t offset, size; /* of the field, in the record or in the list's element */
	uint64_t min, max;
	const char *const *words;        /* of word kinds; index = value; NULL-terminated */
	const char *never;               /* the word for 0, "never" or "none"; NULL: there is none */
	bool (*check)(const char *text); /* of text kinds */
	const struct niwa_group *group;  /* of groups and lists of groups */
	size_t count_offset;             /* of lists: where the number of elements is */
	bool required;
	bool whole;     /* a group that `defaults:` does not merge key by key */
	bool file_only; /* read by the file reader, never part of a record */
	/* True when the value is what a missing key would give; for keys without a fixed fallback. */
	bool (*omit)(const struct niwa_app_spec *app, const void *base);
	const char *allowed;  /* else made from kind, words, min and max */
	const char *fallback; /* the default, as one would write it */
	const char *derived;  /* the default in words, where it depends on other keys */
	const char *doc;
};

struct niwa_group {
	const struct niwa_key *keys;
	size_t count;
	size_t size;    /* of a list's element or of the record; 0: fields lie in the parent */
	void *defaults; /* `size` bytes, filled at first use */
	bool *filled;
	const char *alone; /* the key that a text or list in place of the map is the value of; NULL: there is none */
	/* After the keys were read: rules between keys, derived defaults. json is the object. */
	void (*finish)(struct niwa_reader *r, const json_t *json, void *base);
};

extern const struct niwa_group niwa_schema_app, niwa_schema_tenant;
extern const struct niwa_kind niwa_kind_text, niwa_kind_path, niwa_kind_number, niwa_kind_duration, niwa_kind_size,
	niwa_kind_percent, niwa_kind_bool, niwa_kind_flag, niwa_kind_word, niwa_kind_signal, niwa_kind_publish,
	niwa_kind_owner; /* scalars, kinds.c */
extern const struct niwa_kind niwa_kind_texts, niwa_kind_env, niwa_kind_labels, niwa_kind_allow,
	niwa_kind_egress;                                                                          /* kinds_lists.c */
extern const struct niwa_kind niwa_kind_crons, niwa_kind_spans, niwa_kind_sources, niwa_kind_rate; /* kinds_times.c */
extern const struct niwa_kind niwa_kind_group, niwa_kind_list;                                     /* app_read.c */

/* Text checks, check_text.c. */
bool niwa_is_dns_name(const char *s);
bool niwa_is_tenant(const char *s);
bool niwa_is_route_domain(const char *s);
bool niwa_is_image(const char *s);
bool niwa_is_user(const char *s);
bool niwa_is_owner(const char *s);
bool niwa_is_env_key(const char *s, size_t len);
bool niwa_is_label_key(const char *s);
bool niwa_is_label_value(const char *s);
bool niwa_is_url_path(const char *s);
bool niwa_is_path(const char *s); /* absolute, no empty, "." or ".." component; trailing slashes are fine */
bool niwa_is_volume_source(const char *s);
bool niwa_is_volume_target(const char *s);

void niwa_texts_free(char ***texts); /* a NULL-terminated list; cleanup function */
const struct niwa_key *niwa_group_find(const struct niwa_group *group, const char *name);
void niwa_key_allowed(const struct niwa_key *key, struct niwa_text *out);
/* The defaults of a group with a size, filled in from the table. */
const void *niwa_group_defaults(const struct niwa_group *group);
/* "; did you mean 'protocol'?" when one of the words is near, else "". Returns buf. */
char *niwa_did_you_mean(const char *found, const char *const *words, size_t count, char *buf, size_t size);
char *niwa_did_you_mean_key(const char *found, const struct niwa_group *group, char *buf, size_t size);
/* "found 'x'; allowed: y" at the reader's path. json NULL: "missing". */
void niwa_reader_not_allowed(struct niwa_reader *r, const struct niwa_key *key, const json_t *json);
/* "a list", "'x'", "nothing": what a message says was found. Returns buf. */
char *niwa_json_describe(const json_t *json, char *buf, size_t size);

/* Defaults that depend on other keys; used by reading and by writing. */
enum niwa_speaks niwa_default_speaks(enum niwa_protocol protocol);
enum niwa_rotate niwa_default_rotate(const struct niwa_app_spec *app);
uint16_t niwa_default_ready_port(const struct niwa_app_spec *app);

/* finish functions of the groups, app_check.c. */
void niwa_finish_app(struct niwa_reader *r, const json_t *json, void *base);
void niwa_finish_port(struct niwa_reader *r, const json_t *json, void *base);
void niwa_finish_volume(struct niwa_reader *r, const json_t *json, void *base);
void niwa_finish_sleep(struct niwa_reader *r, const json_t *json, void *base);
void niwa_finish_ready(struct niwa_reader *r, const json_t *json, void *base);
void niwa_finish_restart(struct niwa_reader *r, const json_t *json, void *base);

/* The first problem of a record as an error. */
struct niwa_first_problem {
	char *ret_key;
	struct niwa_error *err;
	bool done;
};
void niwa_keep_first_problem(const char *path, const char *msg, void *arg);

/* A record of the group's size, which the caller frees also after an error. what: "an app", for messages. As
 * niwa_app_read. */
int niwa_record_read(struct niwa_reader *r, const struct niwa_group *group, const char *what, const json_t *json,
		     void *ret);
json_t *niwa_record_write(const struct niwa_group *group, const void *record);
/* Reads a record, reporting every problem. 0 with *ret, -EINVAL after problems, -ENOMEM. */
int niwa_tenant_read(struct niwa_reader *r, const json_t *json, struct niwa_tenant_spec **ret);
int niwa_app_read(struct niwa_reader *r, const json_t *json, struct niwa_app_spec **ret);

#endif
