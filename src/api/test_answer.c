/* SPDX-License-Identifier: MIT
 *
 * Questions are made by libldns, answers read by it: one table of both as text.
 */
#include "api/answer.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ldns/ldns.h>

#include "base/memory.h"
#include "base/text.h"

static struct niwa_dns dns;

static int set_up(void **state)
{
	assert_int_equal(niwa_dns_set_domain(&dns, "niwa.internal"), 0);
	dns.names = niwa_zone_new(dns.apex_len);
	dns.server_addr = htonl(0x7f000040);
	dns.ttl = 3600;
	dns.negative_ttl = 1;
	dns.serial = 42;
	dns.complete = true;
	(void)niwa_zone_set(dns.names, "blog", htonl(0x0a400010));
	(void)niwa_zone_set(dns.names, "example.com.http", htonl(0x0a400011));
	return dns.names ? 0 : -1;
}

static int tear_down(void **state)
{
	niwa_zone_free(&dns.names);
	return 0;
}

struct ask {
	const char *name;
	ldns_rr_type type;
	ldns_rr_class class;
	bool edns;
};

static size_t make(const struct ask *ask, uint8_t *query)
{
	ldns_pkt *pkt = ldns_pkt_query_new(ldns_dname_new_frm_str(ask->name), ask->type, ask->class, LDNS_RD);
	uint8_t *wire;
	size_t len;

	ldns_pkt_set_id(pkt, 0x1234);
	if (ask->edns) {
		ldns_pkt_set_edns_udp_size(pkt, 4096);
		ldns_pkt_set_edns_do(pkt, true);
	}
	assert_int_equal(ldns_pkt2wire(&wire, pkt, &len), LDNS_STATUS_OK);
	memcpy(query, wire, len);
	free(wire);
	ldns_pkt_free(pkt);
	return len;
}

/* "NXDOMAIN aa; ; SOA ...": code, flags, answer, authority. */
static void describe(const uint8_t *wire, size_t len, struct niwa_text *out)
{
	ldns_pkt *pkt;
	char *answer, *authority, *code;

	assert_int_equal(ldns_wire2pkt(&pkt, wire, len), LDNS_STATUS_OK);
	assert_true(ldns_pkt_qr(pkt));
	assert_false(ldns_pkt_ra(pkt));
	assert_int_equal(ldns_pkt_id(pkt), 0x1234);
	code = ldns_pkt_rcode2str(ldns_pkt_get_rcode(pkt));
	answer = ldns_rr_list2str(ldns_pkt_answer(pkt));
	authority = ldns_rr_list2str(ldns_pkt_authority(pkt));
	niwa_text_addf(out, "%s%s%s%s%s|%s|%s", code, ldns_pkt_aa(pkt) ? " aa" : "", ldns_pkt_tc(pkt) ? " tc" : "",
		       ldns_pkt_rd(pkt) ? " rd" : "", ldns_pkt_edns(pkt) ? " edns" : "", answer, authority);
	for (char *c = out->data; *c; c++)
		*c = *c == '\t' ? ' ' : *c;
	free(code);
	free(answer);
	free(authority);
	ldns_pkt_free(pkt);
}

#define SOA "niwa.internal. 1 IN SOA niwa.internal. hostmaster.niwa.internal. 42 3600 600 86400 1\n"
#define IN  LDNS_RR_CLASS_IN

struct case_of_answer {
	struct ask ask;
	const char *answer;
};

