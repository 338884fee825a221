/* SPDX-License-Identifier: MIT
 *
 * Tests of src/base.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/map.h"
#include "base/order.h"
#include "base/priority.h"
#include "base/text.h"

static void an_error_says_what_and_why(void **state)
{
	struct niwa_error err;

	assert_int_equal(niwa_fail(&err, NIWA_PERMANENT, ENOENT, "open '%s'", "/x"), -ENOENT);
	assert_string_equal(err.msg, "open '/x': No such file or directory");
	assert_int_equal(niwa_fail_in(&err, -ENOENT, "app %s", "blog"), -ENOENT);
	assert_string_equal(err.msg, "app blog: open '/x': No such file or directory");
}

static void durations_and_sizes_are_read_and_written(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t us;
		const char *back;
	} cases[] = {
		{"2s", 0, 2000000, "2s"},
		{"1h30m", 0, 5400000000, "1h30m"},
		{"90m", 0, 5400000000, "1h30m"},
		{"0", 0, 0, "0"},
		{"1.5s", 0, 1500000, "1s500ms"},
		{"300ms", 0, 300000, "300ms"},
		{"", -EINVAL, 0, NULL},
		{"5", -EINVAL, 0, NULL},
		{"-1s", -EINVAL, 0, NULL},
		{"1y", -EINVAL, 0, NULL},
		{"99999999999999999999s", -ERANGE, 0, NULL},
	};
	char buf[64];
	uint64_t v;
	uint32_t c;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		assert_int_equal(niwa_parse_duration(cases[i].text, &v), cases[i].r);
		if (cases[i].r < 0)
			continue;
		assert_int_equal(v, cases[i].us);
		assert_string_equal(niwa_format_duration(v, buf, sizeof(buf)), cases[i].back);
	}
	assert_int_equal(niwa_parse_size("256M", &v), 0);
	assert_int_equal(v, 268435456);
	assert_int_equal(niwa_parse_size("1.5K", &v), 0);
	assert_int_equal(v, 1536);
	assert_int_equal(niwa_parse_size("12x", &v), -EINVAL);
	assert_int_equal(niwa_parse_percent("12.5%", &c), 0);
	assert_int_equal(c, 1250);
	assert_int_equal(niwa_parse_percent("12", &c), -EINVAL);
}

static void foreign_text_is_quoted_and_cut(void **state)
{
	char buf[16];

	assert_string_equal(niwa_quote("a\nb", 3, buf, sizeof(buf)), "a\\x0ab");
	assert_string_equal(niwa_quote("aaaaaaaaaaaaaaaaaaaaaa", 22, buf, sizeof(buf)), "aaaaaaaaaaaa...");
}

static void a_map_keeps_what_was_put(void **state)
{
	struct niwa_map *m = niwa_map_new(NIWA_MAP_U64);
	static char values[5000];
	size_t pos = 0, seen = 0;

	for (uint64_t i = 0; i < 5000; i++)
		assert_int_equal(niwa_map_put(m, i * 7, &values[i]), 0);
	assert_int_equal(niwa_map_put(m, 7, values), -EEXIST);
	for (uint64_t i = 0; i < 5000; i += 2)
		assert_ptr_equal(niwa_map_del(m, i * 7), &values[i]);
	for (uint64_t i = 0; i < 5000; i++)
		assert_ptr_equal(niwa_map_get(m, i * 7), i % 2 ? &values[i] : NULL);
	while (niwa_map_next(m, &pos))
		seen++;
	assert_int_equal(seen, 2500);
	for (int round = 0; round < 20000; round++) { /* tombstones do not fill it */
		assert_int_equal(niwa_map_put(m, UINT64_C(1) << 40, values), 0);
		assert_ptr_equal(niwa_map_del(m, UINT64_C(1) << 40), values);
	}
	niwa_map_free(&m);
	m = niwa_map_new(NIWA_MAP_STRING);
	assert_int_equal(niwa_map_put_str(m, "blog", &values[1]), 0);
	assert_ptr_equal(niwa_map_get_str(m, "blog"), &values[1]);
	assert_null(niwa_map_get_str(m, "blo"));
	niwa_map_free(&m);
}

static void a_map_that_grows_is_whole_at_every_moment(void **state)
{
	enum { KEYS = 3000, STEPS = 60000 };
	struct niwa_map *m = niwa_map_new(NIWA_MAP_U64);
	static bool there[KEYS];
	static char values[KEYS];
	size_t count = 0, rest;
	uint64_t random = 1;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		size_t key = (random = random * UINT64_C(6364136223846793005) + 1442695040888963407) >> 33;

		key %= step < STEPS / 2 ? (size_t)step / 10 + 1
					: KEYS; /* it grows slowly, then the same keys come and go */
		assert_ptr_equal(niwa_map_get(m, key), there[key] ? &values[key] : NULL);
		if (there[key] && random & 1) {
			assert_ptr_equal(niwa_map_del(m, key), &values[key]);
			there[key] = false;
			count--;
		} else {
			assert_int_equal(niwa_map_put(m, key, &values[key]), there[key] ? -EEXIST : 0);
			count += !there[key];
			there[key] = true;
		}
		assert_int_equal(niwa_map_count(m), count);
		if (step % 97)
			continue;
		rest = count;
		for (size_t pos = 0; niwa_map_next(m, &pos);)
			rest--;
		assert_int_equal(rest, 0);
	}
	niwa_map_free(&m);
}

struct named {
	bool there;
	char name[16];
};

