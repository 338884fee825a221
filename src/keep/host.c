/* SPDX-License-Identifier: MIT
 *
 * Operations that keep executes itself, before the clone and while the child works. Short and synchronous: none
 * waits for the child.
 */
#include "keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/openat2.h>

#include "base/fd.h"
#include "base/ipc.h"

/* Places for TCP connections in an instance's own table: 32 KiB. */
#define CONNECTIONS "4096"

static int rtnl = -1, own_net = -1, parent_net = -1;

static void leave_net(void)
{
	if (setns(own_net, CLONE_NEWNET) < 0)
		abort(); /* every later start would work on the wrong network */
}

/* A network namespace that is born in this one has a table of TCP connections of its own (Linux 6.1; before, and when
 * anything fails, it shares the host's). The host's has hundreds of thousands of places, and each look at the
 * connections of one instance, and each end of one, walks through all of them. A setting for the host itself would be
 * one for whatever else makes namespaces there. */
static void make_parent_net(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return;
	if (niwa_file_write("/proc/sys/net/ipv4/tcp_child_ehash_entries", CONNECTIONS) == 0)
		parent_net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	leave_net();
}

int keep_host_init(void)
{
	own_net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own_net < 0)
		return -errno;
	make_parent_net();
	rtnl = keep_netlink_open();
	return rtnl < 0 ? rtnl : 0;
}

bool keep_host_enter_parent_net(void)
{
	return parent_net >= 0 && setns(parent_net, CLONE_NEWNET) == 0;
}

void keep_host_leave_net(void)
{
	leave_net();
}

/* One of its namespaces; they go before the process does: ENOENT is a process that ends. */
static int namespace_open(pid_t pid, const char *file)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

/* Configuring the child's network from here costs the child nothing of its own time. */
static int enter_net(struct keep_start *s)
{
	if (s->net_ns < 0)
		s->net_ns = namespace_open(s->pid, "ns/net");
	if (s->net_ns < 0)
		return s->net_ns;
	return setns(s->net_ns, CLONE_NEWNET) < 0 ? -errno : 0;
}

int keep_slot(const struct keep_start *s, int64_t slot)
{
	int fd = s->slots[slot];

	return fd < 0 ? -EBADF : fd;
}

static int fill(struct keep_start *s, int64_t slot, int fd)
{
	if (fd < 0)
		return -errno;
	niwa_fd_close(&s->slots[slot]); /* a descriptor given with START for a slot that the plan fills itself */
	s->slots[slot] = fd;
	return 0;
}

static int host_mkdir(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(op->s, '/');
	int r;

	if (mkdir(op->s, (mode_t)op->a) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT || slash == op->s)
		return -errno;
	if ((size_t)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - op->s), op->s) >= sizeof(parent))
		return -ENAMETOOLONG;
	r = niwa_mkdir_p(parent, 0755, NULL);
	if (r < 0)
		return r;
	return mkdir(op->s, (mode_t)op->a) < 0 ? -errno : 0;
}

static int host_write(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int r = op->b ? enter_net(s) : 0;

	if (r < 0)
		return r;
	r = niwa_file_write(op->s, op->t);
	if (op->b)
		leave_net();
	return op->a ? 0 : r;
}

/* The clone is private: with a shared one a mount made inside the container would appear on the host. */
static int host_open_tree(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct mount_attr private = {.propagation = MS_PRIVATE};
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = op->c ? RESOLVE_NO_SYMLINKS : 0};
	unsigned recursive = op->b ? AT_RECURSIVE : 0;
	NIWA_AUTO_FD path = (int)syscall(SYS_openat2, AT_FDCWD, op->s, &how, sizeof(how));
	int r;

	if (path < 0)
		return -errno;
	r = fill(s, op->a, open_tree(path, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive));
	if (r < 0)
		return r;
	if (mount_setattr(s->slots[op->a], "", AT_EMPTY_PATH | recursive, &private, sizeof(private)) < 0)
		return -errno;
	return 0;
}

static int host_open(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return fill(s, op->a, open(op->s, (int)op->b | O_CLOEXEC | O_NOCTTY, 0600));
}

