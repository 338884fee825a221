/* SPDX-License-Identifier: MIT
 *
 * Counting into buckets, and the text that is made of it. promtool judges the whole text in the end-to-end tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/metrics.h"

static void a_value_counts_in_the_first_bucket_that_it_does_not_exceed(void **state)
{
	struct niwa_histogram h = {.scale = NIWA_SCALE_WAIT};

	(void)state;
	niwa_histogram_add(&h, 0);
	niwa_histogram_add(&h, 500);
	niwa_histogram_add(&h, 501);
	niwa_histogram_add(&h, 60 * NIWA_SEC);
	niwa_histogram_add(&h, 60 * NIWA_SEC + 1);
	assert_int_equal(h.counts[0], 2);
	assert_int_equal(h.counts[1], 1);
	assert_int_equal(h.counts[NIWA_BUCKETS - 2], 1);
	assert_int_equal(h.counts[NIWA_BUCKETS - 1], 1);
	assert_int_equal(h.sum_us, 120 * NIWA_SEC + 1002);
}

static void a_stage_that_was_not_reached_is_not_counted(void **state)
{
	struct niwa_metrics m;

	(void)state;
	niwa_metrics_init(&m);
	niwa_metrics_stage(&m, "start", NIWA_STAGE_CLONED, 1000, 0);
	niwa_metrics_stage(&m, "start", NIWA_STAGE_CLONED, 0, 1000);
	niwa_metrics_stage(&m, "restore", NIWA_STAGE_CLONED, 1000, 3000);
	assert_int_equal(m.stages[NIWA_PATH_START][NIWA_STAGE_CLONED].sum_us, 0);
	assert_int_equal(m.stages[NIWA_PATH_RESTORE][NIWA_STAGE_CLONED].sum_us, 2000);
}

static char *text_of(const struct niwa_metrics *m, struct niwa_text *text)
{
	const struct niwa_figures figures = {.version = "1.2.3", .cpu_us = 1500000, .starts_limit = 8};

	niwa_metrics_text(m, &figures, text);
	assert_false(text->failed);
	return text->data;
}

static void buckets_are_told_with_all_before_them(void **state)
{
	struct niwa_text text = {0};
	struct niwa_metrics m;
	char *t;

	(void)state;
	niwa_metrics_init(&m);
	niwa_metrics_woke(&m, "thaw", NIWA_WAKE_OK);
	niwa_metrics_stage(&m, "thaw", NIWA_STAGE_READY, NIWA_SEC, NIWA_SEC + 400);
	niwa_metrics_stage(&m, "thaw", NIWA_STAGE_READY, NIWA_SEC, NIWA_SEC + 900);
	t = text_of(&m, &text);
	assert_non_null(strstr(t, "\nniwa_wakes_total{path=\"thaw\",outcome=\"ok\"} 1\n"));
	assert_non_null(strstr(t, "stage_seconds_bucket{path=\"thaw\",stage=\"ready\",le=\"0.0005\"} 1\n"));
	assert_non_null(strstr(t, "stage_seconds_bucket{path=\"thaw\",stage=\"ready\",le=\"0.001\"} 2\n"));
	assert_non_null(strstr(t, "stage_seconds_bucket{path=\"thaw\",stage=\"ready\",le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(t, "stage_seconds_sum{path=\"thaw\",stage=\"ready\"} 0.001300\n"));
	assert_non_null(strstr(t, "stage_seconds_count{path=\"thaw\",stage=\"ready\"} 2\n"));
	assert_null(strstr(t, "path=\"thaw\",stage=\"cloned\""));
	assert_non_null(strstr(t, "\nniwa_engine_cpu_seconds_total 1.500000\n"));
	assert_non_null(strstr(t, "\nniwa_build_info{version=\"1.2.3\"} 1\n"));
	niwa_text_fini(&text);
}

/* Prometheus takes the lines of a family only when they stand together, below what says what it is. */
static void each_family_stands_together_and_says_what_it_is(void **state)
{
	char *families[128], *save = NULL, *line;
	struct niwa_text text = {0};
	struct niwa_metrics m;
	size_t count = 0;

	(void)state;
	niwa_metrics_init(&m);
	for (line = strtok_r(text_of(&m, &text), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			families[count] = line + 7;
			families[count][strcspn(families[count], " ")] = '\0';
			for (size_t i = 0; i < count; i++)
				assert_string_not_equal(families[i], families[count]);
			count++;
		} else if (line[0] != '#') {
			assert_true(count > 0);
			assert_int_equal(strncmp(line, families[count - 1], strlen(families[count - 1])), 0);
		}
	}
	assert_true(count > 30);
	niwa_text_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_counts_in_the_first_bucket_that_it_does_not_exceed),
		cmocka_unit_test(a_stage_that_was_not_reached_is_not_counted),
		cmocka_unit_test(buckets_are_told_with_all_before_them),
		cmocka_unit_test(each_family_stands_together_and_says_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
