/* SPDX-License-Identifier: MIT
 *
 * Tests of what control groups say, with files that say it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/memory.h"
#include "engine/group.h"

#define MIB 1048576

struct fixture {
	struct niwa_engine *engine;
	char base[32], group[64];
};

static int setup(void **state)
{
	struct fixture *f = niwa_zalloc(sizeof(*f));

	f->engine = niwa_zalloc(sizeof(*f->engine));
	f->engine->instances = niwa_map_new(NIWA_MAP_U64);
	(void)snprintf(f->base, sizeof(f->base), "/tmp/niwa-group-XXXXXX");
	assert_non_null(mkdtemp(f->base));
	(void)snprintf(f->group, sizeof(f->group), "%s/i7", f->base);
	assert_int_equal(mkdir(f->group, 0700), 0);
	*state = f;
	return 0;
}

static void path_of(const struct fixture *f, const char *file, char path[128])
{
	(void)snprintf(path, 128, "%s/%s", f->group, file);
}

static int teardown(void **state)
{
	static const char *const files[] = {"memory.stat", "memory.swap.current"};
	struct fixture *f = *state;
	char path[128];

	for (size_t n = 0; n < NIWA_ARRAY_LEN(files); n++) {
		path_of(f, files[n], path);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(f->group), 0);
	assert_int_equal(rmdir(f->base), 0);
	niwa_map_free(&f->engine->instances);
	free(f->engine);
	free(f);
	return 0;
}

static void says(const struct fixture *f, const char *file, const char *text)
{
	char path[128];
	FILE *out;

	path_of(f, file, path);
	out = fopen(path, "we");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static uint64_t needs(struct fixture *f)
{
	uint64_t bytes = 0;

	assert_int_equal(niwa_group_needs(f->engine, 7, &bytes), 0);
	return bytes;
}

static void a_paged_app_needs_what_it_has_in_swap_too(void **state)
{
	struct fixture *f = *state;

	f->engine->host.cgroup_layout = NIWA_CGROUP_UNIFIED;
	f->engine->host.cgroup_v2 = f->base;
	says(f, "memory.stat", "anon 1048576\nfile 99999999\nkernel 2097152\nshmem 0\n");
	assert_int_equal(needs(f), 3 * MIB); /* swap is not counted there */
	says(f, "memory.swap.current", "41943040\n");
	assert_int_equal(needs(f), 43 * MIB);
}

static void in_v1_as_well(void **state)
{
	struct fixture *f = *state;

	f->engine->host.cgroup_layout = NIWA_CGROUP_HYBRID;
	f->engine->host.cgroup_memory = f->base;
	says(f, "memory.stat", "cache 99999999\nrss 1\nswap 1\ntotal_rss 3145728\ntotal_shmem 0\n");
	assert_int_equal(needs(f), 3 * MIB);
	says(f, "memory.stat", "swap 1\ntotal_rss 3145728\ntotal_shmem 0\ntotal_swap 41943040\n");
	assert_int_equal(needs(f), 43 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_paged_app_needs_what_it_has_in_swap_too, setup, teardown),
		cmocka_unit_test_setup_teardown(in_v1_as_well, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
