/* SPDX-License-Identifier: MIT
 *
 * niwa.yaml(5) says what the table says, and its examples are app files.
 *   test_man PAGE           checks the page
 *   test_man --write PAGE   writes the section of keys into it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/memory.h"
#include "spec/file.h"

#define BEGIN "\n.\\\" BEGIN KEYS (written by test_man --write)\n"
#define END   ".\\\" END KEYS\n"

static const char *page_path;

static char *read_page(void)
{
	size_t size = 1 << 20;
	char *page = malloc(size);

	assert_non_null(page);
	assert_true(niwa_file_read(page_path, page, size) > 0);
	return page;
}

/* The section of keys in the page: its beginning and its length. */
static char *find_section(char *page, size_t *ret_len)
{
	char *begin = strstr(page, BEGIN), *end;

	assert_non_null(begin);
	begin += strlen(BEGIN);
	end = strstr(begin, END);
	assert_non_null(end);
	*ret_len = (size_t)(end - begin);
	return begin;
}

static void the_keys_of_the_manual_are_those_of_the_table(void **state)
{
	char *page = read_page(), *keys = niwa_schema_man();
	size_t len;
	char *section = find_section(page, &len);

	assert_non_null(keys);
	section[len] = '\0';
	assert_string_equal(section, keys);
	free(keys);
	free(page);
}

static void the_examples_of_the_manual_are_app_files(void **state)
{
	char *page = read_page(), *at = page;
	unsigned examples = 0;

	while ((at = strstr(at, "\n.Bd -literal\n"))) {
		char *text = at + strlen("\n.Bd -literal\n"), *end = strstr(text, "\n.Ed");
		struct niwa_file_text file = {.name = "example", .path = "example", .text = text};
		struct niwa_error err = {0};
		json_t *apps = NULL;

		assert_non_null(end);
		file.len = (size_t)(end - text);
		if (niwa_file_load_text(&file, NULL, NULL, &apps, &err) < 0)
			fail_msg("%s\n%.*s", err.msg, (int)file.len, text);
		json_decref(apps);
		examples++;
		at = end;
	}
	assert_true(examples >= 3);
	free(page);
}

static int write_section(void)
{
	char *page = read_page(), *keys = niwa_schema_man();
	struct niwa_error err = {0};
	size_t len;
	char *section = find_section(page, &len);
	char *text = niwa_asprintf("%.*s%s%s", (int)(section - page), page, keys, section + len);
	int r = niwa_file_replace(page_path, text, strlen(text), 0644, &err);

	if (r < 0)
		(void)fprintf(stderr, "%s\n", err.msg);
	free(text);
	free(keys);
	free(page);
	return r < 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keys_of_the_manual_are_those_of_the_table),
		cmocka_unit_test(the_examples_of_the_manual_are_app_files),
	};

	if (argc < 2)
		return 2;
	page_path = argv[argc - 1];
	if (strcmp(argv[1], "--write") == 0)
		return write_section();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
