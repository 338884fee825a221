/* SPDX-License-Identifier: MIT
 *
 * Tables that fit, times that people read, options that mean what they say, the verbs' own texts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/human.h"
#include "cli/table.h"
#include "cli/tree.h"

static void times_are_read_by_people(void **state)
{
	static const struct {
		uint64_t us;
		const char *took;
	} took[] = {{0, "0 us"},        {850, "850 us"},     {12400, "12.4 ms"},    {999949, "999.9 ms"},
		    {999950, "1.00 s"}, {1240000, "1.24 s"}, {99990000, "99.99 s"}, {180000000, "3 min"}};
	static const struct {
		uint64_t s;
		const char *ago;
	} ago[] = {{0, "now"},        {3, "3 s ago"},          {59, "59 s ago"},       {60, "1 min ago"},
		   {3600, "1 h ago"}, {47 * 3600, "47 h ago"}, {48 * 3600, "2 d ago"}, {400 * 86400, "400 d ago"}};
	uint64_t now = 1800000000 * NIWA_SEC;
	char buf[32];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(took); i++)
		assert_string_equal(niwa_human_took(took[i].us, buf, sizeof(buf)), took[i].took);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(ago); i++)
		assert_string_equal(niwa_human_ago(now - ago[i].s * NIWA_SEC, now, buf, sizeof(buf)), ago[i].ago);
	assert_string_equal(niwa_human_ago(0, now, buf, sizeof(buf)), "-");
	assert_string_equal(niwa_human_ago(now + 5 * NIWA_SEC, now, buf, sizeof(buf)), "now");
}

static void sizes_are_read_by_people(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {{0, "0"},
		     {512, "512 B"},
		     {1024, "1.0 KiB"},
		     {UINT64_C(1048550), "1.0 MiB"},
		     {UINT64_C(12) << 30, "12.0 GiB"},
		     {UINT64_MAX, "16384.0 PiB"}};
	char buf[32];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		assert_string_equal(niwa_human_bytes(cases[i].bytes, buf, sizeof(buf)), cases[i].text);
}

static const struct niwa_column columns[] = {
	{.title = "APP", .shrink_to = 6},
	{.title = "STATE"},
	{.title = "TENANT", .shrink_to = 4, .importance = 2},
	{.title = "TOOK", .right = true, .importance = 1},
};

static char *print(unsigned width)
{
	NIWA_AUTO(niwa_table_free) struct niwa_table *t = niwa_table_new(columns, 4);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	niwa_table_row(t, (const char *[]){"blog.example.com", "frozen", "example", "12.4 ms"});
	niwa_table_row(t, (const char *[]){"a", "stopped", NULL, "\033[31m"});
	assert_int_equal(niwa_table_rows(t), 2);
	assert_int_equal(niwa_table_print(t, out, width), 0);
	(void)fclose(out);
	return text;
}

static void a_table_in_a_pipe_is_never_cut(void **state)
{
	NIWA_AUTO(niwa_free_ptr) char *text = print(0);

	assert_string_equal(text, "APP               STATE    TENANT      TOOK\n"
				  "blog.example.com  frozen   example  12.4 ms\n"
				  "a                 stopped  -          ?[31m\n");
}

static void a_table_fits_every_width(void **state)
{
	for (unsigned width = 15; width < 60; width++) {
		NIWA_AUTO(niwa_free_ptr) char *text = print(width);
		char *save = NULL;

		assert_non_null(strstr(text, "frozen")); /* what is important stays whole */
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			assert_true(strlen(line) <= width);
	}
}

static void a_narrow_table_cuts_then_leaves_out(void **state)
{
	NIWA_AUTO(niwa_free_ptr) char *cut = print(38);
	NIWA_AUTO(niwa_free_ptr) char *left_out = print(24);

	assert_non_null(strstr(cut, "blog.examp~"));
	assert_non_null(strstr(cut, "TENANT"));
	assert_null(strstr(left_out, "TENANT"));
	assert_non_null(strstr(left_out, "12.4 ms"));
}

static int parse(struct niwa_cli *cli, int argc, const char *const *argv)
{
	*cli = (struct niwa_cli){0};
	return niwa_cli_parse(cli, argc, (char **)(uintptr_t)argv);
}

#define PARSE(cli, ...)                                                                                                \
	parse(cli, sizeof((const char *[]){"niwa", __VA_ARGS__}) / sizeof(char *),                                     \
	      (const char *const[]){"niwa", __VA_ARGS__, NULL})

static void options_stand_before_and_after_the_verb(void **state)
{
	struct niwa_cli cli;

	assert_int_equal(PARSE(&cli, "--socket", "/a", "ls", "--json", "web*", "--tenant", "t", "-q"), 0);
	assert_string_equal(cli.verb->name, "ls");
	assert_string_equal(cli.socket, "/a");
	assert_true(cli.json && cli.quiet);
	assert_null(cli.option[0]);
	assert_string_equal(cli.option[1], "t");
	assert_int_equal(cli.word_count, 1);
	assert_string_equal(cli.words[0], "web*");
	niwa_cli_fini(&cli);
}