static const struct case_of_answer answers[] = {
	{{"blog.niwa.internal", LDNS_RR_TYPE_A, IN}, "NOERROR aa rd|blog.niwa.internal. 3600 IN A 10.64.0.16\n|"},
	{{"BlOg.nIWa.iNTERNAL", LDNS_RR_TYPE_A, IN}, "NOERROR aa rd|BlOg.nIWa.iNTERNAL. 3600 IN A 10.64.0.16\n|"},
	{{"blog.niwa.internal", LDNS_RR_TYPE_A, IN, true},
	 "NOERROR aa rd edns|blog.niwa.internal. 3600 IN A 10.64.0.16\n|"},
	{{"blog.niwa.internal", LDNS_RR_TYPE_ANY, IN}, "NOERROR aa rd|blog.niwa.internal. 3600 IN A 10.64.0.16\n|"},
	{{"example.com.http.niwa.internal", LDNS_RR_TYPE_A, LDNS_RR_CLASS_ANY},
	 "NOERROR aa rd|example.com.http.niwa.internal. 3600 IN A 10.64.0.17\n|"},
	/* No data, and no name. */
	{{"blog.niwa.internal", LDNS_RR_TYPE_AAAA, IN}, "NOERROR aa rd||" SOA},
	{{"blog.niwa.internal", LDNS_RR_TYPE_MX, IN, true}, "NOERROR aa rd edns||" SOA},
	{{"com.http.niwa.internal", LDNS_RR_TYPE_A, IN}, "NOERROR aa rd||" SOA},
	{{"http.niwa.internal", LDNS_RR_TYPE_AAAA, IN}, "NOERROR aa rd||" SOA},
	{{"www.example.com.http.niwa.internal", LDNS_RR_TYPE_A, IN}, "NXDOMAIN aa rd||" SOA},
	{{"nothing.niwa.internal", LDNS_RR_TYPE_AAAA, IN, true}, "NXDOMAIN aa rd edns||" SOA},
	{{"x.blog.niwa.internal", LDNS_RR_TYPE_A, IN}, "NXDOMAIN aa rd||" SOA},
	{{"blog\\000.niwa.internal", LDNS_RR_TYPE_A, IN}, "NXDOMAIN aa rd||" SOA},
	{{"\\000.niwa.internal", LDNS_RR_TYPE_A, IN}, "NXDOMAIN aa rd||" SOA},
	{{"*.niwa.internal", LDNS_RR_TYPE_A, IN}, "NXDOMAIN aa rd||" SOA},
	/* The domain itself. */
	{{"niwa.internal", LDNS_RR_TYPE_SOA, IN}, "NOERROR aa rd|" SOA "|"},
	{{"niwa.internal", LDNS_RR_TYPE_NS, IN}, "NOERROR aa rd|niwa.internal. 3600 IN NS niwa.internal.\n|"},
	{{"niwa.internal", LDNS_RR_TYPE_A, IN}, "NOERROR aa rd|niwa.internal. 3600 IN A 127.0.0.64\n|"},
	{{"niwa.internal", LDNS_RR_TYPE_AAAA, IN}, "NOERROR aa rd||" SOA},
	{{"niwa.internal", LDNS_RR_TYPE_ANY, IN},
	 "NOERROR aa rd|" SOA "niwa.internal. 3600 IN NS niwa.internal.\nniwa.internal. 3600 IN A 127.0.0.64\n|"},
	/* Not ours. */
	{{"example.com", LDNS_RR_TYPE_A, IN}, "REFUSED rd||"},
	{{"internal", LDNS_RR_TYPE_NS, IN}, "REFUSED rd||"},
	{{".", LDNS_RR_TYPE_NS, IN, true}, "REFUSED rd edns||"},
	{{"xniwa.internal", LDNS_RR_TYPE_A, IN}, "REFUSED rd||"},
	{{"x\\004niwa.internal", LDNS_RR_TYPE_A, IN}, "REFUSED rd||"},
	{{"blog.niwa.internal", LDNS_RR_TYPE_A, LDNS_RR_CLASS_CH}, "REFUSED rd||"},
	{{"niwa.internal", LDNS_RR_TYPE_AXFR, IN}, "REFUSED rd||"},
};

static void check_answer(const struct case_of_answer *c)
{
	uint8_t query[512], out[NIWA_DNS_ROOM];
	size_t len = make(&c->ask, query);
	struct niwa_text said = {0};

	len = niwa_dns_answer(&dns, query, len, out, NIWA_DNS_ROOM);
	describe(out, len, &said);
	if (strcmp(said.data, c->answer) != 0)
		fail_msg("%s: %s\n%s", c->ask.name, said.data, c->answer);
	niwa_text_fini(&said);
}

static void each_question_has_its_answer(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(answers); i++)
		check_answer(&answers[i]);
}

