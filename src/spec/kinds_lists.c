/* SPDX-License-Identifier: MIT
 *
 * The kinds that are lists or maps of texts: command, env, labels, allow, egress.
 */
#include "spec/schema_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/source.h"

/* A NULL-terminated copy of a JSON list of texts; each is checked. NULL after a reported problem. */
static char **texts_from_list(struct niwa_reader *r, const struct niwa_key *key, const json_t *json,
			      bool (*check)(const char *), const char *allowed)
{
	size_t count = json_array_size(json), i;
	unsigned before = r->problems;
	NIWA_AUTO(niwa_texts_free) char **texts = NULL;
	json_t *item;

	if (count > key->max) {
		niwa_reader_problem(r, "found %zu items; allowed: at most %llu", count, (unsigned long long)key->max);
		return NULL;
	}
	texts = niwa_zalloc((count + 1) * sizeof(char *));
	if (!texts) {
		r->no_memory = true;
		return NULL;
	}
	json_array_foreach(json, i, item)
	{
		const char *text = json_string_value(item);
		size_t old = niwa_path_push_index(r, i);
		char found[80];

		if (!text || (check && !check(text))) {
			niwa_reader_problem(r, "found %s; allowed: %s", niwa_json_describe(item, found, sizeof(found)),
					    allowed);
		} else {
			texts[i] = niwa_strdup(text);
			r->no_memory |= !texts[i];
			niwa_reader_count(r, text);
		}
		niwa_path_pop(r, old);
		if (r->no_memory || r->problems > before)
			return NULL; /* texts may have holes: one problem a list is enough */
	}
	return NIWA_TAKE(texts);
}

static json_t *texts_to_list(char *const *texts)
{
	json_t *list = json_array();

	for (; list && texts && *texts; texts++)
		if (json_array_append_new(list, json_string(*texts)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static void texts_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	char **texts, ***ret = field;

	if (!json_is_array(json) && !json_is_null(json)) {
		niwa_reader_not_allowed(r, key, json);
		return;
	}
	texts = texts_from_list(r, key, json, key->check, key->check ? "a path such as /" : "a text");
	if (!texts)
		return;
	niwa_texts_free(ret);
	*ret = texts;
	if (!key->check && *texts && **texts == '\0')
		niwa_reader_problem_at(r, "[0]", "found ''; allowed: the name or path of a program");
}

static json_t *texts_write(const struct niwa_key *key, const void *field)
{
	(void)key;
	return texts_to_list(*(char **const *)field);
}

static void texts_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out, "a list of at most %llu texts, such as [one, two]", (unsigned long long)key->max);
}

const struct niwa_kind niwa_kind_texts = {.read = texts_read, .write = texts_write, .allowed = texts_allowed};

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What the names and texts of a map may be. */
struct map_rule {
	const char *what;               /* "variables" */
	bool (*name)(const char *name); /* and what is allowed: */
	const char *names;
	bool (*text)(const char *text); /* NULL: any */
	const char *texts;
};

static bool is_variable(const char *name)
{
	return niwa_is_env_key(name, strlen(name));
}

static const struct map_rule variables = {
	.what = "variables",
	.name = is_variable,
	.names = "not a name for a variable; allowed: letters, digits and '_', no digit first",
	.texts = "a text (in quotes where in doubt, \"\" for an empty one)",
};

static const struct map_rule labels = {
	.what = "labels",
	.name = niwa_is_label_key,
	.names = "not a name for a label; allowed: at most 63 letters, digits and . _ - / @ : +, a letter or digit "
		 "first",
	.text = niwa_is_label_value,
	.texts = "a text of at most 63 letters, digits and . _ - / @ : +",
};

/* Reads one pair into *ret, "NAME=text". */
static void map_read_one(struct niwa_reader *r, const struct map_rule *rule, const char *name, const json_t *value,
			 char **ret)
{
	char quoted[48], found[80];
	size_t old = niwa_path_push(r, niwa_quote(name, strlen(name), quoted, sizeof(quoted)));
	const char *text = json_string_value(value);

	if (!rule->name(name)) {
		niwa_reader_problem(r, "%s", rule->names);
	} else if (!text || (rule->text && !rule->text(text))) {
		niwa_reader_problem(r, "found %s; allowed: %s", niwa_json_describe(value, found, sizeof(found)),
				    rule->texts);
	} else {
		*ret = niwa_asprintf("%s=%s", name, text);
		r->no_memory |= !*ret;
		niwa_reader_count(r, name);
		niwa_reader_count(r, text);
	}
	niwa_path_pop(r, old);
}

