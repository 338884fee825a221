/* SPDX-License-Identifier: MIT
 *
 * Questions to an instance's network namespace through a NETLINK_SOCK_DIAG socket that was opened inside it.
 */
#ifndef NIWA_NET_DIAG_H
#define NIWA_NET_DIAG_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* 1: something listens on the TCP port, at the address, at any address or (IPv6 any, dual) ; 0: nothing; else -errno.
 * Exact look-ups, no dump, about 10 us. addr: the instance's private address, network order. */
int niwa_diag_listens(int diag_fd, uint32_t addr, uint16_t port);

/* The same for an IPv6 address. */
int niwa_diag_listens6(int diag_fd, const uint8_t addr[16], uint16_t port);

/* One dump of the established connections, and of those that are closed and have not delivered everything: how many
 * there are that moved data within `within_us` (tcp_info last_data_sent/recv), loopback-only ones not counted.
 * ret_total: all of them. */
int niwa_diag_active(int diag_fd, uint64_t within_us, unsigned *ret_active, unsigned *ret_total);

/* How many established connections wait for an answer of the instance: the last data came from the other side, no
 * longer than within_us ago, and nothing was sent since. Connections that the app has not accepted yet are among them.
 * -errno. */
int niwa_diag_owed(int diag_fd, uint64_t within_us);

/* How many connections have something that the other side has not acknowledged, be it only their end, or are not closed
 * yet; loopback-only ones not counted. For a namespace without processes: 0 means that nothing will come from it.
 * -errno. */
int niwa_diag_unsent(int diag_fd);

/* How many connections, in any state from the handshake to that of waiting for the end, there are with these ports.
 * -errno. */
int niwa_diag_serving(int diag_fd, const uint16_t *ports, size_t port_count);
/* The same without those that the instance has with itself. */
int niwa_diag_clients(int diag_fd, const uint16_t *ports, size_t port_count);

#endif
