/* SPDX-License-Identifier: MIT
 *
 * What niwa-keep does when things go wrong, and what it tells to whom: failures, kills, lost and slow engines,
 * adoption, exec into instances, signals. Runs as root, in namespaces and groups of its own.
 */
#include "keep/test_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/rtnetlink.h>

#include <cmocka.h>

#include "base/fd.h"

static struct keep_test world;

static int start_keep(void **state)
{
	keep_test_start_keep(&world, NULL, NULL);
	return 0;
}

static int stop_keep(void **state)
{
	keep_test_stop_keep(&world);
	return 0;
}

/* ---- failures ---- */

struct bad_op {
	struct niwa_op_view op;
	int error, message;
};

/* A plan with one operation that fails: keep names it, and holds nothing of the start afterwards. */
static void expect_bad_op(const struct bad_op *bad, unsigned fds)
{
	enum niwa_phase phase = niwa_op_phase(bad->op.op);
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	int index = -1;

	T_ADD(&plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_OPEN, .a = T_FILE, .s = "/", .b = O_PATH);
	for (int at = NIWA_PHASE_BEFORE; at <= NIWA_PHASE_CHILD; at++) {
		if (at == NIWA_PHASE_HOST)
			T_ADD(&plan, .op = NIWA_OP_CLONE, .a = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET, .b = -1);
		if (at != (int)phase)
			continue;
		index = (int)plan.count;
		niwa_plan_add(&plan, &bad->op);
	}
	if (bad->op.op != NIWA_OP_EXEC)
		keep_test_plan_exec(&plan, -1, "/bin/true");
	keep_test_failed(&world, &plan, index, bad->error, &reply);
	assert_int_equal(reply.msg.status, bad->message);
	keep_test_expect_held(&world, fds, 0);
}

static void each_failing_operation_is_named_and_leaves_nothing(void **state)
{
	static const char mount_bytes[] = "tmpfs\0", command[] = "\1\0\0\0/missing\0\0\0\0";
	static const struct {
		struct nlmsghdr h[2];
		struct ifinfomsg up;
	} link = {.h = {{.nlmsg_len = 16, .nlmsg_type = NLMSG_NOOP}, {.nlmsg_len = 32, .nlmsg_type = RTM_NEWLINK}},
		  .up = {.ifi_index = 77}};
	static const uint64_t bad_filter = UINT64_MAX;
	static const uint32_t group = 77;
	static const struct bad_op cases[] = {
		{{.op = NIWA_OP_MKDIR, .s = "/proc/x"}, ENOENT, 0},
		{{.op = NIWA_OP_WRITE, .s = "/missing/x", .t = "1"}, ENOENT, 0},
		{{.op = NIWA_OP_OPEN_TREE, .a = 20, .s = "/missing"}, ENOENT, 0},
		{{.op = NIWA_OP_OPEN, .a = 20, .s = "/missing"}, ENOENT, 0},
		{{.op = NIWA_OP_ID_MAP, .s = "nonsense", .t = "0 0 1"}, EINVAL, 0},
		{{.op = NIWA_OP_ATTACH, .s = "/missing"}, ENOENT, 0},
		{{.op = NIWA_OP_IDMAP, .a = T_FILE, .s = "0 1 1"}, EINVAL, 0},
		{{.op = NIWA_OP_IDMAP, .a = 21}, EBADF, 0},
		{{.op = NIWA_OP_NETLINK, .bytes = &link, .bytes_len = sizeof(link)}, ENODEV, 1},
		{{.op = NIWA_OP_MOUNT,
		  .s = "x",
		  .t = "/missing",
		  .bytes = mount_bytes,
		  .bytes_len = sizeof(mount_bytes)},
		 ENOENT,
		 0},
		{{.op = NIWA_OP_MOVE_MOUNT, .a = 21, .s = "/mnt"}, EBADF, 0},
		{{.op = NIWA_OP_PIVOT, .s = "/missing"}, ENOENT, 0},
		{{.op = NIWA_OP_DIR, .s = "/proc/x"}, ENOENT, 0},
		{{.op = NIWA_OP_FILE, .s = "/missing/x"}, ENOENT, 0},
		{{.op = NIWA_OP_SYMLINK, .s = "x", .t = "/missing/x"}, ENOENT, 0},
		{{.op = NIWA_OP_PUT, .s = "/missing/x"}, ENOENT, 0},
		{{.op = NIWA_OP_CHILD_NETLINK, .bytes = &link, .bytes_len = sizeof(link)}, ENODEV, 1},
		{{.op = NIWA_OP_HOST_NAME, .s = "blog"}, EPERM, 0}, /* the plan has no uts namespace */
		{{.op = NIWA_OP_NOTIFY, .a = 20, .s = "/missing/x"}, ENOENT, 0},
		{{.op = NIWA_OP_JOIN, .a = T_FILE}, EBADF, 0},
		{{.op = NIWA_OP_CONSOLE, .a = 21}, EBADF, 0},
		{{.op = NIWA_OP_STDIO, .a = 21}, EBADF, 0},
		{{.op = NIWA_OP_PASS, .a = 21, .b = 3}, EBADF, 0},
		{{.op = NIWA_OP_RLIMIT, .a = 999}, EINVAL, 0},
		{{.op = NIWA_OP_USER, .a = 5, .bytes = &group, .bytes_len = sizeof(group)}, EPERM, 0},
		{{.op = NIWA_OP_CAPS, .a = -1}, EINVAL, 0},
		{{.op = NIWA_OP_SECCOMP, .bytes = &bad_filter, .bytes_len = sizeof(bad_filter)}, EINVAL, 0},
		{{.op = NIWA_OP_CHDIR, .s = "/missing"}, ENOENT, 0},
		{{.op = NIWA_OP_EXEC, .a = -1, .bytes = command, .bytes_len = sizeof(command)}, ENOENT, 0},
	};
	unsigned fds = keep_test_count_fds(&world);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_bad_op(&cases[i], fds);
}

