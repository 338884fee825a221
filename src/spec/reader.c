/* SPDX-License-Identifier: MIT
 *
 * What a reader says: paths of keys, what was found, what is allowed, what was probably meant.
 */
#include "spec/schema_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define MESSAGE_MAX 400
#define NEAR_MAX    32 /* longer words are not compared */

void niwa_clean_line(char *line)
{
	for (unsigned char *c = (unsigned char *)line; *c; c++)
		if (*c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0))
			*c = '?';
}

static void path_append(struct niwa_reader *r, const char *text, size_t len)
{
	size_t room = sizeof(r->path) - 1 - r->path_len;

	if (len > room)
		len = room;
	memcpy(r->path + r->path_len, text, len);
	r->path_len += len;
	r->path[r->path_len] = '\0';
}

size_t niwa_path_push(struct niwa_reader *r, const char *name)
{
	size_t old = r->path_len;

	if (old > 0)
		path_append(r, ".", 1);
	path_append(r, name, strlen(name));
	return old;
}

size_t niwa_path_push_index(struct niwa_reader *r, size_t index)
{
	size_t old = r->path_len, pos = 24;
	char buf[24];

	buf[--pos] = ']';
	do {
		buf[--pos] = (char)('0' + index % 10);
		index /= 10;
	} while (index > 0);
	buf[--pos] = '[';
	path_append(r, buf + pos, sizeof(buf) - pos);
	return old;
}

void niwa_path_pop(struct niwa_reader *r, size_t old_len)
{
	r->path_len = old_len;
	r->path[old_len] = '\0';
}

void niwa_reader_count(struct niwa_reader *r, const char *text)
{
	size_t n = 8; /* quotes, colon, comma, blanks */

	for (; *text; text++)
		n += (unsigned char)*text < ' ' ? 6 : *text == '"' || *text == '\\' ? 2 : 1;
	r->bytes += n;
}

static void problem(struct niwa_reader *r, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void problem(struct niwa_reader *r, const char *fmt, va_list ap)
{
	char msg[MESSAGE_MAX];

	r->problems++;
	if (!r->report)
		return;
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	r->report(r->path, msg, r->arg);
}

void niwa_reader_problem(struct niwa_reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	problem(r, fmt, ap);
	va_end(ap);
}

void niwa_reader_problem_at(struct niwa_reader *r, const char *name, const char *fmt, ...)
{
	size_t old = r->path_len;
	va_list ap;

	if (*name == '[')
		path_append(r, name, strlen(name));
	else
		(void)niwa_path_push(r, name);
	va_start(ap, fmt);
	problem(r, fmt, ap);
	va_end(ap);
	niwa_path_pop(r, old);
}

char *niwa_json_describe(const json_t *json, char *buf, size_t size)
{
	static const char *const types[] = {
		[JSON_OBJECT] = "a map", [JSON_ARRAY] = "a list", [JSON_REAL] = "a fraction",
		[JSON_TRUE] = "true",    [JSON_FALSE] = "false",  [JSON_NULL] = "nothing",
	};

	if (json_is_string(json)) {
		size_t used;

		buf[0] = '\'';
		(void)niwa_quote(json_string_value(json), json_string_length(json), buf + 1, size - 2);
		used = strlen(buf);
		buf[used] = '\'';
		buf[used + 1] = '\0';
	} else if (json_is_integer(json)) {
		(void)snprintf(buf, size, "%lld", (long long)json_integer_value(json));
	} else {
		(void)snprintf(buf, size, "%s", types[json_typeof(json)]);
	}
	return buf;
}

/* 080: what is wrong with it is not seen in what is allowed. */
static bool is_zero_led(const char *text)
{
	return text && text[0] == '0' && text[1] && text[strspn(text, "0123456789")] == '\0';
}

void niwa_reader_not_allowed(struct niwa_reader *r, const struct niwa_key *key, const json_t *json)
{
	struct niwa_text allowed = {0};
	char found[80], hint[64] = "";

	niwa_key_allowed(key, &allowed);
	if (!json)
		(void)snprintf(found, sizeof(found), "missing");
	else
		(void)snprintf(found, sizeof(found), "found %s", niwa_json_describe(json, (char[72]){0}, 72));
	if (key->words && json_is_string(json)) {
		size_t count = 0;

		while (key->words[count])
			count++;
		(void)niwa_did_you_mean(json_string_value(json), key->words, count, hint, sizeof(hint));
	}
	if (key->kind->integer && is_zero_led(json_string_value(json)))
		(void)snprintf(hint, sizeof(hint), " (write it without the zero in front)");
	niwa_reader_problem(r, "%s; allowed: %s%s", found, allowed.data ? allowed.data : "", hint);
	niwa_text_fini(&allowed);
}

/* Optimal string alignment distance: inserted, lost, wrong and swapped letters. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][NEAR_MAX + 1] = {0}, na = strlen(a), nb = strlen(b);

	if (na > NEAR_MAX || nb > NEAR_MAX)
		return NEAR_MAX;
	for (size_t j = 0; j <= nb; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[na % 3][nb];
}

static bool is_nearer(const char *found, const char *word, size_t *best)
{
	size_t d = distance(found, word), len = strlen(word);

	/* A third of the letters may be wrong; a beginning of the word counts as one. */
	if (strlen(found) >= 3 && strncmp(found, word, strlen(found)) == 0)
		d = 1;
	if (d * 3 > len + 1 || d >= *best)
		return false;
	*best = d;
	return true;
}

static char *hint(const char *near, char *buf, size_t size)
{
	if (near)
		(void)snprintf(buf, size, "; did you mean '%s'?", near);
	else
		buf[0] = '\0';
	return buf;
}

char *niwa_did_you_mean(const char *found, const char *const *words, size_t count, char *buf, size_t size)
{
	const char *near = NULL;
	size_t best = NEAR_MAX;

	for (size_t i = 0; i < count; i++)
		if (is_nearer(found, words[i], &best))
			near = words[i];
	return hint(near, buf, size);
}

char *niwa_did_you_mean_key(const char *found, const struct niwa_group *group, char *buf, size_t size)
{
	const char *near = NULL;
	size_t best = NEAR_MAX;

	for (size_t i = 0; i < group->count; i++)
		if (is_nearer(found, group->keys[i].name, &best))
			near = group->keys[i].name;
	return hint(near, buf, size);
}
