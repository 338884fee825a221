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
#include "cli/answer.h"
#include "cli/nft_run.h"
#include "cli/probe_list.h"

static void range_text(const struct niwa_probe_host *host, char *buf, size_t size)
{
	char addr[INET_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET, &host->private_net, addr, sizeof(addr));
	(void)snprintf(buf, size, "%s/%u", addr, host->private_bits);
}

/* --- nftables (also iptables-nft, Docker, ufw, firewalld) --- */

struct chain {
	char family[16], table[64], name[64];
	bool drops;                    /* by policy or by its last rule */
	bool accepts_from, accepts_to; /* the table has an accept for our range */
	bool docker, ufw;              /* who made the table */
};

static bool covers(uint32_t net, uint64_t bits, const struct niwa_probe_host *host)
{
	uint32_t mask = bits ? htonl(~UINT32_C(0) << (32 - bits)) : 0;

	return bits <= host->private_bits && net == (host->private_net & mask);
}

static bool is_our_range(const json_t *match, const char *field, const struct niwa_probe_host *host)
{
	const json_t *left = json_object_get(json_object_get(match, "left"), "payload");
	const json_t *prefix = json_object_get(json_object_get(match, "right"), "prefix");
	uint64_t bits = niwa_answer_number(prefix, "len");
	struct in_addr net;

	return !strcmp(niwa_answer_text(left, "field"), field) && bits && bits <= 32 &&
	       inet_pton(AF_INET, niwa_answer_text(prefix, "addr"), &net) == 1 && covers(net.s_addr, bits, host);
}

/* What one rule of the table means for us. *ret_stops: it drops or rejects everything that comes so far. */
static void read_rule(const json_t *rule, const struct niwa_probe_host *host, struct chain *chain, bool *ret_stops)
{
	bool from = false, to = false, accept = false, stop = false, conditional = false;
	const json_t *expr;
	size_t i;

	json_array_foreach(json_object_get(rule, "expr"), i, expr)
	{
		const json_t *match = json_object_get(expr, "match");

		from |= is_our_range(match, "saddr", host);
		to |= is_our_range(match, "daddr", host);
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

static int read_table(struct chain *chain, const struct niwa_probe_host *host, struct niwa_error *err)
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
			read_rule(rule, host, chain, &stops);
		if (stops && !strcmp(niwa_answer_text(rule, "chain"), chain->name))
			chain->drops = true;
	}
	json_decref(json);
	return 0;
}

static void mend_chain(const struct chain *c, const char *range, struct niwa_probe_report *report)
{
	if (c->docker) {
		niwa_probe_mend(report, "iptables -I DOCKER-USER -s %s -j ACCEPT", range);
		niwa_probe_mend(report, "iptables -I DOCKER-USER -d %s -j ACCEPT", range);
		niwa_probe_mend(report, "(again after each boot: put both in a unit with After=docker.service)");
	} else if (c->ufw) {
		niwa_probe_mend(report, "ufw route allow from %s", range);
		niwa_probe_mend(report, "ufw route allow to %s", range);
	} else if (!strcmp(c->table, "firewalld")) {
		niwa_probe_mend(report, "firewall-cmd --permanent --zone=trusted --add-source=%s", range);
		niwa_probe_mend(report, "firewall-cmd --reload");
	} else if (!strcmp(c->name, "FORWARD")) {
		niwa_probe_mend(report, "iptables -I FORWARD -s %s -j ACCEPT", range);
		niwa_probe_mend(report, "iptables -I FORWARD -d %s -j ACCEPT", range);
	} else {
		niwa_probe_mend(report, "nft insert rule %s %s %s ip saddr %s accept", c->family, c->table, c->name,
				range);
		niwa_probe_mend(report, "nft insert rule %s %s %s ip daddr %s accept", c->family, c->table, c->name,
				range);
		niwa_probe_mend(report, "(and the same two in /etc/nftables.conf, so that they stay)");
	}
}

/* Looks at one base chain of the forward hook. */
static void check_chain(const json_t *json, const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct chain c = {0};
	struct niwa_error err = {0};
	char range[64];

	(void)snprintf(c.family, sizeof(c.family), "%s", niwa_answer_text(json, "family"));
	(void)snprintf(c.table, sizeof(c.table), "%s", niwa_answer_text(json, "table"));
	(void)snprintf(c.name, sizeof(c.name), "%s", niwa_answer_text(json, "name"));
	c.drops = !strcmp(niwa_answer_text(json, "policy"), "drop");
	if (strcmp(niwa_answer_text(json, "hook"), "forward") != 0 || !strcmp(c.table, "niwa") ||
	    (strcmp(c.family, "ip") != 0 && strcmp(c.family, "inet") != 0))
		return;
	if (read_table(&c, host, &err) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "read table %s %s: %s", c.family, c.table, err.msg);
		return;
	}
	if (!c.drops || (c.accepts_from && c.accepts_to))
		return;
	range_text(host, range, sizeof(range));
	niwa_probe_say(report, NIWA_PROBE_FAIL, "%s drops what is forwarded (table %s %s, chain %s)",
		       c.docker                        ? "Docker"
		       : c.ufw                         ? "ufw"
		       : !strcmp(c.table, "firewalld") ? "firewalld"
						       : "another firewall",
		       c.family, c.table, c.name);
	mend_chain(&c, range, report);
}

void niwa_probe_firewall(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct niwa_error err = {0};
	const json_t *item;
	json_t *json = nft_json("list chains", &err);
	size_t i;

	if (!json) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "list the chains: %s", err.msg);
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_OK, "no other table drops what is forwarded");
	json_array_foreach(json_object_get(json, "nftables"), i, item)
		check_chain(json_object_get(item, "chain"), host, report);
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

static bool is_range(struct in_addr net, struct in_addr mask, const struct niwa_probe_host *host)
{
	return mask.s_addr && covers(net.s_addr, (uint64_t)__builtin_popcount(mask.s_addr), host);
}

/* Walks all entries; offsets come from the kernel and are checked all the same. */
static void walk_legacy(const struct legacy *l, const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	bool drops = false, from = false, to = false;
	char range[64];

	for (size_t at = 0; at + sizeof(struct ipt_entry) <= l->size;) {
		const struct ipt_entry *e = (const void *)(l->data + at);
		bool bare = e->target_offset == sizeof(*e); /* no further condition */

		if (e->next_offset < sizeof(*e) || at + e->next_offset > l->size)
			break;
		if (at == l->underflow)
			drops = verdict_of(e) == NF_DROP;
		from |= bare && verdict_of(e) == NF_ACCEPT && is_range(e->ip.src, e->ip.smsk, host);
		to |= bare && verdict_of(e) == NF_ACCEPT && is_range(e->ip.dst, e->ip.dmsk, host);
		at += e->next_offset;
	}
	if (!drops || (from && to)) {
		niwa_probe_say(report, NIWA_PROBE_OK, "iptables-legacy does not drop what is forwarded");
		return;
	}
	range_text(host, range, sizeof(range));
	niwa_probe_say(report, NIWA_PROBE_FAIL, "iptables-legacy drops what is forwarded");
	niwa_probe_mend(report, "iptables-legacy -I FORWARD -s %s -j ACCEPT", range);
	niwa_probe_mend(report, "iptables-legacy -I FORWARD -d %s -j ACCEPT", range);
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
