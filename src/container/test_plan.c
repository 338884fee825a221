/* SPDX-License-Identifier: MIT
 *
 * Plans: what is built is read back, every malformed plan is refused, the dump is stable.
 */
#include "container/plan_private.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/netlink.h>

#include <cmocka.h>

#include "base/fd.h"

#define ADD(plan, ...) niwa_plan_add(plan, &(struct niwa_op_view){__VA_ARGS__})

static const char command[] = "\2\0\0\0/bin/true\0-x\0\1\0\0\0A=b";

static void add_exec(struct niwa_plan *plan)
{
	ADD(plan, .op = NIWA_OP_EXEC, .a = -1, .bytes = command, .bytes_len = sizeof(command));
}

static void add_clone(struct niwa_plan *plan)
{
	ADD(plan, .op = NIWA_OP_CLONE, .a = 0x10000000, .b = -1);
}

static void what_is_added_is_read_back(void **state)
{
	static const uint32_t groups[] = {1, 2};
	struct niwa_plan plan = {0};
	struct niwa_op_view op;
	struct niwa_error err;
	size_t pos = 0;

	add_clone(&plan);
	ADD(&plan, .op = NIWA_OP_FILE, .s = "/etc/hosts", .t = "::1 x\n", .a = 0644);
	ADD(&plan, .op = NIWA_OP_USER, .a = 33, .b = 34, .bytes = groups, .bytes_len = sizeof(groups));
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), 0);
	assert_true(niwa_plan_next(plan.buf.data, plan.buf.len, &pos, &op));
	assert_int_equal(op.op, NIWA_OP_CLONE);
	assert_int_equal(op.a, 0x10000000);
	assert_int_equal(op.b, -1);
	assert_int_equal(op.index, 0);
	assert_true(niwa_plan_next(plan.buf.data, plan.buf.len, &pos, &op));
	assert_string_equal(op.s, "/etc/hosts");
	assert_string_equal(op.t, "::1 x\n");
	assert_int_equal(op.bytes_len, 0);
	assert_int_equal(op.index, 1);
	assert_true(niwa_plan_next(plan.buf.data, plan.buf.len, &pos, &op));
	assert_int_equal(op.bytes_len, sizeof(groups));
	assert_memory_equal(op.bytes, groups, sizeof(groups));
	assert_int_equal((uintptr_t)op.bytes % 8, 0);
	assert_string_equal(op.s, "");
	assert_true(niwa_plan_next(plan.buf.data, plan.buf.len, &pos, &op));
	assert_int_equal(op.index, 3);
	assert_false(niwa_plan_next(plan.buf.data, plan.buf.len, &pos, &op));
	niwa_plan_fini(&plan);
	assert_int_equal(plan.count, 0);
}

static void every_operation_has_a_name_of_its_own(void **state)
{
	for (int i = 0; i < NIWA_OP_COUNT; i++) {
		assert_non_null(niwa_op_name((enum niwa_op)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(niwa_op_name((enum niwa_op)i), niwa_op_name((enum niwa_op)j));
	}
	assert_string_equal(niwa_op_name(NIWA_OP_COUNT), "?");
	assert_int_equal(niwa_op_phase(NIWA_OP_MKDIR), NIWA_PHASE_BEFORE);
	assert_int_equal(niwa_op_phase(NIWA_OP_NETLINK), NIWA_PHASE_HOST);
	assert_int_equal(niwa_op_phase(NIWA_OP_EXEC), NIWA_PHASE_CHILD);
}

static void a_dump_has_one_line_an_operation(void **state)
{
	static const char mount[] = "tmpfs\0size=1m";
	static const uint32_t groups[] = {4, 5};
	static const uint64_t filter = 6;
	static const struct nlmsghdr message = {.nlmsg_len = 16, .nlmsg_type = 16, .nlmsg_flags = 5};
	static const char expected[] =
		"before mkdir path=\"/a\\\"b\\n\\x01\" mode=0700\n"
		"before pipe read=0 write=10 owner=0\n"
		"before clone flags=0x10000000 cgroup=-1\n"
		"host   netlink offsets=\"0\" pids=1 inside=0 [type=16 flags=0x5 ]\n"
		"child  mount source=\"tmpfs\" target=\"/tmp\" flags=0x6 type=\"tmpfs\" data=\"size=1m\"\n"
		"child  user uid=33 gid=34 groups=[4 5]\n"
		"child  seccomp filters=1 hash=3a4d0b1c1ac7f5c3\n"
		"child  exec file=-1 argv=[\"/bin/true\" \"-x\"] env=[\"A=b\"]\n";
	struct niwa_plan plan = {0};
	struct niwa_text out = {0};
	char *hash;

	ADD(&plan, .op = NIWA_OP_MKDIR, .s = "/a\"b\n\1", .a = 0700);
	ADD(&plan, .op = NIWA_OP_PIPE, .a = 0, .b = 10);
	add_clone(&plan);
	ADD(&plan, .op = NIWA_OP_NETLINK, .a = 1, .s = "0", .bytes = &message, .bytes_len = sizeof(message));
	ADD(&plan, .op = NIWA_OP_MOUNT, .s = "tmpfs", .t = "/tmp", .a = 6, .bytes = mount, .bytes_len = sizeof(mount));
	ADD(&plan, .op = NIWA_OP_USER, .a = 33, .b = 34, .bytes = groups, .bytes_len = sizeof(groups));
	ADD(&plan, .op = NIWA_OP_SECCOMP, .bytes = &filter, .bytes_len = sizeof(filter));
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, NULL), 0);
	niwa_plan_dump(plan.buf.data, plan.buf.len, &out);
	hash = strstr(out.data, "hash=");
	assert_non_null(hash);
	memcpy(hash + 5, "3a4d0b1c1ac7f5c3", 16); /* its value is of no interest */
	assert_string_equal(out.data, expected);
	niwa_text_fini(&out);
	niwa_plan_fini(&plan);
}

