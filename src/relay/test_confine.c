/* SPDX-License-Identifier: MIT
 *
 * What is left of CAP_NET_RAW behind the filter: each try in a child of its own that was confined first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/confine.h"

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
}

static int raw_socket_v6(void)
{
	return socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
}

static int datagram_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static int netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int another_protocol(void)
{
	return socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

static int set_option(int option)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), value = 1;

	return fd < 0 ? 0 : setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

static int mark(void)
{
	return set_option(SO_MARK);
}

static int device(void)
{
	return set_option(SO_BINDTODEVICE);
}

static int another_program(void)
{
	char *argv[] = {(char[]){"/bin/true"}, NULL};

	return execve(argv[0], argv, NULL);
}

static int io_uring(void)
{
	return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int other_memory(void)
{
	return (int)process_vm_writev(getppid(), NULL, 0, NULL, 0, 0);
}

static int tcp_sockets_and_their_options(void)
{
	static const int families[] = {AF_INET, AF_INET6};
	int on = 1;

	for (int i = 0; i < 2; i++) {
		int fd = socket(families[i], SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, i ? IPPROTO_TCP : 0);

		if (fd < 0)
			return errno == EAFNOSUPPORT ? 0 : -1; /* a host without IPv6 */
		if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
			return -1;
		if (families[i] == AF_INET && geteuid() == 0 &&
		    setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)) < 0)
			return -1;
	}
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0 ? -1 : 0;
}

/* 0, or the errno of the try, as a confined process makes it. */
static int tried(int (*try)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (niwa_confine() < 0)
			_exit(255);
		errno = 0;
		_exit(try() < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_confined_relay_makes_tcp_connections_and_nothing_else(void **state)
{
	static int (*const refused[])(void) = {
		packet_socket, raw_socket, raw_socket_v6,   datagram_socket, netlink_socket, another_protocol,
		mark,          device,     another_program, io_uring,        user_namespace, other_memory,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (tried(refused[i]) != EPERM)
			fail_msg("try %zu was not refused: %d", i, tried(refused[i]));
	assert_int_equal(tried(tcp_sockets_and_their_options), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_confined_relay_makes_tcp_connections_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
