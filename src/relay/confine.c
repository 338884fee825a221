/* SPDX-License-Identifier: MIT
 *
 * What CAP_NET_RAW may be used for. The relay reads what strangers send, so it gives up what the capability allows
 * beside a foreign source address: sockets other than TCP's (no packet is read or made by hand), marks, interfaces of
 * choice. Also gone are the ways around such a filter: other programs, io_uring (whose sockets pass no filter), other
 * processes' memory and descriptors. System calls whose arguments do not matter cost nothing more (Linux 5.11).
 */
#include "relay/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef ARCH

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#define X32 0x40000000u /* system calls of the x32 ABI */

#define LOAD(field)           BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_IF(value, n)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (n), 0)
#define SKIP_UNLESS(value, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (n))
#define ANSWER(what)          BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE                ANSWER(SECCOMP_RET_ERRNO | EPERM)
#define ALLOW                 ANSWER(SECCOMP_RET_ALLOW)
#define REFUSE_IF(value)      SKIP_UNLESS((value), 1), REFUSE

/* The low half of an argument: a little-endian machine, as all of ARCH are. */
static const struct sock_filter filter[] = {
	LOAD(arch),
	SKIP_IF(ARCH, 1),
	REFUSE,
	LOAD(nr),
#ifdef __x86_64__
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1),
	REFUSE,
#endif
	REFUSE_IF(SYS_execve),
	REFUSE_IF(SYS_execveat),
	REFUSE_IF(SYS_io_uring_setup),
	REFUSE_IF(SYS_pidfd_getfd),
	REFUSE_IF(SYS_process_vm_writev),
#ifndef SANITIZED /* looks for leaks by it */
	REFUSE_IF(SYS_ptrace),
#endif
	REFUSE_IF(SYS_unshare),
	REFUSE_IF(SYS_setns),
	REFUSE_IF(SYS_bpf),

	SKIP_UNLESS(SYS_socket, 12),
	LOAD(args[0]),
	SKIP_IF(AF_UNIX, 8), /* the journal */
	SKIP_IF(AF_INET, 1),
	SKIP_UNLESS(AF_INET6, 7),
	LOAD(args[1]),
	BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf), /* without SOCK_CLOEXEC and SOCK_NONBLOCK */
	SKIP_UNLESS(SOCK_STREAM, 4),
	LOAD(args[2]),
	SKIP_IF(0, 1),
	SKIP_UNLESS(IPPROTO_TCP, 1),
	ALLOW,
	REFUSE,

	SKIP_UNLESS(SYS_setsockopt, 6),
	LOAD(args[1]),
	SKIP_UNLESS(SOL_SOCKET, 4),
	LOAD(args[2]),
	SKIP_IF(SO_MARK, 3),
	SKIP_IF(SO_BINDTODEVICE, 2),
	SKIP_IF(SO_BINDTOIFINDEX, 1),
	ALLOW,
	REFUSE,
};

static int install(void)
{
	const struct sock_fprog prog = {.len = sizeof(filter) / sizeof(filter[0]),
					.filter = (struct sock_filter *)(uintptr_t)filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return -errno;
	return 0;
}

#else

static int install(void)
{
	return -ENOSYS;
}

#endif

int niwa_confine(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
	int r = install();

	if (r < 0 && syscall(SYS_capset, &head, none) < 0)
		_exit(1); /* with the capability, without the filter: never */
	return r;
}
