/* SPDX-License-Identifier: MIT
 *
 * Where a connection may come from, as `wake: {from: ...}` of a port names it: a network, the host, apps of the tenant.
 */
#ifndef NIWA_SPEC_SOURCE_H
#define NIWA_SPEC_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <netinet/in.h>

enum niwa_source_kind { NIWA_SOURCE_NETWORK, NIWA_SOURCE_HOST, NIWA_SOURCE_TENANT };

struct niwa_source {
	enum niwa_source_kind kind;
	unsigned bits;         /* of a network */
	struct in6_addr first; /* its first address; IPv4 as ::ffff:a.b.c.d, with 96 bits more */
};

/* "192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "host", "tenant". False: none of them, or bits behind the prefix. */
bool niwa_source_parse(const char *text, struct niwa_source *ret);
/* A network and nothing else, of at least one bit of its family. */
bool niwa_source_network(const char *text, struct niwa_source *ret);
/* Two networks of one family with addresses in common. */
bool niwa_source_overlap(const struct niwa_source *a, const struct niwa_source *b);
/* addr: IPv4 mapped as above. Only for networks. */
bool niwa_source_has(const struct niwa_source *source, const struct in6_addr *addr);
struct in6_addr niwa_addr_mapped(uint32_t addr); /* IPv4, network order */

#endif