static void send_fd_as_plan(int fd, int error)
{
	struct keep_reply reply;
	uint64_t id = world.next_id++;

	keep_test_send(&world, &(struct niwa_keep_msg){.type = NIWA_KEEP_START, .id = id}, &fd, 1);
	keep_test_expect(&world, NIWA_KEEP_FAILED, id, &reply);
	assert_int_equal(reply.msg.op, -1);
	assert_int_equal(reply.msg.error, error);
}

static void what_is_not_a_sealed_plan_is_refused(void **state)
{
	int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	int open_memfd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int garbage = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int empty = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	assert_int_equal(ftruncate(garbage, 4096), 0);
	assert_int_equal(fcntl(garbage, F_ADD_SEALS, seals), 0);
	assert_int_equal(fcntl(empty, F_ADD_SEALS, seals), 0);
	send_fd_as_plan(file, EINVAL);
	send_fd_as_plan(open_memfd, EINVAL);
	send_fd_as_plan(garbage, EINVAL);
	send_fd_as_plan(empty, EINVAL);
	niwa_fd_close(&file);
	niwa_fd_close(&open_memfd);
	niwa_fd_close(&garbage);
	niwa_fd_close(&empty);
}

/* A child that hangs: it opens a pipe by name that nobody else opens. */
static int add_hang(struct niwa_plan *plan)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/hang", world.dir);
	(void)mkfifo(path, 0600); /* there from the second time on */
	T_ADD(plan, .op = NIWA_OP_PUT, .s = path, .t = "x");
	keep_test_plan_exec(plan, -1, "/bin/true");
	return (int)plan->count - 2;
}

static int add_hanging_op(struct niwa_plan *plan)
{
	T_ADD(plan, .op = NIWA_OP_CLONE, .b = -1);
	return add_hang(plan);
}

static pid_t wait_for_child(void)
{
	pid_t pid = -1;

	for (int i = 0; i < 500 && keep_test_count_children(&world, &pid) == 0; i++)
		(void)usleep(10000);
	assert_true(pid > 0);
	return pid;
}

static void a_child_killed_before_its_exec_is_a_failed_start(void **state)
{
	unsigned fds = keep_test_count_fds(&world);
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	int index = add_hanging_op(&plan);
	uint64_t id = keep_test_start(&world, &plan, NULL, 0);
	pid_t pid = wait_for_child();

	(void)usleep(20000); /* it is in its open() now, or will be named where it was */
	assert_int_equal(kill(pid, SIGKILL), 0);
	keep_test_expect(&world, NIWA_KEEP_FAILED, id, &reply);
	assert_int_equal(reply.msg.error, ECHILD);
	assert_int_equal(reply.msg.op, index);
	keep_test_expect_held(&world, fds, 0);
}