static void options_of_a_command_are_left_to_it(void **state)
{
	struct niwa_cli cli;

	assert_int_equal(PARSE(&cli, "exec", "-T", "app", "ls", "-l", "--json"), 0);
	assert_int_equal(cli.word_count, 4);
	assert_false(cli.json);
	assert_string_equal(cli.words[2], "-l");
	niwa_cli_fini(&cli);
}

static void the_socket_comes_from_the_environment(void **state)
{
	struct niwa_cli cli;

	assert_int_equal(setenv("NIWA_SOCKET", "/env.sock", 1), 0);
	assert_int_equal(PARSE(&cli, "ls"), 0);
	assert_string_equal(cli.socket, "/env.sock");
	niwa_cli_fini(&cli);
	assert_int_equal(unsetenv("NIWA_SOCKET"), 0);
	assert_int_equal(PARSE(&cli, "ls"), 0);
	assert_string_equal(cli.socket, "/run/niwa/niwad.sock");
	niwa_cli_fini(&cli);
}

static void every_verb_is_complete(void **state)
{
	for (const struct niwa_verb *v = niwa_verbs; v->name; v++) {
		size_t options = 0;

		assert_ptr_equal(niwa_verb_find(v->name), v);
		assert_non_null(v->usage);
		assert_non_null(v->summary);
		assert_non_null(v->help);
		assert_non_null(v->run);
		assert_true(v->words_max < 0 || v->words_min <= v->words_max);
		for (const struct niwa_option *o = v->options; o->name; o++, options++)
			assert_non_null(o->help);
		assert_true(options < NIWA_OPTIONS_MAX);
		for (const char *line = v->help; *line; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL))
			assert_true(strcspn(line, "\n") <= 100);
	}
	assert_null(niwa_verb_find("lss"));
}

static void the_doctor_reads_what_niwad_prints(void **state)
{
	struct niwa_probe_host host;

	niwa_probe_host_defaults(&host);
	assert_string_equal(host.run_dir, "/run/niwa");
	assert_int_equal(host.service_bits, 12);
	assert_int_equal(host.lease_count, 10000);
	assert_int_equal(niwa_probe_host_set(&host, "service_range = 192.0.2.0/24"), 0);
	assert_int_equal(host.service_bits, 24);
	assert_int_equal(host.service_net & 0xff, 192);
	assert_int_equal(niwa_probe_host_set(&host, "state_dir = /srv/with blanks  "), 0);
	assert_string_equal(host.state_dir, "/srv/with blanks");
	assert_int_equal(niwa_probe_host_set(&host, "log_max = 8M"), 0);
	assert_int_equal(niwa_probe_host_set(&host, "private_range = 10.0.0.0"), -EINVAL);
	assert_int_equal(niwa_probe_host_set(&host, "lease_base = many"), -EINVAL);
}

static void every_probe_is_complete(void **state)
{
	for (const struct niwa_probe *p = niwa_probes; p->id; p++) {
		assert_non_null(p->run);
		assert_true(*p->what && *p->section);
		for (const struct niwa_probe *q = p + 1; q->id; q++)
			assert_string_not_equal(p->id, q->id);
	}
}

static void a_tree_shows_units_and_hides_controls(void **state)
{
	json_t *json =
		json_pack("{s:I, s:I, s:s, s:b, s:[i,i], s:{s:i}}", "memory_bytes", (json_int_t)1048576, "took_us",
			  (json_int_t)12400, "name", "a\033b", "on", 1, "list", 1, 2, "inner", "x", 3);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	niwa_tree_print(out, json, 2);
	(void)fclose(out);
	json_decref(json);
	assert_string_equal(text, "  memory  1.0 MiB\n"
				  "  took    12.4 ms\n"
				  "  name    a?b\n"
				  "  on      yes\n"
				  "  list    1, 2\n"
				  "  inner\n"
				  "    x  3\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_read_by_people),
		cmocka_unit_test(sizes_are_read_by_people),
		cmocka_unit_test(a_table_in_a_pipe_is_never_cut),
		cmocka_unit_test(a_table_fits_every_width),
		cmocka_unit_test(a_narrow_table_cuts_then_leaves_out),
		cmocka_unit_test(options_stand_before_and_after_the_verb),
		cmocka_unit_test(options_of_a_command_are_left_to_it),
		cmocka_unit_test(the_socket_comes_from_the_environment),
		cmocka_unit_test(every_verb_is_complete),
		cmocka_unit_test(the_doctor_reads_what_niwad_prints),
		cmocka_unit_test(every_probe_is_complete),
		cmocka_unit_test(a_tree_shows_units_and_hides_controls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
