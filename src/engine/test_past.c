/* SPDX-License-Identifier: MIT
 *
 * Tests of what is remembered of apps: who woke them stays known however many there were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "engine/past.h"

static void visit(struct niwa_app *app, const char *why)
{
	niwa_app_note_move(app, NIWA_FROZEN, NIWA_RUNNING, why);
}

static void visitors_are_remembered_however_many_there_were(void **state)
{
	NIWA_AUTO(niwa_free_ptr) struct niwa_engine *e = niwa_zalloc(sizeof(*e));
	NIWA_AUTO(niwa_free_ptr) struct niwa_app *app = niwa_zalloc(sizeof(*app) + 1);
	size_t pos = 0;
	char why[64], *text;

	e->whys = niwa_map_new(NIWA_MAP_STRING);
	app->engine = e;
	for (unsigned i = 0; i < 20000; i++) {
		(void)snprintf(why, sizeof(why), "connection from 10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		visit(app, why);
	}
	assert_string_equal(niwa_app_last_why(app, why, sizeof(why)), "connection from 10.0.78.31");
	assert_string_equal(niwa_app_why(app, 0, why, sizeof(why)), "connection from 10.0.78.24");
	assert_int_equal(niwa_map_count(e->whys), 1);
	visit(app, "connection from nowhere");
	assert_string_equal(niwa_app_last_why(app, why, sizeof(why)), "connection from nowhere");
	visit(app, "its schedule");
	assert_string_equal(niwa_app_last_why(app, why, sizeof(why)), "its schedule");
	niwa_app_past_free(app);
	assert_string_equal(niwa_app_last_why(app, why, sizeof(why)), "");
	while ((text = niwa_map_next(e->whys, &pos)))
		free(text);
	niwa_map_free(&e->whys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(visitors_are_remembered_however_many_there_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
