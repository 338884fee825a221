/* SPDX-License-Identifier: MIT
 *
 * One start: plan, operations before the clone, the clone, operations beside the child, then waiting for the end of
 * the child's socket, which is its exec or its death. Many starts are under way at the same time; none blocks keep.
 * A failed one is told only when its processes are reaped, so that nothing of it is left.
 */
#include "keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/sched.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/log.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static struct keep_start starts[KEEP_STARTS];
static unsigned starts_count;
static int epoll_fd = -1;
static uint64_t timeout_us = KEEP_TIMEOUT_US;

int keep_start_init(int epoll)
{
	struct keep_progress *shared =
		mmap(NULL, sizeof(*shared) * KEEP_STARTS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; i < KEEP_STARTS; i++) {
		starts[i].index = -1;
		starts[i].progress = &shared[i];
	}
	epoll_fd = epoll;
	return 0;
}

void keep_start_set_timeout(uint64_t us)
{
	timeout_us = us;
}

bool keep_start_room(void)
{
	return starts_count < KEEP_STARTS;
}

static struct keep_start *start_new(unsigned index)
{
	for (unsigned i = 0; i < KEEP_STARTS; i++) {
		struct keep_start *s = &starts[i];

		if (s->index >= 0)
			continue;
		*s = (struct keep_start){.index = (int)index,
					 .progress = s->progress,
					 .sock = -1,
					 .child_sock = -1,
					 .pidfd = -1,
					 .outer_pidfd = -1,
					 .user_ns = -1,
					 .net_ns = -1,
					 .inner_rtnl = -1};
		*s->progress = (struct keep_progress){.op = -1};
		for (int slot = 0; slot < NIWA_SLOTS; slot++)
			s->slots[slot] = -1;
		starts_count++;
		return s;
	}
	return NULL; /* the caller asked keep_start_room() */
}

/* Children cloned meanwhile hold copies of the socket until their exec: closing alone would leave it in the epoll. */
static void close_sock(struct keep_start *s)
{
	if (s->sock >= 0)
		(void)keep_epoll(epoll_fd, EPOLL_CTL_DEL, s->sock, 0, 0); /* not there yet when the clone failed */
	niwa_fd_close(&s->sock);
}

static void start_end(struct keep_start *s)
{
	if (s->plan)
		(void)munmap((void *)(uintptr_t)s->plan, s->plan_len);
	for (int slot = 0; slot < NIWA_SLOTS; slot++)
		niwa_fd_close(&s->slots[slot]);
	close_sock(s);
	niwa_fd_close(&s->child_sock);
	niwa_fd_close(&s->pidfd);
	niwa_fd_close(&s->outer_pidfd);
	niwa_fd_close(&s->user_ns);
	niwa_fd_close(&s->net_ns);
	niwa_fd_close(&s->inner_rtnl);
	s->index = -1;
	starts_count--;
}

static void finish_failed(struct keep_start *s)
{
	struct keep_instance *in = keep_instance_at((unsigned)s->index);

	if (s->alive > 0)
		return; /* until they are reaped */
	in->state = KEEP_FAILED;
	keep_tell((unsigned)s->index, KEEP_TELL_FAILED);
	start_end(s);
}

/* The first failure counts. What the child has sent and nobody read goes with its socket. */
static void start_fail(struct keep_start *s, int op, int error, int message)
{
	struct keep_instance *in = keep_instance_at((unsigned)s->index);

	if (s->failed)
		return;
	s->failed = true;
	in->fail_op = op;
	in->fail_error = error;
	in->fail_message = message;
	close_sock(s);
	if (s->outer_pidfd >= 0)
		(void)pidfd_send_signal(s->outer_pidfd, SIGKILL, NULL, 0); /* it may be dead */
	if (s->pidfd >= 0)
		(void)pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0);
	finish_failed(s);
}

/* Sealed, because it is checked once and read twice. */
static int map_plan(struct keep_start *s, int fd)
{
	struct niwa_error err;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	void *p;
	int r;

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0)
		return -EINVAL;
	if (st.st_size < 8 || st.st_size > NIWA_PLAN_MAX)
		return -EINVAL;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	s->plan = p;
	s->plan_len = (size_t)st.st_size;
	r = niwa_plan_check(s->plan, s->plan_len, &err);
	if (r < 0) /* the answer has room for the number only */
		niwa_log(NIWA_LOG_ERR, &(struct niwa_log_ctx){.instance = keep_instance_id((unsigned)s->index)}, "%s",
			 err.msg);
	return r;
}

