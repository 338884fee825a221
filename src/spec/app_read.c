/* SPDX-License-Identifier: MIT
 *
 * JSON → record: walks the object along the table. A problem is reported and reading goes on, so that a person sees
 * all that is wrong with an app at once.
 */
#include "spec/schema_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void read_group(struct niwa_reader *r, const struct niwa_group *group, const json_t *json, void *base);

void niwa_texts_free(char ***texts)
{
	if (!*texts)
		return;
	for (char **t = *texts; *t; t++)
		free(*t);
	free(*texts);
	*texts = NULL;
}

void niwa_app_spec_free(struct niwa_app_spec **spec)
{
	struct niwa_app_spec *s = *spec;

	if (!s)
		return;
	free(s->name);
	free(s->tenant);
	free(s->image);
	free(s->user);
	free(s->workdir);
	free(s->ready.path);
	niwa_texts_free(&s->command);
	niwa_texts_free(&s->env);
	niwa_texts_free(&s->labels);
	niwa_texts_free(&s->egress_list);
	niwa_texts_free(&s->warm);
	niwa_texts_free(&s->awake.times);
	free(s->awake.zone);
	niwa_texts_free(&s->wake.at);
	free(s->wake.zone);
	for (size_t i = 0; i < s->port_count; i++) {
		niwa_texts_free(&s->ports[i].allow);
		niwa_texts_free(&s->ports[i].wake_from);
	}
	free(s->ports);
	for (size_t i = 0; i < s->volume_count; i++) {
		free(s->volumes[i].from);
		free(s->volumes[i].to);
		free(s->volumes[i].owner_user);
	}
	free(s->volumes);
	for (size_t i = 0; s->routes && i < s->route_count; i++)
		free(s->routes[i].domain);
	free(s->routes);
	free(s);
	*spec = NULL;
}

const struct niwa_key *niwa_group_find(const struct niwa_group *group, const char *name)
{
	for (size_t i = 0; i < group->count; i++)
		if (strcmp(group->keys[i].name, name) == 0)
			return &group->keys[i];
	return NULL;
}

void niwa_key_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	if (key->allowed)
		niwa_text_add(out, key->allowed);
	else if (key->kind->allowed)
		key->kind->allowed(key, out);
}

/* Fallbacks of scalars without a pointer: the table's own words, so a failure is our bug. */
static void fill_defaults(const struct niwa_group *group, void *base)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct niwa_key *key = &group->keys[i];

		if (key->kind == &niwa_kind_group)
			fill_defaults(key->group, base);
		else if (key->fallback && key->kind->parse &&
			 key->kind->parse(key, key->fallback, (char *)base + key->offset) < 0)
			abort();
	}
}

const void *niwa_group_defaults(const struct niwa_group *group)
{
	if (!*group->filled)
		fill_defaults(group, group->defaults);
	*group->filled = true;
	return group->defaults;
}

static void read_scalar(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	const char *text = NULL;
	char number[32];
	int result;

	if (json_is_string(json) && strlen(json_string_value(json)) == json_string_length(json)) {
		text = json_string_value(json);
		niwa_reader_count(r, text);
	} else if (json_is_integer(json) && key->kind->integer) {
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(json));
		text = number;
	} else if (json_is_boolean(json) && key->kind->boolean) {
		text = json_is_true(json) ? "true" : "false";
	}
	result = text ? key->kind->parse(key, text, field) : -EINVAL;
	if (result == -ENOMEM)
		r->no_memory = true;
	else if (result < 0)
		niwa_reader_not_allowed(r, key, json);
}

static void add_key_names(const struct niwa_group *group, struct niwa_text *out)
{
	for (size_t i = 0; i < group->count; i++)
		niwa_text_addf(out, "%s%s", i ? ", " : "", group->keys[i].name);
}

static void unknown_key(struct niwa_reader *r, const struct niwa_group *group, const char *name)
{
	struct niwa_text allowed = {0};
	char quoted[48], hint[64];

	add_key_names(group, &allowed);
	(void)niwa_quote(name, strlen(name), quoted, sizeof(quoted));
	(void)niwa_did_you_mean_key(name, group, hint, sizeof(hint));
	niwa_reader_problem_at(r, quoted, "unknown key; allowed: %s%s", allowed.data ? allowed.data : "", hint);
	niwa_text_fini(&allowed);
}

static void read_member(struct niwa_reader *r, const struct niwa_group *group, const char *name, const json_t *json,
			void *base)
{
	const struct niwa_key *key = niwa_group_find(group, name);
	size_t old;

	r->bytes += 32;
	if (!key) {
		unknown_key(r, group, name);
		return;
	}
	old = niwa_path_push(r, key->name);
	if (key->file_only)
		niwa_reader_problem(r, "found in a record; allowed: only in an app file");
	else if (key->kind->read)
		key->kind->read(r, key, json, (char *)base + key->offset);
	else
		read_scalar(r, key, json, (char *)base + key->offset);
	niwa_path_pop(r, old);
}