static int host_pipe(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	r = niwa_fd_nonblock(ends[0]); /* niwad's end; the child's stays as programs expect it */
	(void)fill(s, op->a, ends[0]); /* cannot fail: open descriptors */
	(void)fill(s, op->b, ends[1]);
	s->kept |= 1u << op->a;
	/* programs open /dev/stdout by name, also as a user whom they become later */
	if (r == 0 && op->c && (fchown(ends[1], (uid_t)op->c, (gid_t)op->c) < 0 || fchmod(ends[1], 0622) < 0))
		r = -errno;
	return r;
}

static int host_tmpfs(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char size[32];

	(void)snprintf(size, sizeof(size), "%lldk", (long long)op->b);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	if (op->c)
		s->kept |= 1u << op->a;
	return fill(s, op->a, fsmount(fs, FSMOUNT_CLOEXEC, 0));
}

static int proc_write(pid_t pid, const char *file, const char *text)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return niwa_file_write(path, text);
}

static int map_ids(pid_t pid, const char *uid, const char *gid)
{
	int r = proc_write(pid, "uid_map", uid);

	return r < 0 ? r : proc_write(pid, "gid_map", *gid ? gid : uid);
}

static int host_id_map(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return map_ids(s->pid, op->s, op->t);
}

static int host_attach(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)s->pid);
	return niwa_file_write(op->s, text);
}

static int hold_user_ns(void *arg)
{
	for (;;)
		(void)syscall(SYS_pause); /* until it is killed */
	return 0;
}

/* A user namespace with a map of its own; the process that made it shares our memory, so that it costs no copy, and
 * only sleeps until the namespace is open here. */
static int throw_away_user_ns(const char *uid, const char *gid)
{
	static char stack[4096] __attribute__((aligned(16)));
	pid_t pid = clone(hold_user_ns, stack + sizeof(stack), CLONE_VM | CLONE_FILES | CLONE_NEWUSER | SIGCHLD, NULL);
	int r, fd;

	if (pid < 0)
		return -errno;
	r = map_ids(pid, uid, gid);
	fd = r < 0 ? r : namespace_open(pid, "ns/user");
	(void)kill(pid, SIGKILL); /* our child, not yet reaped */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}

static int host_idmap(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct mount_attr attr = {.attr_set = (uint64_t)op->c};
	NIWA_AUTO_FD own = -1;
	int tree = keep_slot(s, op->a);

	if (tree < 0)
		return tree;
	if (!op->b && *op->s) {
		own = throw_away_user_ns(op->s, op->t);
		if (own < 0)
			return own;
	} else if (!op->b && s->user_ns < 0) {
		s->user_ns = namespace_open(s->pid, "ns/user");
		if (s->user_ns < 0)
			return s->user_ns;
	}
	if (!op->b) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)(own >= 0 ? own : s->user_ns);
	}
	return mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static int host_netlink(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	int r;

	if (!op->b)
		return keep_netlink_batch(rtnl, op, s->pid, message);
	if (s->inner_rtnl < 0) {
		r = enter_net(s);
		if (r < 0)
			return r;
		s->inner_rtnl = keep_netlink_open();
		leave_net();
	}
	return s->inner_rtnl < 0 ? s->inner_rtnl : keep_netlink_batch(s->inner_rtnl, op, s->pid, message);
}

/* The child may be dead or done with its work already: what it says itself tells more than our error would. */
static int host_release(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	uint8_t n = (uint8_t)op->a;
	int r = niwa_ipc_send(s->sock, &n, sizeof(n), NULL, 0);

	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

int keep_host_op(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	static int (*const ops[NIWA_OP_COUNT])(struct keep_start *, const struct niwa_op_view *, int *) = {
		[NIWA_OP_MKDIR] = host_mkdir,         [NIWA_OP_WRITE] = host_write,
		[NIWA_OP_OPEN_TREE] = host_open_tree, [NIWA_OP_OPEN] = host_open,
		[NIWA_OP_PIPE] = host_pipe,           [NIWA_OP_TMPFS] = host_tmpfs,
		[NIWA_OP_ID_MAP] = host_id_map,       [NIWA_OP_ATTACH] = host_attach,
		[NIWA_OP_IDMAP] = host_idmap,         [NIWA_OP_NETLINK] = host_netlink,
		[NIWA_OP_RELEASE] = host_release,
	};

	return ops[op->op] ? ops[op->op](s, op, message) : -ENOSYS;
}
