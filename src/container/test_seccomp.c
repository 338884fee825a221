/* SPDX-License-Identifier: MIT
 *
 * The filter, tried on real children: what they get for each call.
 */
#include <setjmp.h>
#include <stdarg.h>
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

#include "base/memory.h"
#include "container/seccomp_profile.h"

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
	assert_true(a_len / sizeof(struct sock_filter) < 1500);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_gets_the_answer_of_the_list),
		cmocka_unit_test(a_stock_program_runs_under_the_filter),
		cmocka_unit_test(the_filter_is_compiled_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
