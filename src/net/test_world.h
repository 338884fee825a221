/* SPDX-License-Identifier: MIT
 *
 * For tests: a host and its neighbours as network namespaces, joined by veths, with real sockets in each.
 *
 *   remote  192.0.2.2     a neighbour that routes the ranges to the host (192.0.2.1)
 *   web     10.80.0.9     an instance; its own service address 10.64.0.9 on its lo
 *   other   10.80.0.10    an instance; its own service address 10.64.0.10 on its lo
 *   outside 198.51.100.2  behind the host; knows no route to the ranges; also 192.168.77.2 and 198.51.100.3
 */
#ifndef NIWA_NET_TEST_WORLD_H
#define NIWA_NET_TEST_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "net/wake.h"

enum place { HOST, REMOTE, WEB, OTHER, OUTSIDE, PLACES };

#define RELAY_PORT  7070
#define VETH_GROUP  7
#define NFLOG_GROUP 77
#define QUIET_MS    120 /* how long we look before we say that nothing happens */
#define AT_ONCE_MS  300
#define SOON_MS     3000 /* longest wait for what must happen */

struct world {
	int ns[PLACES];
	sd_event *event;
	struct niwa_net_config config;
	struct niwa_net *net;
	int relay; /* the transparent listener, -1: none */
	/* what the events told */
	unsigned knocks, refusals, overflows, losses;
	uint32_t last_addr;
	struct niwa_net_knock last_knock;
	uint16_t last_port;
};

void world_make(struct world *w);                        /* namespaces, addresses, routes; once a process */
int world_open(struct world *w, struct niwa_error *err); /* niwa_net_open with the counters above */
void world_close(struct world *w);                       /* closes and removes it */
void world_listen_relay(struct world *w);

/* Fixtures of cmocka: *state is the world. */
int world_group(void **state);
int world_set_up(void **state);
int world_tear_down(void **state);

#define WEB_SERVICE   "10.64.0.9"
#define OTHER_SERVICE "10.64.0.10"
#define WEB_PRIVATE   "10.80.0.9"
#define OTHER_PRIVATE "10.80.0.10"
#define CLASS         41
#define MARK_WEB      9
#define MARK_OTHER    10

struct niwa_net_txn *txn(struct world *w);
void commit(struct niwa_net_txn *t);                            /* fails the test when it fails */
void wake(struct world *w, const char *private, uint32_t mark); /* WEB_SERVICE:80 is declared, and awake there */
void asleep(struct world *w);
void freeze(struct world *w, enum niwa_change c);
unsigned count_set(struct world *w, enum niwa_net_set set, struct niwa_net_element *last);

uint32_t ip(const char *text);
/* Runs a shell command in a place; fails the test when it fails. */
void run_in(struct world *w, enum place place, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int socket_in(struct world *w, enum place place, int family, int type, int protocol);

int tcp_listen(struct world *w, enum place place, const char *addr, uint16_t port);
/* A connection under way (not blocking). from: "addr" or NULL; from_port 0: any. */
int tcp_start(struct world *w, enum place place, const char *from, uint16_t from_port, const char *to, uint16_t port);
int tcp_wait(int fd, int ms); /* 0: connected; -errno of the connection; -ETIMEDOUT: still under way */
int tcp_connect(struct world *w, enum place place, const char *to, uint16_t port); /* waits; fd or -errno */
/* Refused, and at once: not after a repeated SYN. */
void assert_refused(struct world *w, enum place place, const char *to, uint16_t port);
int tcp_accept(int fd, int ms);                  /* fd or -ETIMEDOUT */
void tcp_names(int fd, char *local, char *peer); /* "addr:port", 32 bytes each; either may be NULL */
/* Sends a byte on `from` and expects it on `to`, and back. */
void assert_talk(int from, int to);
void assert_silent(int fd);     /* nothing to read, no end, no error, for QUIET_MS */
int expect_end(int fd, int ms); /* 0: end of file; -errno; -ETIMEDOUT */

/* Turns the loop until *counter is at least `count`, at most SOON_MS; then what it is. */
unsigned pump(struct world *w, const unsigned *counter, unsigned count);
void pump_quiet(struct world *w); /* turns the loop for QUIET_MS */

#endif
