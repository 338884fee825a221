/* SPDX-License-Identifier: MIT
 *
 * Why the relay's connections live in an epoll set of their own: n sockets that become readable together, once as n
 * sources of sd-event, once in one epoll set. docs/adr tells what follows. Not part of `make bench`.
 *
 *   relay_loop [N…]
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "base/clock.h"

static int left;

static void must(int r)
{
	if (r < 0) {
		perror("relay_loop");
		exit(1);
	}
}

static int on_byte(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	char byte;

	left -= read(fd, &byte, 1) == 1;
	return 0;
}

static void write_all(int (*pairs)[2], int n)
{
	for (int i = 0; i < n; i++)
		must((int)write(pairs[i][1], "x", 1));
	left = n;
}

static void by_sd_event(int (*pairs)[2], int n)
{
	sd_event_source **sources = calloc((size_t)n, sizeof(*sources));
	size_t before = mallinfo2().uordblks;
	sd_event *event = NULL;
	uint64_t began;

	must(sd_event_new(&event));
	for (int i = 0; i < n; i++)
		must(sd_event_add_io(event, &sources[i], pairs[i][0], EPOLLIN, on_byte, NULL));
	(void)printf("%6d sockets  sd-event  %4zu bytes each", n, (mallinfo2().uordblks - before) / (size_t)n);
	write_all(pairs, n);
	began = niwa_now_us();
	while (left > 0)
		must(sd_event_run(event, 0));
	(void)printf("  all served in %9.1f ms\n", (double)(niwa_now_us() - began) / 1000);
	for (int i = 0; i < n; i++)
		(void)sd_event_source_disable_unref(sources[i]);
	(void)sd_event_unref(event);
	free(sources);
}

static void by_epoll(int (*pairs)[2], int n)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event got[256];
	uint64_t began;

	must(ep);
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = pairs[i][0]};

		must(epoll_ctl(ep, EPOLL_CTL_ADD, pairs[i][0], &ev));
	}
	write_all(pairs, n);
	began = niwa_now_us();
	while (left > 0) {
		int k = epoll_wait(ep, got, 256, 0);

		for (int i = 0; i < k; i++)
			(void)on_byte(NULL, got[i].data.fd, 0, NULL);
	}
	(void)printf("%6d sockets  epoll        0 bytes each  all served in %9.1f ms\n", n,
		     (double)(niwa_now_us() - began) / 1000);
	(void)close(ep);
}

static void measure(int n)
{
	int(*pairs)[2] = calloc((size_t)n, sizeof(*pairs));

	for (int i = 0; i < n; i++)
		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pairs[i]));
	by_sd_event(pairs, n);
	by_epoll(pairs, n);
	for (int i = 0; i < n; i++) {
		(void)close(pairs[i][0]);
		(void)close(pairs[i][1]);
	}
	free(pairs);
}

int main(int argc, char **argv)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
	if (argc < 2) {
		measure(1000);
		measure(3000);
	}
	for (int i = 1; i < argc; i++)
		measure(atoi(argv[i]));
	return 0;
}
