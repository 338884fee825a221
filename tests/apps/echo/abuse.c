/* SPDX-License-Identifier: MIT
 *
 * Paths that take more than they are given, and tell how far they came. What they took is given back at the end,
 * unless they are ended first.
 */
#include "echo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 65536

void eat_memory(const struct request *r, FILE *out)
{
	size_t bytes = (size_t)query_number(r, "bytes", 1 << 30);
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		(void)fprintf(out, "error: mmap: %s\n", strerror(errno));
		return;
	}
	for (size_t i = 0; i < bytes; i += 4096)
		((volatile char *)p)[i] = 1;
	(void)munmap(p, bytes);
	(void)fprintf(out, "touched: %zu\n", bytes);
}

static uint64_t now_us(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void *burn(void *arg)
{
	uint64_t until = now_us(CLOCK_MONOTONIC) + *(uint64_t *)arg;

	while (now_us(CLOCK_MONOTONIC) < until)
		;
	return NULL;
}

void eat_cpu(const struct request *r, FILE *out)
{
	uint64_t us = (uint64_t)query_number(r, "ms", 1000) * 1000, before = now_us(CLOCK_PROCESS_CPUTIME_ID);
	long threads = query_number(r, "threads", 1), started = 0;
	pthread_t thread[64];

	while (started < threads && started < 64 && pthread_create(&thread[started], NULL, burn, &us) == 0)
		started++;
	for (long i = 0; i < started; i++)
		(void)pthread_join(thread[i], NULL);
	(void)fprintf(out, "threads: %ld\ncpu_us: %llu\n", started,
		      (unsigned long long)(now_us(CLOCK_PROCESS_CPUTIME_ID) - before));
}

void fork_all(const struct request *r, FILE *out)
{
	long max = query_number(r, "max", 100000), ms = query_number(r, "ms", 1000), n = 0;
	int code = 0;

	while (n < max) {
		pid_t pid = fork();

		if (pid == 0) {
			pause_ms(ms);
			_exit(0);
		}
		if (pid < 0) {
			code = errno;
			break;
		}
		n++;
	}
	(void)fprintf(out, "forked: %ld\nerror: %s\n", n, code ? strerror(code) : "none");
	pause_ms(ms); /* they end by themselves, and SIGCHLD is ignored: nothing is left */
}

void open_all(const struct request *r, FILE *out)
{
	static int fds[FILES_MAX];
	long max = query_number(r, "max", FILES_MAX), n = 0;
	int code = 0;

	for (; n < max && n < FILES_MAX; n++) {
		fds[n] = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
		if (fds[n] < 0) {
			code = errno;
			break;
		}
	}
	for (long i = 0; i < n; i++)
		(void)close(fds[i]);
	(void)fprintf(out, "opened: %ld\nerror: %s\n", n, code ? strerror(code) : "none");
}

void fill_disk(const struct request *r, FILE *out)
{
	static const char zeros[65536];
	char path[4096];
	long bytes = query_number(r, "bytes", 1L << 40), n = 0;
	int code = 0, fd = open(query_text(r, "path", path, sizeof(path)), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0) {
		(void)fprintf(out, "error: open %s: %s\n", path, strerror(errno));
		return;
	}
	while (n < bytes) {
		ssize_t w = write(fd, zeros, sizeof(zeros));

		if (w < 0) {
			code = errno;
			break;
		}
		n += w;
	}
	(void)close(fd);
	(void)unlink(path);
	(void)fprintf(out, "written: %ld\nerror: %s\n", n, code ? strerror(code) : "none");
}

void write_log(const struct request *r, FILE *out)
{
	long lines = query_number(r, "lines", 1000), bytes = query_number(r, "bytes", 80);

	for (long i = 0; i < lines; i++)
		(void)fprintf(stderr, "%0*ld\n", (int)(bytes > 1 ? bytes - 1 : 1), i + 1);
	(void)fprintf(out, "lines: %ld\n", lines);
}

void die(const struct request *r, FILE *out)
{
	long status = query_number(r, "status", -1);

	if (status < 0)
		crash();
	_exit((int)status);
}
