/* SPDX-License-Identifier: MIT
 *
 * What plans do, executed by a real niwa-keep on the real kernel. Runs as root, in namespaces and groups of its own.
 */
#include "keep/test_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"

static struct keep_test world;

static int start_keep(void **state)
{
	/* as the unit has it; without CAP_SYS_RESOURCE only a value above that of the start is allowed */
	if (niwa_file_write("/proc/self/oom_score_adj", "-100") < 0 &&
	    niwa_file_write("/proc/self/oom_score_adj", "100") < 0)
		return -1;
	keep_test_start_keep(&world, NULL, NULL);
	return 0;
}

static int stop_keep(void **state)
{
	keep_test_stop_keep(&world);
	return 0;
}

/* Starts, reads the log up to its end, expects exit status 0, forgets. */
static void run(struct niwa_plan *plan, char *log, size_t size)
{
	struct keep_reply reply;
	uint64_t id;

	keep_test_started(&world, plan, &reply);
	id = reply.msg.id;
	keep_test_read_log(reply.fds[1], log, size);
	keep_reply_close(&reply);
	keep_test_exited(&world, id, CLD_EXITED, 0);
	keep_test_forget(&world, id);
}

static void expect_lines(const char *log, const char *const *lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strstr(log, lines[i]))
			fail_msg("'%s' is not in:\n%s", lines[i], log);
}

static void an_instance_with_everything_on_sees_what_its_plan_says(void **state)
{
	static const char *const lines[] = {
		"ids 0 0 pid 1 sid 1\n",
		"owner /etc/secret: 0 0 0600\n", /* the image's ids are canonical inside */
		"touch /srv/new: done\n",
		"owner /srv/new: 0 0 0644\n",
		"host blog\n",
		"address eth0: 10.80.",
		"fds 0 1 2\n", /* nothing of keep's */
		"limits files 1024 privs 1 seccomp 0 blocked 0",
		"env NIWA=test\n",
		"cat /proc/sys/net/ipv4/ip_unprivileged_port_start: 0\n",
		"cat /proc/self/oom_score_adj: 0\n", /* keep has another */
	};
	struct niwa_plan plan = {0};
	uint64_t id = world.next_id;
	char log[4096], path[256];
	struct stat st;

	keep_test_plan(
		&world, &plan, id, T_ALL,
		"probe ids owner /etc/secret touch /srv/new owner /srv/new host address eth0 fds limits env NIWA "
		"cat /proc/sys/net/ipv4/ip_unprivileged_port_start cat /proc/self/oom_score_adj");
	run(&plan, log, sizeof(log));
	expect_lines(log, lines, sizeof(lines) / sizeof(lines[0]));
	(void)snprintf(path, sizeof(path), "%s/layers/%d/upper/srv/new", world.dir, (int)id);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_uid, 0); /* and canonical on disk, not those of the lease */
	(void)snprintf(path, sizeof(path), "%s/image/srv/new", world.dir);
	assert_int_equal(lstat(path, &st), -1);
}

/* Allows everything but sync(), which fails with EDOM. */
static void add_seccomp(struct niwa_plan *plan)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	T_ADD(plan, .op = NIWA_OP_SECCOMP, .bytes = filter, .bytes_len = sizeof(filter));
}

