/* SPDX-License-Identifier: MIT
 *
 * Probes: does another firewall drop what niwa forwards? A packet has to pass the forward chain of every table, so an
 * accept of niwa's own does not help: the other firewall must be told, in its own words.
 */
#include <arpa/inet.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/ula.h"
#include "cli/answer.h"
#include "cli/nft_run.h"
#include "cli/probe_list.h"

/* The addresses of instances in one family. */
struct range {
	int family;
	const char *table, *iptables; /* "ip6", the program that sets such rules */
	uint8_t net[16];
	unsigned bits;
	char text[64];
};

static void range_of(const struct niwa_probe_host *host, struct range *ret)
{
	char addr[INET_ADDRSTRLEN] = "";

	*ret = (struct range){.family = AF_INET, .table = "ip", .iptables = "iptables", .bits = host->private_bits};
	memcpy(ret->net, &host->private_net, sizeof(host->private_net));
	(void)inet_ntop(AF_INET, ret->net, addr, sizeof(addr));
	(void)snprintf(ret->text, sizeof(ret->text), "%s/%u", addr, ret->bits);
}

/* False: apps have no IPv6. */
static bool range6_of(const struct niwa_probe_host *host, struct range *ret)
{
	char addr[INET6_ADDRSTRLEN] = "";
	struct niwa_ula ula;

	if (niwa_ula_parse(host->ula_prefix, &ula) < 0 || !ula.on)
		return false;
	*ret = (struct range){.family = AF_INET6, .table = "ip6", .iptables = "ip6tables", .bits = NIWA_ULA_BITS};
	niwa_ula_make(&ula, NIWA_ULA_PRIVATE, 0, ret->net);
	(void)inet_ntop(AF_INET6, ret->net, addr, sizeof(addr));
	(void)snprintf(ret->text, sizeof(ret->text), "%s/%u", addr, ret->bits);
	return true;
}

/* --- nftables (also iptables-nft, Docker, ufw, firewalld) --- */

struct chain {
	char family[16], table[64], name[64];
	bool drops;                    /* by policy or by its last rule */
	bool accepts_from, accepts_to; /* the table has an accept for our range */
	bool docker, ufw;              /* who made the table */
};

