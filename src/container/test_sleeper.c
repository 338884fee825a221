/* SPDX-License-Identifier: MIT
 *
 * What the tests of snapshots dump and restore: a static server with a thread, a child, memory, a file in the writable
 * layer, one in shared memory and a clock. Whoever connects sends one word and gets a line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT  80
#define BYTES (20u << 20)

static unsigned char *memory;
static char *shared;
static unsigned asked;
static int unlinked; /* a file that is open and has no name any more */
static pid_t child;

static void *wait_for_ever(void *arg)
{
	for (;;)
		(void)pause();
	return NULL;
}

static char *shared_memory(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
	char *p;

	if (fd < 0 || ftruncate(fd, 1 << 20) < 0)
		return MAP_FAILED;
	p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return p;
}

static int make_file(const char *path, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? fd : -1;
}

static int grow_up(bool alone)
{
	pthread_t thread;

	memory = malloc(BYTES);
	for (unsigned i = 0; memory && i < BYTES; i += 4096)
		memset(memory + i, (int)(i / 4096 % 251), 4096);
	shared = shared_memory("/dev/shm/kept");
	unlinked = make_file("/tmp/unlinked", "still here");
	if (!memory || shared == MAP_FAILED || unlinked < 0 || unlink("/tmp/unlinked") < 0)
		return -1;
	(void)strcpy(shared, "in shared memory");
	if (make_file("/tmp/kept", "in the layer") < 0 || unlink("/data/gone") < 0)
		return -1;
	child = alone ? 0 : fork();
	if (child == 0 && !alone)
		(void)wait_for_ever(NULL);
	return pthread_create(&thread, NULL, wait_for_ever, NULL);
}

static const char *first_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0)
		return strerror(errno);
	(void)close(fd);
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static unsigned long memory_sum(void)
{
	unsigned long sum = 0;

	for (unsigned i = 0; i < BYTES; i += 512)
		sum += memory[i];
	return sum;
}

static void tell_files(int to)
{
	char kept[64], shm[64], text[16] = "";

	if (pread(unlinked, text, sizeof(text) - 1, 0) < 0)
		perror("unlinked");
	(void)dprintf(to, "layer '%s' shm '%s' mapped '%s' unlinked '%s' gone %s\n",
		      first_line("/tmp/kept", kept, sizeof(kept)), first_line("/dev/shm/kept", shm, sizeof(shm)),
		      shared, text, access("/data/gone", F_OK) < 0 ? "gone" : "there");
}

static void tell_clock(int to)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	(void)dprintf(to, "%lld\n", (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static void answer(int to, char *word)
{
	char host[80] = "";

	word[strcspn(word, "\n")] = '\0';
	(void)gethostname(host, sizeof(host) - 1);
	if (strcmp(word, "who") == 0)
		(void)dprintf(to, "asked %u sum %lu pid %d sid %d ppid %d uid %d child %d %s on %s\n", ++asked,
			      memory_sum(), (int)getpid(), (int)getsid(0), (int)getppid(), (int)getuid(), (int)child,
			      kill(child, 0) == 0 ? "alive" : "gone", host);
	else if (strcmp(word, "files") == 0)
		tell_files(to);
	else if (strcmp(word, "clock") == 0)
		tell_clock(to);
	else if (strcmp(word, "log") == 0)
		(void)dprintf(to, "%s\n", puts("a line of the log") < 0 ? "error" : "done");
	else if (strncmp(word, "exit ", 5) == 0)
		exit(atoi(word + 5));
}

int main(int argc, char **argv)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char buf[256];

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (grow_up(argc > 1 && strcmp(argv[1], "alone") == 0) != 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 64) < 0) {
		perror("test_sleeper");
		return 1;
	}
	for (;;) {
		int c = accept(fd, NULL, NULL);
		ssize_t n = read(c, buf, sizeof(buf) - 1);

		buf[n > 0 ? n : 0] = '\0';
		answer(c, buf);
		(void)close(c);
	}
}