static void what_fails_beside_a_killed_child_is_told_as_its_death(void **state)
{
	struct nlmsghdr any = {
		.nlmsg_len = sizeof(any), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	uint64_t id;
	int index;

	keep_test_start_keep(&world, "keep.after-clone:slow", NULL);
	T_ADD(&plan, .op = NIWA_OP_CLONE, .b = -1);
	T_ADD(&plan, .op = NIWA_OP_NETLINK, .b = 1, .bytes = &any,
	      .bytes_len = sizeof(any)); /* no namespace to enter */
	index = add_hang(&plan);
	id = keep_test_start(&world, &plan, NULL, 0);
	(void)usleep(500000); /* it hangs, and keep has not gone on */
	assert_int_equal(kill(wait_for_child(), SIGKILL), 0);
	keep_test_expect(&world, NIWA_KEEP_FAILED, id, &reply);
	assert_string_equal(strerror(reply.msg.error), strerror(ECHILD));
	assert_int_equal(reply.msg.op, index);
	keep_test_stop_keep(&world);
}

static void a_hanging_child_neither_hinders_others_nor_lives_for_ever(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	unsigned fds;
	uint64_t id;
	int index;

	keep_test_start_keep(&world, NULL, "500ms");
	fds = keep_test_count_fds(&world);
	index = add_hanging_op(&plan);
	id = keep_test_start(&world, &plan, NULL, 0);
	keep_test_send(&world, &(struct niwa_keep_msg){.type = NIWA_KEEP_LIST}, NULL, 0);
	keep_test_expect(&world, NIWA_KEEP_INSTANCE, id, &reply); /* under way: nothing of it can be held yet */
	assert_int_equal(reply.msg.pid, 0);
	assert_int_equal(reply.msg.code, 0);
	assert_int_equal(reply.nfds, 0);
	keep_reply_close(&reply);
	keep_test_expect(&world, NIWA_KEEP_END, 0, &reply);
	for (int i = 0; i < 5; i++) {
		keep_test_plan_plain(&plan, "probe exit 3");
		keep_test_started(&world, &plan, &reply);
		keep_reply_close(&reply);
		keep_test_exited(&world, reply.msg.id, CLD_EXITED, 3);
		keep_test_forget(&world, reply.msg.id);
	}
	keep_test_expect(&world, NIWA_KEEP_FAILED, id, &reply);
	assert_int_equal(reply.msg.error, ETIMEDOUT);
	assert_int_equal(reply.msg.op, index);
	keep_test_expect_held(&world, fds, 0);
	keep_test_stop_keep(&world);
}

static void an_injected_failure_at_any_point_is_a_failed_start(void **state)
{
	static const char *const points[] = {"keep.start.received", "keep.before-clone", "keep.after-clone",
					     "keep.host-ops",       "keep.child",        "keep.started"};

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct niwa_plan plan = {0};
		struct keep_reply reply;
		unsigned fds;
		char fault[64];
		uint64_t id;

		(void)snprintf(fault, sizeof(fault), "%s:ENOBUFS", points[i]);
		keep_test_start_keep(&world, fault, NULL);
		fds = keep_test_count_fds(&world);
		keep_test_plan(&world, &plan, world.next_id, T_ALL, "probe sleep 100");
		id = keep_test_start(&world, &plan, NULL, 0);
		keep_test_expect(&world, NIWA_KEEP_FAILED, id, &reply);
		assert_int_equal(reply.msg.error, ENOBUFS);
		keep_test_expect_held(&world, fds, 0);
		keep_test_stop_keep(&world);
	}
}

static bool group_is_empty(uint64_t id)
{
	char path[256], text[256];

	(void)snprintf(path, sizeof(path), "%s/i%d/cgroup.procs", world.cgroup, (int)id);
	return niwa_file_read(path, text, sizeof(text)) <= 0;
}

