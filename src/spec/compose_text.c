/* SPDX-License-Identifier: MIT
 *
 * The texts of a Compose file (variables, command lines) and of the app file that is written.
 */
#include "spec/compose_private.h"

#include <ctype.h>
#include <string.h>

#include "base/memory.h"
#include "spec/schema_private.h"

#define TEXT_MAX (64 * 1024) /* of one value after variables were filled in */

static size_t name_len(const char *s)
{
	size_t n = 0;

	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	return n;
}

static void add_variable(struct niwa_compose *c, struct niwa_text *out, const char *name, size_t len,
			 const char *fallback)
{
	char key[128];
	const char *value;

	(void)snprintf(key, sizeof(key), "%.*s", (int)len, name);
	value = json_string_value(json_object_get(c->variables, key));
	if ((!value || !*value) && fallback)
		value = fallback;
	if (value)
		niwa_text_add(out, value);
	else
		niwa_compose_note(c, c->key ? c->key : "",
				  "variable %s has no value in .env and no default; empty here", key);
}

/* "${NAME}", "${NAME:-default}", "${NAME:?error}"; s is behind "${". Returns what is behind "}". */
static const char *add_braced(struct niwa_compose *c, struct niwa_text *out, const char *s)
{
	const char *end = strchr(s, '}');
	size_t len = name_len(s);
	NIWA_AUTO(niwa_free_ptr) char *fallback = NULL;

	if (!end || len == 0) {
		niwa_text_add(out, "${");
		return s;
	}
	if (s[len] == '-' || (s[len] == ':' && s[len + 1] == '-')) {
		const char *from = s + len + (s[len] == ':' ? 2 : 1);

		fallback = niwa_asprintf("%.*s", (int)(end - from), from);
		c->no_memory |= !fallback;
	}
	add_variable(c, out, s, len, fallback);
	return end + 1;
}

static json_t *interpolate_text(struct niwa_compose *c, const char *s)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text out = {0};

	niwa_text_add(&out, "");
	while (*s && out.len < TEXT_MAX) {
		size_t plain = strcspn(s, "$");

		niwa_text_add_bytes(&out, s, plain);
		s += plain;
		if (*s == '\0')
			break;
		s++;
		if (*s == '{') {
			s = add_braced(c, &out, s + 1);
		} else if (name_len(s) > 0 && !isdigit((unsigned char)*s)) {
			add_variable(c, &out, s, name_len(s), NULL);
			s += name_len(s);
		} else {
			niwa_text_add(&out, "$");
			s += *s == '$';
		}
	}
	return out.failed ? NULL : json_string(out.data);
}

json_t *niwa_compose_interpolate(struct niwa_compose *c, const json_t *json)
{
	json_t *copy, *item;
	const char *key;
	size_t i;

	if (json_is_string(json))
		return interpolate_text(c, json_string_value(json));
	if (json_is_array(json)) {
		copy = json_array();
		json_array_foreach(json, i, item) niwa_compose_append(c, copy, niwa_compose_interpolate(c, item));
		return copy;
	}
	if (json_is_object(json)) {
		copy = json_object();
		json_object_foreach((json_t *)json, key, item)
		{
			bool top = !c->key;

			c->key = top ? key : c->key;
			niwa_compose_set(c, copy, key, niwa_compose_interpolate(c, item));
			c->key = top ? NULL : c->key;
		}
		return copy;
	}
	return json_null();
}

json_t *niwa_compose_split(const char *text)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text word = {0};
	json_t *words = json_array();
	bool in_word = false;
	char quote = '\0';

	for (const char *s = text;; s++) {
		bool blank = *s == '\0' || (!quote && strchr(" \t\r\n", *s));

		if (blank && in_word) {
			int r = word.failed ? -1
					    : json_array_append_new(words, json_string(word.data ? word.data : ""));

			if (r < 0) {
				json_decref(words);
				return NULL;
			}
			word.len = 0;
			in_word = false;
		}
		if (*s == '\0')
			return words;
		if (blank)
			continue;
		if (!in_word)
			niwa_text_add(&word, "");
		in_word = true;
		if (*s == quote) {
			quote = '\0';
			niwa_text_add(&word, "");
		} else if (!quote && (*s == '"' || *s == '\'')) {
			quote = *s;
		} else {
			if (*s == '\\' && quote != '\'' && s[1])
				s++;
			niwa_text_add_bytes(&word, s, 1);
		}
		if (word.data)
			word.data[word.len] = '\0';
	}
}

