/* SPDX-License-Identifier: MIT
 *
 * A server for tests that does what it is told, also what nobody should do. Static, nothing of niwa in it. One
 * thread a connection. It trusts its clients: never run it where others can reach it.
 */
#ifndef TESTS_APPS_ECHO_H
#define TESTS_APPS_ECHO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct settings {
	unsigned slow_ms;     /* before each answer */
	const char *banner;   /* said first on TCP ports */
	long connections_max; /* after so many it crashes; 0: no end */
};
extern struct settings settings;

/* One HTTP request. */
struct request {
	int fd;
	struct sockaddr_in client, server;
	const char *path;
	char *query; /* "a=1&b=2", decoded piecewise by query_text() */
};

void serve_http(int fd);
void serve_echo(int fd);

/* A value of the query in buf ("" when it is not there); buf. */
const char *query_text(const struct request *r, const char *key, char *buf, size_t size);
long query_number(const struct request *r, const char *key, long fallback);

/* What a path does: writes its answer's body to out. */
typedef void path_fn(const struct request *r, FILE *out);

path_fn say_facts, say_id, say_env, read_path, write_path, walk_paths, connect_to; /* facts.c */
path_fn eat_memory, eat_cpu, fork_all, open_all, fill_disk, write_log, die;        /* abuse.c */

void pause_ms(long ms);
void crash(void) __attribute__((noreturn));

#endif
