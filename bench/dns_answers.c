/* SPDX-License-Identifier: MIT
 *
 * dns_answers: time of one answer without the network, over 50,000 names: as niwa-api makes it, and as libldns does
 * it with packets of objects in both directions. Prints microseconds of either, medians of nine rounds in turn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#include "api/answer.h"
#include "base/clock.h"

#define NAMES  50000
#define ROUNDS 9
#define ROUND  20000 /* questions */

static struct niwa_dns dns;
static uint8_t queries[NAMES][96];
static size_t lens[NAMES];

typedef size_t answer_fn(const uint8_t *query, size_t len, uint8_t *out);

static size_t straight(const uint8_t *query, size_t len, uint8_t *out)
{
	return niwa_dns_answer(&dns, query, len, out, NIWA_DNS_ROOM);
}

static size_t by_packets(const uint8_t *query, size_t len, uint8_t *out)
{
	ldns_pkt *asked = NULL, *answer = ldns_pkt_new();
	ldns_rr *question, *rr = ldns_rr_new();
	uint8_t *wire = NULL;
	uint32_t addr = 0;
	char key[256];
	size_t n;

	if (ldns_wire2pkt(&asked, query, len) != LDNS_STATUS_OK)
		exit(1);
	question = ldns_rr_list_rr(ldns_pkt_question(asked), 0);
	n = ldns_rdf_size(ldns_rr_owner(question));
	memcpy(key, ldns_rdf_data(ldns_rr_owner(question)), n);
	key[n - dns.apex_len] = '\0';
	(void)niwa_zone_find(dns.names, key, &addr);
	ldns_pkt_set_id(answer, ldns_pkt_id(asked));
	ldns_pkt_set_qr(answer, true);
	ldns_pkt_set_aa(answer, true);
	(void)ldns_pkt_push_rr(answer, LDNS_SECTION_QUESTION, ldns_rr_clone(question));
	ldns_rr_set_owner(rr, ldns_rdf_clone(ldns_rr_owner(question)));
	ldns_rr_set_type(rr, LDNS_RR_TYPE_A);
	ldns_rr_set_ttl(rr, dns.ttl);
	(void)ldns_rr_push_rdf(rr, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, sizeof(addr), &addr));
	(void)ldns_pkt_push_rr(answer, LDNS_SECTION_ANSWER, rr);
	ldns_pkt_set_edns_udp_size(answer, NIWA_DNS_UDP_MAX);
	(void)ldns_pkt2wire(&wire, answer, &n);
	memcpy(out, wire, n);
	free(wire);
	ldns_pkt_free(asked);
	ldns_pkt_free(answer);
	return n;
}

static double round_us(answer_fn *fn)
{
	static uint8_t out[4096];
	uint64_t began = niwa_now_us();

	for (unsigned i = 0; i < ROUND; i++) {
		unsigned n = (unsigned)((uint64_t)i * 7919 % NAMES);

		if (fn(queries[n], lens[n], out) < 60)
			exit(1);
	}
	return (double)(niwa_now_us() - began) / ROUND;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void fill(void)
{
	static const uint8_t header[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1};
	static const uint8_t tail[] = {0, 0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}; /* A, IN, and OPT */
	char name[80], key[NIWA_ZONE_KEY_MAX];

	for (unsigned i = 0; i < NAMES; i++) {
		int len;

		(void)snprintf(name, sizeof(name), "site%05u.example.com", i);
		if (niwa_zone_set(dns.names, name, i) < 0)
			exit(1);
		(void)snprintf(name, sizeof(name), "site%05u.example.com.niwa.internal", i);
		len = niwa_zone_key(name, key);
		memcpy(queries[i], header, sizeof(header));
		memcpy(queries[i] + sizeof(header), key, (size_t)len);
		memcpy(queries[i] + sizeof(header) + len, tail, sizeof(tail));
		lens[i] = sizeof(header) + (size_t)len + sizeof(tail);
	}
}

int main(void)
{
	double a[ROUNDS], b[ROUNDS];

	if (niwa_dns_set_domain(&dns, "niwa.internal") < 0 || !(dns.names = niwa_zone_new(dns.apex_len)))
		return 1;
	dns.ttl = 3600;
	dns.complete = true;
	fill();
	for (unsigned i = 0; i < ROUNDS; i++) {
		a[i] = round_us(straight);
		b[i] = round_us(by_packets);
	}
	qsort(a, ROUNDS, sizeof(a[0]), ascending);
	qsort(b, ROUNDS, sizeof(b[0]), ascending);
	(void)printf("{\"answer_us\": %.2f, \"by_packets_us\": %.2f}\n", a[ROUNDS / 2], b[ROUNDS / 2]);
	niwa_zone_free(&dns.names);
	return 0;
}
