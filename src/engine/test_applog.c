/* SPDX-License-Identifier: MIT
 *
 * The log files of apps: names, bound, who shares one, and when one ends. Real files and pipes, no root.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/memory.h"
#include "engine/applog.h"
#include "engine/trash.h"

struct printer {
	struct niwa_instance i;
	int in;
};

static struct niwa_tenant *tenants[2];
static struct niwa_engine engine;

static struct niwa_app *app_named(uint64_t id, const char *name)
{
	struct niwa_app *app = niwa_zalloc(sizeof(*app) + strlen(name) + 1);

	assert_non_null(app);
	app->id = id;
	app->tenant = tenants[0];
	memcpy(app->name, name, strlen(name) + 1);
	return app;
}

static void begin(struct printer *p, struct niwa_app *app, uint64_t id)
{
	struct niwa_error err;
	int fds[2];

	*p = (struct printer){.i = {.engine = &engine, .app = app, .tenant = app->tenant, .id = id}};
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	p->i.log_fd = fds[0];
	p->in = fds[1];
	assert_int_equal(niwa_applog_open(&engine, &p->i, &err), 0);
}

static void print(struct printer *p, const char *text)
{
	assert_int_equal(write(p->in, text, strlen(text)), strlen(text));
	niwa_applog_drain(&engine, &p->i);
}

static void end(struct printer *p)
{
	close(p->in);
	close(p->i.log_fd);
	niwa_applog_close(&p->i);
}

/* What a log holds without times: "one\ntwo\n"; lines that are not whole as they are. NULL: no such file. */
static const char *content(const struct niwa_app *app, const char *suffix)
{
	static char text[65536], raw[65536];
	char path[PATH_MAX], *out = text;
	size_t len;

	niwa_applog_path(&engine, app, path, sizeof(path) - 4);
	(void)strcat(path, suffix);
	if (niwa_file_read(path, raw, sizeof(raw)) < 0)
		return NULL;
	for (char *line = raw; *line; line += len) {
		len = strcspn(line, "\n");
		len += line[len] == '\n';
		if (len > 28 && line[27] == ' ')
			out += snprintf(out, (size_t)(text + sizeof(text) - out), "%.*s", (int)len - 28, line + 28);
		else
			out += snprintf(out, (size_t)(text + sizeof(text) - out), "%.*s", (int)len, line);
	}
	*out = '\0';
	return text;
}

static void two_instances_of_an_app_print_whole_lines_into_one_file(void **state)
{
	struct niwa_app *app = app_named(1, "web.example.com");
	struct printer old, fresh;

	begin(&old, app, 11);
	begin(&fresh, app, 12);
	print(&old, "old 1\nold 2 goes");
	print(&old, " on");
	print(&fresh, "fresh 1\nfresh");
	print(&old, " and on\n");
	print(&fresh, " 2\nfresh 3\n");
	assert_string_equal(content(app, ""), "old 1\nold 2 goes on\nfresh 1\nfresh\n and on\n 2\nfresh 3\n");
	end(&old);
	print(&fresh, "fresh 4\n");
	assert_non_null(strstr(content(app, ""), "fresh 4\n"));
	end(&fresh);
	assert_null(app->log);
	niwa_applog_forget(&engine, app);
	free(app);
}

static void the_bound_is_of_what_all_instances_print_and_no_file_goes_early(void **state)
{
	struct niwa_app *app = app_named(2, "web.example.com");
	struct printer p[2];
	unsigned n = 0, first, at;
	char line[32], all[8192];

	begin(&p[0], app, 21);
	begin(&p[1], app, 22);
	for (; n < 200; n++) {
		(void)snprintf(line, sizeof(line), "%08u\n", n);
		print(&p[n / 7 % 2], line);
	}
	(void)snprintf(all, sizeof(all), "%s", content(app, ".1"));
	assert_true(strlen(all) / 9 >= engine.config.log_max_bytes / (9 + 28));
	(void)strcat(all, content(app, ""));
	assert_int_equal(sscanf(all, "%8u", &first), 1);
	for (at = 0; first < n; first++, at += 9)
		assert_int_equal((unsigned)strtoul(all + at, NULL, 10), first);
	assert_int_equal(all[at], '\0');
	end(&p[0]);
	end(&p[1]);
	niwa_applog_forget(&engine, app);
	free(app);
}

