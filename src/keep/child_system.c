/* SPDX-License-Identifier: MIT
 *
 * Operations of the child on its identity, its privileges, its network and its terminal.
 */
#include "keep/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "base/fd.h"
#include "base/ipc.h"

static int capabilities; /* that the kernel has; asked once, since each call counts in a start */

void keep_child_init_system(void)
{
	while (capabilities < 64 && prctl(PR_CAPBSET_READ, capabilities, 0, 0, 0) >= 0)
		capabilities++;
}

int keep_child_netlink(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD sock = keep_netlink_open();

	return sock < 0 ? sock : keep_netlink_batch(sock, op, 0, message);
}

int keep_child_host_name(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return sethostname(op->s, strlen(op->s)) < 0 ? -errno : 0;
}

int keep_child_diag(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD sock = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);

	return sock < 0 ? -errno : keep_child_send(s, (int)op->a, sock);
}

/* Every user of the container may write to it, as with systemd's. */
int keep_child_notify(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t len = strlen(op->s);

	if (sock < 0)
		return -errno;
	if (len >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, op->s, len + 1);
	if (unlink(op->s) < 0 && errno != ENOENT)
		return -errno;
	if (bind(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(op->s, 0666) < 0)
		return -errno;
	return keep_child_send(s, (int)op->a, sock);
}

int keep_child_console(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	NIWA_AUTO_FD slave = -1;
	struct winsize size = {.ws_row = (unsigned short)op->b, .ws_col = (unsigned short)op->c};
	int fd = keep_slot(s, op->a), unlock = 0;

	if (fd < 0)
		return fd;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	(void)setsid(); /* fails where SESSION has made us a leader already: that is what is wanted */
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			return -errno;
	return niwa_ipc_send(fd, "", 1, &master, 1);
}

int keep_child_bounding(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	for (int cap = 0; cap < capabilities; cap++)
		if (!((uint64_t)op->a >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	return 0;
}

/* System calls, not the library's functions: those look for other threads. Permitted capabilities are kept until
 * exec so that CAPS can follow. */
int keep_child_user(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || syscall(SYS_setgroups, op->bytes_len / 4, op->bytes) < 0 ||
	    syscall(SYS_setresgid, op->b, op->b, op->b) < 0 || syscall(SYS_setresuid, op->a, op->a, op->a) < 0)
		return -errno;
	return 0;
}

int keep_child_caps(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	uint32_t low = (uint32_t)op->a, high = (uint32_t)((uint64_t)op->a >> 32);
	struct __user_cap_data_struct data[2] = {{low, low, low}, {high, high, high}};

	if (syscall(SYS_capset, &head, data) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (int cap = 0; cap < 64; cap++)
		if (((uint64_t)op->a >> cap & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return -errno;
	return 0;
}

int keep_child_no_new_privs(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int keep_child_seccomp(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	struct sock_fprog prog = {.len = (unsigned short)(op->bytes_len / sizeof(struct sock_filter)),
				  .filter = (struct sock_filter *)(uintptr_t)op->bytes};

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

int keep_child_chdir(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return chdir(op->s) < 0 ? -errno : 0;
}

int keep_child_session(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	return setsid() < 0 ? -errno : 0;
}

/* In the host's /proc, while what is ours there still belongs to the user that we are. A new time namespace is one for
 * children; what execs is no child (and enters it by itself in newer kernels only), so it joins it like any other. */
int keep_child_time_offsets(struct keep_start *s, const struct niwa_op_view *op, int *message)
{
	NIWA_AUTO_FD fd = -1;
	int r;

	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	r = niwa_file_write("/proc/self/timens_offsets", op->s);
	if (r < 0)
		return r;
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	return fd < 0 || setns(fd, CLONE_NEWTIME) < 0 ? -errno : 0;
}
