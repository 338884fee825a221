/* SPDX-License-Identifier: MIT
 *
 * Reading by libldns, record by record: a query has two, and making packets of objects in both directions took 16 µs
 * (docs/names.md). Answers are written straight: three kinds of records.
 */
#include "api/answer.h"

#include <errno.h>
#include <string.h>

#include <ldns/ldns.h>

#include "base/memory.h"

#define RECORDS_MAX 4      /* behind the question: OPT, and what does not concern us */
#define POINTER     0xc000 /* RFC 1035 section 4.1.4 */
#define SOA_REFRESH 3600   /* nobody transfers the zone */
#define SOA_RETRY   600
#define SOA_EXPIRE  86400

struct query {
	const uint8_t *wire;
	size_t question_len;              /* name, type, class; at LDNS_HEADER_SIZE */
	size_t name_len;                  /* with the last empty label */
	char key[LDNS_MAX_DOMAINLEN + 1]; /* the name, lower case */
	ldns_rr_type type;
	ldns_rr_class class;
	bool edns, dnssec_ok;
	uint8_t version;
	uint16_t takes; /* bytes over UDP */
};

struct answer {
	uint8_t *out;
	size_t len;
	uint16_t answers, authorities;
};

static void rr_free(ldns_rr **rr)
{
	ldns_rr_free(*rr); /* with all it has; NULL is fine */
}

int niwa_dns_set_domain(struct niwa_dns *dns, const char *domain)
{
	char key[NIWA_ZONE_KEY_MAX];
	int len = niwa_zone_key(domain, key);

	if (len < 0)
		return len;
	memcpy(dns->apex, key, (size_t)len + 1);
	dns->apex_len = (size_t)len + 1;
	return 0;
}

/* Reading. Each returns 0 or the code of the refusal. */

static int read_question(struct query *q, size_t len, size_t *pos)
{
	NIWA_AUTO(rr_free) ldns_rr *rr = NULL;
	const uint8_t *name;

	if (ldns_wire2rr(&rr, q->wire, len, pos, LDNS_SECTION_QUESTION) != LDNS_STATUS_OK)
		return LDNS_RCODE_FORMERR;
	q->name_len = ldns_rdf_size(ldns_rr_owner(rr));
	q->question_len = *pos - LDNS_HEADER_SIZE;
	if (q->question_len != q->name_len + 4) /* a pointer: there is nothing before that it may lead to */
		return LDNS_RCODE_FORMERR;
	name = ldns_rdf_data(ldns_rr_owner(rr));
	for (size_t i = 0; i < q->name_len; i++) /* the length of a label is no letter */
		q->key[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
	q->type = ldns_rr_get_type(rr);
	q->class = ldns_rr_get_class(rr);
	return LDNS_RCODE_NOERROR;
}

/* RFC 6891 section 6.1.3: what is class and time to live elsewhere. */
static int take_opt(struct query *q, const ldns_rr *rr)
{
	uint32_t flags = ldns_rr_ttl(rr);

	if (q->edns || ldns_rdf_size(ldns_rr_owner(rr)) != 1)
		return LDNS_RCODE_FORMERR;
	q->edns = true;
	q->takes = (uint16_t)ldns_rr_get_class(rr);
	q->version = (uint8_t)(flags >> 16);
	q->dnssec_ok = flags & 0x8000;
	return LDNS_RCODE_NOERROR;
}

static int read_records(struct query *q, size_t len, size_t *pos)
{
	unsigned count = LDNS_NSCOUNT(q->wire) + LDNS_ARCOUNT(q->wire);

	if (LDNS_ANCOUNT(q->wire) || count > RECORDS_MAX)
		return LDNS_RCODE_FORMERR;
	for (unsigned i = 0; i < count; i++) {
		NIWA_AUTO(rr_free) ldns_rr *rr = NULL;
		int r = LDNS_RCODE_NOERROR;

		if (ldns_wire2rr(&rr, q->wire, len, pos, LDNS_SECTION_ADDITIONAL) != LDNS_STATUS_OK)
			return LDNS_RCODE_FORMERR;
		if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_OPT && i >= LDNS_NSCOUNT(q->wire))
			r = take_opt(q, rr);
		if (r)
			return r;
	}
	return LDNS_RCODE_NOERROR;
}