static void read_group(struct niwa_reader *r, const struct niwa_group *group, const json_t *json, void *base)
{
	unsigned before = r->problems;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)json, name, value)
	{
		read_member(r, group, name, value, base);
		if (r->no_memory)
			return;
	}
	for (size_t i = 0; i < group->count; i++) {
		const struct niwa_key *key = &group->keys[i];
		size_t old;

		if (!key->required || json_object_get(json, key->name))
			continue;
		old = niwa_path_push(r, key->name);
		niwa_reader_not_allowed(r, key, NULL);
		niwa_path_pop(r, old);
	}
	if (group->finish && r->problems == before)
		group->finish(r, json, base);
}

/* `awake: TEXT` is `awake: {times: TEXT}`. */
static void read_alone(struct niwa_reader *r, const struct niwa_group *group, const json_t *json, void *base)
{
	json_t *map = json_pack("{s:O}", group->alone, json);

	r->no_memory |= !map;
	if (map)
		read_group(r, group, map, base);
	json_decref(map);
}

static void group_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	/* Its fields lie in the parent: offset is 0, field is the parent. */
	if (json_is_object(json))
		read_group(r, key->group, json, field);
	else if (key->group->alone && (json_is_string(json) || json_is_array(json)))
		read_alone(r, key->group, json, field);
	else if (!json_is_null(json))
		niwa_reader_not_allowed(r, key, json);
}

static void group_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out, "%sa map of ", key->group->alone ? "a text, a list of texts, or " : "");
	add_key_names(key->group, out);
}

static json_t *group_write_nothing(const struct niwa_key *key, const void *field)
{
	(void)key;
	(void)field;
	return NULL; /* app_write.c walks groups and lists itself */
}

const struct niwa_kind niwa_kind_group = {
	.read = group_read,
	.write = group_write_nothing,
	.allowed = group_allowed,
};

static void list_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	/* The record's base: lists occur in the record itself only. */
	size_t *count = (size_t *)((char *)field - key->offset + key->count_offset);
	size_t wanted = json_array_size(json), i;
	char *elements;
	json_t *item;

	if (json_is_null(json) && !key->required)
		return;
	if (!json_is_array(json) || wanted > key->max || (wanted == 0 && key->required)) {
		if (json_is_array(json))
			niwa_reader_problem(r, "found %zu items; allowed: %d to %llu", wanted, key->required,
					    (unsigned long long)key->max);
		else
			niwa_reader_not_allowed(r, key, json);
		return;
	}
	if (wanted == 0)
		return;
	elements = niwa_zalloc(wanted * key->group->size);
	if (!elements) {
		r->no_memory = true;
		return;
	}
	*(void **)field = elements;
	*count = wanted;
	json_array_foreach(json, i, item)
	{
		void *element = elements + i * key->group->size;
		size_t old = niwa_path_push_index(r, i);

		memcpy(element, niwa_group_defaults(key->group), key->group->size);
		if (json_is_object(item))
			read_group(r, key->group, item, element);
		else
			niwa_reader_problem(r, "found %s; allowed: a map such as {%s: ...}",
					    niwa_json_describe(item, (char[72]){0}, 72), key->group->keys[0].name);
		niwa_path_pop(r, old);
	}
}

static void list_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out, "a list of at most %llu maps of ", (unsigned long long)key->max);
	add_key_names(key->group, out);
}

const struct niwa_kind niwa_kind_list = {
	.read = list_read,
	.write = group_write_nothing,
	.allowed = list_allowed,
};

int niwa_record_read(struct niwa_reader *r, const struct niwa_group *group, const char *what, const json_t *json,
		     void *ret)
{
	memcpy(ret, niwa_group_defaults(group), group->size);
	if (!json_is_object(json)) {
		niwa_reader_problem(r, "found %s; allowed: a map that declares %s",
				    niwa_json_describe(json, (char[72]){0}, 72), what);
		return -EINVAL;
	}
	read_group(r, group, json, ret);
	if (r->no_memory)
		return -ENOMEM;
	if (r->problems == 0 && r->bytes > NIWA_APP_JSON_MAX)
		niwa_reader_problem(r, "found about %zu bytes of declaration; allowed: at most %d", r->bytes,
				    NIWA_APP_JSON_MAX);
	return r->problems > 0 ? -EINVAL : 0;
}

int niwa_app_read(struct niwa_reader *r, const json_t *json, struct niwa_app_spec **ret)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = niwa_zalloc(sizeof(*spec));
	int result = spec ? niwa_record_read(r, &niwa_schema_app, "an app", json, spec) : -ENOMEM;

	if (result == 0)
		*ret = NIWA_TAKE(spec);
	return result;
}

void niwa_keep_first_problem(const char *path, const char *msg, void *arg)
{
	struct niwa_first_problem *first = arg;

	if (first->done)
		return;
	first->done = true;
	(void)niwa_fail(first->err, NIWA_CALLER, 0, "%s%s%s", path, *path ? ": " : "", msg);
	if (first->ret_key)
		(void)snprintf(first->ret_key, NIWA_KEY_PATH_MAX, "%s", path);
}

int niwa_app_from_json(const json_t *json, struct niwa_app_spec **ret, char *ret_key, struct niwa_error *err)
{
	struct niwa_first_problem first = {.ret_key = ret_key, .err = err};
	struct niwa_reader r = {.report = niwa_keep_first_problem, .arg = &first};
	int result;

	if (ret_key)
		*ret_key = '\0';
	result = niwa_app_read(&r, json, ret);
	if (result == -ENOMEM)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read an app record");
	return result;
}
