/* SPDX-License-Identifier: MIT
 *
 * The kinds of keys that say when and by whom an app is woken: times, hours, rates, sources.
 */
#include "spec/schema_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/source.h"
#include "spec/times.h"

typedef int check_fn(const char *text, struct niwa_error *err);

static int check_cron(const char *text, struct niwa_error *err)
{
	struct niwa_cron cron;

	return niwa_cron_parse(text, &cron, err);
}

static int check_span(const char *text, struct niwa_error *err)
{
	struct niwa_span span;

	return niwa_span_parse(text, &span, err);
}

static int check_source(const char *text, struct niwa_error *err)
{
	struct niwa_source source;

	if (niwa_source_parse(text, &source))
		return 0;
	return niwa_fail(err, NIWA_CALLER, 0,
			 "allowed: host, tenant, an address or a network such as 192.0.2.7, 10.0.0.0/8 or "
			 "2001:db8::/32, no bits set behind the prefix");
}

/* One text of a list; NULL after a reported problem. */
static char *read_one(struct niwa_reader *r, const json_t *json, check_fn *check)
{
	const char *text = json_string_value(json);
	char found[80], *copy;
	struct niwa_error err;

	if (!text) {
		niwa_reader_problem(r, "found %s; allowed: a text", niwa_json_describe(json, found, sizeof(found)));
		return NULL;
	}
	if (check(text, &err) < 0) {
		niwa_reader_problem(r, "found %s%s %s", niwa_json_describe(json, found, sizeof(found)),
				    strncmp(err.msg, "allowed", 7) == 0 ? ";" : ":", err.msg);
		return NULL;
	}
	copy = niwa_strdup(text);
	r->no_memory |= !copy;
	niwa_reader_count(r, text);
	return copy;
}

/* One text, or a list of them. */
static void read_texts(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, char ***ret,
		       check_fn *check)
{
	size_t count = json_is_array(json) ? json_array_size(json) : 1;
	NIWA_AUTO(niwa_texts_free) char **texts = NULL;

	if (count > key->max) {
		niwa_reader_problem(r, "found %zu items; allowed: at most %llu", count, (unsigned long long)key->max);
		return;
	}
	texts = niwa_zalloc((count + 1) * sizeof(char *));
	if (!texts) {
		r->no_memory = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		bool list = json_is_array(json);
		size_t old = r->path_len;

		if (list)
			old = niwa_path_push_index(r, i);
		texts[i] = read_one(r, list ? json_array_get(json, i) : json, check);
		if (list)
			niwa_path_pop(r, old);
		if (!texts[i])
			return; /* no holes: one problem a list is enough */
	}
	niwa_texts_free(ret);
	*ret = NIWA_TAKE(texts);
}

static void read_times(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field,
		       check_fn *check)
{
	if ((!json_is_array(json) && !json_is_string(json)) || (json_is_array(json) && json_array_size(json) == 0))
		niwa_reader_not_allowed(r, key, json);
	else
		read_texts(r, key, json, field, check);
}

static void crons_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	read_times(r, key, json, field, check_cron);
}

static void spans_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	read_times(r, key, json, field, check_span);
}

static json_t *texts_write(const struct niwa_key *key, const void *field)
{
	json_t *list = json_array();

	(void)key;
	for (char *const *t = *(char **const *)field; list && *t; t++)
		if (json_array_append_new(list, json_string(*t)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

const struct niwa_kind niwa_kind_crons = {.read = crons_read, .write = texts_write};
const struct niwa_kind niwa_kind_spans = {.read = spans_read, .write = texts_write};

/* "any" is a missing list, "none" an empty one. */
static void sources_read(struct niwa_reader *r, const struct niwa_key *key, const json_t *json, void *field)
{
	const char *text = json_string_value(json);
	char ***ret = field;

	if (text && strcmp(text, "any") == 0) {
		niwa_texts_free(ret);
	} else if (text && strcmp(text, "none") == 0) {
		niwa_texts_free(ret);
		*ret = niwa_zalloc(sizeof(char *));
		r->no_memory |= !*ret;
	} else if (json_is_array(json) && json_array_size(json) > 0) {
		read_texts(r, key, json, ret, check_source);
	} else {
		niwa_reader_not_allowed(r, key, json);
	}
}

static json_t *sources_write(const struct niwa_key *key, const void *field)
{
	char *const *texts = *(char **const *)field;

	return *texts ? texts_write(key, field) : json_string("none");
}

static void sources_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out,
		       "any, none, or a list of at most %llu of host, tenant and networks such as [host, 10.0.0.0/8, "
		       "2001:db8::/32]",
		       (unsigned long long)key->max);
}

const struct niwa_kind niwa_kind_sources = {.read = sources_read, .write = sources_write, .allowed = sources_allowed};

static const struct {
	char unit;
	uint32_t seconds;
} periods[] = {{'m', 60}, {'h', 3600}, {'d', 86400}};

static int rate_parse(const struct niwa_key *key, const char *text, void *field)
{
	struct niwa_rate *ret = field;
	char number[16];
	size_t len = strcspn(text, "/");
	uint64_t n;

	if (key->never && strcmp(text, key->never) == 0) {
		*ret = (struct niwa_rate){0};
		return 0;
	}
	if (len >= sizeof(number) || text[len] != '/' || strlen(text) != len + 2)
		return -EINVAL;
	memcpy(number, text, len);
	number[len] = '\0';
	if (niwa_parse_u64(number, key->max, &n) < 0 || n < key->min)
		return -EINVAL;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(periods); i++)
		if (text[len + 1] == periods[i].unit) {
			*ret = (struct niwa_rate){.count = (uint32_t)n, .per_s = periods[i].seconds};
			return 0;
		}
	return -EINVAL;
}

static json_t *rate_write(const struct niwa_key *key, const void *field)
{
	const struct niwa_rate *rate = field;
	char text[32];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(periods); i++)
		if (rate->per_s == periods[i].seconds) {
			(void)snprintf(text, sizeof(text), "%u/%c", rate->count, periods[i].unit);
			return json_string(text);
		}
	return json_string(key->never);
}

static void rate_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out, "a number from %llu to %llu with /m, /h or /d, such as 20/h, or %s",
		       (unsigned long long)key->min, (unsigned long long)key->max, key->never);
}

const struct niwa_kind niwa_kind_rate = {.parse = rate_parse, .write = rate_write, .allowed = rate_allowed};