/* Text that is the same with and without quotes, in any YAML. */
static bool is_plain(const char *s)
{
	if (!isalnum((unsigned char)*s) && *s != '/')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("/._-%+=@", *s))
			return false;
	return true;
}

/* The code point at *s; moves *s behind it. The text is UTF-8. */
static unsigned next_char(const char **s)
{
	const unsigned char *b = (const unsigned char *)*s;
	unsigned more = *b < 0xc0 ? 0 : *b < 0xe0 ? 1 : *b < 0xf0 ? 2 : 3;
	unsigned code = more == 0 ? *b : *b & (0x3fu >> more);

	for (unsigned i = 1; i <= more; i++)
		code = code << 6 | (b[i] & 0x3fu);
	*s += more + 1;
	return code;
}

static void write_text(const char *s, struct niwa_text *out)
{
	if (is_plain(s)) {
		niwa_text_add(out, s);
		return;
	}
	niwa_text_add(out, "\"");
	while (*s) {
		const char *from = s;
		unsigned code = next_char(&s);

		if (code == '\n')
			niwa_text_add(out, "\\n");
		else if (code == '\t')
			niwa_text_add(out, "\\t");
		else if (code == '"' || code == '\\')
			niwa_text_addf(out, "\\%c", (char)code);
		else if (code < 0x20 || (code >= 0x7f && code < 0xa0))
			niwa_text_addf(out, "\\x%02X", code);
		else if (code == 0xfeff || code == 0x2028 || code == 0x2029 || (code & 0xfffe) == 0xfffe)
			niwa_text_addf(out, code > 0xffff ? "\\U%08X" : "\\u%04X", code);
		else
			niwa_text_add_bytes(out, from, (size_t)(s - from));
	}
	niwa_text_add(out, "\"");
}

/* On one line: text, [a, b], {a: b}. */
static void write_flow(const json_t *json, struct niwa_text *out)
{
	const char *separator = "", *key;
	json_t *item;
	size_t i;

	if (json_is_object(json)) {
		niwa_text_add(out, "{");
		json_object_foreach((json_t *)json, key, item)
		{
			niwa_text_add(out, separator);
			write_text(key, out);
			niwa_text_add(out, ": ");
			write_flow(item, out);
			separator = ", ";
		}
		niwa_text_add(out, "}");
	} else if (json_is_array(json)) {
		niwa_text_add(out, "[");
		json_array_foreach(json, i, item)
		{
			niwa_text_add(out, separator);
			write_flow(item, out);
			separator = ", ";
		}
		niwa_text_add(out, "]");
	} else if (json_is_string(json)) {
		write_text(json_string_value(json), out);
	} else if (json_is_integer(json)) {
		niwa_text_addf(out, "%lld", (long long)json_integer_value(json));
	} else {
		niwa_text_add(out, json_is_true(json) ? "true" : "false");
	}
}

static void write_key(const char *name, const json_t *value, struct niwa_text *out)
{
	const char *key;
	json_t *item;
	size_t i;

	niwa_text_addf(out, "%s:", name);
	if (json_is_array(value) && json_is_object(json_array_get(value, 0))) {
		json_array_foreach(value, i, item)
		{
			niwa_text_add(out, "\n      - ");
			write_flow(item, out);
		}
	} else if (strcmp(name, "env") == 0) {
		json_object_foreach((json_t *)value, key, item)
		{
			niwa_text_addf(out, "\n      %s: ", key);
			write_flow(item, out);
		}
	} else {
		niwa_text_add(out, " ");
		write_flow(value, out);
	}
	niwa_text_add(out, "\n");
}

void niwa_compose_write(const json_t *apps, const char *from, const char *tenant, struct niwa_text *out)
{
	char quoted[256];
	json_t *app;
	size_t i;

	niwa_text_addf(out, "# Made from %s by niwa import.\ndefaults: {tenant: ",
		       niwa_quote(from, strlen(from), quoted, sizeof(quoted)));
	write_text(tenant, out);
	niwa_text_add(out, "}\n\napps:\n");
	json_array_foreach(apps, i, app)
	{
		const char *indent = i ? "\n  - " : "  - ";

		for (size_t k = 0; k < niwa_schema_app.count; k++) {
			const char *name = niwa_schema_app.keys[k].name;
			const json_t *value = json_object_get(app, name);

			if (!value || strcmp(name, "tenant") == 0)
				continue;
			niwa_text_add(out, indent);
			write_key(name, value, out);
			indent = "    ";
		}
	}
}
