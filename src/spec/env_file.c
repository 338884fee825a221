/* SPDX-License-Identifier: MIT
 *
 * Reads env files line by line.
 */
#include "spec/env_file_private.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/schema_private.h"
#include "spec/yaml_private.h"

/* Cuts blanks at both ends. */
static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t\r");
	len = strlen(s);
	while (len > 0 && strchr(" \t\r", s[len - 1]))
		s[--len] = '\0';
	return s;
}

/* Takes off quotes that stand around the whole value. */
static char *unquote(char *s)
{
	size_t len = strlen(s);

	if (len < 2 || (*s != '"' && *s != '\'') || s[len - 1] != *s)
		return s;
	s[len - 1] = '\0';
	return s + 1;
}

static bool is_export(const char *line)
{
	return strncmp(line, "export", 6) == 0 && strchr(" \t", line[6]) && line[6];
}

static int read_line(json_t *env, const char *name, unsigned number, char *line, struct niwa_error *err)
{
	char *key = trim(line), *value = strchr(key, '='), quoted[64];

	if (*key == '\0' || *key == '#')
		return 0;
	if (is_export(key)) /* what it means to a shell would be guessed at: quoting, other variables */
		return niwa_fail(err, NIWA_CALLER, 0,
				 "'%s' line %u: found 'export'; allowed: KEY=value, without export (no shell reads it)",
				 name, number);
	if (!value)
		return niwa_fail(err, NIWA_CALLER, 0, "'%s' line %u: found '%s'; allowed: KEY=value", name, number,
				 niwa_quote(key, strlen(key), quoted, sizeof(quoted)));
	*value++ = '\0';
	key = trim(key);
	if (!niwa_is_env_key(key, strlen(key)))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "'%s' line %u: found name '%s'; allowed: letters, digits and '_', no digit first",
				 name, number, niwa_quote(key, strlen(key), quoted, sizeof(quoted)));
	if (json_object_set_new_nocheck(env, key, json_string(unquote(trim(value)))) == 0)
		return 0;
	/* jansson does not say which of the two it was; our key is ASCII, so look at the value. */
	value = (char *)json_dumps(env, 0);
	free(value);
	return value ? niwa_fail(err, NIWA_CALLER, 0, "'%s' line %u: not text; allowed: UTF-8", name, number)
		     : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read '%s'", name);
}

int niwa_env_text_read(const char *name, char *text, size_t len, json_t **ret, struct niwa_error *err)
{
	json_t *env = json_object();
	unsigned number = 0;
	char *line = text;
	int r = 0;

	if (!env)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read '%s'", name);
	if (memchr(text, '\0', len))
		r = niwa_fail(err, NIWA_CALLER, 0, "'%s': not text: a NUL byte in it", name);
	if (r == 0 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
		r = niwa_fail(err, NIWA_CALLER, 0,
			      "'%s' line 1: found a byte order mark; allowed: UTF-8 without one (save it so)", name);
	while (r == 0 && line) {
		char *end = strchr(line, '\n');

		if (end)
			*end++ = '\0';
		r = read_line(env, name, ++number, line, err);
		line = end;
	}
	if (r == 0)
		*ret = env;
	else
		json_decref(env);
	return r;
}

int niwa_env_file_read(const char *path, json_t **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	size_t len;
	int r = niwa_yaml_read_file(path, NIWA_ENV_FILE_MAX, &text, &len, err);

	return r < 0 ? r : niwa_env_text_read(path, text, len, ret, err);
}