/* The whole range is in that network. */
static bool covers(const uint8_t *net, uint64_t bits, const struct range *range)
{
	if (bits > range->bits || memcmp(net, range->net, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || (net[bits / 8] ^ range->net[bits / 8]) >> (8 - bits % 8) == 0;
}

static bool is_our_range(const json_t *match, const char *field, const struct range *range)
{
	const json_t *left = json_object_get(json_object_get(match, "left"), "payload");
	const json_t *prefix = json_object_get(json_object_get(match, "right"), "prefix");
	uint64_t bits = niwa_answer_number(prefix, "len");
	uint8_t net[16];

	return !strcmp(niwa_answer_text(left, "field"), field) && bits &&
	       inet_pton(range->family, niwa_answer_text(prefix, "addr"), net) == 1 && covers(net, bits, range);
}

/* What one rule of the table means for us. *ret_stops: it drops or rejects everything that comes so far. */
static void read_rule(const json_t *rule, const struct range *range, struct chain *chain, bool *ret_stops)
{
	bool from = false, to = false, accept = false, stop = false, conditional = false;
	const json_t *expr;
	size_t i;

	json_array_foreach(json_object_get(rule, "expr"), i, expr)
	{
		const json_t *match = json_object_get(expr, "match");

		from |= is_our_range(match, "saddr", range);
		to |= is_our_range(match, "daddr", range);
		conditional |= match || json_object_get(expr, "xt");
		accept |= json_object_get(expr, "accept") || json_object_get(expr, "goto") ||
			  json_object_get(expr, "jump");
		stop |= json_object_get(expr, "drop") || json_object_get(expr, "reject");
	}
	chain->accepts_from |= from && accept;
	chain->accepts_to |= to && accept;
	*ret_stops = stop && !conditional;
}

static json_t *nft_json(const char *command, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	json_error_t je;
	int r = niwa_nft_run(command, NIWA_NFT_JSON, &text, err);
	json_t *json = r < 0 ? NULL : json_loads(text, 0, &je);

	if (r == 0 && !json)
		(void)niwa_fail(err, NIWA_PERMANENT, 0, "nftables answered no JSON");
	return json;
}

static int read_table(struct chain *chain, const struct range *range, struct niwa_error *err)
{
	char command[256];
	const json_t *item;
	json_t *json;
	size_t i;

	(void)snprintf(command, sizeof(command), "list table %s %s", chain->family, chain->table);
	json = nft_json(command, err);
	if (!json)
		return -EIO;
	json_array_foreach(json_object_get(json, "nftables"), i, item)
	{
		const json_t *rule = json_object_get(item, "rule");
		const char *name = niwa_answer_text(json_object_get(item, "chain"), "name");
		bool stops = false;

		chain->docker |= !strcmp(name, "DOCKER-USER");
		chain->ufw |= !strcmp(name, "ufw-user-forward");
		if (rule)
			read_rule(rule, range, chain, &stops);
		if (stops && !strcmp(niwa_answer_text(rule, "chain"), chain->name))
			chain->drops = true;
	}
	json_decref(json);
	return 0;
}

static void mend_chain(const struct chain *c, const struct range *r, struct niwa_probe_report *report)
{
	if (c->docker) {
		niwa_probe_mend(report, "%s -I DOCKER-USER -s %s -j ACCEPT", r->iptables, r->text);
		niwa_probe_mend(report, "%s -I DOCKER-USER -d %s -j ACCEPT", r->iptables, r->text);
		niwa_probe_mend(report, "(again after each boot: put both in a unit with After=docker.service)");
	} else if (c->ufw) {
		niwa_probe_mend(report, "ufw route allow from %s", r->text);
		niwa_probe_mend(report, "ufw route allow to %s", r->text);
	} else if (!strcmp(c->table, "firewalld")) {
		niwa_probe_mend(report, "firewall-cmd --permanent --zone=trusted --add-source=%s", r->text);
		niwa_probe_mend(report, "firewall-cmd --reload");
	} else if (!strcmp(c->name, "FORWARD")) {
		niwa_probe_mend(report, "%s -I FORWARD -s %s -j ACCEPT", r->iptables, r->text);
		niwa_probe_mend(report, "%s -I FORWARD -d %s -j ACCEPT", r->iptables, r->text);
	} else {
		niwa_probe_mend(report, "nft insert rule %s %s %s %s saddr %s accept", c->family, c->table, c->name,
				r->table, r->text);
		niwa_probe_mend(report, "nft insert rule %s %s %s %s daddr %s accept", c->family, c->table, c->name,
				r->table, r->text);
		niwa_probe_mend(report, "(and the same two in /etc/nftables.conf, so that they stay)");
	}
}

/* Looks at one base chain of the forward hook. */
static void check_chain(const json_t *json, const struct range *range, struct niwa_probe_report *report)
{
	struct chain c = {0};
	struct niwa_error err = {0};

	(void)snprintf(c.family, sizeof(c.family), "%s", niwa_answer_text(json, "family"));
	(void)snprintf(c.table, sizeof(c.table), "%s", niwa_answer_text(json, "table"));
	(void)snprintf(c.name, sizeof(c.name), "%s", niwa_answer_text(json, "name"));
	c.drops = !strcmp(niwa_answer_text(json, "policy"), "drop");
	if (strcmp(niwa_answer_text(json, "hook"), "forward") != 0 || !strcmp(c.table, "niwa") ||
	    (strcmp(c.family, range->table) != 0 && strcmp(c.family, "inet") != 0))
		return;
	if (read_table(&c, range, &err) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "read table %s %s: %s", c.family, c.table, err.msg);
		return;
	}
	if (!c.drops || (c.accepts_from && c.accepts_to))
		return;
	if (range->family == AF_INET || report->result != NIWA_PROBE_FAIL)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s drops what is forwarded%s (table %s %s, chain %s)",
			       c.docker                        ? "Docker"
			       : c.ufw                         ? "ufw"
			       : !strcmp(c.table, "firewalld") ? "firewalld"
							       : "another firewall",
			       range->family == AF_INET6 ? " by IPv6" : "", c.family, c.table, c.name);
	mend_chain(&c, range, report);
}

