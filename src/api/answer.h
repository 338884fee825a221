/* SPDX-License-Identifier: MIT
 *
 * One question, one answer: RFC 1034, 1035, 2308 (negative answers), 6891 (EDNS), 8482 (ANY). Pure: looks into the zone
 * and writes into the caller's room. What comes from the network is read by libldns and by nothing else; the answer
 * is the question as it came (so its case is kept) and records that point into it.
 */
#ifndef NIWA_API_ANSWER_H
#define NIWA_API_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ula.h"

#include "api/zone.h"

#define NIWA_DNS_UDP_MAX 1232 /* passes everywhere in one piece; what we say and keep to */
#define NIWA_DNS_PLAIN   512  /* without EDNS */
#define NIWA_DNS_ROOM    512  /* of out: the longest answer has 329 bytes */

struct niwa_dns {
	struct niwa_zone *names;
	uint8_t apex[NIWA_ZONE_KEY_MAX]; /* the domain in wire form, lower case */
	size_t apex_len;                 /* with the last empty label */
	uint32_t server_addr;            /* of this server, network order; 0: not to be told */
	struct niwa_ula ula;             /* names have an IPv6 address made of the other one, too */
	uint32_t ttl, negative_ttl;      /* seconds */
	uint32_t serial;                 /* grows with each change of the names */
	bool complete; /* all names are known: what is not there is not there; before, the answer is SERVFAIL */
};

/* Sets apex. -EINVAL: not a domain. */
int niwa_dns_set_domain(struct niwa_dns *dns, const char *domain);

/* Writes the answer to a query of len bytes, at most room (with EDNS what the client takes, else 512, if that is less):
 * what does not fit is left out, with TC set. Returns its length; 0: none is due, because it is no query.
 * out has NIWA_DNS_ROOM. */
size_t niwa_dns_answer(const struct niwa_dns *dns, const uint8_t *query, size_t len, uint8_t *out, size_t room);

#endif
