/* SPDX-License-Identifier: MIT
 *
 * Network namespaces and sockets for the tests of src/net. A socket belongs to the namespace it was made in, so
 * one thread can hold all ends of a conversation.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "base/clock.h"
#include "net/test_world.h"

uint32_t ip(const char *text)
{
	uint32_t addr;

	assert_int_equal(inet_pton(AF_INET, text, &addr), 1);
	return addr;
}

static void enter(const struct world *w, enum place place)
{
	if (setns(w->ns[place], CLONE_NEWNET) < 0)
		abort();
}

static int new_namespace(void)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void run_in(struct world *w, enum place place, const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;
	int r;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	enter(w, place);
	r = system(cmd); /* NOLINT: a test's own text */
	enter(w, HOST);
	if (r != 0)
		fail_msg("%s: exit %d", cmd, r);
}

int socket_in(struct world *w, enum place place, int family, int type, int protocol)
{
	int fd;

	enter(w, place);
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	enter(w, HOST);
	assert_true(fd >= 0);
	return fd;
}

static void join(struct world *w, const char *name, enum place place)
{
	run_in(w, HOST, "ip link add %s type veth peer name eth0 netns /proc/%d/fd/%d && ip link set %s up", name,
	       getpid(), w->ns[place], name);
	run_in(w, place, "ip link set lo up && ip link set eth0 up");
}

static void make_instance(struct world *w, const char *name, enum place place, const char *addr, const char *service)
{
	join(w, name, place);
	run_in(w, HOST,
	       "ip link set %s group %d && ip route add %s dev %s src 10.80.0.1 && "
	       "echo 1 > /proc/sys/net/ipv4/conf/%s/rp_filter",
	       name, VETH_GROUP, addr, name, name);
	run_in(w, place,
	       "ip addr add %s/32 dev eth0 && ip addr add %s/32 scope host dev lo && "
	       "ip route add default via 10.80.0.1 dev eth0 onlink src %s",
	       addr, service, addr);
}

void world_make(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->relay = -1;
	for (int i = PLACES - 1; i >= 0; i--) /* the host last: we stay in it */
		w->ns[i] = new_namespace();
	join(w, "remote", REMOTE);
	run_in(w, HOST, "ip link set lo up && ip addr add 192.0.2.1/24 dev remote");
	run_in(w, REMOTE,
	       "ip addr add 192.0.2.2/24 dev eth0 && ip route add 10.64.0.0/12 via 192.0.2.1 && "
	       "ip route add 10.80.0.0/12 via 192.0.2.1");
	join(w, "outside", OUTSIDE);
	run_in(w, HOST, "ip addr add 198.51.100.1/24 dev outside && ip addr add 192.168.77.1/24 dev outside");
	run_in(w, OUTSIDE,
	       "ip addr add 198.51.100.2/24 dev eth0 && ip addr add 198.51.100.3/24 dev eth0 && "
	       "ip addr add 192.168.77.2/24 dev eth0");
	/* the gateway address is niwa's to add, but the instances' routes prefer it */
	run_in(w, HOST, "ip addr add 10.80.0.1/32 dev lo");
	make_instance(w, "nwweb", WEB, "10.80.0.9", "10.64.0.9");
	make_instance(w, "nwother", OTHER, "10.80.0.10", "10.64.0.10");
	assert_int_equal(sd_event_new(&w->event), 0);
	w->config = (struct niwa_net_config){.service_net = ip("10.64.0.0"),
					     .service_bits = 12,
					     .private_net = ip("10.80.0.0"),
					     .private_bits = 12,
					     .gateway_addr = ip("10.80.0.1"),
					     .relay_port = RELAY_PORT,
					     .veth_group = VETH_GROUP,
					     .nflog_group = NFLOG_GROUP,
					     .return_mark = 0x6e697761,
					     .return_table = 6480,
					     .return_rule = 78,
					     .ula = {.on = true, .prefix = {0xfd, 0x6e, 0x69, 0x77, 0x61, 0}}};
}

static void on_knocked(const struct niwa_net_knock *knock, void *arg)
{
	struct world *w = arg;

	w->knocks++;
	w->last_addr = knock->private_addr;
	w->last_knock = *knock;
}

static void on_refused(uint32_t addr, uint16_t port, void *arg)
{
	struct world *w = arg;

	w->refusals++;
	w->last_addr = addr;
	w->last_port = port;
}

static void on_overflow(void *arg)
{
	((struct world *)arg)->overflows++;
}

static void on_lost(void *arg)
{
	((struct world *)arg)->losses++;
}

int world_open(struct world *w, struct niwa_error *err)
{
	const struct niwa_net_events events = {.knocked = on_knocked,
					       .refused = on_refused,
					       .overflow = on_overflow,
					       .ruleset_lost = on_lost,
					       .arg = w};

	w->knocks = w->refusals = w->overflows = w->losses = 0;
	return niwa_net_open(&w->config, &events, w->event, &w->net, err);
}

void world_close(struct world *w)
{
	struct niwa_error err;

	niwa_net_close(&w->net);
	if (w->relay >= 0)
		close(w->relay);
	w->relay = -1;
	assert_int_equal(niwa_net_remove(&w->config, &err), 0);
	run_in(w, HOST,
	       "ip addr add 10.80.0.1/32 dev lo; ip route replace 10.80.0.9 dev nwweb src 10.80.0.1;"
	       "ip route replace 10.80.0.10 dev nwother src 10.80.0.1");
}