static void when_keep_is_killed_during_a_start_the_child_goes_too(void **state)
{
	static const char *const points[] = {"keep.start.received", "keep.before-clone", "keep.after-clone"};

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct niwa_plan plan = {0};
		char fault[64];
		uint64_t id;

		(void)snprintf(fault, sizeof(fault), "%s:kill", points[i]);
		keep_test_start_keep(&world, fault, NULL);
		keep_test_plan(&world, &plan, world.next_id, T_ALL, "probe sleep 100");
		id = keep_test_start(&world, &plan, NULL, 0);
		assert_true(keep_test_has_ended(&world, 500));
		for (int n = 0; n < 500 && !group_is_empty(id); n++)
			(void)usleep(10000);
		assert_true(group_is_empty(id));
		keep_test_stop_keep(&world);
	}
}

/* Other starts hold so many descriptors that those of this one have high numbers. */
static void a_start_succeeds_when_low_descriptors_are_taken(void **state)
{
	enum { OTHERS = 50, EACH = 22 };
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	char log[256], path[128];
	int released;

	keep_test_start_keep(&world, NULL, NULL);
	for (int i = 0; i < OTHERS; i++) {
		struct niwa_plan other = {0};

		for (int slot = 3; slot < 3 + EACH; slot++)
			T_ADD(&other, .op = NIWA_OP_OPEN, .a = slot, .s = "/", .b = O_PATH);
		(void)add_hanging_op(&other);
		(void)keep_test_start(&world, &other, NULL, 0);
	}
	while (keep_test_count_fds(&world) < OTHERS * EACH)
		(void)usleep(10000);
	keep_test_plan(&world, &plan, world.next_id, T_ALL, "probe fds address eth0");
	keep_test_started(&world, &plan, &reply);
	keep_test_read_log(reply.fds[1], log, sizeof(log));
	keep_reply_close(&reply);
	assert_non_null(strstr(log, "fds 0 1 2\naddress eth0: 10.80."));
	keep_test_exited(&world, reply.msg.id, CLD_EXITED, 0);
	(void)snprintf(path, sizeof(path), "%s/hang", world.dir); /* the others would outlive keep there */
	released = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(released >= 0);
	for (int i = 0; i < 500 && keep_test_count_children(&world, NULL) > 0; i++)
		(void)usleep(10000);
	assert_int_equal(keep_test_count_children(&world, NULL), 0);
	niwa_fd_close(&released);
	keep_test_stop_keep(&world);
}

static void a_child_killed_at_its_last_instruction_is_a_failed_start(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply reply;
	int last;

	keep_test_start_keep(&world, "keep.child:kill", NULL);
	keep_test_plan_plain(&plan, "probe sleep 100"); /* the first of a pid namespace cannot kill itself */
	last = (int)plan.count - 1;
	keep_test_failed(&world, &plan, last, ECHILD, &reply);
	keep_test_stop_keep(&world);
}

static void a_child_killed_at_any_moment_leaves_nothing(void **state)
{
	unsigned failed = 0, fds = keep_test_count_fds(&world);

	for (unsigned i = 0; i < 60 || (i < 600 && !failed); i++) {
		struct niwa_plan plan = {0};
		struct keep_reply r;
		pid_t pid = -1;
		uint64_t id;

		keep_test_plan(&world, &plan, world.next_id, T_ALL, "probe sleep 100");
		id = keep_test_start(&world, &plan, NULL, 0);
		while (keep_test_count_children(&world, &pid) == 0)
			;
		(void)usleep(i % 60 * 40);
		assert_int_equal(kill(pid, SIGKILL), 0);
		keep_test_receive(&world, &r);
		assert_int_equal(r.msg.id, id);
		keep_reply_close(&r);
		if (r.msg.type == NIWA_KEEP_FAILED) {
			assert_string_equal(strerror(r.msg.error), strerror(ECHILD));
			failed++;
			continue;
		}
		assert_int_equal(r.msg.type, NIWA_KEEP_STARTED);
		keep_test_exited(&world, id, CLD_KILLED, SIGKILL);
		keep_test_forget(&world, id);
	}
	assert_true(failed > 0);
	keep_test_expect_held(&world, fds, 0);
}

