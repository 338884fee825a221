/* SPDX-License-Identifier: MIT
 *
 * From app and key to file and line. Each file is read again once.
 */
#include "cli/blame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/answer.h"
#include "spec/file_place.h"

#define SHOWN 20

static const json_t *record_of(const struct niwa_blame *b, const char *name)
{
	json_t *app;
	size_t i;

	json_array_foreach(b->apps, i, app) if (strcmp(niwa_answer_text(app, "name"), name) == 0) return app;
	return NULL;
}

static const char *shown_name(const char *path)
{
	return strcmp(path, "-") == 0 ? "(standard input)" : path;
}

void niwa_blame_error(const struct niwa_blame *b, const struct niwa_client *client, struct niwa_error *err)
{
	NIWA_AUTO(niwa_file_places_free) struct niwa_file_places *places = NULL;
	const json_t *data = niwa_client_error_data(client), *record;
	const char *name = niwa_answer_text(data, "app"), *key = niwa_answer_text(data, "key");
	const char *path = niwa_map_get_str(b->files, name), *msg = err->msg;
	char place[NIWA_PLACE_MAX], text[NIWA_ERROR_MAX * 2];
	uint32_t line = 0;

	record = path && *key ? record_of(b, name) : NULL;
	if (!record)
		return;
	places = niwa_file_places_open(path);
	if (places)
		line = niwa_file_places_find(places, record, key, place);
	if (strncmp(msg, name, strlen(name)) == 0 && strncmp(msg + strlen(name), ": ", 2) == 0)
		msg += strlen(name) + 2;
	if (line && strncmp(msg, key, strlen(key)) == 0 && strncmp(msg + strlen(key), ": ", 2) == 0)
		msg += strlen(key) + 2;
	if (line)
		(void)snprintf(text, sizeof(text), "%.200s:%" PRIu32 ": %s of %.253s: %.300s", path, line, place, name,
			       msg);
	else
		(void)snprintf(text, sizeof(text), "%.200s: %s: %.300s", shown_name(path), name, msg);
	(void)snprintf(err->msg, sizeof(err->msg), "%.*s", (int)sizeof(err->msg) - 1, text);
}

static void blame_one(const struct niwa_blame *b, json_t *warning, const char *path,
		      const struct niwa_file_places *places)
{
	const json_t *record = record_of(b, niwa_answer_text(warning, "app"));
	char place[NIWA_PLACE_MAX];
	uint32_t line = 0;

	(void)json_object_set_new(warning, "file", json_string(shown_name(path)));
	if (record && places)
		line = niwa_file_places_find(places, record, niwa_answer_text(warning, "key"), place);
	if (!line)
		return;
	(void)json_object_set_new(warning, "line", json_integer(line));
	(void)json_object_set_new(warning, "place", json_string(place));
}

void niwa_blame_warnings(const struct niwa_blame *b, json_t *warnings)
{
	NIWA_AUTO(niwa_file_places_free) struct niwa_file_places *places = NULL;
	const char *open = NULL; /* the path of places: warnings come in the order of the files */
	json_t *warning;
	size_t i;

	json_array_foreach(warnings, i, warning)
	{
		const char *path = niwa_map_get_str(b->files, niwa_answer_text(warning, "app"));

		if (!path || !json_is_object(warning))
			continue;
		if (path != open) {
			niwa_file_places_free(&places);
			places = niwa_file_places_open(path);
			open = path;
		}
		blame_one(b, warning, path, places);
	}
}

static void add_rest(const json_t *warning, struct niwa_text *out)
{
	uint64_t others = niwa_answer_number(warning, "others");
	char clean[NIWA_ERROR_MAX * 4];

	niwa_text_add(out, niwa_answer_safe(warning, "message", clean, sizeof(clean)));
	if (others)
		niwa_text_addf(out, " (and %" PRIu64 " more app%s)", others, others == 1 ? "" : "s");
}

void niwa_blame_print(const json_t *warnings)
{
	const json_t *warning;
	size_t i;

	json_array_foreach(warnings, i, warning)
	{
		struct niwa_text out = {0};
		uint64_t line = niwa_answer_number(warning, "line");

		if (i == SHOWN)
			break;
		if (line)
			niwa_text_addf(&out, "%s:%" PRIu64 ": %s of %s: ", niwa_answer_text(warning, "file"), line,
				       niwa_answer_text(warning, "place"), niwa_answer_text(warning, "app"));
		else
			niwa_text_addf(&out, "%s: %s: ", niwa_answer_text(warning, "app"),
				       niwa_answer_text(warning, "key"));
		add_rest(warning, &out);
		(void)fprintf(stderr, "niwa: warning: %s\n", out.data ? out.data : "");
		niwa_text_fini(&out);
	}
	if (json_array_size(warnings) > SHOWN)
		(void)fprintf(stderr, "niwa: and %zu more warnings\n", json_array_size(warnings) - SHOWN);
}