void world_listen_relay(struct world *w)
{
	const struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(RELAY_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int one = 1;

	w->relay = socket_in(w, HOST, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(setsockopt(w->relay, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(w->relay, SOL_IP, IP_TRANSPARENT, &one, sizeof(one)), 0);
	assert_int_equal(bind(w->relay, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(w->relay, 128), 0);
}

int tcp_listen(struct world *w, enum place place, const char *addr, uint16_t port)
{
	const struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = ip(addr)};
	const int one = 1;
	int fd = socket_in(w, place, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

int tcp_start(struct world *w, enum place place, const char *from, uint16_t from_port, const char *to, uint16_t port)
{
	const struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = ip(to)};
	const struct sockaddr_in mine = {
		.sin_family = AF_INET, .sin_port = htons(from_port), .sin_addr.s_addr = from ? ip(from) : INADDR_ANY};
	const int one = 1;
	int fd = socket_in(w, place, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	if (from || from_port)
		assert_int_equal(bind(fd, (const struct sockaddr *)&mine, sizeof(mine)), 0);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int tcp_wait(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int error = 0;

	if (fd < 0)
		return fd;
	if (poll(&p, 1, ms) == 0)
		return -ETIMEDOUT;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	return -error;
}

int tcp_connect(struct world *w, enum place place, const char *to, uint16_t port)
{
	int fd = tcp_start(w, place, NULL, 0, to, port);
	int r = tcp_wait(fd, SOON_MS);

	if (r == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return r;
}

void assert_refused(struct world *w, enum place place, const char *to, uint16_t port)
{
	const uint64_t start = niwa_now_us();

	assert_int_equal(tcp_connect(w, place, to, port), -ECONNREFUSED);
	assert_true(niwa_now_us() - start < AT_ONCE_MS * NIWA_MS);
}

int tcp_accept(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (poll(&p, 1, ms) == 0)
		return -ETIMEDOUT;
	return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void name(const struct sockaddr_in *sa, char *buf)
{
	char addr[INET_ADDRSTRLEN];

	(void)inet_ntop(AF_INET, &sa->sin_addr, addr, sizeof(addr));
	(void)snprintf(buf, 32, "%s:%u", addr, ntohs(sa->sin_port));
}

void tcp_names(int fd, char *local, char *peer)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	if (local && getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		name(&sa, local);
	len = sizeof(sa);
	if (peer && getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
		name(&sa, peer);
}

static void pass(int from, int to, char byte)
{
	struct pollfd p = {.fd = to, .events = POLLIN};
	char got = 0;

	assert_int_equal(send(from, &byte, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(poll(&p, 1, SOON_MS), 1);
	assert_int_equal(recv(to, &got, 1, 0), 1);
	assert_int_equal(got, byte);
}

void assert_talk(int from, int to)
{
	pass(from, to, 'a');
	pass(to, from, 'b');
}

void assert_silent(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, QUIET_MS), 0);
}

int expect_end(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;
	ssize_t n;

	if (poll(&p, 1, ms) == 0)
		return -ETIMEDOUT;
	n = recv(fd, &byte, 1, MSG_DONTWAIT);
	return n < 0 ? -errno : (int)n;
}

unsigned pump(struct world *w, const unsigned *counter, unsigned count)
{
	const uint64_t end = niwa_now_us() + SOON_MS * NIWA_MS;

	for (uint64_t now = niwa_now_us(); *counter < count && now < end; now = niwa_now_us())
		assert_true(sd_event_run(w->event, end - now) >= 0);
	return *counter;
}

void pump_quiet(struct world *w)
{
	const uint64_t end = niwa_now_us() + QUIET_MS * NIWA_MS;

	for (uint64_t now = niwa_now_us(); now < end; now = niwa_now_us())
		assert_true(sd_event_run(w->event, end - now) >= 0);
}

static struct world the_world;

int world_group(void **state)
{
	world_make(&the_world);
	return 0;
}

int world_set_up(void **state)
{
	struct niwa_error err = {0};

	if (world_open(&the_world, &err) < 0) {
		print_error("%s\n", err.msg);
		return -1;
	}
	world_listen_relay(&the_world);
	*state = &the_world;
	return 0;
}

int world_tear_down(void **state)
{
	world_close(&the_world);
	return 0;
}

struct niwa_net_txn *txn(struct world *w)
{
	struct niwa_net_txn *t = niwa_net_txn_new(w->net);

	assert_non_null(t);
	return t;
}

void commit(struct niwa_net_txn *t)
{
	struct niwa_error err = {0};

	if (niwa_net_commit(&t, &err) < 0)
		fail_msg("%s", err.msg);
	assert_null(t);
}

void wake(struct world *w, const char *private, uint32_t mark)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_declared(t, NIWA_ADD, ip(WEB_SERVICE), 80, CLASS);
	niwa_net_awake(t, NIWA_ADD, ip(WEB_SERVICE), 80, ip(private), 80);
	niwa_net_mark(t, NIWA_ADD, ip(private), mark);
	niwa_net_may(t, NIWA_ADD, ip(OTHER_PRIVATE), CLASS);
	commit(t);
}

void asleep(struct world *w)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_awake(t, NIWA_DEL, ip(WEB_SERVICE), 80, 0, 0);
	commit(t);
}

void freeze(struct world *w, enum niwa_change c)
{
	struct niwa_net_txn *t = txn(w);

	niwa_net_frozen(t, c, ip(WEB_PRIVATE));
	commit(t);
}

static int keep_element(const struct niwa_net_element *e, void *arg)
{
	struct niwa_net_element *last = arg;
	uint32_t count = last->value; /* how many, and the last one */

	*last = *e;
	last->value = count + 1;
	return 0;
}

unsigned count_set(struct world *w, enum niwa_net_set set, struct niwa_net_element *last)
{
	struct niwa_net_element e = {0};
	struct niwa_error err;

	assert_int_equal(niwa_net_each(w->net, set, keep_element, &e, &err), 0);
	if (last)
		*last = e;
	return e.value;
}