static void a_memfd_is_sealed_and_holds_the_plan(void **state)
{
	struct niwa_plan plan = {0};
	struct niwa_error err;
	char buf[4096];
	int fd;

	add_clone(&plan);
	assert_int_equal(niwa_plan_to_memfd(&plan, &err), -EINVAL);
	assert_string_equal(err.msg, "plan: it does not end with exec: Invalid argument");
	add_exec(&plan);
	fd = niwa_plan_to_memfd(&plan, &err);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), plan.buf.len);
	assert_memory_equal(buf, plan.buf.data, plan.buf.len);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	niwa_fd_close(&fd);
	niwa_plan_fini(&plan);
}

/* ---- what the checker refuses ---- */

/* Operations with one mistake each, put between clone and exec, or before the clone. */
static const char no_type[] = "tmpfs", too_much[] = "a\0b\0c";
static const char no_args[] = "\0\0\0\0\0\0\0", cut_args[] = "\5\0\0\0a\0b", behind[] = "\1\0\0\0a\0\0\0\0\0x";
static const struct nlmsghdr long_message = {.nlmsg_len = 20}, short_message = {.nlmsg_len = 15},
			     good = {.nlmsg_len = 16};
static const struct {
	const char *why;
	struct niwa_op_view op;
} mistakes[] = {
	{"mkdir): path is not an absolute path", {.op = NIWA_OP_MKDIR, .s = "a"}},
	{"mkdir): path is not an absolute path", {.op = NIWA_OP_MKDIR}},
	{"mkdir): mode is 4096, allowed is 0 to 4095", {.op = NIWA_OP_MKDIR, .s = "/a", .a = 4096}},
	{"mkdir): a number that it does not have is 1", {.op = NIWA_OP_MKDIR, .s = "/a", .b = 1}},
	{"mkdir): a string that it does not have is set", {.op = NIWA_OP_MKDIR, .s = "/a", .t = "x"}},
	{"mkdir): it has no bytes", {.op = NIWA_OP_MKDIR, .s = "/a", .bytes = "x", .bytes_len = 1}},
	{"write): optional is 2", {.op = NIWA_OP_WRITE, .s = "/a", .a = 2}},
	{"clone): a second one", {.op = NIWA_OP_CLONE, .b = -1}},
	{"open): must stand before clone", {.op = NIWA_OP_OPEN, .a = 9, .s = "/"}},
	{"idmap): slot: there is no slot 32", {.op = NIWA_OP_IDMAP, .a = 32}},
	{"idmap): slot: there is no slot -1", {.op = NIWA_OP_IDMAP, .a = -1}},
	{"idmap): slot: slot 2 is empty", {.op = NIWA_OP_IDMAP, .a = 2}},
	{"stdio): in: there is no slot -2", {.op = NIWA_OP_STDIO, .a = -2}},
	{"diag): slot: slot 0 is filled twice", {.op = NIWA_OP_DIAG, .a = 0}},
	{"pass): as is 2, allowed is 3 to 63", {.op = NIWA_OP_PASS, .a = 10, .b = 2}},
	{"release): n is 0, allowed is 1 to 63", {.op = NIWA_OP_RELEASE}},
	{"release): n is 64", {.op = NIWA_OP_RELEASE, .a = 64}},
	{"release): 1 comes after 1", {.op = NIWA_OP_RELEASE, .a = 1}},
	{"await): 1 comes after 1", {.op = NIWA_OP_AWAIT, .a = 1}},
	{"an await has no release", {.op = NIWA_OP_AWAIT, .a = 2}},
	{"detach): there is no pivot before it", {.op = NIWA_OP_DETACH}},
	{"host-name): name is empty", {.op = NIWA_OP_HOST_NAME}},
	{"mount): its bytes are not type and data", {.op = NIWA_OP_MOUNT, .t = "/a"}},
	{"mount): its bytes are not type and data",
	 {.op = NIWA_OP_MOUNT, .t = "/a", .bytes = no_type, .bytes_len = sizeof(no_type)}},
	{"mount): its bytes are not type and data",
	 {.op = NIWA_OP_MOUNT, .t = "/a", .bytes = too_much, .bytes_len = sizeof(too_much)}},
	{"netlink): a batch of 0 bytes", {.op = NIWA_OP_NETLINK}},
	{"netlink): message 0 has a bad length",
	 {.op = NIWA_OP_NETLINK, .bytes = &long_message, .bytes_len = sizeof(long_message)}},
	{"netlink): message 0 has a bad length",
	 {.op = NIWA_OP_NETLINK, .bytes = &short_message, .bytes_len = sizeof(short_message)}},
	{"netlink): message 0 has a bad length", {.op = NIWA_OP_NETLINK, .bytes = &good, .bytes_len = 15}},
	{"netlink): offset 0 of a pid is not inside",
	 {.op = NIWA_OP_NETLINK, .a = 1, .s = "13", .bytes = &good, .bytes_len = 16}},
	{"netlink): offset 0 of a pid is not inside",
	 {.op = NIWA_OP_NETLINK, .a = 1, .s = "16", .bytes = &good, .bytes_len = 16}},
	{"netlink): offset 0 of a pid is not inside",
	 {.op = NIWA_OP_NETLINK, .a = 1, .s = "99999999999999999999", .bytes = &good, .bytes_len = 16}},
	{"netlink): offset 0 of a pid is not inside",
	 {.op = NIWA_OP_NETLINK, .a = 1, .s = "", .bytes = &good, .bytes_len = 16}},
	{"netlink): fewer than 2 offsets", {.op = NIWA_OP_NETLINK, .a = 2, .s = "0", .bytes = &good, .bytes_len = 16}},
	{"netlink): more than 1 offsets", {.op = NIWA_OP_NETLINK, .a = 1, .s = "0 4", .bytes = &good, .bytes_len = 16}},
	{"user): 3 bytes are not 0 to 64 entries", {.op = NIWA_OP_USER, .bytes = "abc", .bytes_len = 3}},
	{"user): uid is 4294967296", {.op = NIWA_OP_USER, .a = 1ll << 32}},
	{"seccomp): 0 bytes are not 1 to 4096 entries", {.op = NIWA_OP_SECCOMP}},
	{"join): keep-user is 2", {.op = NIWA_OP_JOIN, .a = 10, .b = 2}},
	{"time-offsets): clocks is empty", {.op = NIWA_OP_TIME_OFFSETS}},
	{"folder): slot: slot 0 is filled twice", {.op = NIWA_OP_FOLDER, .s = "/a"}},
	{"copy): target is not an absolute path", {.op = NIWA_OP_COPY, .a = 10, .s = "a"}},
	{"exec): its arguments are cut", {.op = NIWA_OP_EXEC, .a = -1}},
	{"exec): no command", {.op = NIWA_OP_EXEC, .a = -1, .bytes = no_args, .bytes_len = 8}},
	{"exec): its arguments are cut", {.op = NIWA_OP_EXEC, .a = -1, .bytes = cut_args, .bytes_len = 8}},
	{"exec): 1 bytes too many", {.op = NIWA_OP_EXEC, .a = -1, .bytes = behind, .bytes_len = 11}},
	{"exec): more than 4096 arguments", {.op = NIWA_OP_EXEC, .a = -1, .bytes = "\377\377\377\377", .bytes_len = 4}},
	{"exec): stands behind exec", {.op = NIWA_OP_EXEC, .a = -1, .bytes = command, .bytes_len = sizeof(command)}},
};