static void map_read(struct niwa_reader *r, const struct map_rule *rule, const struct niwa_key *key, const json_t *json,
		     void *field)
{
	char ***ret = field;
	NIWA_AUTO(niwa_texts_free) char **env = NULL;
	size_t count = 0;
	const char *name;
	json_t *value;

	if (!json_is_object(json) && !json_is_null(json)) {
		niwa_reader_not_allowed(r, key, json);
		return;
	}
	if (json_object_size(json) > key->max) {
		niwa_reader_problem(r, "found %zu %s; allowed: at most %llu", json_object_size(json), rule->what,
				    (unsigned long long)key->max);
		return;
	}
	env = niwa_zalloc((json_object_size(json) + 1) * sizeof(char *));
	r->no_memory |= !env;
	json_object_foreach((json_t *)json, name, value)
	{
		if (r->no_memory)
			return;
		map_read_one(r, rule, name, value, &env[count]);
		count += env[count] != NULL;
	}
	if (r->no_memory)
		return;
	qsort(env, count, sizeof(char *), compare_texts);
	niwa_texts_free(ret);
	*ret = NIWA_TAKE(env);
}

static void env_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	map_read(r, &variables, key, json, field);
}

static void labels_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	map_read(r, &labels, key, json, field);
}

static json_t *env_write(const struct niwa_key *key, const void *field)
{
	json_t *map = json_object();

	(void)key;
	for (char *const *env = *(char **const *)field; map && env && *env; env++) {
		const char *equals = strchr(*env, '=');

		if (!equals ||
		    json_object_setn_new_nocheck(map, *env, (size_t)(equals - *env), json_string(equals + 1)) < 0) {
			json_decref(map);
			return NULL;
		}
	}
	return map;
}

static void env_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out, "at most %llu lines of KEY: value", (unsigned long long)key->max);
}

const struct niwa_kind niwa_kind_env = {.read = env_read, .write = env_write, .allowed = env_allowed};
const struct niwa_kind niwa_kind_labels = {.read = labels_read, .write = env_write, .allowed = env_allowed};

/* field: the port. "any", or a list of tenants. */
static void allow_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	struct niwa_port *port = field;
	struct niwa_key list = {.max = NIWA_ALLOW_MAX};
	char **tenants;

	if (json_is_string(json) && strcmp(json_string_value(json), "any") == 0) {
		port->allow_any = true;
		return;
	}
	if (!json_is_array(json)) {
		niwa_reader_not_allowed(r, key, json);
		return;
	}
	tenants = texts_from_list(r, &list, json, niwa_is_tenant, "a tenant's name; 'any' stands alone, without []");
	if (!tenants)
		return;
	niwa_texts_free(&port->allow);
	port->allow = tenants;
	port->allow_count = json_array_size(json);
}

static json_t *allow_write(const struct niwa_key *key, const void *field)
{
	const struct niwa_port *port = field;

	(void)key;
	return port->allow_any ? json_string("any") : texts_to_list(port->allow);
}

static void allow_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	(void)key;
	niwa_text_addf(out, "any, or a list of at most %d tenants", NIWA_ALLOW_MAX);
}

const struct niwa_kind niwa_kind_allow = {.read = allow_read, .write = allow_write, .allowed = allow_allowed};

static bool is_network(const char *text)
{
	struct niwa_source network;

	return niwa_source_network(text, &network);
}

/* Overlapping networks would be refused by the kernel's sets. */
static void check_overlaps(struct niwa_reader *r, char *const *list)
{
	for (size_t i = 0; list[i]; i++)
		for (size_t j = 0; j < i; j++) {
			struct niwa_source a, b;

			if (niwa_source_network(list[i], &a) && niwa_source_network(list[j], &b) &&
			    niwa_source_overlap(&a, &b))
				niwa_reader_problem(r,
						    "'%s' and '%s' overlap; allowed: networks without common addresses",
						    list[j], list[i]);
		}
}

/* field: the record. "none", "internet", or a list of networks. */
static void egress_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	struct niwa_app_spec *app = field;
	struct niwa_key list = {.max = NIWA_EGRESS_MAX};
	const char *text = json_string_value(json);
	char **networks;

	if (text && (strcmp(text, "none") == 0 || strcmp(text, "internet") == 0)) {
		app->egress = *text == 'n' ? NIWA_EGRESS_NONE : NIWA_EGRESS_INTERNET;
		return;
	}
	if (!json_is_array(json) || json_array_size(json) == 0) {
		niwa_reader_not_allowed(r, key, json);
		return;
	}
	networks = texts_from_list(r, &list, json, is_network,
				   "an address or network such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, no bits set "
				   "behind the prefix, not /0");
	if (!networks)
		return;
	check_overlaps(r, networks);
	niwa_texts_free(&app->egress_list);
	app->egress = NIWA_EGRESS_LIST;
	app->egress_list = networks;
}

static json_t *egress_write(const struct niwa_key *key, const void *field)
{
	const struct niwa_app_spec *app = field;

	(void)key;
	if (app->egress == NIWA_EGRESS_LIST)
		return texts_to_list(app->egress_list);
	return json_string(app->egress == NIWA_EGRESS_NONE ? "none" : "internet");
}

static void egress_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	(void)key;
	niwa_text_addf(
		out,
		"none, internet, or a list of at most %d networks such as [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\"]",
		NIWA_EGRESS_MAX);
}

const struct niwa_kind niwa_kind_egress = {.read = egress_read, .write = egress_write, .allowed = egress_allowed};