static void user_limits_and_filter_are_those_of_the_plan(void **state)
{
	static const uint32_t groups[] = {7, 8};
	static const char *const lines[] = {
		"ids 33 34 7 8 pid 1",
		"CapEff:\t0000000000000000",
		"CapPrm:\t0000000000000000",
		"CapBnd:\t0000000000000400",
		"limits files 100 privs 1 seccomp 2",
		"sync Numerical argument out of domain",
		"touch /srv/x: Permission denied",
		"cat /proc/self/cwd/secret: Permission denied",
	};
	struct niwa_plan plan = {0};
	char log[8192];

	keep_test_plan_head(&world, &plan, world.next_id, T_ALL);
	T_ADD(&plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_RLIMIT, .a = RLIMIT_NOFILE, .b = 100, .c = 200);
	T_ADD(&plan, .op = NIWA_OP_BOUNDING, .a = 0x400);
	T_ADD(&plan, .op = NIWA_OP_USER, .a = 33, .b = 34, .bytes = groups, .bytes_len = sizeof(groups));
	T_ADD(&plan, .op = NIWA_OP_CHDIR, .s = "/etc");
	T_ADD(&plan, .op = NIWA_OP_NO_NEW_PRIVS);
	add_seccomp(&plan);
	keep_test_plan_exec(&plan, -1,
			    "probe ids limits sync touch /srv/x cat /proc/self/cwd/secret cat /proc/self/status");
	run(&plan, log, sizeof(log));
	expect_lines(log, lines, sizeof(lines) / sizeof(lines[0]));
}

static void files_masks_and_read_only_trees_are_made(void **state)
{
	static const char *const lines[] = {
		"cat /srv/a/b/hello: hi\n", "owner /srv/a/b: 5 6 0711\n",
		"owner /srv/a: 0 0 0755\n", "cat /srv/link: hi\n",
		"cat /etc/secret: \n",      "owner /etc/masked: 0 0 0555\n",
		"touch /srv/a/x: done\n",   "touch /etc/x: Read-only file system\n",
		"touch /run/t/x: done\n",
	};
	struct niwa_plan plan = {0};
	char log[4096];

	keep_test_plan_head(&world, &plan, world.next_id, T_WITH_CGROUP);
	T_ADD(&plan, .op = NIWA_OP_DIR, .s = "/srv/a/b", .a = 0711, .b = 5, .c = 6);
	T_ADD(&plan, .op = NIWA_OP_FILE, .s = "/srv/a/b/hello", .t = "nobody sees this", .a = 0600);
	T_ADD(&plan, .op = NIWA_OP_FILE, .s = "/srv/a/b/hello", .t = "hi", .a = 0644);
	T_ADD(&plan, .op = NIWA_OP_SYMLINK, .s = "a/b/none", .t = "/srv/link");
	T_ADD(&plan, .op = NIWA_OP_SYMLINK, .s = "a/b/hello", .t = "/srv/link");
	T_ADD(&plan, .op = NIWA_OP_DIR, .s = "/etc/masked/below", .a = 0755);
	T_ADD(&plan, .op = NIWA_OP_MASK, .s = "/etc/secret");
	T_ADD(&plan, .op = NIWA_OP_MASK, .s = "/etc/masked");
	T_ADD(&plan, .op = NIWA_OP_MASK, .s = "/etc/missing");
	T_ADD(&plan, .op = NIWA_OP_READ_ONLY, .s = "/etc");
	T_ADD(&plan, .op = NIWA_OP_READ_ONLY, .s = "/missing");
	T_ADD(&plan, .op = NIWA_OP_DIR, .s = "/run/t", .a = 0755);
	T_ADD(&plan, .op = NIWA_OP_PUT, .s = "/proc/sys/net/ipv4/ip_unprivileged_port_start", .t = "0");
	T_ADD(&plan, .op = NIWA_OP_PUT, .s = "/proc/sys/missing", .t = "0", .a = 1);
	keep_test_plan_tail(&plan, "probe cat /srv/a/b/hello owner /srv/a/b owner /srv/a cat /srv/link cat /etc/secret "
				   "owner /etc/masked touch /srv/a/x touch /etc/x touch /run/t/x");
	run(&plan, log, sizeof(log));
	expect_lines(log, lines, sizeof(lines) / sizeof(lines[0]));
}

