/* SPDX-License-Identifier: MIT
 *
 * Switches, listeners, and a thread for each connection.
 *
 *   echo [--http PORT]… [--tcp PORT]… [SWITCH…]      ports may be ADDRESS:PORT
 */
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LISTENERS_MAX 16
#define STACK_BYTES   (256 * 1024)

struct listener {
	const char *where;
	void (*serve)(int fd);
	int fd;
};

struct connection {
	void (*serve)(int fd);
	int fd;
};

struct settings settings;
static struct listener listeners[LISTENERS_MAX];
static size_t listener_count;
static long connections;
static long late_ms, exit_status = -1;
static bool silent, background;

void pause_ms(long ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* A first process is not ended by signals from within, SIGKILL included; by its own faults it is. */
void crash(void)
{
	__builtin_trap();
}

static void *serve(void *arg)
{
	struct connection c = *(struct connection *)arg;

	free(arg);
	c.serve(c.fd);
	(void)close(c.fd);
	return NULL;
}

static void take(const struct listener *l, const pthread_attr_t *attr)
{
	struct connection *c;
	pthread_t thread;
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		pause_ms(10); /* out of descriptors: later */
		return;
	}
	if (settings.connections_max &&
	    __atomic_add_fetch(&connections, 1, __ATOMIC_RELAXED) > settings.connections_max)
		crash();
	c = malloc(sizeof(*c));
	if (c)
		*c = (struct connection){l->serve, fd};
	if (!c || pthread_create(&thread, attr, serve, c) != 0) {
		free(c);
		(void)close(fd);
	}
}

static void *accept_all(void *arg)
{
	pthread_attr_t attr;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (;;)
		take(arg, &attr);
	return NULL;
}

static int open_listener(struct listener *l)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	const char *colon = strchr(l->where, ':');
	char host[64] = "0.0.0.0";
	int one = 1;

	if (colon)
		(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - l->where), l->where);
	addr.sin_port = htons((uint16_t)atoi(colon ? colon + 1 : l->where));
	if (inet_pton(AF_INET, host, &addr.sin_addr) != 1)
		return -1;
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -1;
	if (bind(l->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return listen(l->fd, 4096);
}

static void add_listener(const char *where, void (*fn)(int fd))
{
	if (listener_count < LISTENERS_MAX)
		listeners[listener_count++] = (struct listener){where, fn, -1};
}

enum { HTTP = 1, TCP, BANNER, SLOW, EXIT, SILENT, LATE, BACKGROUND, STUBBORN, CHATTER, KILL_AFTER, HELP };

static const struct option options[] = {
	{"http", required_argument, NULL, HTTP},             /* HTTP, paths as in http.c */
	{"tcp", required_argument, NULL, TCP},               /* sends back what it gets */
	{"banner", required_argument, NULL, BANNER},         /* speaks first on --tcp ports */
	{"slow", required_argument, NULL, SLOW},             /* milliseconds before each answer */
	{"exit", required_argument, NULL, EXIT},             /* ends at once with this status */
	{"silent", no_argument, NULL, SILENT},               /* never listens */
	{"late", required_argument, NULL, LATE},             /* milliseconds before it listens */
	{"background", no_argument, NULL, BACKGROUND},       /* forks; the child listens, the parent ends */
	{"stubborn", no_argument, NULL, STUBBORN},           /* ignores SIGTERM, SIGINT, SIGQUIT */
	{"chatter", required_argument, NULL, CHATTER},       /* lines on standard error at the start */
	{"kill-after", required_argument, NULL, KILL_AFTER}, /* crashes after so many connections */
	{"help", no_argument, NULL, HELP},
	{0},
};

static void chatter(long lines)
{
	for (long i = 0; i < lines; i++)
		(void)fprintf(stderr, "line %ld of %ld\n", i + 1, lines);
}

static void ignore_signals(void)
{
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGQUIT, SIG_IGN);
}

static void usage(void)
{
	(void)printf("switches:");
	for (const struct option *o = options; o->name; o++)
		(void)printf(" --%s%s", o->name, o->has_arg ? " ARG" : "");
	(void)printf("\n");
	exit(0);
}

static void on_option(int option)
{
	switch (option) {
	case HTTP:
		add_listener(optarg, serve_http);
		break;
	case TCP:
		add_listener(optarg, serve_echo);
		break;
	case BANNER:
		settings.banner = optarg;
		break;
	case SLOW:
		settings.slow_ms = (unsigned)atoi(optarg);
		break;
	case EXIT:
		exit_status = atol(optarg);
		break;
	case SILENT:
		silent = true;
		break;
	case LATE:
		late_ms = atol(optarg);
		break;
	case BACKGROUND:
		background = true;
		break;
	case STUBBORN:
		ignore_signals();
		break;
	case CHATTER:
		chatter(atol(optarg));
		break;
	case KILL_AFTER:
		settings.connections_max = atol(optarg);
		break;
	case HELP:
		usage();
		break;
	default:
		exit(2);
	}
}

static void end(int number)
{
	_exit(0);
}

/* A first process has no default actions for signals: without handlers SIGTERM would do nothing. */
static void end_on_signals(void)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT};
	struct sigaction old;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)signal(numbers[i], end);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		on_option(option);
	if (exit_status >= 0)
		return (int)exit_status;
	if (background) {
		int ended[2]; /* the child goes on when the parent has ended: no order of the two is left to luck */

		if (pipe(ended) < 0)
			return 1;
		if (fork() > 0)
			return 0;
		(void)close(ended[1]);
		(void)!read(ended[0], ended, 1);
	}
	end_on_signals();
	pause_ms(late_ms);
	for (size_t i = 0; !silent && i < listener_count; i++) {
		if (open_listener(&listeners[i]) < 0) {
			(void)fprintf(stderr, "echo: listen on %s: %s\n", listeners[i].where, strerror(errno));
			return 1;
		}
		if (pthread_create(&thread, NULL, accept_all, &listeners[i]) != 0) {
			(void)fprintf(stderr, "echo: no thread\n");
			return 1;
		}
	}
	for (;;)
		(void)pause();
}