static void before_all_names_are_known_none_is_denied(void **state)
{
	static const struct ask known = {"blog.niwa.internal", LDNS_RR_TYPE_A, IN},
				unknown = {"shop.niwa.internal", LDNS_RR_TYPE_A, IN};
	uint8_t query[512], out[NIWA_DNS_ROOM];

	dns.complete = false;
	assert_true(niwa_dns_answer(&dns, query, make(&known, query), out, NIWA_DNS_ROOM) > 0);
	assert_int_equal(LDNS_RCODE_WIRE(out), LDNS_RCODE_NOERROR);
	assert_true(niwa_dns_answer(&dns, query, make(&unknown, query), out, NIWA_DNS_ROOM) > 0);
	assert_int_equal(LDNS_RCODE_WIRE(out), LDNS_RCODE_SERVFAIL);
	assert_int_equal(LDNS_NSCOUNT(out), 0);
	dns.complete = true;
}

static void what_does_not_fit_is_left_out_and_said(void **state)
{
	static const struct ask ask = {"blog.niwa.internal", LDNS_RR_TYPE_A, IN, true};
	uint8_t query[512], out[NIWA_DNS_ROOM];
	size_t len = make(&ask, query), whole = niwa_dns_answer(&dns, query, len, out, NIWA_DNS_ROOM);
	struct niwa_text said = {0};

	assert_int_equal(niwa_dns_answer(&dns, query, len, out, whole), whole);
	assert_false(LDNS_TC_WIRE(out));
	len = niwa_dns_answer(&dns, query, len, out, whole - 1);
	assert_true(len < whole);
	describe(out, len, &said);
	assert_string_equal(said.data, "NOERROR aa tc rd edns||");
	niwa_text_fini(&said);
}

static void the_longest_name_there_is_has_an_answer(void **state)
{
	char name[300];
	struct ask ask = {name, LDNS_RR_TYPE_A, IN, true};
	uint8_t query[512], out[NIWA_DNS_ROOM];
	size_t len;

	memset(name, 'a', sizeof(name));
	for (size_t at = 63; at < 239; at += 64)
		name[at] = '.';
	memcpy(name + 239, ".niwa.internal", 15);
	len = niwa_dns_answer(&dns, query, make(&ask, query), out, NIWA_DNS_ROOM);
	assert_int_equal(LDNS_RCODE_WIRE(out), LDNS_RCODE_NXDOMAIN);
	assert_int_equal(len, 329);
}

static const struct {
	const char *what;
	uint8_t wire[64];
	size_t len;
	int rcode; /* -1: no answer */
} broken[] = {
	{"not even a header", "\x12\x34\1\0\0\1\0\0\0\0\0", 11, -1},
	{"an answer", "\x12\x34\x81\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", 19, -1},
	{"no question", "\x12\x34\1\0\0\0\0\0\0\0\0\0", 12, LDNS_RCODE_FORMERR},
	{"two questions", "\x12\x34\1\0\0\2\0\0\0\0\0\0\1a\0\0\1\0\1\1b\0\0\1\0\1", 26, LDNS_RCODE_FORMERR},
	{"a question that is cut", "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0", 18, LDNS_RCODE_FORMERR},
	{"a name that points at itself", "\x12\x34\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", 18, LDNS_RCODE_FORMERR},
	{"a name that points into the header", "\x12\x34\1\0\0\1\0\0\0\0\0\0\xc0\x0b\0\1\0\1", 18, LDNS_RCODE_FORMERR},
	{"a label of a kind there is not", "\x12\x34\1\0\0\1\0\0\0\0\0\0\x41\1\0\0\1\0\1", 19, LDNS_RCODE_FORMERR},
	{"an answer in the question", "\x12\x34\1\0\0\1\0\1\0\0\0\0\1a\0\0\1\0\1\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4", 34,
	 LDNS_RCODE_FORMERR},
	{"more records than there are", "\x12\x34\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1", 19, LDNS_RCODE_FORMERR},
	{"65,535 records", "\x12\x34\1\0\0\1\0\0\0\0\xff\xff\1a\0\0\1\0\1", 19, LDNS_RCODE_FORMERR},
	{"two OPT", "\x12\x34\1\0\0\1\0\0\0\0\0\2\1a\0\0\1\0\1\0\0\x29\4\0\0\0\0\0\0\0\0\0\x29\4\0\0\0\0\0\0\0", 41,
	 LDNS_RCODE_FORMERR},
	{"an OPT with a name", "\x12\x34\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1\1a\0\0\x29\4\0\0\0\0\0\0\0", 32,
	 LDNS_RCODE_FORMERR},
	{"NOTIFY", "\x12\x34\x21\0\0\1\0\0\0\0\0\0\1a\0\0\6\0\1", 19, LDNS_RCODE_NOTIMPL},
	{"UPDATE", "\x12\x34\x29\0\0\1\0\0\0\0\0\0\1a\0\0\6\0\1", 19, LDNS_RCODE_NOTIMPL},
	{"EDNS of a later version", "\x12\x34\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1\0\0\x29\4\0\0\1\0\0\0\0", 30,
	 LDNS_RCODE_NOERROR},
};

