/* SPDX-License-Identifier: MIT
 *
 * For LD_PRELOAD into niwad: how much processor time the turns of its loop take (from a return of epoll_wait to its
 * next call), by the number of tenths of a millisecond, in a file that the benchmark maps as well: $TURNS_FILE.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STEPS 10000 /* of 0.1 ms; the last one: longer */

static uint64_t *turns;
static pid_t loop;

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

__attribute__((constructor)) static void turns_open(void)
{
	const char *path = getenv("TURNS_FILE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, STEPS * sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at != MAP_FAILED)
		turns = at;
	loop = getpid();
	(void)unsetenv("LD_PRELOAD");
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	static uint64_t began;
	int r;

	if (!real)
		real = (int (*)(int, struct epoll_event *, int, int))(uintptr_t)dlsym(RTLD_NEXT, "epoll_wait");
	if (gettid() != loop || !turns)
		return real(epfd, events, max, timeout);
	if (began) {
		uint64_t step = (now_ns() - began) / 100000;

		turns[step < STEPS ? step : STEPS - 1]++;
	}
	r = real(epfd, events, max, timeout);
	began = now_ns();
	return r;
}
