/* SPDX-License-Identifier: MIT
 *
 * Pure.
 */
#include "spec/publish.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "spec/source.h"

static bool parse_addr(const char *text, size_t len, struct in6_addr *ret)
{
	char addr[INET6_ADDRSTRLEN];
	bool six = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	struct in_addr in;

	if (len == 0) {
		*ret = in6addr_any;
		return true;
	}
	if (six) {
		text++;
		len -= 2;
	}
	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (six)
		return inet_pton(AF_INET6, addr, ret) == 1 && !IN6_IS_ADDR_MULTICAST(ret) &&
		       !IN6_IS_ADDR_LINKLOCAL(ret);
	if (inet_pton(AF_INET, addr, &in) != 1 || in.s_addr == INADDR_NONE)
		return false;
	*ret = niwa_addr_mapped(in.s_addr);
	return true;
}

bool niwa_publish_parse(const char *text, struct niwa_publish *ret)
{
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	struct niwa_publish p = {.addr = niwa_addr_mapped(htonl(INADDR_LOOPBACK))};
	uint64_t number;

	if (*port == '0' || niwa_parse_u64(port, UINT16_MAX, &number) < 0)
		return false;
	if (colon && !parse_addr(text, (size_t)(colon - text), &p.addr))
		return false;
	p.port = (uint16_t)number;
	*ret = p;
	return true;
}

char *niwa_publish_text(const struct niwa_publish *publish, char *buf)
{
	char addr[INET6_ADDRSTRLEN];

	if (niwa_publish_is_ipv4(publish)) {
		(void)inet_ntop(AF_INET, &publish->addr.s6_addr[12], addr, sizeof(addr));
		(void)snprintf(buf, NIWA_PUBLISH_TEXT, "%s:%u", addr, publish->port);
	} else {
		(void)inet_ntop(AF_INET6, &publish->addr, addr, sizeof(addr));
		(void)snprintf(buf, NIWA_PUBLISH_TEXT, "[%s]:%u", addr, publish->port);
	}
	return buf;
}

bool niwa_publish_is_ipv4(const struct niwa_publish *publish)
{
	return IN6_IS_ADDR_V4MAPPED(&publish->addr);
}

bool niwa_publish_is_loopback(const struct niwa_publish *publish)
{
	return niwa_publish_is_ipv4(publish) ? publish->addr.s6_addr[12] == IN_LOOPBACKNET
					     : IN6_IS_ADDR_LOOPBACK(&publish->addr);
}

bool niwa_publish_is_any(const struct niwa_publish *publish)
{
	const struct in6_addr any4 = niwa_addr_mapped(INADDR_ANY);

	return IN6_IS_ADDR_UNSPECIFIED(&publish->addr) || IN6_ARE_ADDR_EQUAL(&publish->addr, &any4);
}

bool niwa_publish_same(const struct niwa_publish *a, const struct niwa_publish *b)
{
	return a->port == b->port && IN6_ARE_ADDR_EQUAL(&a->addr, &b->addr);
}

/* True when b is among the addresses of a. */
static bool has(const struct niwa_publish *a, const struct niwa_publish *b)
{
	return IN6_IS_ADDR_UNSPECIFIED(&a->addr) || (niwa_publish_is_any(a) && niwa_publish_is_ipv4(b));
}

bool niwa_publish_clash(const struct niwa_publish *a, const struct niwa_publish *b)
{
	return a->port == b->port && (IN6_ARE_ADDR_EQUAL(&a->addr, &b->addr) || has(a, b) || has(b, a));
}
