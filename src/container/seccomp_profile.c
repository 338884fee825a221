/* SPDX-License-Identifier: MIT
 *
 * The list by subject, and its compilation. Instances hold the capabilities CHOWN DAC_OVERRIDE FOWNER FSETID KILL
 * SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP only; calls that would need others are not listed.
 */
#include "container/seccomp_profile.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <seccomp.h>

#include "base/fd.h"
#include "base/memory.h"

/* clang-format off */
/* Not known to a library means not known to the kernels of its time: skipped. */
static const char *const allowed[] = {
	/* files and folders */
	"access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup", "dup2",
	"dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2",
	"fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr",
	"fstat", "fstatfs", "fsync", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "getxattr",
	"getxattrat", "ioctl", "lchown", "lgetxattr", "link", "linkat", "listxattr", "listxattrat", "llistxattr",
	"lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at",
	"newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2",
	"read", "readahead", "readlink", "readlinkat", "readv", "removexattr", "removexattrat", "rename", "renameat",
	"renameat2", "rmdir", "sendfile", "setxattr", "setxattrat", "splice", "stat", "statfs", "statx", "symlink",
	"symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink", "unlinkat", "utime",
	"utimensat", "utimes", "vmsplice", "write", "writev", "cachestat", "chroot",
	/* waiting and events */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
	"epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch", "inotify_init",
	"inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup",
	"io_submit", "pipe", "pipe2", "poll", "ppoll", "pselect6", "select", "signalfd", "signalfd4",
	"timerfd_create", "timerfd_gettime", "timerfd_settime",
	/* memory */
	"brk", "get_robust_list", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret",
	"mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal", "msync", "munlock",
	"munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise", "process_mrelease",
	"remap_file_pages",
	/* processes, identity, signals */
	"alarm", "arch_prctl", "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork", "futex",
	"futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_thread_area", "getegid", "geteuid",
	"getgid", "getgroups", "getitimer", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getresgid",
	"getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "ioprio_get", "ioprio_set", "kill",
	"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "modify_ldt", "pause",
	"pidfd_open", "pidfd_send_signal", "prctl", "prlimit64", "process_vm_readv", "process_vm_writev", "ptrace",
	"restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
	"rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max",
	"sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
	"sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
	"sched_yield", "seccomp", "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsuid",
	"setgid", "setgroups", "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid",
	"setreuid", "setrlimit", "setsid", "setuid", "sigaltstack", "tgkill", "tkill", "vfork", "wait4", "waitid",
	/* time */
	"adjtimex", "clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time", "times",
	"timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
	/* sockets (socket itself: below) and System V and POSIX messages */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
	"recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "socketpair",
	"mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget",
	"msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt", "shmget",
	/* the rest */
	"getcpu", "getrandom", "sysinfo", "uname",
};
/* clang-format on */

/* personality(2) values that change nothing that protects: 0, Linux 32 bit, uname 2.6, both, "ask" */
static const uint64_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

#define NAMESPACE_FLAGS                                                                                                \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static int add_special(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				 SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACE_FLAGS, 0));

	/* its flags are behind a pointer, which a filter cannot look at */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* virtual machine sockets lead to the hypervisor, past every network rule */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_VSOCK));
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(personalities); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
				     SCMP_A0(SCMP_CMP_EQ, personalities[i]));
	return r;
}

/* *ret_last: the highest call number that the list names. */
static int add_rules(scmp_filter_ctx ctx, int *ret_last)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

	/* a binary tree instead of 350 comparisons */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	*ret_last = SCMP_SYS(clone3);
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(allowed); i++) {
		int nr = seccomp_syscall_resolve_name(allowed[i]);

		if (nr < 0)
			continue;
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
		if (nr > *ret_last)
			*ret_last = nr;
	}
	return r < 0 ? r : add_special(ctx);
}

/* The library writes programs to descriptors only. */
static int export_program(scmp_filter_ctx ctx, struct sock_filter **ret, size_t *ret_count)
{
	NIWA_AUTO_FD fd = memfd_create("niwa-seccomp", MFD_CLOEXEC);
	NIWA_AUTO(niwa_free_ptr) struct sock_filter *program = NULL;
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > BPF_MAXINSNS * (off_t)sizeof(*program))
		return -E2BIG;
	program = niwa_zalloc((size_t)st.st_size);
	if (!program)
		return -ENOMEM;
	if (pread(fd, program, (size_t)st.st_size, 0) != st.st_size)
		return -EIO;
	*ret_count = (size_t)st.st_size / sizeof(*program);
	*ret = NIWA_TAKE(program);
	return 0;
}

/* Puts "number above `last`: ENOSYS" before the program. Jumps are relative, so what follows stays right. */
static int prepend_unknown(struct sock_filter **program, size_t *count, int last)
{
	const struct sock_filter head[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)last, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	const size_t more = NIWA_ARRAY_LEN(head);
	struct sock_filter *p;

	if (*count + more > BPF_MAXINSNS)
		return -E2BIG;
	p = niwa_zalloc((*count + more) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < more; i++)
		p[i] = head[i];
	for (size_t i = 0; i < *count; i++)
		p[more + i] = (*program)[i];
	free(*program);
	*program = p;
	*count += more;
	return 0;
}

static int compile(struct sock_filter **ret, size_t *ret_count)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	NIWA_AUTO(niwa_free_ptr) struct sock_filter *program = NULL;
	size_t count = 0;
	int r, last;

	if (!ctx)
		return -ENOMEM;
	r = add_rules(ctx, &last);
	if (r == 0)
		r = export_program(ctx, &program, &count);
	seccomp_release(ctx);
	if (r == 0)
		r = prepend_unknown(&program, &count, last);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(program);
	*ret_count = count;
	return 0;
}

int niwa_seccomp_profile(const void **ret, uint32_t *ret_len, struct niwa_error *err)
{
	static struct sock_filter *program; /* one list for all instances of a run */
	static size_t count;

	if (!program) {
		int r = compile(&program, &count);

		if (r < 0)
			return niwa_fail(err, NIWA_PERMANENT, -r, "compile the system call filter");
	}
	*ret = program;
	*ret_len = (uint32_t)(count * sizeof(*program));
	return 0;
}
