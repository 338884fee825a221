/* SPDX-License-Identifier: MIT
 *
 * Networks of both families as one: IPv4 is a part of IPv6.
 */
#include "spec/source.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/text.h"

#define MAPPED_BITS 96

struct in6_addr niwa_addr_mapped(uint32_t addr)
{
	struct in6_addr ret = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(&ret.s6_addr[12], &addr, sizeof(addr));
	return ret;
}

bool niwa_source_has(const struct niwa_source *source, const struct in6_addr *addr)
{
	unsigned bytes = source->bits / 8, rest = source->bits % 8;

	if (memcmp(source->first.s6_addr, addr->s6_addr, bytes) != 0)
		return false;
	return rest == 0 || (source->first.s6_addr[bytes] ^ addr->s6_addr[bytes]) >> (8 - rest) == 0;
}

static bool ends_at_prefix(const struct niwa_source *s)
{
	for (unsigned bit = s->bits; bit < 128; bit++)
		if (s->first.s6_addr[bit / 8] >> (7 - bit % 8) & 1)
			return false;
	return true;
}

bool niwa_source_parse(const char *text, struct niwa_source *ret)
{
	size_t len = strcspn(text, "/");
	char addr[INET6_ADDRSTRLEN];
	struct niwa_source s = {.kind = NIWA_SOURCE_NETWORK, .bits = 128};
	struct in_addr four;
	uint64_t bits = 0;
	bool is_four;

	if (strcmp(text, "host") == 0 || strcmp(text, "tenant") == 0) {
		*ret = (struct niwa_source){.kind = *text == 'h' ? NIWA_SOURCE_HOST : NIWA_SOURCE_TENANT};
		return true;
	}
	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	is_four = inet_pton(AF_INET, addr, &four) == 1;
	if (is_four)
		s.first = niwa_addr_mapped(four.s_addr);
	else if (inet_pton(AF_INET6, addr, &s.first) != 1)
		return false;
	if (text[len]) {
		if (niwa_parse_u64(text + len + 1, is_four ? 32 : 128, &bits) < 0)
			return false;
		s.bits = (unsigned)bits + (is_four ? MAPPED_BITS : 0);
	}
	if (!ends_at_prefix(&s))
		return false;
	*ret = s;
	return true;
}

bool niwa_source_network(const char *text, struct niwa_source *ret)
{
	return niwa_source_parse(text, ret) && ret->kind == NIWA_SOURCE_NETWORK &&
	       ret->bits > (IN6_IS_ADDR_V4MAPPED(&ret->first) ? MAPPED_BITS : 0);
}

bool niwa_source_overlap(const struct niwa_source *a, const struct niwa_source *b)
{
	return IN6_IS_ADDR_V4MAPPED(&a->first) == IN6_IS_ADDR_V4MAPPED(&b->first) &&
	       (niwa_source_has(a, &b->first) || niwa_source_has(b, &a->first));
}