static void a_volume_of_one_host_user_belongs_to_the_user_of_the_container(void **state)
{
	static const char *const lines[] = {"owner /srv: 33 33 0700\n", "owner /srv/old: 33 33 0600\n",
					    "owner /srv/root: 65534 65534 0644\n", "touch /srv/new: done\n"};
	struct niwa_plan plan = {0}, copy = {0};
	char log[4096], dir[128], path[160], map[64];
	struct niwa_op_view op;
	struct stat st;
	size_t pos = 0;

	(void)snprintf(dir, sizeof(dir), "%s/volume", world.dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chown(dir, 1234, 1234), 0);
	(void)snprintf(path, sizeof(path), "%s/old", dir);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(chown(path, 1234, 1234), 0);
	(void)snprintf(path, sizeof(path), "%s/root", dir);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0644)), 0);
	(void)snprintf(map, sizeof(map), "1234 %d 1", T_ID_BASE + 33);
	keep_test_plan_head(&world, &plan, world.next_id, T_WITH_CGROUP);
	/* The same plan with the volume's open-tree before the clone and its idmap behind it. */
	while (niwa_plan_next(plan.buf.data, plan.buf.len, &pos, &op)) {
		if (op.op == NIWA_OP_CLONE)
			T_ADD(&copy, .op = NIWA_OP_OPEN_TREE, .a = 20, .s = dir);
		niwa_plan_add(&copy, &op);
		if (op.op == NIWA_OP_CLONE)
			T_ADD(&copy, .op = NIWA_OP_IDMAP, .a = 20, .s = map, .c = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	}
	niwa_plan_fini(&plan);
	T_ADD(&copy, .op = NIWA_OP_MOVE_MOUNT, .a = 20, .s = "/srv");
	T_ADD(&copy, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	T_ADD(&copy, .op = NIWA_OP_USER, .a = 33, .b = 33);
	keep_test_plan_exec(&copy, -1, "probe owner /srv owner /srv/old owner /srv/root touch /srv/new");
	run(&copy, log, sizeof(log));
	expect_lines(log, lines, sizeof(lines) / sizeof(lines[0]));
	(void)snprintf(path, sizeof(path), "%s/new", dir);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_uid, 1234);
}