static void a_log_of_every_legal_name_is_bounded_and_is_one_app_s_alone(void **state)
{
	static const size_t lengths[] = {249, 250, 252, 253, 253};
	struct niwa_app *apps[NIWA_ARRAY_LEN(lengths)];
	char name[NIWA_NAME_MAX + 1], text[32];
	struct printer p;

	for (size_t n = 0; n < NIWA_ARRAY_LEN(lengths); n++) {
		memset(name, 'a', sizeof(name));
		name[lengths[n]] = '\0';
		name[lengths[n] - 1] = (char)('a' + n); /* alike in all but the end */
		apps[n] = app_named(30 + n, name);
		begin(&p, apps[n], 30 + n);
		(void)snprintf(text, sizeof(text), "app %zu\n", n);
		for (unsigned line = 0; line < 100; line++)
			print(&p, text);
		end(&p);
	}
	for (size_t n = 0; n < NIWA_ARRAY_LEN(lengths); n++) {
		(void)snprintf(text, sizeof(text), "app %zu\n", n);
		for (const char *const *suffix = (const char *const[]){"", ".1", NULL}; *suffix; suffix++) {
			const char *got = content(apps[n], *suffix);

			assert_non_null(got);
			assert_true(strlen(got) > 0 && strlen(got) < engine.config.log_max_bytes);
			for (; *got; got += strlen(text))
				assert_memory_equal(got, text, strlen(text));
		}
	}
	for (size_t n = 0; n < NIWA_ARRAY_LEN(lengths); n++) {
		niwa_applog_forget(&engine, apps[n]);
		free(apps[n]);
	}
}

static void an_app_that_comes_after_does_not_see_what_was_printed_before(void **state)
{
	struct niwa_app *before = app_named(41, "web.example.com"), *after = app_named(42, "web.example.com");
	struct printer old, fresh;

	begin(&old, before, 41);
	for (unsigned n = 0; n < 100; n++)
		print(&old, "secret\n");
	niwa_applog_forget(&engine, before);
	assert_null(content(after, ""));
	assert_null(content(after, ".1"));
	begin(&fresh, after, 42);
	print(&fresh, "hello\n");
	for (unsigned n = 0; n < 100; n++)
		print(&old, "last secret\n"); /* it is being stopped */
	end(&old);
	free(before);
	print(&fresh, "again\n");
	assert_string_equal(content(after, ""), "hello\nagain\n");
	assert_null(content(after, ".1"));
	end(&fresh);
	niwa_applog_forget(&engine, after);
	free(after);
}

static void what_an_instance_of_the_tenant_before_prints_is_lost(void **state)
{
	struct niwa_app *app = app_named(51, "web.example.com");
	struct niwa_error err;
	struct printer old, fresh;

	begin(&old, app, 51);
	print(&old, "secret\n");
	niwa_applog_forget(&engine, app);
	app->tenant = tenants[1];
	begin(&fresh, app, 52);
	print(&old, "secret\n");
	niwa_applog_close(&old.i); /* niwad starts again */
	assert_int_equal(niwa_applog_open(&engine, &old.i, &err), 0);
	print(&old, "secret\n");
	print(&fresh, "hello\n");
	assert_string_equal(content(app, ""), "hello\n");
	end(&old);
	end(&fresh);
	niwa_applog_forget(&engine, app);
	free(app);
}

static int set_up(void **state)
{
	struct niwa_error err;
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(engine.config.log_dir, sizeof(engine.config.log_dir), "%s/niwa-applog-XXXXXX",
		       tmp ? tmp : "/tmp");
	engine.config.log_max_bytes = 2000;
	for (size_t n = 0; n < NIWA_ARRAY_LEN(tenants); n++) {
		tenants[n] = niwa_zalloc(sizeof(*tenants[n]) + 2);
		if (!tenants[n])
			return -1;
		tenants[n]->name[0] = (char)('a' + n);
	}
	return mkdtemp(engine.config.log_dir) ? niwa_trash_new(&engine.trash, &err) : -1;
}

static int tear_down(void **state)
{
	niwa_trash_free(&engine.trash);
	for (size_t n = 0; n < NIWA_ARRAY_LEN(tenants); n++)
		free(tenants[n]);
	return rmdir(engine.config.log_dir); /* empty: nothing of removed apps is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_instances_of_an_app_print_whole_lines_into_one_file),
		cmocka_unit_test(the_bound_is_of_what_all_instances_print_and_no_file_goes_early),
		cmocka_unit_test(a_log_of_every_legal_name_is_bounded_and_is_one_app_s_alone),
		cmocka_unit_test(an_app_that_comes_after_does_not_see_what_was_printed_before),
		cmocka_unit_test(what_an_instance_of_the_tenant_before_prints_is_lost),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