static int read_query(struct query *q, size_t len)
{
	size_t pos = LDNS_HEADER_SIZE;
	int r;

	if (LDNS_OPCODE_WIRE(q->wire) != LDNS_PACKET_QUERY)
		return LDNS_RCODE_NOTIMPL;
	if (LDNS_QDCOUNT(q->wire) != 1)
		return LDNS_RCODE_FORMERR;
	r = read_question(q, len, &pos);
	if (r == LDNS_RCODE_NOERROR)
		r = read_records(q, len, &pos);
	return r;
}

/* Writing. */

static void put16(struct answer *a, unsigned value)
{
	ldns_write_uint16(a->out + a->len, (uint16_t)value);
	a->len += 2;
}

static void put32(struct answer *a, uint32_t value)
{
	ldns_write_uint32(a->out + a->len, value);
	a->len += 4;
}

static void put_bytes(struct answer *a, const void *bytes, size_t len)
{
	memcpy(a->out + a->len, bytes, len);
	a->len += len;
}

/* Owner, type, class, time to live; the length of the data comes next. owner: a place in the question's name. */
static void put_head(struct answer *a, size_t owner, ldns_rr_type type, uint32_t ttl)
{
	put16(a, POINTER | (unsigned)owner);
	put16(a, type);
	put16(a, LDNS_RR_CLASS_IN);
	put32(a, ttl);
}

static void put_address(struct answer *a, const struct niwa_dns *dns, uint32_t addr)
{
	put_head(a, LDNS_HEADER_SIZE, LDNS_RR_TYPE_A, dns->ttl);
	put16(a, sizeof(addr));
	put_bytes(a, &addr, sizeof(addr));
	a->answers++;
}

static void put_address6(struct answer *a, const struct niwa_dns *dns, uint32_t addr)
{
	uint8_t six[16];

	niwa_ula_make(&dns->ula, NIWA_ULA_SERVICE, addr, six);
	put_head(a, LDNS_HEADER_SIZE, LDNS_RR_TYPE_AAAA, dns->ttl);
	put16(a, sizeof(six));
	put_bytes(a, six, sizeof(six));
	a->answers++;
}

static void put_server(struct answer *a, const struct niwa_dns *dns, size_t apex)
{
	put_head(a, apex, LDNS_RR_TYPE_NS, dns->ttl);
	put16(a, 2);
	put16(a, POINTER | (unsigned)apex);
	a->answers++;
}

/* RFC 2308 section 3: its time to live and its last number say how long a negative answer may be remembered. */
static void put_soa(struct answer *a, const struct niwa_dns *dns, size_t apex)
{
	static const char person[] = "\12hostmaster";

	put_head(a, apex, LDNS_RR_TYPE_SOA, dns->negative_ttl);
	put16(a, 2 + sizeof(person) - 1 + 2 + 5 * 4);
	put16(a, POINTER | (unsigned)apex);
	put_bytes(a, person, sizeof(person) - 1);
	put16(a, POINTER | (unsigned)apex);
	put32(a, dns->serial);
	put32(a, SOA_REFRESH);
	put32(a, SOA_RETRY);
	put32(a, SOA_EXPIRE);
	put32(a, dns->negative_ttl);
}

static bool asks_for(const struct query *q, ldns_rr_type type)
{
	return q->type == type || q->type == LDNS_RR_TYPE_ANY;
}

static void fill_apex(struct answer *a, const struct niwa_dns *dns, const struct query *q)
{
	if (asks_for(q, LDNS_RR_TYPE_SOA)) {
		put_soa(a, dns, LDNS_HEADER_SIZE);
		a->answers++;
	}
	if (asks_for(q, LDNS_RR_TYPE_NS))
		put_server(a, dns, LDNS_HEADER_SIZE);
	if (asks_for(q, LDNS_RR_TYPE_A) && dns->server_addr)
		put_address(a, dns, dns->server_addr);
}

/* What is in the key behind the apex_at-th byte is the domain. */
static int fill_name(struct answer *a, const struct niwa_dns *dns, struct query *q, size_t apex_at)
{
	enum niwa_zone_found found = NIWA_ZONE_NOTHING;
	uint32_t addr = 0;

	q->key[apex_at] = '\0';
	if (strlen(q->key) == apex_at) /* no name of an app has such a byte in it */
		found = niwa_zone_find(dns->names, q->key, &addr);
	if (found != NIWA_ZONE_ADDRESS && !dns->complete)
		return LDNS_RCODE_SERVFAIL;
	if (found == NIWA_ZONE_ADDRESS && asks_for(q, LDNS_RR_TYPE_A))
		put_address(a, dns, addr);
	if (found == NIWA_ZONE_ADDRESS && dns->ula.on && asks_for(q, LDNS_RR_TYPE_AAAA))
		put_address6(a, dns, addr);
	return found == NIWA_ZONE_NOTHING ? LDNS_RCODE_NXDOMAIN : LDNS_RCODE_NOERROR;
}

