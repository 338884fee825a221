/* SPDX-License-Identifier: MIT
 *
 * The filter, tried on real children: what they get for each call.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cmocka.h>
#include <seccomp.h>

#include "base/memory.h"
#include "container/seccomp_profile_private.h"

#define NAMESPACES 0x7e020000 /* the flags of clone that make one, but the time namespace's, which clone has not */

static void load_filter(void)
{
	struct sock_fprog prog;
	const void *bytes;
	uint32_t len;

	if (niwa_seccomp_profile(&bytes, &len, NULL) < 0)
		_exit(250);
	prog.len = (unsigned short)(len / sizeof(struct sock_filter));
	prog.filter = (struct sock_filter *)(uintptr_t)bytes;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(251);
}

/* The errno of a call made under the filter, 0 when it succeeded. */
static int errno_under_filter(long nr, const long a[4])
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		load_filter();
		_exit(syscall(nr, a[0], a[1], a[2], a[3]) < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void each_call_gets_the_answer_of_the_list(void **state)
{
	static const struct {
		const char *name;
		long nr, a[4];
		int want;
	} cases[] = {
		{"mount", SYS_mount, {0}, EPERM},
		{"umount2", SYS_umount2, {0}, EPERM},
		{"move_mount", SYS_move_mount, {0}, EPERM},
		{"open_tree", SYS_open_tree, {0}, EPERM},
		{"fsopen", SYS_fsopen, {0}, EPERM},
		{"pivot_root", SYS_pivot_root, {0}, EPERM},
		{"keyctl", SYS_keyctl, {0}, EPERM},
		{"add_key", SYS_add_key, {0}, EPERM},
		{"bpf", SYS_bpf, {0}, EPERM},
		{"perf_event_open", SYS_perf_event_open, {0}, EPERM},
		{"userfaultfd", SYS_userfaultfd, {0}, EPERM},
		{"io_uring_setup", SYS_io_uring_setup, {1, 0}, EPERM},
		{"setns", SYS_setns, {0, 0}, EPERM},
		{"unshare of a user namespace", SYS_unshare, {CLONE_NEWUSER}, EPERM},
		{"open_by_handle_at", SYS_open_by_handle_at, {0}, EPERM},
		{"kexec_load", SYS_kexec_load, {0}, EPERM},
		{"init_module", SYS_init_module, {0}, EPERM},
		{"reboot", SYS_reboot, {0}, EPERM},
		{"syslog", SYS_syslog, {10, 0, 0}, EPERM},
		{"clone into a user namespace", SYS_clone, {CLONE_NEWUSER | SIGCHLD, 0, 0, 0}, EPERM},
		{"clone into a mount namespace", SYS_clone, {CLONE_NEWNS | SIGCHLD, 0, 0, 0}, EPERM},
		{"clone3", SYS_clone3, {0, 0}, ENOSYS},
		{"a call of the future", 1000, {0}, ENOSYS},
		{"a call of the x32 interface", 0x40000000, {0}, ENOSYS},
		{"vsock", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}, EPERM},
		{"vsock, with more than the kernel looks at", SYS_socket, {1L << 32 | AF_VSOCK, SOCK_STREAM, 0}, EPERM},
		{"personality without randomisation", SYS_personality, {0x0040000}, EPERM},
		{"personality asked", SYS_personality, {0xffffffff}, 0},
		{"unix socket", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}, 0},
		{"internet socket", SYS_socket, {AF_INET6, SOCK_STREAM, 0}, 0},
		{"netlink socket", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, 0},
		/* allowed since Linux 4.8 closed the hole: judged by the kernel, not by the filter */
		{"ptrace of nobody", SYS_ptrace, {16, 0x3fffffff, 0, 0}, ESRCH},
		{"openat", SYS_openat, {AT_FDCWD, (long)"/dev/null", O_RDONLY, 0}, 0},
		{"execve of nothing", SYS_execve, {(long)"/nonexistent", 0, 0}, ENOENT},
		{"fork", SYS_getpid, {0}, 0},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		int got = errno_under_filter(cases[i].nr, cases[i].a);

		if (got != cases[i].want)
			fail_msg("%s: %s, wanted %s", cases[i].name, strerror(got), strerror(cases[i].want));
	}
}

