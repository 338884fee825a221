/* SPDX-License-Identifier: MIT
 *
 * The child, from the clone to its exec: async-signal-safe calls on the mapped plan, no allocation, no lock. What
 * fails is written into the shared progress; the end of its socket tells keep to look there.
 */
#include "keep/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/close_range.h>
#include <linux/sched.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/ipc.h"

#define USUAL_FILES                                                                                                    \
	1024 /* soft limit of open files where the plan sets none: what programs expect that try them all              \
	      */
#define SLOTS_FROM (NIWA_PLAN_TARGET_MAX + 1) /* below are the numbers that a plan may give away */

#define JOINED                                                                                                         \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static struct rlimit nofile; /* set at exec */
static bool oom_adjusted;    /* keep is spared when memory is out; what it starts is not */
static bool unusual[NSIG];   /* signals that keep or whoever started it does not leave as they are by default */
static char *vector[NIWA_PLAN_ARGS_MAX + 2];

/* The kernel's struct sigaction: handler, flags, restorer, mask. By the system call: the C library keeps signals 32 and
 * 33 to itself, but they are inherited as the others. Failing: those that have no other disposition. */
struct kernel_action {
	unsigned long handler, flags, restorer, mask;
};

static void note_signals(void)
{
	struct kernel_action now = {0};

	for (int number = 1; number < NSIG; number++)
		unusual[number] = syscall(SYS_rt_sigaction, number, NULL, &now, sizeof(now.mask)) == 0 && now.handler;
}

void keep_child_init(const struct rlimit *started_with)
{
	char text[32] = "";

	note_signals();
	keep_child_init_system();
	keep_child_init_memory();
	nofile = *started_with;
	if (nofile.rlim_cur > USUAL_FILES)
		nofile.rlim_cur = USUAL_FILES;
	oom_adjusted = niwa_file_read("/proc/self/oom_score_adj", text, sizeof(text)) > 0 && atoi(text) != 0;
}

/* Numbers rise, so the last one heard of is enough. The end of the socket: keep is gone, or has given up. */
static int wait_for(struct keep_start *s, int64_t number)
{
	static uint8_t released;

	while (released < number) {
		ssize_t n = recv(s->child_sock, &released, sizeof(released), 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EPIPE;
	}
	return 0;
}

static int child_await(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return wait_for(s, op->a);
}

/* Of the user namespace that the child has. */
static int child_own_groups(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return unshare(CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

static int send_to_keep(struct keep_start *s, int slot, pid_t pid, int fd)
{
	struct keep_child_msg msg = {.slot = slot, .pid = pid};

	return niwa_ipc_send(s->child_sock, &msg, sizeof(msg), &fd, fd >= 0);
}

int keep_child_send(struct keep_start *s, int slot, int fd)
{
	return send_to_keep(s, slot, 0, fd);
}

/* A restored instance has clocks of its own; a kernel without time namespaces knows no such flag. */
static int join(int pidfd, int namespaces)
{
	int r = setns(pidfd, namespaces | CLONE_NEWTIME);

	return r < 0 && errno == EINVAL ? setns(pidfd, namespaces) : r;
}

/* The process that execs must be born inside the pid namespace. CLONE_PARENT makes it keep's child, so that its end
 * is told to keep; the outer process has done its part, the inner one waits until keep knows it. Not dumpable before
 * joining: processes of the instance could else trace us and take what we hold. */
static int child_join(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int fd = keep_slot(s, op->a), pidfd = -1;
	struct clone_args args = {.flags = CLONE_PARENT | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd};
	long pid;

	if (fd < 0)
		return fd;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || join(fd, op->b ? JOINED & ~CLONE_NEWUSER : JOINED) < 0)
		return -errno;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		(void)send_to_keep(s, KEEP_INNER, (pid_t)pid, pidfd); /* without keep there is nobody to tell */
		_exit(0);
	}
	return wait_for(s, KEEP_GO);
}

static int set_stdio(struct keep_start *s, int64_t slot, int number)
{
	int fd = slot < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY) : keep_slot(s, slot);

	if (fd < 0)
		return slot < 0 ? -errno : fd;
	if (fd == number) /* /dev/null, where nothing was open */
		return fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
	if (dup2(fd, number) < 0)
		return -errno;
	return slot < 0 && close(fd) < 0 ? -errno : 0;
}

static int child_stdio(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	const int64_t slots[] = {op->a, op->b, op->c};
	int r = 0;

	for (int i = 0; r == 0 && i < 3; i++)
		r = set_stdio(s, slots[i], i);
	return r;
}

static int child_pass(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int fd = keep_slot(s, op->a);

	if (fd < 0)
		return fd;
	return dup2(fd, (int)op->b) < 0 ? -errno : 0;
}