/* A child that gets a copy of our table of descriptors pays for each instance there is, at the clone and again at its
 * exec. So it is born sharing the table and begins with a copy of the lower part alone, where the start's own
 * descriptors are. Nothing of the start is closed here before the child says that it has done so, or is reaped. */
static bool can_share_files(const struct keep_start *s)
{
	for (int slot = 0; slot < NIWA_SLOTS; slot++)
		if (s->slots[slot] >= KEEP_OWN_FDS)
			return false;
	return s->child_sock < KEEP_OWN_FDS;
}

static int clone_child(struct keep_start *s, size_t pos, const struct niwa_op_view *op)
{
	int ends[2], cgroup = op->b >= 0 ? keep_slot(s, op->b) : -1;
	struct clone_args args = {.flags = (uint64_t)op->a | CLONE_PIDFD,
				  .pidfd = (uint64_t)(uintptr_t)&s->pidfd,
				  .exit_signal = SIGCHLD};
	bool entered;
	long pid;

	if (op->b >= 0 && cgroup < 0)
		return cgroup;
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	s->sock = ends[0];
	s->child_sock = ends[1];
	s->shared = can_share_files(s);
	if (s->shared)
		args.flags |= CLONE_FILES;
	entered = args.flags & CLONE_NEWNET && keep_host_enter_parent_net();
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		keep_child_run(s, pos, op);
	if (pid < 0)
		pid = -errno;
	if (entered)
		keep_host_leave_net();
	if (pid < 0)
		return (int)pid;
	if (!s->shared)
		niwa_fd_close(&s->child_sock);
	s->pid = (pid_t)pid;
	s->alive = 1;
	keep_pid_set(s->pid, s->index);
	s->deadline_us = niwa_now_us() + timeout_us;
	return 0;
}

/* BEFORE operations and the clone, or HOST operations: up to and with the CLONE, or up to the end. */
static int run_ops(struct keep_start *s, struct niwa_op_view *op, int *message)
{
	while (niwa_plan_next(s->plan, s->plan_len, &s->pos, op)) {
		int r = 0;

		if (op->op == NIWA_OP_CLONE)
			return niwa_fault("keep.before-clone");
		if (niwa_op_phase(op->op) != NIWA_PHASE_CHILD)
			r = keep_host_op(s, op, message);
		if (r < 0)
			return r;
	}
	return 0;
}

static int before_and_clone(struct keep_start *s, struct niwa_op_view *op, int *message)
{
	int r = run_ops(s, op, message);

	return r < 0 ? r : clone_child(s, s->pos, op);
}

static int beside(struct keep_start *s, struct niwa_op_view *op, int *message)
{
	uint64_t data = KEEP_EVENT(KEEP_EVENT_START, (unsigned)(s - starts));
	int r = niwa_fault("keep.after-clone");

	if (r == 0)
		r = keep_epoll(epoll_fd, EPOLL_CTL_ADD, s->sock, EPOLLIN, data);
	if (r == 0)
		r = run_ops(s, op, message);
	return r < 0 ? r : niwa_fault("keep.host-ops");
}

void keep_start_begin(unsigned index, int *fds, size_t nfds)
{
	struct keep_start *s = start_new(index);
	struct niwa_op_view op = {.index = UINT32_MAX}; /* as int: -1, not in the plan */
	int message = 0, r = niwa_fault("keep.start.received");

	if (r == 0)
		r = map_plan(s, fds[0]);
	niwa_fd_close(&fds[0]);
	for (size_t i = 1; i < nfds; i++)
		s->slots[NIWA_SLOT_GIVEN + i - 1] = fds[i];
	if (r == 0)
		r = before_and_clone(s, &op, &message);
	if (r == 0) {
		keep_instance_at(index)->cloned_us = niwa_now_us();
		r = beside(s, &op, &message);
	}
	if (r < 0 && s->progress->error) /* the child failed first; what failed here is that it has gone */
		start_fail(s, s->progress->op, s->progress->error, s->progress->message);
	else if (r == -ESRCH && s->alive && pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0) == 0)
		return; /* it is about to be gone: the end of its socket tells */
	else if (r < 0)
		start_fail(s, (int)op.index, -r, message);
}

