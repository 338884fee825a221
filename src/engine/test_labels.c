/* SPDX-License-Identifier: MIT */
#include "engine/labels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"

static char *texts[] = {(char[]){"free="}, (char[]){"k=v=w"}, (char[]){"plan=gold"}, NULL};

static void a_label_is_found_by_key_and_value_or_by_its_key(void **state)
{
	char *packed, *none;
	const struct {
		const char *label;
		bool found;
	} cases[] = {
		{"plan=gold", true}, {"plan", true},  {"plan=", false}, {"plan=gol", false}, {"plan=golds", false},
		{"pla", false},      {"free=", true}, {"free", true},   {"k=v=w", true},     {"k=v", false},
		{"k", true},         {"", false},     {"gold", false},  {"=gold", false},
	};

	(void)state;
	assert_int_equal(niwa_labels_pack(texts, &packed), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		if (niwa_labels_have(packed, cases[i].label) != cases[i].found)
			fail_msg("'%s' is %sfound", cases[i].label, cases[i].found ? "not " : "");
	assert_int_equal(niwa_labels_pack(NULL, &none), 0);
	assert_null(none);
	assert_int_equal(niwa_labels_pack((char *[]){NULL}, &none), 0);
	assert_null(none);
	assert_false(niwa_labels_have(NULL, "plan"));
	free(packed);
}

static void labels_are_told_as_they_were(void **state)
{
	char *packed, *text;
	json_t *json;

	(void)state;
	assert_int_equal(niwa_labels_pack(texts, &packed), 0);
	json = niwa_labels_json(packed);
	text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text, "{\"free\":\"\",\"k\":\"v=w\",\"plan\":\"gold\"}");
	assert_null(niwa_labels_json(NULL));
	free(text);
	json_decref(json);
	free(packed);
}

static void a_filter_passes_what_has_all_that_it_names(void **state)
{
	const struct niwa_filter_facts app = {
		.name = "www.a.example", .state = "stopped", .tenant = "t", .labels = "plan=gold\0"};
	const struct {
		struct niwa_filter filter;
		bool passes;
	} cases[] = {
		{{0}, true},
		{{.tenant = "t"}, true},
		{{.tenant = "T"}, false},
		{{.state = "stopped"}, true},
		{{.state = "running"}, false},
		{{.match = "*.a.*"}, true},
		{{.match = "a"}, false},
		{{.label = "plan"}, true},
		{{.label = "plan=silver"}, false},
		{{.tenant = "t", .state = "stopped", .match = "www*", .label = "plan=gold"}, true},
		{{.tenant = "t", .state = "stopped", .match = "ftp*", .label = "plan=gold"}, false},
	};

	(void)state;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		assert_int_equal(niwa_filter_passes(&cases[i].filter, &app), cases[i].passes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_label_is_found_by_key_and_value_or_by_its_key),
		cmocka_unit_test(labels_are_told_as_they_were),
		cmocka_unit_test(a_filter_passes_what_has_all_that_it_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
