/* SPDX-License-Identifier: MIT
 *
 * The rig of the relay's tests. Everything that goes wrong in it fails the test that runs.
 */
#include "relay/test_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ipc.h"

#define NOBODY 65534

static const char *program;

static void write_map(const char *path, unsigned id)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "0 %u 1", id);
	if (niwa_file_write(path, text) < 0)
		perror(path);
}

static void enter_namespace(void)
{
	unsigned uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWNET) == 0)
		return;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		perror("a network namespace of our own");
		exit(1);
	}
	(void)niwa_file_write("/proc/self/setgroups", "deny");
	write_map("/proc/self/uid_map", uid);
	write_map("/proc/self/gid_map", gid);
}

void rig_init(const char *path)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	struct rlimit rl;
	int s;

	program = path;
	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
	enter_namespace();
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) < 0) {
		perror("bring loopback up");
		exit(1);
	}
	(void)niwa_file_write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000");
	niwa_fd_close(&s);
}

static void limit_nofile(unsigned nofile)
{
	struct rlimit rl = {nofile, nofile};

	if (nofile && setrlimit(RLIMIT_NOFILE, &rl) < 0)
		_exit(99);
}

/* As niwad does it: no user of the machine, no capability. In a user namespace of our own there is nobody else. */
static void drop_privileges(void)
{
	if (geteuid() == 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
		return;
}

static void exec_relay(int listener, int engine, unsigned nofile)
{
	const char *path = getenv("NIWA_RIG_LOG");
	char *const argv[] = {"niwa-relay", path ? "--debug" : NULL, NULL};
	int log = open(path ? path : "/dev/null", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	int exe = open(program, O_PATH);
	/* Out of the way of 3 and 4 first. */
	int a = fcntl(listener, F_DUPFD_CLOEXEC, 10), b = fcntl(engine, F_DUPFD_CLOEXEC, 10);
	int x = fcntl(exe, F_DUPFD_CLOEXEC, 10);

	if (log < 0 || x < 0 || dup2(log, STDERR_FILENO) < 0 || a < 0 || b < 0 || dup2(a, 3) < 0 || dup2(b, 4) < 0)
		_exit(99);
	if (close_range(5, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(99);
	limit_nofile(nofile);
	drop_privileges();
	(void)fexecve(x, argv, environ);
	_exit(99);
}

void rig_start_on(struct rig *rig, int listener, const struct niwa_relay_limits *limits, unsigned nofile)
{
	struct niwa_relay_msg hello = {.type = NIWA_RELAY_HELLO};
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), errno);
	rig->listener = listener;
	rig->engine = pair[0];
	rig->pid = fork();
	assert_true(rig->pid >= 0);
	if (rig->pid == 0)
		exec_relay(rig->listener, pair[1], nofile);
	(void)close(pair[1]);
	if (limits)
		hello.limits = *limits;
	rig_send(rig, &hello);
	(void)rig_stats(rig); /* it runs */
}

void rig_start(struct rig *rig, const struct niwa_relay_limits *limits, unsigned nofile)
{
	uint16_t port = NIWA_RIG_PORT;

	rig_start_on(rig, rig_listen(INADDR_ANY, &port), limits, nofile);
}

int rig_wait_exit(struct rig *rig)
{
	int status = -1;

	for (int i = 0; i < NIWA_RIG_MS / 5; i++) {
		if (waitpid(rig->pid, &status, WNOHANG) == rig->pid) {
			rig->pid = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
		}
		rig_sleep_ms(5);
	}
	(void)kill(rig->pid, SIGKILL);
	(void)waitpid(rig->pid, &status, 0);
	rig->pid = 0;
	return -1;
}

void rig_stop(struct rig *rig)
{
	int status = 0;

	niwa_fd_close(&rig->engine); /* an orderly end: it drains, and the sanitizers see leaks */
	niwa_fd_close(&rig->listener);
	if (rig->pid)
		status = rig_wait_exit(rig);
	assert_int_equal(status, 0);
}

void rig_send_fd(struct rig *rig, const struct niwa_relay_msg *m, int fd)
{
	for (int i = 0; i < NIWA_RIG_MS; i++) {
		int r = niwa_ipc_send(rig->engine, m, sizeof(*m), &fd, fd >= 0 ? 1 : 0);

		if (r != -EAGAIN) {
			assert_return_code(r, -r);
			return;
		}
		rig_sleep_ms(1);
	}
	fail_msg("the relay does not read its messages");
}

void rig_send(struct rig *rig, const struct niwa_relay_msg *m)
{
	rig_send_fd(rig, m, -1);
}

bool rig_next(struct rig *rig, struct niwa_relay_msg *m, int timeout_ms)
{
	struct pollfd p = {.fd = rig->engine, .events = POLLIN};
	int fds[NIWA_IPC_FDS_MAX];
	size_t count;
	ssize_t n;

	if (poll(&p, 1, timeout_ms) != 1)
		return false;
	n = niwa_ipc_recv(rig->engine, m, sizeof(*m), fds, &count);
	assert_int_equal(n, sizeof(*m));
	return true;
}

struct niwa_relay_msg rig_expect(struct rig *rig, enum niwa_relay_type type)
{
	struct niwa_relay_msg m;

	if (!rig_next(rig, &m, NIWA_RIG_MS))
		fail_msg("no message of type %d came", type);
	assert_int_equal(m.type, type);
	return m;
}

void rig_expect_none(struct rig *rig, int ms)
{
	struct niwa_relay_msg m;

	if (rig_next(rig, &m, ms))
		fail_msg("a message of type %u came", m.type);
}

struct niwa_relay_msg rig_stats(struct rig *rig)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_ASK_STATS};

	rig_send(rig, &m);
	return rig_expect(rig, NIWA_RELAY_STATS);
}