static void starts_beyond_the_bound_are_refused_and_the_rest_goes_on(void **state)
{
	enum { BOUND = 256, MORE = 5 };
	unsigned refused = 0, timed_out = 0, fds;
	struct keep_reply r;
	char timeout[16];

	(void)snprintf(timeout, sizeof(timeout), "%ds", keep_test_slow(3));
	keep_test_start_keep(&world, NULL, timeout);
	fds = keep_test_count_fds(&world);
	for (int i = 0; i < BOUND + MORE; i++) {
		struct niwa_plan plan = {0};

		(void)add_hanging_op(&plan);
		(void)keep_test_start(&world, &plan, NULL, 0);
	}
	for (int i = 0; i < BOUND + MORE; i++) {
		keep_test_receive(&world, &r);
		assert_int_equal(r.msg.type, NIWA_KEEP_FAILED);
		refused += r.msg.error == EAGAIN && r.msg.op == -1;
		timed_out += r.msg.error == ETIMEDOUT;
	}
	assert_int_equal(refused, MORE);
	assert_int_equal(timed_out, BOUND);
	keep_test_expect_held(&world, fds, 0);
	keep_test_stop_keep(&world);
}

/* ---- niwad's side ---- */

static uint64_t start_plain(const char *command, const char *tag, struct keep_reply *ret)
{
	struct niwa_keep_msg msg = {.type = NIWA_KEEP_START, .id = world.next_id++};
	struct niwa_plan plan = {0};
	int fd;

	keep_test_plan_plain(&plan, command);
	fd = niwa_plan_to_memfd(&plan, NULL);
	niwa_plan_fini(&plan);
	msg.tag_len = (uint32_t)snprintf((char *)msg.tag, sizeof(msg.tag), "%s", tag);
	keep_test_send(&world, &msg, &fd, 1);
	niwa_fd_close(&fd);
	if (ret)
		keep_test_expect(&world, NIWA_KEEP_STARTED, msg.id, ret);
	return msg.id;
}

static void simple(enum niwa_keep_type type, uint64_t id, const char *text, int fd, int error)
{
	struct niwa_keep_msg msg = {.type = type, .id = id};
	struct keep_reply reply;

	if (type == NIWA_KEEP_TAG)
		msg.tag_len = (uint32_t)snprintf((char *)msg.tag, sizeof(msg.tag), "%s", text);
	else
		(void)snprintf(msg.name, sizeof(msg.name), "%s", text);
	keep_test_send(&world, &msg, &fd, fd >= 0);
	keep_test_expect(&world, error ? NIWA_KEEP_FAILED : NIWA_KEEP_OK, id, &reply);
	assert_int_equal(reply.msg.error, error);
	assert_string_equal(reply.msg.name, msg.name);
}

static void a_new_engine_adopts_what_the_old_one_left(void **state)
{
	struct keep_reply r;
	int pipe_fds[2];
	uint64_t live, dead;
	char log[64];

	live = start_plain("probe put 1 hello sleep 100", "first", &r);
	keep_reply_close(&r);
	dead = start_plain("probe exit 9", "second", &r);
	keep_reply_close(&r);
	keep_test_exited(&world, dead, CLD_EXITED, 9);
	simple(NIWA_KEEP_TAG, live, "changed", -1, 0);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	simple(NIWA_KEEP_STORE, 0, "listener", pipe_fds[0], 0);
	simple(NIWA_KEEP_STORE, 0, "listener", pipe_fds[1], 0); /* replaces */
	simple(NIWA_KEEP_STORE, 0, "other", pipe_fds[0], 0);
	simple(NIWA_KEEP_UNSTORE, 0, "other", -1, 0);
	simple(NIWA_KEEP_UNSTORE, 0, "never there", -1, 0);
	niwa_fd_close(&pipe_fds[0]);
	niwa_fd_close(&pipe_fds[1]);

	keep_test_connect(&world); /* the old connection is closed with it */
	keep_test_send(&world, &(struct niwa_keep_msg){.type = NIWA_KEEP_LIST}, NULL, 0);
	keep_test_expect(&world, NIWA_KEEP_INSTANCE, live, &r);
	assert_int_equal(r.msg.code, 0);
	assert_int_equal(r.msg.sent, 1u << T_LOG);
	assert_int_equal(r.nfds, 2);
	assert_memory_equal(r.msg.tag, "changed", 7);
	assert_int_equal(r.msg.tag_len, 7);
	assert_true(r.msg.cloned_us > 0 && r.msg.started_us > r.msg.cloned_us);
	for (int i = 0, n = 0; i < 500 && n < 14 && ioctl(r.fds[1], FIONREAD, &n) == 0; i++)
		(void)usleep(10000);
	assert_int_equal(kill(r.msg.pid, SIGKILL), 0);
	keep_test_read_log(r.fds[1], log, sizeof(log)); /* nothing that was written meanwhile is lost */
	assert_string_equal(log, "hello"
				 "put done\n");
	keep_reply_close(&r);
	keep_test_expect(&world, NIWA_KEEP_INSTANCE, dead, &r);
	assert_int_equal(r.msg.code, CLD_EXITED);
	assert_int_equal(r.msg.status, 9);
	keep_reply_close(&r);
	keep_test_expect(&world, NIWA_KEEP_STORED, 0, &r);
	assert_string_equal(r.msg.name, "listener");
	assert_int_equal(write(r.fds[0], "x", 1), -1); /* the write end, and nobody reads */
	keep_reply_close(&r);
	keep_test_expect(&world, NIWA_KEEP_END, 0, &r);
	keep_test_exited(&world, live, CLD_KILLED, SIGKILL);
	keep_test_forget(&world, live);
	keep_test_forget(&world, dead);
	keep_test_forget(&world, dead); /* knows nothing of it any more, which is what was wanted */
}