static void a_layer_can_be_a_tmpfs_of_a_size(void **state)
{
	struct niwa_plan plan = {0};
	char log[4096], data[256], root[128];

	T_ADD(&plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_TMPFS, .a = T_LAYER, .b = 64);
	T_ADD(&plan, .op = NIWA_OP_OPEN, .a = T_FILE, .s = getenv("NIWA_TEST_PROBE"), .b = O_PATH);
	T_ADD(&plan, .op = NIWA_OP_CLONE, .a = CLONE_NEWNS, .b = -1);
	T_ADD(&plan, .op = NIWA_OP_PRIVATE);
	(void)snprintf(root, sizeof(root), "%s/mnt/layer", world.dir);
	T_ADD(&plan, .op = NIWA_OP_MOVE_MOUNT, .a = T_LAYER, .s = root);
	T_ADD(&plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	(void)snprintf(data, sizeof(data), "probe owner %s cat /proc/self/mounts", root);
	keep_test_plan_exec(&plan, T_FILE, data);
	run(&plan, log, sizeof(log));
	(void)snprintf(data, sizeof(data), "owner %s: 0 0 0755", root);
	expect_lines(log, (const char *const[]){data, "size=64k"}, 2);
}

static void descriptors_reach_the_program_under_their_numbers(void **state)
{
	struct niwa_plan plan = {0};
	int pair[2][2], given[3] = {-1, -1, -1};
	struct keep_reply reply;
	uint64_t id;
	char log[4096], text[16] = "";

	assert_int_equal(pipe2(pair[0], O_CLOEXEC), 0);
	assert_int_equal(pipe2(pair[1], O_CLOEXEC), 0);
	T_ADD(&plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_OPEN, .a = T_FILE, .s = getenv("NIWA_TEST_PROBE"), .b = O_PATH);
	T_ADD(&plan, .op = NIWA_OP_CLONE, .b = -1);
	T_ADD(&plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_PASS, .a = 4, .b = 3); /* crosswise: neither may overwrite the other */
	T_ADD(&plan, .op = NIWA_OP_PASS, .a = 3, .b = 4);
	keep_test_plan_exec(&plan, T_FILE, "probe fds put 3 three put 4 four");
	given[0] = pair[0][1];
	given[1] = pair[1][1];
	id = keep_test_start(&world, &plan, given, 2);
	niwa_fd_close(&pair[0][1]);
	niwa_fd_close(&pair[1][1]);
	keep_test_expect(&world, NIWA_KEEP_STARTED, id, &reply);
	keep_test_read_log(reply.fds[1], log, sizeof(log));
	keep_reply_close(&reply);
	assert_string_equal(log, "fds 0 1 2 3 4\nput done\nput done\n");
	keep_test_read_log(pair[0][0], text, sizeof(text));
	assert_string_equal(text, "four");
	keep_test_read_log(pair[1][0], text, sizeof(text));
	assert_string_equal(text, "three");
	keep_test_exited(&world, id, CLD_EXITED, 0);
	niwa_fd_close(&pair[0][0]);
	niwa_fd_close(&pair[1][0]);
}

static void a_program_of_niwa_keeps_the_capabilities_of_its_plan(void **state)
{
	static const char *const lines[] = {"ids 99 98 pid", "CapEff:\t0000000000001000", "CapAmb:\t0000000000001000",
					    "CapBnd:\t0000000000001000"};
	struct niwa_plan plan = {0};
	char log[8192];

	T_ADD(&plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_OPEN, .a = T_FILE, .s = getenv("NIWA_TEST_PROBE"), .b = O_PATH);
	T_ADD(&plan, .op = NIWA_OP_CLONE, .b = -1);
	T_ADD(&plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_BOUNDING, .a = 0x1000);
	T_ADD(&plan, .op = NIWA_OP_USER, .a = 99, .b = 98);
	T_ADD(&plan, .op = NIWA_OP_CAPS, .a = 0x1000);
	T_ADD(&plan, .op = NIWA_OP_NO_NEW_PRIVS);
	keep_test_plan_exec(&plan, T_FILE, "probe ids cat /proc/self/status");
	run(&plan, log, sizeof(log));
	expect_lines(log, lines, sizeof(lines) / sizeof(lines[0]));
}

static uint64_t net_cookie(int sock)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	assert_int_equal(getsockopt(sock, SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &cookie, &len), 0);
	return cookie;
}

static void sockets_made_in_the_instance_come_back(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	uint64_t id;
	int protocol = -1, ours = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(protocol);

	keep_test_plan_head(&world, &plan, world.next_id, T_WITH_CGROUP);
	T_ADD(&plan, .op = NIWA_OP_NOTIFY, .a = T_NOTIFY, .s = "/run/notify");
	keep_test_plan_tail(&plan, "probe owner /run/notify sleep 100");
	keep_test_started(&world, &plan, &reply);
	id = reply.msg.id;
	assert_int_equal(reply.msg.sent, 1u << T_LOG | 1u << T_DIAG | 1u << T_NOTIFY);
	assert_int_equal(reply.nfds, 4);
	assert_int_equal(getsockopt(reply.fds[2], SOL_SOCKET, SO_PROTOCOL, &protocol, &len), 0);
	assert_int_equal(protocol, NETLINK_SOCK_DIAG);
	assert_true(net_cookie(reply.fds[2]) != net_cookie(ours));
	assert_int_equal(getsockopt(reply.fds[3], SOL_SOCKET, SO_DOMAIN, &protocol, &len), 0);
	assert_int_equal(protocol, AF_UNIX);
	assert_int_equal(syscall(SYS_pidfd_send_signal, reply.fds[0], SIGKILL, NULL, 0), 0);
	keep_reply_close(&reply);
	niwa_fd_close(&ours);
	keep_test_exited(&world, id, CLD_KILLED, SIGKILL);
}