static void a_stock_program_runs_under_the_filter(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		load_filter();
		(void)execl("/bin/sh", "sh", "-c", "x=$(ls / | sort | head -1); sleep 0; test -n \"$x\"", (char *)NULL);
		_exit(252);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void the_filter_is_compiled_once(void **state)
{
	const void *a, *b;
	uint32_t a_len, b_len;

	assert_int_equal(niwa_seccomp_profile(&a, &a_len, NULL), 0);
	assert_int_equal(niwa_seccomp_profile(&b, &b_len, NULL), 0);
	assert_ptr_equal(a, b);
	assert_int_equal(a_len, b_len);
	assert_true(a_len / sizeof(struct sock_filter) < 300); /* the kernel compiles it in each start */
}

/* What the kernel would answer; an instruction that seccomp does not have is a failure. */
static uint32_t evaluate(const struct sock_filter *code, size_t len, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (size_t pc = 0; pc < len; pc++) {
		const struct sock_filter *i = &code[pc];

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(i->k % 4 == 0 && i->k < sizeof(*data));
			memcpy(&a, (const char *)data + i->k, 4);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			break;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += a > i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += a & i->k ? i->jt : i->jf;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			fail_msg("instruction %#x", i->code);
		}
	}
	fail_msg("it runs past its end");
	return 0;
}

/* The list as libseccomp compiles it. *ret_last: the highest number that it names; above that the answer is ENOSYS. */
static size_t reference(struct sock_filter *code, size_t max, int *ret_last)
{
	static const uint64_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	FILE *file = tmpfile();
	size_t count;

	assert_non_null(ctx);
	assert_non_null(file);
	assert_int_equal(seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), 0);
	*ret_last = SCMP_SYS(clone3);
	for (size_t i = 0; i < niwa_seccomp_allowed_count; i++) {
		int nr = seccomp_syscall_resolve_name(niwa_seccomp_allowed[i]);

		if (nr >= 0)
			assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0), 0);
		if (nr > *ret_last)
			*ret_last = nr;
	}
	assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0), 0);
	assert_int_equal(
		seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0)),
		0);
	assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
					  SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffff, AF_INET)),
			 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(personalities); i++)
		assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
						  SCMP_A0(SCMP_CMP_EQ, personalities[i])),
				 0);
	assert_int_equal(seccomp_export_bpf(ctx, fileno(file)), 0);
	seccomp_release(ctx);
	count = (size_t)lseek(fileno(file), 0, SEEK_END) / sizeof(*code);
	assert_true(count > 0 && count <= max);
	assert_int_equal(pread(fileno(file), code, count * sizeof(*code), 0), count * sizeof(*code));
	(void)fclose(file);
	return count;
}

static uint32_t wanted(const struct sock_filter *code, size_t len, int last, const struct seccomp_data *data)
{
	bool native = data->arch == seccomp_arch_native();

	if (data->nr > last || data->nr < 0)
		return SECCOMP_RET_ERRNO | ENOSYS;
	if (native && data->nr == SYS_socket) /* the one family that is not allowed */
		return (uint32_t)data->args[0] == AF_VSOCK ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW;
	return evaluate(code, len, data);
}

static void every_number_gets_the_answer_that_libseccomp_gives(void **state)
{
	static const uint64_t args[] = {0,
					1,
					8,
					9,
					SIGCHLD,
					AF_INET,
					AF_VSOCK,
					0x20000,
					0x20008,
					0x40000,
					NAMESPACES,
					CLONE_NEWUSER,
					CLONE_NEWNS | SIGCHLD,
					CLONE_NEWCGROUP,
					CLONE_NEWNET,
					0x80000000,
					0xffffffff,
					UINT64_C(1) << 32,
					UINT64_C(1) << 32 | 8,
					UINT64_C(1) << 32 | AF_VSOCK,
					UINT64_MAX};
	const uint32_t archs[] = {seccomp_arch_native(), SCMP_ARCH_X86, SCMP_ARCH_ARM, SCMP_ARCH_S390X, 0};
	static struct sock_filter code[BPF_MAXINSNS];
	const void *bytes;
	uint32_t bytes_len;
	int last;
	size_t len = reference(code, BPF_MAXINSNS, &last);

	assert_int_equal(niwa_seccomp_profile(&bytes, &bytes_len, NULL), 0);
	for (size_t arch = 0; arch < NIWA_ARRAY_LEN(archs); arch++)
		for (int64_t nr = -2; nr < 0x40000800; nr = nr == 2048 ? 0x3fffff00 : nr + 1)
			for (size_t i = 0; i < NIWA_ARRAY_LEN(args); i++) {
				struct seccomp_data data = {.nr = (int)nr, .arch = archs[arch], .args = {args[i]}};
				uint32_t want = wanted(code, len, last, &data);
				uint32_t got = evaluate(bytes, bytes_len / sizeof(*code), &data);

				if (got != want)
					fail_msg("call %lld of architecture %#x with %#llx: %#x, wanted %#x",
						 (long long)nr, archs[arch], (unsigned long long)args[i], got, want);
			}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_gets_the_answer_of_the_list),
		cmocka_unit_test(a_stock_program_runs_under_the_filter),
		cmocka_unit_test(the_filter_is_compiled_once),
		cmocka_unit_test(every_number_gets_the_answer_that_libseccomp_gives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