static void an_operation_with_a_mistake_is_refused(void **state)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct niwa_plan plan = {0};
		struct niwa_error err = {0};

		ADD(&plan, .op = NIWA_OP_PIPE, .a = 0, .b = 10);
		add_clone(&plan);
		ADD(&plan, .op = NIWA_OP_RELEASE, .a = 1);
		ADD(&plan, .op = NIWA_OP_AWAIT, .a = 1);
		niwa_plan_add(&plan, &mistakes[i].op);
		add_exec(&plan);
		assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
		if (!strstr(err.msg, mistakes[i].why))
			fail_msg("case %zu: expected '%s', got '%s'", i, mistakes[i].why, err.msg);
		niwa_plan_fini(&plan);
	}
}

static void clocks_are_set_while_the_child_is_still_root_of_the_host(void **state)
{
	static const enum niwa_op too_late[] = {NIWA_OP_USER, NIWA_OP_JOIN};

	for (size_t i = 0; i < sizeof(too_late) / sizeof(too_late[0]); i++) {
		struct niwa_plan plan = {0};
		struct niwa_error err = {0};

		ADD(&plan, .op = NIWA_OP_PIPE, .a = 0, .b = 10);
		add_clone(&plan);
		ADD(&plan, .op = too_late[i], .a = 10);
		ADD(&plan, .op = NIWA_OP_TIME_OFFSETS, .s = "monotonic 1 0\n");
		add_exec(&plan);
		assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "time-offsets): must stand before user and join"));
		niwa_plan_fini(&plan);
	}
}