/* /dev/stdout leads to /proc/self/fd/1, and a pipe opened there asks for permission. Programs do so as a user whom they
 * have become since. */
static void a_log_with_an_owner_can_be_opened_by_name(void **state)
{
	char log[256];

	for (int64_t owner = 0; owner <= 32; owner += 32) {
		struct niwa_plan plan = {0};

		T_ADD(&plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END, .c = owner);
		T_ADD(&plan, .op = NIWA_OP_OPEN, .a = T_FILE, .s = getenv("NIWA_TEST_PROBE"), .b = O_PATH);
		T_ADD(&plan, .op = NIWA_OP_CLONE, .b = -1);
		T_ADD(&plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
		T_ADD(&plan, .op = NIWA_OP_USER, .a = 33, .b = 33);
		keep_test_plan_exec(&plan, T_FILE, "probe touch /proc/self/fd/1 cat /proc/self/fd/1");
		run(&plan, log, sizeof(log));
		assert_string_equal(log, owner ? "touch /proc/self/fd/1: done\ncat /proc/self/fd/1: Permission denied\n"
					       : "touch /proc/self/fd/1: Permission denied\n"
						 "cat /proc/self/fd/1: Permission denied\n");
	}
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Microseconds from the request to the answer, and to the clone. */
static void time_start(unsigned parts, uint64_t *ret_took, uint64_t *ret_cloned)
{
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	uint64_t begin;

	keep_test_plan(&world, &plan, world.next_id, parts, "probe exit 0");
	begin = niwa_now_us();
	keep_test_started(&world, &plan, &reply);
	*ret_took = niwa_now_us() - begin;
	*ret_cloned = reply.msg.cloned_us - begin;
	keep_reply_close(&reply);
	keep_test_exited(&world, reply.msg.id, CLD_EXITED, 0);
	keep_test_forget(&world, reply.msg.id);
}

/* No bound here: the machine may be busy. `make bench BENCH=start` has the targets. */
static void two_hundred_starts_in_a_row_succeed(void **state)
{
	enum { N = 200 };
	static const struct {
		const char *name;
		unsigned parts;
	} cases[] = {{"tmpfs", T_WITH_VETH | T_WITH_CGROUP}, {"disk", T_ALL}};
	static uint64_t took[N], cloned[N];

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		for (int i = 0; i < N; i++)
			time_start(cases[c].parts, &took[i], &cloned[i]);
		qsort(took, N, sizeof(took[0]), compare);
		qsort(cloned, N, sizeof(cloned[0]), compare);
		print_message(
			"layer on %s: request to exec p50 %.2f ms, p99 %.2f ms; to clone p50 %.2f ms, p99 %.2f ms\n",
			cases[c].name, (double)took[N / 2] / 1000, (double)took[N * 99 / 100] / 1000,
			(double)cloned[N / 2] / 1000, (double)cloned[N * 99 / 100] / 1000);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start_keep, stop_keep)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_instance_with_everything_on_sees_what_its_plan_says),
		TEST(user_limits_and_filter_are_those_of_the_plan),
		TEST(files_masks_and_read_only_trees_are_made),
		TEST(a_volume_of_one_host_user_belongs_to_the_user_of_the_container),
		TEST(a_layer_can_be_a_tmpfs_of_a_size),
		TEST(descriptors_reach_the_program_under_their_numbers),
		TEST(a_program_of_niwa_keeps_the_capabilities_of_its_plan),
		TEST(sockets_made_in_the_instance_come_back),
		TEST(a_log_with_an_owner_can_be_opened_by_name),
		TEST(two_hundred_starts_in_a_row_succeed),
	};
	int r;

	keep_test_world(&world);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	keep_test_world_end(&world);
	return r;
}
