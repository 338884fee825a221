/* SPDX-License-Identifier: MIT
 *
 * The figures of `bench relay`: throughput and CPU of a spliced connection against a direct one, what accept, asking
 * and connecting add to the first answer, memory of held connections. In a network namespace of its own; the test
 * rig plays the engine. Prints "case<TAB>metric<TAB>value<TAB>unit", one line a sample or figure; bench_relay.py
 * makes percentiles and compares with the targets.
 *
 *   relay_figures NIWA-RELAY [ROUNDS]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "relay/test_rig.h"

#define BLOCK     (256 * 1024)
#define ROUND_US  (1000 * NIWA_MS)
#define LATENCIES 500
#define HELD      10000

struct outcome { /* of one round, shared with the processes that move the bytes */
	double gib, seconds, cpu_s;
};

static double cpu_of_relay(pid_t pid)
{
	char path[64], text[128];

	(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	return niwa_file_read(path, text, sizeof(text)) > 0 ? strtod(text, NULL) / 1e9 : 0;
}

static void send_for_a_while(int fd)
{
	static char block[BLOCK];
	uint64_t end = niwa_now_us() + ROUND_US;

	while (niwa_now_us() < end)
		if (send(fd, block, sizeof(block), MSG_NOSIGNAL) < 0)
			_exit(1);
	_exit(shutdown(fd, SHUT_WR) < 0);
}

static double cpu_of_child(pid_t pid)
{
	struct rusage ru;
	int status = -1;

	if (wait4(pid, &status, 0, &ru) != pid || status != 0) {
		(void)fprintf(stderr, "relay_figures: a sender failed\n");
		exit(1);
	}
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static double cpu_of_self(void)
{
	struct rusage ru;

	(void)getrusage(RUSAGE_SELF, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* One sender process, this process receives. relay 0: a direct connection. */
static struct outcome one_round(int from, int to, pid_t relay)
{
	static char block[BLOCK];
	double cpu = cpu_of_self() + (relay ? cpu_of_relay(relay) : 0);
	uint64_t began = niwa_now_us(), bytes = 0;
	struct outcome o;
	pid_t pid = fork();
	ssize_t n;

	if (pid == 0)
		send_for_a_while(from);
	while ((n = recv(to, block, sizeof(block), 0)) > 0) {
		bytes += (uint64_t)n;
		if (bytes == (uint64_t)n)
			began = niwa_now_us();
	}
	o.seconds = (double)(niwa_now_us() - began) / 1e6;
	o.gib = (double)bytes / (1u << 30);
	/* The relay's last part of the work is counted when it has closed. */
	o.cpu_s = cpu_of_self() + (relay ? cpu_of_relay(relay) : 0) - cpu + cpu_of_child(pid);
	return o;
}

static void direct_pair(int *a, int *b)
{
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port), on = 1;

	*a = rig_connect(htonl(INADDR_LOOPBACK), port);
	*b = rig_accept(listener);
	(void)setsockopt(*a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(*b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)close(listener);
}

static void throughput(struct rig *rig, const char *name, bool upload, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct outcome direct, spliced;
		struct rig_pair p;
		int a, b;

		direct_pair(&a, &b);
		direct = one_round(upload ? a : b, upload ? b : a, 0);
		(void)close(a);
		(void)close(b);
		rig_splice(rig, 1, &p);
		spliced = one_round(upload ? p.client : p.server, upload ? p.server : p.client, rig->pid);
		(void)close(p.client);
		(void)close(p.server);
		(void)rig_expect(rig, NIWA_RELAY_CLOSED);
		(void)printf("%s spliced/direct\tpercent\t%.2f\t%%\n", name,
			     100 * (spliced.gib / spliced.seconds) / (direct.gib / direct.seconds));
		(void)printf("%s direct\trate\t%.3f\tGiB/s\n", name, direct.gib / direct.seconds);
		(void)printf("%s spliced\trate\t%.3f\tGiB/s\n", name, spliced.gib / spliced.seconds);
		(void)printf("%s direct cpu\tcount\t%.4f\ts/GiB\n", name, direct.cpu_s / direct.gib);
		(void)printf("%s spliced cpu, all three\tcount\t%.4f\ts/GiB\n", name, spliced.cpu_s / spliced.gib);
		(void)fflush(stdout);
	}
}

/* ---- latency ---- */

static void serve_echo(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
		char byte;

		if (fd < 0)
			continue;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		while (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
			;
		(void)close(fd);
	}
}

/* The least an engine does: READY for each OPEN. */
static void serve_engine(struct rig *rig, uint16_t port)
{
	struct niwa_relay_msg m;

	for (;;) {
		if (!rig_next(rig, &m, -1) || m.type != NIWA_RELAY_OPEN)
			continue;
		m = rig_ready(m.ticket, port);
		rig_send(rig, &m);
	}
}

static double one_latency(uint32_t addr, uint16_t port)
{
	uint64_t began = niwa_now_us();
	int fd = rig_connect(addr, port);
	char byte = 'x';

	rig_write(fd, &byte, 1);
	rig_read(fd, "x");
	began = niwa_now_us() - began;
	rig_reset(fd);
	return (double)began / 1000;
}

static void latency(struct rig *rig)
{
	uint16_t port = 0;
	int listener = rig_listen(htonl(INADDR_LOOPBACK), &port);
	pid_t server = fork(), engine;

	if (server == 0)
		serve_echo(listener);
	engine = fork();
	if (engine == 0)
		serve_engine(rig, port);
	for (int i = 0; i < LATENCIES; i++) {
		(void)printf("first answer direct\tsample\t%.4f\tms\n", one_latency(htonl(INADDR_LOOPBACK), port));
		(void)printf("first answer through the relay\tsample\t%.4f\tms\n",
			     one_latency(rig_service(1), NIWA_RIG_PORT));
		rig_sleep_ms(1);
	}
	(void)kill(server, SIGKILL);
	(void)kill(engine, SIGKILL);
	(void)waitpid(server, NULL, 0);
	(void)waitpid(engine, NULL, 0);
	(void)close(listener);
}

/* ---- memory ---- */

static unsigned long rss_anon_bytes(pid_t pid)
{
	char path[64], text[4096];
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, "RssAnon:");
	return at ? strtoul(at + 8, NULL, 10) * 1024 : 0;
}

static void memory(struct rig *rig)
{
	static int clients[HELD];
	unsigned long before = rss_anon_bytes(rig->pid), after;

	for (int i = 0; i < HELD; i++) {
		struct niwa_relay_msg m;

		clients[i] = rig_client((unsigned)i);
		m = rig_expect(rig, NIWA_RELAY_OPEN);
		m = rig_hold(m.ticket, NIWA_PROTO_HTTP, 600000);
		rig_send(rig, &m);
	}
	(void)rig_stats(rig);
	after = rss_anon_bytes(rig->pid);
	(void)printf("RssAnon, nothing held\tbytes\t%lu\tbytes\n", before);
	(void)printf("RssAnon, %d held\tbytes\t%lu\tbytes\n", HELD, after);
	for (int i = 0; i < HELD; i++)
		rig_reset(clients[i]);
	for (int i = 0; i < HELD; i++)
		(void)rig_expect(rig, NIWA_RELAY_GONE);
}

int main(int argc, char **argv)
{
	const struct niwa_relay_limits limits = {.connections = 12000, .waiting = 11000, .waiting_per_source = 11000};
	int rounds = argc > 2 ? atoi(argv[2]) : 5;
	struct rig rig;

	if (argc < 2 || rounds < 1) {
		(void)fprintf(stderr, "usage: relay_figures NIWA-RELAY [ROUNDS]\n");
		return 2;
	}
	rig_init(argv[1]);
	rig_start(&rig, &limits, 0);
	memory(&rig);
	rig_stop(&rig);
	rig_start(&rig, &limits, 0);
	throughput(&rig, "download", false, rounds);
	throughput(&rig, "upload", true, rounds);
	latency(&rig);
	rig_stop(&rig);
	return 0;
}