/* Raising a hard limit needs CAP_SYS_RESOURCE on the host, which keep may lack: then its own is what there is. */
static int set_limit(int resource, struct rlimit want)
{
	struct rlimit have;

	if (setrlimit((__rlimit_resource_t)resource, &want) == 0)
		return 0;
	if (errno != EPERM || getrlimit((__rlimit_resource_t)resource, &have) < 0)
		return -errno;
	want.rlim_max = have.rlim_max;
	if (want.rlim_cur > want.rlim_max)
		want.rlim_cur = want.rlim_max;
	return setrlimit((__rlimit_resource_t)resource, &want) < 0 ? -errno : 0;
}

/* The number of files is limited at exec only: until then we hold copies of everything that keep has open. */
static int child_rlimit(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct rlimit want = {.rlim_cur = (rlim_t)op->b, .rlim_max = (rlim_t)op->c};

	if (op->a != RLIMIT_NOFILE)
		return set_limit((int)op->a, want);
	nofile = want;
	return 0;
}

/* argv and env as arrays, both in `vector`. */
static char **read_vector(char **at, const char **p)
{
	uint32_t count;

	memcpy(&count, *p, sizeof(count));
	*p += sizeof(count);
	for (uint32_t i = 0; i < count; i++) {
		*at++ = (char *)(uintptr_t)*p; /* execve does not write */
		*p += strlen(*p) + 1;
	}
	*at = NULL;
	return at + 1;
}