static void too_many_of_anything_is_refused(void **state)
{
	struct niwa_plan plan = {0};
	struct niwa_error err;
	char big[70000];

	add_clone(&plan);
	for (int i = 0; i < 5; i++)
		ADD(&plan, .op = NIWA_OP_DIAG, .a = i);
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "more than 4 slots are kept"));
	niwa_plan_fini(&plan);

	for (int i = 0; i < 5; i++)
		ADD(&plan, .op = NIWA_OP_TMPFS, .a = i, .b = 1, .c = 1);
	add_clone(&plan);
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "more than 4 slots are kept"));
	niwa_plan_fini(&plan);

	add_clone(&plan);
	for (int i = 0; i < NIWA_PLAN_OPS_MAX; i++)
		ADD(&plan, .op = NIWA_OP_SESSION);
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
	niwa_plan_fini(&plan);

	memset(big, 'x', sizeof(big));
	big[0] = '/';
	big[sizeof(big) - 1] = '\0';
	for (int i = 0; i < 20; i++)
		ADD(&plan, .op = NIWA_OP_MKDIR, .s = big);
	assert_true(plan.buf.failed);
	assert_int_equal(niwa_plan_to_memfd(&plan, &err), -ENOMEM);
	niwa_plan_fini(&plan);
}

static void order_is_checked(void **state)
{
	struct niwa_plan plan = {0};
	struct niwa_error err;

	ADD(&plan, .op = NIWA_OP_SESSION);
	add_clone(&plan);
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "session): must stand behind clone"));
	niwa_plan_fini(&plan);

	ADD(&plan, .op = NIWA_OP_WRITE, .s = "/a", .b = 1);
	add_clone(&plan);
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "write): inside, before there is a child"));
	niwa_plan_fini(&plan);

	add_clone(&plan);
	ADD(&plan, .op = NIWA_OP_MKDIR, .s = "/a"); /* these two may */
	ADD(&plan, .op = NIWA_OP_WRITE, .s = "/a");
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), 0);
	niwa_plan_fini(&plan);

	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, &err), -EINVAL);
	niwa_plan_fini(&plan);
}

/* A good plan cut at any length, or with any one byte changed: refused, or still a good one, never more. */
static void damaged_bytes_never_lead_astray(void **state)
{
	struct niwa_plan plan = {0};
	struct niwa_text out = {0};
	char *copy;

	ADD(&plan, .op = NIWA_OP_MKDIR, .s = "/abc", .a = 0700);
	add_clone(&plan);
	ADD(&plan, .op = NIWA_OP_MOUNT, .s = "x", .t = "/", .bytes = "a\0b", .bytes_len = 4);
	add_exec(&plan);
	assert_int_equal(niwa_plan_check(plan.buf.data, plan.buf.len, NULL), 0);
	for (size_t len = 0; len < plan.buf.len; len++) {
		copy = malloc(len + 1); /* of the exact size, for the sanitizers */
		memcpy(copy, plan.buf.data, len);
		assert_int_equal(niwa_plan_check(copy, len, NULL), -EINVAL);
		free(copy);
	}
	copy = malloc(plan.buf.len);
	for (size_t i = 0; i < plan.buf.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(copy, plan.buf.data, plan.buf.len);
			copy[i] = (char)(copy[i] ^ (1 << bit));
			if (niwa_plan_check(copy, plan.buf.len, NULL) == 0)
				niwa_plan_dump(copy, plan.buf.len, &out);
		}
	}
	free(copy);
	niwa_text_fini(&out);
	niwa_plan_fini(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_added_is_read_back),
		cmocka_unit_test(every_operation_has_a_name_of_its_own),
		cmocka_unit_test(a_dump_has_one_line_an_operation),
		cmocka_unit_test(a_memfd_is_sealed_and_holds_the_plan),
		cmocka_unit_test(an_operation_with_a_mistake_is_refused),
		cmocka_unit_test(clocks_are_set_while_the_child_is_still_root_of_the_host),
		cmocka_unit_test(too_many_of_anything_is_refused),
		cmocka_unit_test(order_is_checked),
		cmocka_unit_test(damaged_bytes_never_lead_astray),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