static void wrong_requests_are_answered_with_the_reason(void **state)
{
	struct keep_reply r;
	uint64_t id = start_plain("probe sleep 100", "", &r);
	char text[65];

	keep_reply_close(&r);
	world.next_id = id;
	(void)start_plain("probe sleep 100", "", NULL);
	keep_test_expect(&world, NIWA_KEEP_FAILED, id, &r);
	assert_int_equal(r.msg.error, EEXIST);
	simple(NIWA_KEEP_FORGET, id, "", -1, EBUSY);
	simple(NIWA_KEEP_START, 0, "", -1, EINVAL);
	simple(NIWA_KEEP_START, 99999, "", -1, EINVAL);
	simple(NIWA_KEEP_TAG, 99999, "x", -1, ENOENT);
	simple(NIWA_KEEP_STORE, 0, "x", -1, EINVAL);
	simple(NIWA_KEEP_END, 0, "", -1, EOPNOTSUPP);
	simple((enum niwa_keep_type)4711, 0, "", -1, EOPNOTSUPP);
	assert_int_equal(niwa_ipc_send(world.sock, "short", 5, NULL, 0), 0);
	for (int i = 0; i < 500 && (errno = 0, recv(world.sock, text, sizeof(text), MSG_DONTWAIT)) < 0; i++)
		(void)usleep(10000);
	assert_int_equal(errno, 0); /* its end: closed on us */
}

/* Nothing is read until everything has happened: more than the socket can hold. */
static void a_slow_engine_is_told_everything_in_the_end(void **state)
{
	enum { N = 120 };
	unsigned started[N] = {0}, exited[N] = {0}, left = 2 * N;
	uint64_t first = world.next_id;
	struct keep_reply r;

	for (int i = 0; i < N; i++)
		(void)start_plain("probe exit 5", "", NULL);
	for (int i = 0; i < 500 && keep_test_count_children(&world, NULL) > 0; i++)
		(void)usleep(10000);
	while (left-- > 0) {
		keep_test_receive(&world, &r);
		keep_reply_close(&r);
		assert_in_range(r.msg.id, first, first + N - 1);
		if (r.msg.type == NIWA_KEEP_STARTED) {
			started[r.msg.id - first]++;
		} else {
			assert_int_equal(r.msg.type, NIWA_KEEP_EXITED);
			assert_int_equal(r.msg.status, 5);
			assert_int_equal(started[r.msg.id - first], 1); /* in that order */
			exited[r.msg.id - first]++;
		}
	}
	for (int i = 0; i < N; i++)
		assert_true(started[i] == 1 && exited[i] == 1);
}

