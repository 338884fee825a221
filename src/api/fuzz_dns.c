/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: a message from the network. Whatever it is, there is an answer that libldns can read and that belongs to
 * it, or none.
 */
#include <assert.h>
#include <string.h>

#include <ldns/ldns.h>

#include "api/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(struct niwa_dns *dns)
{
	dns->ttl = 3600;
	dns->negative_ttl = 1;
	dns->server_addr = 0x4000007f;
	dns->complete = true;
	assert(niwa_dns_set_domain(dns, "niwa.internal") == 0);
	dns->names = niwa_zone_new(dns->apex_len);
	assert(niwa_zone_set(dns->names, "a", 1) == 0);
	assert(niwa_zone_set(dns->names, "b.c.http", 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct niwa_dns dns;
	uint8_t out[NIWA_DNS_ROOM];
	ldns_pkt *pkt = NULL;
	size_t len;

	if (!dns.names)
		fill(&dns);
	len = niwa_dns_answer(&dns, data, size, out, NIWA_DNS_UDP_MAX);
	assert(len <= NIWA_DNS_ROOM);
	if (len == 0)
		return 0;
	assert(len >= LDNS_HEADER_SIZE && LDNS_QR_WIRE(out) && memcmp(out, data, 2) == 0);
	assert(ldns_wire2pkt(&pkt, out, len) == LDNS_STATUS_OK);
	ldns_pkt_free(pkt);
	return 0;
}