static bool ends_label(const char *key, size_t at)
{
	size_t i = 0;

	while (i < at)
		i += 1 + (unsigned char)key[i];
	return i == at;
}

static int fill(struct answer *a, const struct niwa_dns *dns, struct query *q)
{
	size_t apex_at = q->name_len - dns->apex_len;
	int rcode = LDNS_RCODE_NOERROR;

	if (q->version != 0)
		return LDNS_RCODE_NOERROR; /* the refusal is in the OPT record */
	if (q->name_len < dns->apex_len || memcmp(q->key + apex_at, dns->apex, dns->apex_len) != 0 ||
	    !ends_label(q->key, apex_at) || (q->class != LDNS_RR_CLASS_IN && q->class != LDNS_RR_CLASS_ANY) ||
	    q->type == LDNS_RR_TYPE_AXFR || q->type == LDNS_RR_TYPE_IXFR)
		return LDNS_RCODE_REFUSED;
	if (apex_at == 0)
		fill_apex(a, dns, q);
	else
		rcode = fill_name(a, dns, q, apex_at);
	if (a->answers == 0 && rcode != LDNS_RCODE_SERVFAIL) {
		put_soa(a, dns, LDNS_HEADER_SIZE + apex_at);
		a->authorities++;
	}
	return rcode;
}

static size_t opt_len(const struct query *q)
{
	return q->edns ? 11 : 0;
}

static void put_opt(struct answer *a, const struct query *q)
{
	static const uint8_t root = 0;

	put_bytes(a, &root, 1);
	put16(a, LDNS_RR_TYPE_OPT);
	put16(a, NIWA_DNS_UDP_MAX);
	put32(a, (q->version ? UINT32_C(1) << 24 : 0) | (q->dnssec_ok ? 0x8000 : 0)); /* 1: upper half of BADVERS */
	put16(a, 0);
}

static size_t limit(const struct query *q, size_t room)
{
	size_t takes = q->edns && q->takes > NIWA_DNS_PLAIN ? q->takes : NIWA_DNS_PLAIN;

	if (room > NIWA_DNS_ROOM)
		room = NIWA_DNS_ROOM;
	return takes < room ? takes : room;
}

static void put_header(struct answer *a, const struct query *q, int rcode)
{
	memcpy(a->out, q->wire, 2); /* the number */
	a->out[2] = (uint8_t)(q->wire[2] & (LDNS_OPCODE_MASK | LDNS_RD_MASK));
	a->out[3] = (uint8_t)((q->wire[3] & LDNS_CD_MASK) | (unsigned)rcode);
	LDNS_QR_SET(a->out);
	ldns_write_uint16(a->out + LDNS_QDCOUNT_OFF, q->question_len != 0);
	ldns_write_uint16(a->out + LDNS_ANCOUNT_OFF, a->answers);
	ldns_write_uint16(a->out + LDNS_NSCOUNT_OFF, a->authorities);
	ldns_write_uint16(a->out + LDNS_ARCOUNT_OFF, q->edns);
}

size_t niwa_dns_answer(const struct niwa_dns *dns, const uint8_t *query, size_t len, uint8_t *out, size_t room)
{
	struct answer a = {.out = out, .len = LDNS_HEADER_SIZE};
	struct query q = {.wire = query};
	bool cut = false;
	int rcode;

	if (len < LDNS_HEADER_SIZE || LDNS_QR_WIRE(query))
		return 0;
	rcode = read_query(&q, len);
	if (rcode == LDNS_RCODE_NOERROR) {
		put_bytes(&a, query + LDNS_HEADER_SIZE, q.question_len);
		rcode = fill(&a, dns, &q);
		cut = a.len + opt_len(&q) > limit(&q, room);
	} else {
		q.question_len = 0;
		q.edns = false;
	}
	if (cut) {
		a.len = LDNS_HEADER_SIZE + q.question_len;
		a.answers = a.authorities = 0;
	}
	put_header(&a, &q, rcode);
	if (cut)
		LDNS_TC_SET(out);
	if (rcode == LDNS_RCODE_NXDOMAIN || (rcode == LDNS_RCODE_NOERROR && q.question_len && q.version == 0))
		LDNS_AA_SET(out);
	if (q.edns)
		put_opt(&a, &q);
	return a.len;
}
