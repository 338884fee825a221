/* SPDX-License-Identifier: MIT
 *
 * rtnetlink batches for an instance's network: built here, sent by niwa-keep. Pure. Interface numbers are
 * chosen by us, so that a batch can name an interface that it creates itself: the host end gets one derived
 * from the instance's id, the instance's eth0 is always 2.
 */
#ifndef NIWA_CONTAINER_RTNL_H
#define NIWA_CONTAINER_RTNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NIWA_RTNL_MAX   1536
#define NIWA_ETH0_INDEX 2

/* A batch: netlink messages, each aligned, each asking for an acknowledgement, sequence numbers from 1. */
struct niwa_rtnl {
	uint8_t data[NIWA_RTNL_MAX] __attribute__((aligned(4)));
	uint32_t len;
	uint32_t count;
	uint32_t pid_offset; /* where the child's pid belongs (u32), 0: nowhere */
	bool overflow;       /* did not fit: our own bug, checked by the tests */
};

struct niwa_rtnl_link {
	const char *veth; /* name of the host end */
	uint32_t host_index;
	uint32_t group;
	uint8_t host_mac[6], mac[6];
	uint32_t private_addr, service_addr, gateway_addr; /* network order; service_addr 0: none */
	/* IPv6: NULL, or 16 bytes each, beside the IPv4 address of the same thing */
	const uint8_t *private6, *service6, *gateway6;
	bool host_has_ipv6; /* the ends get no link-local address (its chatter would look like traffic) */
};

/* In the host's namespace: the pair, the host end up, strict reverse path, route and neighbour of the instance. */
void niwa_rtnl_host(const struct niwa_rtnl_link *link, struct niwa_rtnl *ret);
/* In the instance's namespace: lo and eth0 up, addresses, default route, neighbour of the gateway. */
void niwa_rtnl_child(const struct niwa_rtnl_link *link, struct niwa_rtnl *ret);
/* In the host's namespace, last: from when on the host end sends. That eth0 is up, too, is taken note of in a work
 * queue, and until then the host end drops what it is to send: on a busy host the first SYN, which is repeated after a
 * second. Being asked for a link, the kernel looks at once (Linux 6.8). */
void niwa_rtnl_settle(const struct niwa_rtnl_link *link, struct niwa_rtnl *ret);

#endif