struct niwa_relay_msg rig_hold(uint64_t ticket, enum niwa_protocol protocol, uint32_t deadline_ms)
{
	return (struct niwa_relay_msg){.type = NIWA_RELAY_HOLD,
				       .ticket = ticket,
				       .protocol = protocol,
				       .deadline_ms = deadline_ms,
				       .retry_after_s = 7};
}

struct niwa_relay_msg rig_wait(uint64_t ticket, enum niwa_protocol protocol, uint32_t deadline_ms)
{
	return (struct niwa_relay_msg){
		.type = NIWA_RELAY_WAIT, .ticket = ticket, .protocol = protocol, .deadline_ms = deadline_ms};
}

struct niwa_relay_msg rig_ready(uint64_t ticket, uint16_t to_port)
{
	return (struct niwa_relay_msg){
		.type = NIWA_RELAY_READY, .ticket = ticket, .to = htonl(INADDR_LOOPBACK), .to_port = to_port};
}

struct niwa_relay_msg rig_fail(uint64_t ticket, enum niwa_protocol protocol, const char *text)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_FAIL,
				   .ticket = ticket,
				   .protocol = protocol,
				   .kind = NIWA_TEMPORARY,
				   .retry_after_s = 9};

	(void)snprintf(m.text, sizeof(m.text), "%s", text);
	return m;
}

uint32_t rig_service(unsigned n)
{
	return htonl((127u << 24 | 64u << 16) + n);
}

static void set_timeouts(int fd)
{
	const struct timeval tv = {.tv_sec = NIWA_RIG_MS / 1000};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

int rig_connect(uint32_t addr, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = addr, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	set_timeouts(fd);
	assert_return_code(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), errno);
	return fd;
}

int rig_client(unsigned n)
{
	return rig_connect(rig_service(n), NIWA_RIG_PORT);
}

int rig_listen(uint32_t addr, uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = addr, .sin_port = htons(*port)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_return_code(fd, errno);
	set_timeouts(fd);
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), errno);
	assert_return_code(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), errno);
	assert_return_code(listen(fd, 4096), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&sa, &len), errno);
	*port = ntohs(sa.sin_port);
	return fd;
}

int rig_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	assert_return_code(fd, errno);
	set_timeouts(fd);
	return fd;
}

void rig_write(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		assert_return_code((int)n, errno);
		p += n;
		len -= (size_t)n;
	}
}

void rig_read(int fd, const char *want)
{
	size_t len = strlen(want), got = 0;
	char buf[4096];

	assert_true(len < sizeof(buf));
	while (got < len) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		if (n <= 0)
			fail_msg("wanted '%s', got %zu bytes and %s", want, got, n ? strerror(errno) : "the end");
		got += (size_t)n;
	}
	buf[len] = '\0';
	assert_string_equal(buf, want);
}

ssize_t rig_read_all(int fd, char *buf, size_t size)
{
	size_t got = 0;

	for (;;) {
		ssize_t n = recv(fd, buf + got, size - 1 - got, 0);

		if (n < 0)
			return -errno;
		if (n == 0) {
			buf[got] = '\0';
			return (ssize_t)got;
		}
		got += (size_t)n;
		assert_true(got < size - 1);
	}
}

void rig_reset(int fd)
{
	const struct linger now = {.l_onoff = 1};

	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), errno);
	(void)close(fd);
}

unsigned rig_count_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

void rig_sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L};

	(void)nanosleep(&t, NULL);
}

void rig_splice(struct rig *rig, unsigned n, struct rig_pair *ret)
{
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	struct niwa_relay_msg m;

	ret->client = rig_client(n);
	ret->ticket = rig_expect(rig, NIWA_RELAY_OPEN).ticket;
	m = rig_ready(ret->ticket, port);
	rig_send(rig, &m);
	ret->server = rig_accept(listener);
	(void)close(listener);
	m = rig_expect(rig, NIWA_RELAY_RESULT);
	assert_int_equal(m.error, 0);
	assert_int_equal(m.ticket, ret->ticket);
	assert_true(m.connected_us >= m.accepted_us);
}