/* The child has exec'd: what is kept moves to the instance. Its death may be known already. */
static void start_succeed(struct keep_start *s)
{
	unsigned index = (unsigned)s->index, n = 0;
	struct keep_instance *in = keep_instance_at(index);
	bool gone = s->alive == 0;
	int r = niwa_fault("keep.started");

	if (r < 0) {
		start_fail(s, -1, -r, 0);
		return;
	}
	in->started_us = niwa_now_us();
	in->pid = s->pid;
	in->pidfd = NIWA_TAKE_FD(s->pidfd);
	keep_fd_lift(&in->pidfd);
	in->sent = s->kept;
	for (int slot = 0; slot < NIWA_SLOTS; slot++)
		if (s->kept >> slot & 1) {
			keep_fd_lift(&s->slots[slot]);
			in->kept[n++] = NIWA_TAKE_FD(s->slots[slot]);
		}
	in->state = gone ? KEEP_EXITED : KEEP_LIVE;
	keep_tell(index, KEEP_TELL_STARTED | (gone ? KEEP_TELL_EXITED : 0));
	start_end(s);
}

/* The outer process' end says nothing from now on; it is reaped as a stranger. The inner one may have died with its
 * instance already, and then may have been reaped as one. */
static void take_inner(struct keep_start *s, pid_t pid, int fd)
{
	uint8_t go = KEEP_GO;
	siginfo_t si;

	s->outer_pidfd = s->pidfd;
	if (keep_pid_find(s->pid) == s->index)
		keep_pid_set(s->pid, -1);
	s->pid = pid;
	s->pidfd = fd;
	s->alive = waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
	if (s->alive)
		keep_pid_set(pid, s->index);
	(void)niwa_ipc_send(s->sock, &go, sizeof(go), NULL, 0); /* nobody there: its end follows */
}

static void take_message(struct keep_start *s, const struct keep_child_msg *msg, int *fds, size_t nfds)
{
	if (nfds == 0 && msg->slot == KEEP_UNSHARED) {
		niwa_fd_close(&s->child_sock);
	} else if (nfds == 1 && msg->slot == KEEP_INNER && s->outer_pidfd < 0) {
		take_inner(s, msg->pid, fds[0]);
	} else if (nfds == 1 && msg->slot >= 0 && msg->slot < NIWA_SLOTS && s->slots[msg->slot] < 0) {
		s->slots[msg->slot] = fds[0];
		s->kept |= 1u << msg->slot;
	} else {
		for (size_t i = 0; i < nfds; i++)
			niwa_fd_close(&fds[i]);
	}
}

void keep_start_event(unsigned n)
{
	struct keep_start *s = &starts[n];
	struct keep_progress *p = s->progress;
	struct keep_child_msg msg;
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds;
	ssize_t len;

	if (s->index < 0 || s->sock < 0)
		return; /* ended earlier in this turn */
	while ((len = niwa_ipc_recv(s->sock, &msg, sizeof(msg), fds, &nfds)) == sizeof(msg))
		take_message(s, &msg, fds, nfds);
	if (len == -EAGAIN)
		return;
	if (len == 0 && p->executing && !p->error)
		start_succeed(s);
	else
		start_fail(s, p->op, p->error ? p->error : ECHILD, p->message);
}

void keep_start_reaped(unsigned index)
{
	for (unsigned i = 0; i < KEEP_STARTS; i++) {
		struct keep_start *s = &starts[i];

		if (s->index != (int)index)
			continue;
		s->alive--;
		niwa_fd_close(&s->child_sock);
		if (s->failed)
			finish_failed(s);
		return;
	}
}

int keep_start_timeout(void)
{
	uint64_t now = niwa_now_us(), next = UINT64_MAX;

	if (starts_count == 0)
		return -1;
	for (unsigned i = 0; i < KEEP_STARTS; i++) {
		struct keep_start *s = &starts[i];

		if (s->index < 0 || s->failed)
			continue;
		if (s->deadline_us <= now) {
			keep_start_event(i); /* it may have come just now */
			if (s->index >= 0)
				start_fail(s, s->progress->op, ETIMEDOUT, 0);
		} else if (s->deadline_us < next) {
			next = s->deadline_us;
		}
	}
	return next == UINT64_MAX ? -1 : (int)((next - now) / 1000) + 1;
}