void niwa_probe_firewall(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct niwa_error err = {0};
	const json_t *item;
	json_t *json = nft_json("list chains", &err);
	struct range range, range6;
	bool six = range6_of(host, &range6);
	size_t i;

	if (!json) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "list the chains: %s", err.msg);
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_OK, "no other table drops what is forwarded");
	range_of(host, &range);
	json_array_foreach(json_object_get(json, "nftables"), i, item)
	{
		check_chain(json_object_get(item, "chain"), &range, report);
		if (six)
			check_chain(json_object_get(item, "chain"), &range6, report);
	}
	json_decref(json);
}

/* --- iptables-legacy --- */

struct legacy {
	const char *data;
	size_t size, forward, underflow; /* offsets of the FORWARD chain and of its policy */
};

/* The verdict of an entry: NF_ACCEPT, NF_DROP, or -1 for anything else. */
static int verdict_of(const struct ipt_entry *e)
{
	const struct xt_standard_target *t = (const void *)((const char *)e + e->target_offset);

	if (e->target_offset + sizeof(*t) > e->next_offset || t->target.u.user.name[0])
		return -1;
	return t->verdict < 0 && t->verdict != XT_RETURN ? -t->verdict - 1 : -1;
}

static bool is_range(struct in_addr net, struct in_addr mask, const struct range *range)
{
	uint8_t bytes[16] = {0};

	memcpy(bytes, &net, sizeof(net));
	return mask.s_addr && covers(bytes, (uint64_t)__builtin_popcount(mask.s_addr), range);
}

/* Walks all entries; offsets come from the kernel and are checked all the same. */
static void walk_legacy(const struct legacy *l, const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	bool drops = false, from = false, to = false;
	struct range range;

	range_of(host, &range);

	for (size_t at = 0; at + sizeof(struct ipt_entry) <= l->size;) {
		const struct ipt_entry *e = (const void *)(l->data + at);
		bool bare = e->target_offset == sizeof(*e); /* no further condition */

		if (e->next_offset < sizeof(*e) || at + e->next_offset > l->size)
			break;
		if (at == l->underflow)
			drops = verdict_of(e) == NF_DROP;
		from |= bare && verdict_of(e) == NF_ACCEPT && is_range(e->ip.src, e->ip.smsk, &range);
		to |= bare && verdict_of(e) == NF_ACCEPT && is_range(e->ip.dst, e->ip.dmsk, &range);
		at += e->next_offset;
	}
	if (!drops || (from && to)) {
		niwa_probe_say(report, NIWA_PROBE_OK, "iptables-legacy does not drop what is forwarded");
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_FAIL, "iptables-legacy drops what is forwarded");
	niwa_probe_mend(report, "iptables-legacy -I FORWARD -s %s -j ACCEPT", range.text);
	niwa_probe_mend(report, "iptables-legacy -I FORWARD -d %s -j ACCEPT", range.text);
}

void niwa_probe_firewall_legacy(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct ipt_getinfo info = {.name = "filter"};
	NIWA_AUTO(niwa_free_ptr) struct ipt_get_entries *entries = NULL;
	socklen_t len = sizeof(info);
	NIWA_AUTO_FD sock = -1;
	struct legacy legacy;
	char names[1024];

	/* asking for a table that is not in use would load its module: look first */
	if (niwa_file_read("/proc/net/ip_tables_names", names, sizeof(names)) < 0 || !strstr(names, "filter")) {
		niwa_probe_say(report, NIWA_PROBE_OK, "iptables-legacy has no filter table");
		return;
	}
	sock = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (sock < 0 || getsockopt(sock, IPPROTO_IP, IPT_SO_GET_INFO, &info, &len) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "ask about iptables-legacy: %s", strerror(errno));
		return;
	}
	len = (socklen_t)(sizeof(*entries) + info.size);
	entries = info.size < 64 * 1024 * 1024 ? niwa_zalloc(len) : NULL;
	if (!entries) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "iptables-legacy has too many rules");
		return;
	}
	(void)snprintf(entries->name, sizeof(entries->name), "filter");
	entries->size = info.size;
	if (getsockopt(sock, IPPROTO_IP, IPT_SO_GET_ENTRIES, entries, &len) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "read iptables-legacy: %s", strerror(errno));
		return;
	}
	legacy = (struct legacy){.data = (const char *)entries->entrytable,
				 .size = info.size,
				 .forward = info.hook_entry[NF_INET_FORWARD],
				 .underflow = info.underflow[NF_INET_FORWARD]};
	walk_legacy(&legacy, host, report);
}