static void what_is_broken_is_refused_or_not_answered(void **state)
{
	uint8_t out[NIWA_DNS_ROOM];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(broken); i++) {
		size_t len = niwa_dns_answer(&dns, broken[i].wire, broken[i].len, out, NIWA_DNS_ROOM);
		int rcode = len ? (int)LDNS_RCODE_WIRE(out) : -1;

		if (rcode != broken[i].rcode)
			fail_msg("%s: %d", broken[i].what, rcode);
		assert_true(!len || (LDNS_QR_WIRE(out) && LDNS_ID_WIRE(out) == 0x1234));
	}
}

static void a_later_version_of_edns_is_refused_by_its_own_code(void **state)
{
	static const struct ask ask = {"blog.niwa.internal", LDNS_RR_TYPE_A, IN, true};
	uint8_t query[512], out[NIWA_DNS_ROOM];
	size_t len = make(&ask, query);
	ldns_pkt *pkt;

	query[len - 5] = 1; /* the version, in the last 11 bytes */
	len = niwa_dns_answer(&dns, query, len, out, NIWA_DNS_ROOM);
	assert_int_equal(ldns_wire2pkt(&pkt, out, len), LDNS_STATUS_OK);
	assert_int_equal(ldns_pkt_edns_extended_rcode(pkt), 1);
	assert_int_equal(ldns_pkt_edns_version(pkt), 0);
	assert_int_equal(ldns_pkt_ancount(pkt), 0);
	ldns_pkt_free(pkt);
}

static void names_have_ipv6_addresses_where_there_is_a_prefix(void **state)
{
	static const struct case_of_answer six[] = {
		{{"blog.niwa.internal", LDNS_RR_TYPE_AAAA, IN},
		 "NOERROR aa rd|blog.niwa.internal. 3600 IN AAAA fd6e:6977:6100:1::a40:10\n|"},
		{{"blog.niwa.internal", LDNS_RR_TYPE_A, IN},
		 "NOERROR aa rd|blog.niwa.internal. 3600 IN A 10.64.0.16\n|"},
		{{"http.niwa.internal", LDNS_RR_TYPE_AAAA, IN}, "NOERROR aa rd||" SOA},
		{{"nothing.niwa.internal", LDNS_RR_TYPE_AAAA, IN}, "NXDOMAIN aa rd||" SOA},
	};

	(void)state;
	assert_int_equal(niwa_ula_parse("fd6e:6977:6100::/48", &dns.ula), 0);
	for (size_t i = 0; i < sizeof(six) / sizeof(six[0]); i++)
		check_answer(&six[i]);
	dns.ula.on = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_question_has_its_answer),
		cmocka_unit_test(names_have_ipv6_addresses_where_there_is_a_prefix),
		cmocka_unit_test(before_all_names_are_known_none_is_denied),
		cmocka_unit_test(what_does_not_fit_is_left_out_and_said),
		cmocka_unit_test(the_longest_name_there_is_has_an_answer),
		cmocka_unit_test(what_is_broken_is_refused_or_not_answered),
		cmocka_unit_test(a_later_version_of_edns_is_refused_by_its_own_code),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
