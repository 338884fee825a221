/* SPDX-License-Identifier: MIT
 *
 * Which service addresses were ever given out. Finding the next one is O(1) over a whole transaction:
 * bits are only cleared again when a transaction is rolled back.
 */
#include "cmdb_private.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/memory.h"

#define BITS_MIN 8
#define BITS_MAX 26

int niwa_cmdb_addresses_init(struct niwa_cmdb_addresses *a, uint32_t service_net, unsigned bits, struct niwa_error *err)
{
	uint32_t net = ntohl(service_net), size;
	char text[INET_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET, &service_net, text, sizeof(text));
	if (bits < BITS_MIN || bits > BITS_MAX)
		return niwa_fail(err, NIWA_CALLER, 0, "service range %s/%u: the prefix length must be %d to %d", text,
				 bits, BITS_MIN, BITS_MAX);
	size = UINT32_C(1) << (32 - bits);
	if (net & (size - 1))
		return niwa_fail(err, NIWA_CALLER, 0, "service range %s/%u: the address has bits set beyond the prefix",
				 text, bits);
	*a = (struct niwa_cmdb_addresses){
		.net = net,
		.bits = bits,
		.first = net + NIWA_CMDB_RESERVED,
		.last = net + size - 1 - NIWA_CMDB_RESERVED,
		.words = (size + 63) / 64,
	};
	a->used = niwa_zalloc(a->words * sizeof(a->used[0]));
	if (!a->used)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "service range %s/%u", text, bits);
	a->used[0] |= (UINT64_C(1) << NIWA_CMDB_RESERVED) - 1;
	a->used[a->words - 1] |= ~UINT64_C(0) << (64 - NIWA_CMDB_RESERVED);
	return 0;
}

void niwa_cmdb_addresses_fini(struct niwa_cmdb_addresses *a)
{
	free(a->used);
	a->used = NULL;
}

bool niwa_cmdb_addresses_usable(const struct niwa_cmdb_addresses *a, uint32_t addr)
{
	return addr >= a->first && addr <= a->last;
}

void niwa_cmdb_addresses_take(struct niwa_cmdb_addresses *a, uint32_t addr)
{
	uint32_t i = addr - a->net;
	uint64_t bit = UINT64_C(1) << (i % 64);

	if (!niwa_cmdb_addresses_usable(a, addr) || (a->used[i / 64] & bit))
		return;
	a->used[i / 64] |= bit;
	a->count++;
}

void niwa_cmdb_addresses_drop(struct niwa_cmdb_addresses *a, uint32_t addr)
{
	uint32_t i = addr - a->net;
	uint64_t bit = UINT64_C(1) << (i % 64);

	if (!niwa_cmdb_addresses_usable(a, addr) || !(a->used[i / 64] & bit))
		return;
	a->used[i / 64] &= ~bit;
	a->count--;
	if (i / 64 < a->hint)
		a->hint = i / 64;
}

bool niwa_cmdb_addresses_next(struct niwa_cmdb_addresses *a, uint32_t *ret)
{
	while (a->hint < a->words && a->used[a->hint] == ~UINT64_C(0))
		a->hint++;
	if (a->hint == a->words)
		return false;
	*ret = a->net + (uint32_t)(a->hint * 64) + (uint32_t)__builtin_ctzll(~a->used[a->hint]);
	niwa_cmdb_addresses_take(a, *ret);
	return true;
}
