/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: the same bytes as an app file, a Compose file, an env file and a JSON record. What is accepted must
 * come out the same when it is read back, and what import writes must load.
 *   CC=clang meson setup build-fuzz && ninja -C build-fuzz src/spec/fuzz_spec
 *   build-fuzz/src/spec/fuzz_spec -max_len=8192 NEW src/spec/corpus
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "spec/app.h"
#include "spec/compose_private.h"
#include "spec/env_file_private.h"
#include "spec/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Record → JSON → record → JSON is stable. */
static void check_record(const json_t *json)
{
	struct niwa_app_spec *spec = NULL, *again = NULL;
	json_t *once, *twice;

	if (niwa_app_from_json(json, &spec, NULL, NULL) < 0) {
		if (spec)
			abort();
		return;
	}
	once = niwa_app_to_json(spec);
	if (!once || niwa_app_from_json(once, &again, NULL, NULL) < 0)
		abort();
	twice = niwa_app_to_json(again);
	if (!json_equal(once, twice) || json_dumpb(once, NULL, 0, JSON_COMPACT) > NIWA_APP_JSON_MAX)
		abort();
	json_decref(once);
	json_decref(twice);
	niwa_app_spec_free(&spec);
	niwa_app_spec_free(&again);
}

static void fuzz_file(const char *text, size_t size)
{
	struct niwa_file_text file = {.name = "f", .path = "/nowhere/f", .text = text, .len = size};
	struct niwa_error err = {0};
	json_t *apps = NULL, *app;
	size_t i;

	if (niwa_file_load_text(&file, NULL, NULL, &apps, &err) < 0) {
		if (err.kind == NIWA_NONE || !err.msg[0])
			abort();
		return;
	}
	json_array_foreach(apps, i, app) check_record(app);
	json_decref(apps);
}

static void fuzz_compose(const char *text, size_t size)
{
	struct niwa_compose_file file = {.name = "c", .folder = "/nowhere/x", .text = text, .len = size};
	struct niwa_error err = {0};
	char *yaml = NULL, *notes = NULL;

	/* What import wrote must load: a message that begins with the name of its result is our bug. */
	if (niwa_compose_import_text(&file, &yaml, &notes, &err) < 0 && strncmp(err.msg, "the imported", 12) == 0)
		abort();
	free(yaml);
	free(notes);
}

static void fuzz_env(const char *text, size_t size)
{
	char *copy = malloc(size + 1);
	json_t *env = NULL;

	if (!copy)
		abort();
	memcpy(copy, text, size + 1);
	if (niwa_env_text_read("e", copy, size, &env, NULL) == 0)
		json_decref(env);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	json_t *json;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	fuzz_file(text, size);
	fuzz_compose(text, size);
	fuzz_env(text, size);
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	if (json)
		check_record(json);
	json_decref(json);
	free(text);
	return 0;
}
