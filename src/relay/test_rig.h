/* SPDX-License-Identifier: MIT
 *
 * The surroundings of a niwa-relay under test: a network namespace of its own, the real program as a child, the
 * test as its engine, real TCP clients and servers on loopback. All services listen on one port, NIWA_RIG_PORT, of
 * the addresses 127.64.x.y; any of them reaches the relay's listener.
 */
#ifndef NIWA_RELAY_TEST_RIG_H
#define NIWA_RELAY_TEST_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/relay_protocol.h"
#include "spec/app.h"

#define NIWA_RIG_PORT 8000
#define NIWA_RIG_MS   8000 /* the longest wait for anything that has to come */

struct rig {
	pid_t pid;
	int engine; /* our end */
	int listener;
};

/* Once a program: own network namespace with loopback up, many descriptors. program: path of niwa-relay. With
 * NIWA_RIG_LOG=FILE in the environment the relay runs with --debug and logs there. */
void rig_init(const char *program);
/* Starts a relay; nofile 0: as ours. HELLO with limits (NULL: defaults) was sent. */
void rig_start(struct rig *rig, const struct niwa_relay_limits *limits, unsigned nofile);
/* The same on a listener of the caller's, which is taken. */
void rig_start_on(struct rig *rig, int listener, const struct niwa_relay_limits *limits, unsigned nofile);
/* Closes our ends; the relay has to end by itself, with status 0. */
void rig_stop(struct rig *rig);
int rig_wait_exit(struct rig *rig); /* its exit status; kills it after NIWA_RIG_MS */

/* The engine's part. */
void rig_send(struct rig *rig, const struct niwa_relay_msg *m);
void rig_send_fd(struct rig *rig, const struct niwa_relay_msg *m, int fd);
/* The next message; it has to be of that type. */
struct niwa_relay_msg rig_expect(struct rig *rig, enum niwa_relay_type type);
bool rig_next(struct rig *rig, struct niwa_relay_msg *m, int timeout_ms); /* false: none in time */
void rig_expect_none(struct rig *rig, int ms);
struct niwa_relay_msg rig_stats(struct rig *rig);

struct niwa_relay_msg rig_hold(uint64_t ticket, enum niwa_protocol protocol, uint32_t deadline_ms);
struct niwa_relay_msg rig_wait(uint64_t ticket, enum niwa_protocol protocol, uint32_t deadline_ms);
struct niwa_relay_msg rig_ready(uint64_t ticket, uint16_t to_port); /* 127.0.0.1 */
struct niwa_relay_msg rig_fail(uint64_t ticket, enum niwa_protocol protocol, const char *text);

/* Clients and servers; blocking sockets with time-outs of NIWA_RIG_MS. */
uint32_t rig_service(unsigned n); /* 127.64.0.0 + n, network order */
int rig_connect(uint32_t addr, uint16_t port);
int rig_client(unsigned n);                    /* connected to service n */
int rig_listen(uint32_t addr, uint16_t *port); /* port 0: any */
int rig_accept(int listener);
void rig_write(int fd, const void *data, size_t len); /* all of it */
void rig_read(int fd, const char *want);              /* exactly that text */
/* Reads until the end of the stream: the length, or -errno. */
ssize_t rig_read_all(int fd, char *buf, size_t size);
void rig_reset(int fd); /* close with RST */
unsigned rig_count_fds(pid_t pid);
void rig_sleep_ms(unsigned ms);

/* A client of service n that was spliced to a server: both ends and the ticket. */
struct rig_pair {
	int client, server;
	uint64_t ticket;
};
void rig_splice(struct rig *rig, unsigned n, struct rig_pair *ret);

#endif
