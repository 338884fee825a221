/* SPDX-License-Identifier: MIT
 *
 * The list by subject, and its compilation into a short program: the kernel compiles it again in each start, and walks
 * it once for each call number there is. So neighbours with the same answer are one range, and the ranges are a
 * binary tree: 7 comparisons, no longer than it has to be. libseccomp knows the numbers. Instances hold the
 * capabilities CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP only;
 * calls that would need others are not listed.
 */
#include "container/seccomp_profile.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <seccomp.h>

#include "base/memory.h"
#include "container/seccomp_profile_private.h"

#define CALLS_MAX   1024 /* numbers that the list may name; the kernels of today have fewer than 500 */
#define PROGRAM_MAX 512  /* instructions */

/* clang-format off */
/* Not known to a library means not known to the kernels of its time: skipped. */
const char *const niwa_seccomp_allowed[] = {
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

const size_t niwa_seccomp_allowed_count = NIWA_ARRAY_LEN(niwa_seccomp_allowed);

/* personality(2) values that change nothing that protects: 0, Linux 32 bit, uname 2.6, both, "ask" */
static const uint32_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

#define NAMESPACE_FLAGS                                                                                                \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/* Halves of an argument, which is 64 bits of the host's order. */
#define ARG0      ((uint32_t)offsetof(struct seccomp_data, args))
#define ARG0_LOW  (ARG0 + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))
#define ARG0_HIGH (ARG0 + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 0 : 4))

#define ALLOW     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define ANSWER(e) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (e))

enum verdict { REFUSED = 0, ALLOWED, UNKNOWN, CLONE, SOCKET, PERSONALITY };

struct range {
	uint32_t first; /* up to the next one's */
	enum verdict verdict;
};

struct program {
	struct sock_filter code[PROGRAM_MAX];
	size_t len;
	bool full; /* it did not fit, or a jump was too far */
};

static void put(struct program *p, struct sock_filter instruction)
{
	if (p->len == PROGRAM_MAX)
		p->full = true;
	else
		p->code[p->len++] = instruction;
}

static void put_clone(struct program *p)
{
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0_LOW));
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACE_FLAGS, 1, 0));
	put(p, (struct sock_filter)ALLOW);
	put(p, (struct sock_filter)ANSWER(EPERM));
}

/* Virtual machine sockets lead to the hypervisor, past every network rule. The family is an int: the upper half of the
 * register is nothing to the kernel, and must not be a way past us. */
static void put_socket(struct program *p)
{
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0_LOW));
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_VSOCK, 1, 0));
	put(p, (struct sock_filter)ALLOW);
	put(p, (struct sock_filter)ANSWER(EPERM));
}

static void put_personality(struct program *p)
{
	const uint8_t count = NIWA_ARRAY_LEN(personalities);

	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0_HIGH));
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, (uint8_t)(count + 1)));
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0_LOW));
	for (uint8_t i = 0; i < count; i++)
		put(p,
		    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, personalities[i], (uint8_t)(count - i), 0));
	put(p, (struct sock_filter)ANSWER(EPERM));
	put(p, (struct sock_filter)ALLOW);
}

static void put_verdict(struct program *p, enum verdict verdict)
{
	switch (verdict) {
	case REFUSED:
		put(p, (struct sock_filter)ANSWER(EPERM));
		break;
	case ALLOWED:
		put(p, (struct sock_filter)ALLOW);
		break;
	case UNKNOWN:
		put(p, (struct sock_filter)ANSWER(ENOSYS));
		break;
	case CLONE:
		put_clone(p);
		break;
	case SOCKET:
		put_socket(p);
		break;
	case PERSONALITY:
		put_personality(p);
		break;
	}
}

/* The lower half lies behind its comparison, the upper one is jumped to. As deep as the tree: 8 or so. */
static void put_tree(struct program *p, const struct range *ranges, size_t count)
{
	size_t half = count / 2, jump;

	if (count == 1) {
		put_verdict(p, ranges[0].verdict);
		return;
	}
	jump = p->len;
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ranges[half].first, 0, 0));
	put_tree(p, ranges, half);
	if (p->full || p->len - jump - 1 > UINT8_MAX) {
		p->full = true;
		return;
	}
	p->code[jump].jt = (uint8_t)(p->len - jump - 1);
	put_tree(p, ranges + half, count - half);
}

static int set_verdict(enum verdict *verdicts, const char *name, enum verdict verdict)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr < 0)
		return verdict == ALLOWED ? 0 : -ENOSYS; /* those of the list may be newer than the library */
	if (nr >= CALLS_MAX)
		return -E2BIG;
	verdicts[nr] = verdict;
	return 0;
}

static int fill_verdicts(enum verdict *verdicts)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < niwa_seccomp_allowed_count; i++)
		r = set_verdict(verdicts, niwa_seccomp_allowed[i], ALLOWED);
	if (r == 0)
		r = set_verdict(verdicts, "clone", CLONE);
	/* its flags are behind a pointer, which a filter cannot look at */
	if (r == 0)
		r = set_verdict(verdicts, "clone3", UNKNOWN);
	if (r == 0)
		r = set_verdict(verdicts, "socket", SOCKET);
	return r < 0 ? r : set_verdict(verdicts, "personality", PERSONALITY);
}

/* Behind the highest number that the list names all is unknown: calls of the future, the x32 interface. */
static size_t fill_ranges(const enum verdict *verdicts, struct range *ranges)
{
	size_t count = 0;
	uint32_t end = CALLS_MAX;

	while (verdicts[end - 1] == REFUSED)
		end--;
	for (uint32_t nr = 0; nr < end; nr++)
		if (nr == 0 || verdicts[nr] != verdicts[nr - 1])
			ranges[count++] = (struct range){nr, verdicts[nr]};
	ranges[count++] = (struct range){end, UNKNOWN};
	return count;
}

static int compile(struct program *ret)
{
	enum verdict verdicts[CALLS_MAX] = {REFUSED};
	struct range ranges[CALLS_MAX + 1];
	int r = fill_verdicts(verdicts);

	if (r < 0)
		return r;
	*ret = (struct program){0};
	put(ret, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	put(ret, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native(), 1, 0));
	put(ret, (struct sock_filter)ANSWER(ENOSYS));
	put(ret, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
	put_tree(ret, ranges, fill_ranges(verdicts, ranges));
	return ret->full ? -E2BIG : 0;
}

int niwa_seccomp_profile(const void **ret, uint32_t *ret_len, struct niwa_error *err)
{
	static struct program program; /* one list for all instances of a run */

	if (program.len == 0) {
		struct program made;
		int r = compile(&made);

		if (r < 0)
			return niwa_fail(err, NIWA_PERMANENT, -r, "compile the system call filter");
		program = made;
	}
	*ret = program.code;
	*ret_len = (uint32_t)(program.len * sizeof(program.code[0]));
	return 0;
}
