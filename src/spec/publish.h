/* SPDX-License-Identifier: MIT
 *
 * Ports of the host that lead to apps, as text and as addresses of either family.
 */
#ifndef NIWA_SPEC_PUBLISH_H
#define NIWA_SPEC_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>
#include <netinet/in.h>

struct niwa_publish {
	struct in6_addr
		addr;  /* IPv4 as ::ffff:a.b.c.d; :: is every address of both, ::ffff:0.0.0.0 every one of IPv4 */
	uint16_t port; /* host order; 0: not published */
};

#define NIWA_PUBLISH_TEXT 56 /* bytes that hold it as text */

/* "8080" (127.0.0.1), ":8080" (every address of the host), "192.0.2.1:8080", "[2001:db8::1]:8080". False: none of them,
 * or an address that no listener can have: multicast, link-local (it belongs to a link, which has no name here). */
bool niwa_publish_parse(const char *text, struct niwa_publish *ret);
/* "192.0.2.1:8080", "[::]:8080"; one text for one meaning. buf of NIWA_PUBLISH_TEXT. Returns buf. */
char *niwa_publish_text(const struct niwa_publish *publish, char *buf);
bool niwa_publish_is_ipv4(const struct niwa_publish *publish); /* and nothing else */
bool niwa_publish_is_loopback(const struct niwa_publish *publish);
/* Every address, of both families or of IPv4. */
bool niwa_publish_is_any(const struct niwa_publish *publish);
bool niwa_publish_same(const struct niwa_publish *a, const struct niwa_publish *b);
/* Both want the same port of the host: every address clashes with each. For ports that are not 0. */
bool niwa_publish_clash(const struct niwa_publish *a, const struct niwa_publish *b);

#endif
