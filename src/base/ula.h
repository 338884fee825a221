/* SPDX-License-Identifier: MIT
 *
 * IPv6 addresses of apps and instances. They are made from the IPv4 ones, so that nobody has to give out, store or look
 * up a second kind: a configured /48 of unique local addresses (RFC 4193), a subnet that says which, and the IPv4
 * address in the last 32 bits.
 *
 *   fd6e:6977:6100:1::a40:10   the service address of the app at 10.64.0.16
 *   fd6e:6977:6100:2::a50:9    the instance at 10.80.0.9; the host's own is that of the gateway address
 */
#ifndef NIWA_BASE_ULA_H
#define NIWA_BASE_ULA_H

#include <stdbool.h>
#include <stdint.h>

#define NIWA_ULA_BITS 96 /* of each of the two networks */

struct niwa_ula {
	bool on; /* else there is no IPv6 */
	uint8_t prefix[6];
};

enum niwa_ula_net { NIWA_ULA_SERVICE = 1, NIWA_ULA_PRIVATE = 2 };

/* "fd6e:6977:6100::/48", or "none". -EINVAL. */
int niwa_ula_parse(const char *text, struct niwa_ula *ret);
/* addr: IPv4, network order. */
void niwa_ula_make(const struct niwa_ula *ula, enum niwa_ula_net net, uint32_t addr, uint8_t ret[16]);
/* The same as text; buf of INET6_ADDRSTRLEN. */
const char *niwa_ula_text(const struct niwa_ula *ula, enum niwa_ula_net net, uint32_t addr, char *buf);
/* The IPv4 address that an IPv6 one was made from. */
uint32_t niwa_ula_addr(const uint8_t from[16]);

#endif