static void an_engine_that_dies_after_its_request_finds_the_instance(void **state)
{
	struct keep_reply r;
	uint64_t id = start_plain("probe sleep 100", "", NULL);

	keep_test_connect(&world);
	keep_test_send(&world, &(struct niwa_keep_msg){.type = NIWA_KEEP_LIST}, NULL, 0);
	keep_test_receive(&world, &r);
	keep_reply_close(&r);
	assert_int_equal(r.msg.id, id);
	assert_true(r.msg.type == NIWA_KEEP_STARTED || r.msg.type == NIWA_KEEP_INSTANCE);
}

/* ---- exec ---- */

static uint64_t exec_into(int pidfd, int console, const char *command)
{
	struct niwa_plan plan = {0};
	int given[2] = {pidfd, console};

	T_ADD(&plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	T_ADD(&plan, .op = NIWA_OP_CLONE, .b = -1);
	T_ADD(&plan, .op = NIWA_OP_RELEASE, .a = 1);
	T_ADD(&plan, .op = NIWA_OP_AWAIT, .a = 1);
	T_ADD(&plan, .op = NIWA_OP_JOIN, .a = T_GIVEN);
	T_ADD(&plan, .op = NIWA_OP_USER);
	T_ADD(&plan, .op = NIWA_OP_SESSION);
	if (console >= 0)
		T_ADD(&plan, .op = NIWA_OP_CONSOLE, .a = T_GIVEN + 1);
	else
		T_ADD(&plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	keep_test_plan_exec(&plan, -1, command);
	return keep_test_start(&world, &plan, given, console >= 0 ? 2 : 1);
}

static void an_exec_runs_inside_the_instance_and_its_own_end_is_told(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply instance, r;
	char log[4096];
	uint64_t id;

	keep_test_plan(&world, &plan, world.next_id, T_ALL, "probe sleep 100");
	keep_test_started(&world, &plan, &instance);
	id = exec_into(instance.fds[0], -1, "probe ids host address eth0 owner /etc/secret fds exit 42");
	keep_test_expect(&world, NIWA_KEEP_STARTED, id, &r);
	keep_test_read_log(r.fds[1], log, sizeof(log));
	keep_reply_close(&r);
	assert_non_null(strstr(log, "ids 0 0 pid 2 sid 2\nhost blog\naddress eth0: 10.80."));
	assert_non_null(strstr(log, "owner /etc/secret: 0 0 0600\nfds 0 1 2\n"));
	keep_test_exited(&world, id, CLD_EXITED, 42);
	keep_test_forget(&world, id);

	id = exec_into(instance.fds[0], -1, "probe sleep 100"); /* ends with its instance */
	keep_test_expect(&world, NIWA_KEEP_STARTED, id, &r);
	keep_reply_close(&r);
	assert_int_equal(pidfd_send_signal(instance.fds[0], SIGKILL, NULL, 0), 0);
	keep_test_receive(&world, &r);
	assert_int_equal(r.msg.type, NIWA_KEEP_EXITED);
	keep_test_receive(&world, &r);
	assert_int_equal(r.msg.type, NIWA_KEEP_EXITED);

	id = exec_into(instance.fds[0], -1, "probe sleep 100"); /* nothing there to join */
	keep_test_expect(&world, NIWA_KEEP_FAILED, id, &r);
	assert_int_equal(r.msg.op, 4);
	keep_reply_close(&instance);
}

static void an_exec_can_have_a_terminal(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply instance, r;
	char text[256] = "", *end = text;
	int pair[2], fds[NIWA_IPC_FDS_MAX];
	size_t nfds;
	uint64_t id;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keep_test_plan(&world, &plan, world.next_id, T_WITH_CGROUP, "probe sleep 100");
	keep_test_started(&world, &plan, &instance);
	id = exec_into(instance.fds[0], pair[1], "probe tty sleep 1");
	keep_test_expect(&world, NIWA_KEEP_STARTED, id, &r);
	assert_int_equal(niwa_ipc_recv(pair[0], text, sizeof(text), fds, &nfds), 1);
	assert_int_equal(nfds, 1);
	while (!strchr(text, '\n')) {
		ssize_t n = read(fds[0], end, sizeof(text) - 1 - (size_t)(end - text));

		assert_true(n > 0);
		end += n;
	}
	assert_string_equal(text, "tty 1 1 1\r\n");
	keep_reply_close(&r);
	keep_reply_close(&instance);
	niwa_fd_close(&fds[0]);
	niwa_fd_close(&pair[0]);
	niwa_fd_close(&pair[1]);
}

/* ---- processes and signals ---- */

static void orphans_of_instances_are_reaped(void **state)
{
	struct keep_reply r;
	uint64_t id = start_plain("probe orphan exit 0", "", &r);
	unsigned fds;

	keep_reply_close(&r);
	keep_test_exited(&world, id, CLD_EXITED, 0);
	keep_test_forget(&world, id);
	fds = keep_test_count_fds(&world);
	keep_test_expect_held(&world, fds, 0);
}

static void the_init_forwards_signals_and_reports_their_end(void **state)
{
	struct niwa_plan plan = {0};
	struct keep_reply r;
	char log[256];

	keep_test_plan(&world, &plan, world.next_id, T_WITH_CGROUP, "init probe orphan sleep 100");
	keep_test_started(&world, &plan, &r);
	(void)usleep(200000); /* the orphan has ended; its parent lives on */
	assert_int_equal(pidfd_send_signal(r.fds[0], SIGTERM, NULL, 0), 0);
	keep_test_read_log(r.fds[1], log, sizeof(log));
	keep_test_exited(&world, r.msg.id, CLD_EXITED, 128 + SIGTERM);
	keep_reply_close(&r);
	keep_test_plan(&world, &plan, world.next_id, T_WITH_CGROUP, "init missing");
	keep_test_started(&world, &plan, &r);
	keep_test_read_log(r.fds[1], log, sizeof(log));
	assert_string_equal(log, "niwa-init: missing: No such file or directory\n");
	keep_test_exited(&world, r.msg.id, CLD_EXITED, 127);
	keep_reply_close(&r);
}

static void a_signal_ends_keep_only_without_instances_or_when_repeated(void **state)
{
	struct keep_reply r;

	keep_test_start_keep(&world, NULL, NULL);
	(void)start_plain("probe sleep 100", "", &r);
	assert_int_equal(kill(world.keep, SIGTERM), 0);
	assert_false(keep_test_has_ended(&world, 20));
	assert_int_equal(kill(world.keep, SIGTERM), 0);
	assert_true(keep_test_has_ended(&world, 500));
	assert_int_equal(kill(r.msg.pid, 0), 0); /* the instance lives on */
	assert_int_equal(kill(r.msg.pid, SIGKILL), 0);
	keep_reply_close(&r);
	keep_test_start_keep(&world, NULL, NULL);
	assert_int_equal(kill(world.keep, SIGTERM), 0);
	assert_true(keep_test_has_ended(&world, 500));
	niwa_fd_close(&world.sock);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start_keep, stop_keep)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_failing_operation_is_named_and_leaves_nothing),
		TEST(what_is_not_a_sealed_plan_is_refused),
		TEST(a_child_killed_before_its_exec_is_a_failed_start),
		cmocka_unit_test(what_fails_beside_a_killed_child_is_told_as_its_death),
		cmocka_unit_test(a_hanging_child_neither_hinders_others_nor_lives_for_ever),
		cmocka_unit_test(an_injected_failure_at_any_point_is_a_failed_start),
		cmocka_unit_test(when_keep_is_killed_during_a_start_the_child_goes_too),
		cmocka_unit_test(a_start_succeeds_when_low_descriptors_are_taken),
		cmocka_unit_test(a_child_killed_at_its_last_instruction_is_a_failed_start),
		TEST(a_child_killed_at_any_moment_leaves_nothing),
		cmocka_unit_test(starts_beyond_the_bound_are_refused_and_the_rest_goes_on),
		TEST(a_new_engine_adopts_what_the_old_one_left),
		TEST(wrong_requests_are_answered_with_the_reason),
		TEST(a_slow_engine_is_told_everything_in_the_end),
		TEST(an_engine_that_dies_after_its_request_finds_the_instance),
		TEST(an_exec_runs_inside_the_instance_and_its_own_end_is_told),
		TEST(an_exec_can_have_a_terminal),
		TEST(orphans_of_instances_are_reaped),
		TEST(the_init_forwards_signals_and_reports_their_end),
		cmocka_unit_test(a_signal_ends_keep_only_without_instances_or_when_repeated),
	};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	keep_test_world(&world);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	keep_test_world_end(&world);
	return r;
}