static const char *find_path(char *const *env)
{
	for (; *env; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* As a shell does: a name with a slash is a path; else each folder of PATH, and "denied" wins over "not there". */
static int exec_along_path(char *const *argv, char *const *env)
{
	const char *dirs = find_path(env);
	size_t name_len = strlen(argv[0]);
	int error = ENOENT;
	char path[PATH_MAX];

	if (name_len == 0) /* else it would be the folder */
		return -ENOENT;
	if (strchr(argv[0], '/')) {
		(void)execve(argv[0], argv, env);
		return -errno;
	}
	for (;;) {
		size_t len = strcspn(dirs, ":");

		if (len > 0 && len + 1 + name_len < sizeof(path)) {
			memcpy(path, dirs, len);
			path[len] = '/';
			memcpy(path + len + 1, argv[0], name_len + 1);
			(void)execve(path, argv, env);
			if (errno == EACCES)
				error = EACCES;
			else if (errno != ENOENT && errno != ENOTDIR)
				return -errno;
		}
		if (dirs[len] == '\0')
			return -error;
		dirs += len + 1;
	}
}

static int child_exec(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	const char *p = op->bytes;
	char **argv = vector, **env = read_vector(argv, &p);
	int r = niwa_fault("keep.child"), file = -1;

	(void)read_vector(env, &p); /* the end of the array */
	if (r == 0 && op->a >= 0)
		r = file = keep_slot(s, op->a);
	if (r >= 0)
		r = set_limit(RLIMIT_NOFILE, nofile);
	if (r < 0)
		return r;
	(void)umask(022);
	s->progress->executing = 1;
	if (file >= 0)
		(void)syscall(SYS_execveat, file, "", argv, env, AT_EMPTY_PATH);
	r = file >= 0 ? -errno : exec_along_path(argv, env);
	s->progress->executing = 0;
	return r;
}

/* Numbers below SLOTS_FROM become free for STDIO and PASS, so that no slot is overwritten before it is used. */
static int lift(int *fd)
{
	int high = *fd >= 0 && *fd < SLOTS_FROM ? fcntl(*fd, F_DUPFD_CLOEXEC, SLOTS_FROM) : *fd;

	if (high < 0 && *fd >= 0)
		return -errno;
	*fd = high;
	return 0;
}

/* Ascending, in place; there are 36 at most. */
static void sort(int *numbers, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		for (unsigned j = i; j > 0 && numbers[j] < numbers[j - 1]; j--) {
			int t = numbers[j];

			numbers[j] = numbers[j - 1];
			numbers[j - 1] = t;
		}
}

/* Of the copy only the standard streams and what this start owns: another start's socket in our hands would keep keep
 * from seeing its end, and our own copy of keep's end us from seeing keep's. */
static int close_others(const struct keep_start *s)
{
	int own[NIWA_SLOTS + 4] = {0, 1, 2, s->child_sock};
	unsigned count = 4, first = 0;

	for (int i = 0; i < NIWA_SLOTS; i++)
		if (s->slots[i] >= 0)
			own[count++] = s->slots[i];
	sort(own, count);
	for (unsigned i = 0; i < count; i++) {
		unsigned fd = (unsigned)own[i];

		if (fd > first && close_range(first, fd - 1, 0) < 0)
			return -errno;
		first = fd + 1;
	}
	return close_range(first, ~0u, 0) < 0 ? -errno : 0;
}

/* See can_share_files(). Before it nothing may be closed: it would be keep's. */
static int own_files(struct keep_start *s)
{
	int r;

	if (s->shared && close_range(KEEP_OWN_FDS, ~0u, CLOSE_RANGE_UNSHARE) < 0)
		return -errno;
	r = close_others(s);
	return r < 0 || !s->shared ? r : send_to_keep(s, KEEP_UNSHARED, 0, -1);
}

/* What keep or whoever started it ignores (a shell: SIGINT and SIGQUIT in the background) stays ignored over exec. */
static void default_signals(void)
{
	static const struct kernel_action usual; /* SIG_DFL, no flags, no mask */

	for (int number = 1; number < NSIG; number++)
		if (unusual[number])
			(void)syscall(SYS_rt_sigaction, number, &usual, NULL,
				      sizeof(usual.mask)); /* it could be read */
}

static int prepare(struct keep_start *s)
{
	sigset_t none;
	int r = own_files(s);

	if (r == 0)
		r = lift(&s->child_sock);
	for (int i = 0; r == 0 && i < NIWA_SLOTS; i++)
		r = lift(&s->slots[i]);
	if (r == 0 && oom_adjusted && (r = niwa_file_write("/proc/self/oom_score_adj", "0")) == -EACCES)
		r = 0; /* raised by one with CAP_SYS_RESOURCE, only such a one may lower it */
	if (r < 0)
		return r;
	(void)umask(0);
	default_signals();
	(void)sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

static keep_child_fn *find(enum niwa_op op)
{
	static keep_child_fn *const ops[NIWA_OP_COUNT] = {
		[NIWA_OP_AWAIT] = child_await,
		[NIWA_OP_OWN_GROUPS] = child_own_groups,
		[NIWA_OP_PRIVATE] = keep_child_private,
		[NIWA_OP_MOUNT] = keep_child_mount,
		[NIWA_OP_MOVE_MOUNT] = keep_child_move_mount,
		[NIWA_OP_PIVOT] = keep_child_pivot,
		[NIWA_OP_DETACH] = keep_child_detach,
		[NIWA_OP_DIR] = keep_child_dir,
		[NIWA_OP_FILE] = keep_child_file,
		[NIWA_OP_SYMLINK] = keep_child_symlink,
		[NIWA_OP_MASK] = keep_child_mask,
		[NIWA_OP_READ_ONLY] = keep_child_read_only,
		[NIWA_OP_PUT] = keep_child_put,
		[NIWA_OP_CHILD_NETLINK] = keep_child_netlink,
		[NIWA_OP_HOST_NAME] = keep_child_host_name,
		[NIWA_OP_DIAG] = keep_child_diag,
		[NIWA_OP_NOTIFY] = keep_child_notify,
		[NIWA_OP_JOIN] = child_join,
		[NIWA_OP_CONSOLE] = keep_child_console,
		[NIWA_OP_STDIO] = child_stdio,
		[NIWA_OP_PASS] = child_pass,
		[NIWA_OP_RLIMIT] = child_rlimit,
		[NIWA_OP_BOUNDING] = keep_child_bounding,
		[NIWA_OP_USER] = keep_child_user,
		[NIWA_OP_CAPS] = keep_child_caps,
		[NIWA_OP_NO_NEW_PRIVS] = keep_child_no_new_privs,
		[NIWA_OP_SECCOMP] = keep_child_seccomp,
		[NIWA_OP_CHDIR] = keep_child_chdir,
		[NIWA_OP_SESSION] = keep_child_session,
		[NIWA_OP_TIME_OFFSETS] = keep_child_time_offsets,
		[NIWA_OP_FOLDER] = keep_child_folder,
		[NIWA_OP_COPY] = keep_child_copy,
		[NIWA_OP_EXEC] = child_exec,
	};

	return ops[op];
}

_Noreturn void keep_child_run(struct keep_start *s, size_t pos, const struct niwa_op_view *clone)
{
	struct niwa_op_view op = *clone;
	int message = 0, r;

	s->progress->op = (int32_t)op.index;
	r = prepare(s);

	while (r == 0 && niwa_plan_next(s->plan, s->plan_len, &pos, &op)) {
		keep_child_fn *fn = find(op.op);

		if (!fn) /* keep's own */
			continue;
		s->progress->op = (int32_t)op.index;
		r = niwa_fault_step("keep.child", niwa_op_name(op.op));
		if (r == 0)
			r = fn(s, &op, &message);
	}
	s->progress->message = message;
	s->progress->error = -r;
	_exit(127);
}