static void is_in_order(const struct niwa_order *o, struct named *all, size_t count, const char *after)
{
	struct niwa_order_walk walk = niwa_order_from(o, after);

	for (size_t i = 0; i < count; i++)
		if (all[i].there && (!after || strcmp(all[i].name, after) > 0))
			assert_ptr_equal(niwa_order_next(&walk), &all[i]);
	assert_null(niwa_order_next(&walk));
}

static void things_are_walked_in_the_order_of_their_names(void **state)
{
	enum { THINGS = 2000, STEPS = 40000 };
	struct niwa_order *o = niwa_order_new(offsetof(struct named, name));
	static struct named all[THINGS];
	size_t count = 0;
	uint64_t random = 1;

	(void)state;
	for (size_t i = 0; i < THINGS; i++)
		(void)snprintf(all[i].name, sizeof(all[i].name), "n%05zu", i);
	is_in_order(o, all, THINGS, NULL);
	is_in_order(o, all, THINGS, "x");
	assert_null(niwa_order_take(o, "x"));
	for (int step = 0; step < STEPS; step++) {
		/* Some are put in their order; then all come and go, and in the end nearly all go. */
		bool put = step < THINGS / 2;
		size_t i;

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		i = put ? (size_t)step : (random >> 33) % THINGS;
		put = put || (random >> 20) % 8 < (step < STEPS / 2 ? 5 : 1);
		if (put)
			assert_int_equal(niwa_order_put(o, &all[i]), all[i].there ? -EEXIST : 0);
		else
			assert_ptr_equal(niwa_order_take(o, all[i].name), all[i].there ? &all[i] : NULL);
		count += (size_t)put - (size_t)all[i].there;
		all[i].there = put;
		assert_int_equal(niwa_order_count(o), count);
		if (step % 499)
			continue;
		is_in_order(o, all, THINGS, NULL);
		is_in_order(o, all, THINGS, all[i].name);
		is_in_order(o, all, THINGS, "n01000x");
	}
	niwa_order_free(&o);
	niwa_order_free(&o);
}

static void a_message_carries_descriptors(void **state)
{
	int pair[2], fds[NIWA_IPC_FDS_MAX], p[2];
	size_t n;
	char buf[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(niwa_ipc_send(pair[0], "hello", 5, &p[1], 1), 0);
	assert_int_equal(niwa_ipc_recv(pair[1], buf, sizeof(buf), fds, &n), 5);
	assert_int_equal(n, 1);
	assert_int_equal(write(fds[0], "x", 1), 1);
	assert_int_equal(read(p[0], buf, 1), 1);
	niwa_fd_close(&fds[0]);
	assert_int_equal(niwa_ipc_send(pair[0], "longer than the buffer", 22, &p[1], 1), 0);
	assert_int_equal(niwa_ipc_recv(pair[1], buf, sizeof(buf), fds, &n), -EMSGSIZE);
	assert_int_equal(niwa_ipc_recv(pair[1], buf, sizeof(buf), fds, &n), -EAGAIN);
	close(pair[0]);
	assert_int_equal(niwa_ipc_recv(pair[1], buf, sizeof(buf), fds, &n), 0);
	close(pair[1]);
	close(p[0]);
	close(p[1]);
}

static void a_tree_is_removed_whole_and_links_are_not_followed(void **state)
{
	char dir[] = "/tmp/niwa-test-XXXXXX", path[256];
	struct niwa_error err;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/tree/a/b", dir);
	assert_int_equal(niwa_mkdir_p(path, 0700, &err), 0);
	(void)snprintf(path, sizeof(path), "%s/kept", dir);
	assert_int_equal(niwa_file_replace(path, "x", 1, 0600, &err), 0);
	(void)snprintf(path, sizeof(path), "%s/tree/a/link", dir);
	assert_int_equal(symlink("../../kept", path), 0);
	(void)snprintf(path, sizeof(path), "%s/tree", dir);
	assert_int_equal(niwa_remove_tree(path, &err), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	(void)snprintf(path, sizeof(path), "%s/kept", dir);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(niwa_remove_tree(dir, &err), 0);
}

/* In a child: what is lowered stays so. */
static void a_lowered_priority_is_the_threads_own_and_a_raised_one_is_not_inherited(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		niwa_priority_raise();
		if (!(sched_getscheduler(0) & SCHED_RESET_ON_FORK))
			_exit(1);
		pid = fork();
		if (pid == 0)
			_exit(sched_getscheduler(0) & SCHED_RESET_ON_FORK || getpriority(PRIO_PROCESS, 0) < 0 ? 2 : 0);
		if (waitpid(pid, &status, 0) != pid || status != 0)
			_exit(3);
		niwa_priority_lower();
		_exit((sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_BATCH && getpriority(PRIO_PROCESS, 0) >= 5
			      ? 0
			      : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_says_what_and_why),
		cmocka_unit_test(durations_and_sizes_are_read_and_written),
		cmocka_unit_test(foreign_text_is_quoted_and_cut),
		cmocka_unit_test(a_map_keeps_what_was_put),
		cmocka_unit_test(a_map_that_grows_is_whole_at_every_moment),
		cmocka_unit_test(things_are_walked_in_the_order_of_their_names),
		cmocka_unit_test(a_message_carries_descriptors),
		cmocka_unit_test(a_tree_is_removed_whole_and_links_are_not_followed),
		cmocka_unit_test(a_lowered_priority_is_the_threads_own_and_a_raised_one_is_not_inherited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
