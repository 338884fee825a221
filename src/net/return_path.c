/* SPDX-License-Identifier: MIT
 *
 * The way of an instance's answers back to the relay. A connection of the relay's begins at the address of its client,
 * so the answers go to an address that is not the host's; the rules give them a mark, and the mark leads to a table of
 * routes in which every address is the host's own:
 *
 *   rule PRIORITY      iif lo fwmark MARK lookup main    the reverse path of such a packet is judged as of any other,
 *                                                        also with net.ipv4.conf.all.src_valid_mark (WireGuard sets it)
 *   rule PRIORITY + 1  fwmark MARK lookup TABLE
 *   local default dev lo table TABLE
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include "base/memory.h"
#include "net/net_private.h"

#define RULES 2

struct rule {
	uint32_t priority, mark, table;
	uint8_t family, protocol;
	bool from_host; /* iif lo */
};

/* Is there a return path in this family? */
static bool wants(const struct niwa_net_config *c, uint8_t family)
{
	return c->return_mark && (family == AF_INET || c->ula.on);
}

static struct rule wanted(const struct niwa_net_config *c, uint8_t family, unsigned n)
{
	return (struct rule){.family = family,
			     .priority = c->return_rule + n,
			     .mark = c->return_mark,
			     .table = n == 0 ? (uint32_t)RT_TABLE_MAIN : c->return_table,
			     .protocol = NIWA_NET_RTPROT,
			     .from_host = n == 0};
}

static struct rule read_rule(const struct nlmsghdr *nlh)
{
	const struct fib_rule_hdr *hdr = mnl_nlmsg_get_payload(nlh);
	struct rule rule = {.family = hdr->family, .table = hdr->table};
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(*hdr))
	{
		switch (mnl_attr_get_type(attr)) {
		case FRA_PRIORITY:
			rule.priority = mnl_attr_get_u32(attr);
			break;
		case FRA_FWMARK:
			rule.mark = mnl_attr_get_u32(attr);
			break;
		case FRA_TABLE:
			rule.table = mnl_attr_get_u32(attr);
			break;
		case FRA_PROTOCOL:
			rule.protocol = mnl_attr_get_u8(attr);
			break;
		case FRA_IIFNAME:
			rule.from_host = strcmp(mnl_attr_get_str(attr), "lo") == 0;
			break;
		default:
			break;
		}
	}
	return rule;
}

static bool same(const struct rule *a, const struct rule *b)
{
	return a->family == b->family && a->priority == b->priority && a->mark == b->mark && a->table == b->table &&
	       a->from_host == b->from_host && a->protocol == b->protocol;
}

static int change_rule(struct niwa_nl *rt, uint16_t type, uint16_t flags, const struct rule *rule)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, type, flags);
	struct fib_rule_hdr *hdr = niwa_nl_put_extra(nlh, sizeof(*hdr));

	hdr->family = rule->family;
	hdr->action = FR_ACT_TO_TBL;
	hdr->table = rule->table < 256 ? (uint8_t)rule->table : RT_TABLE_UNSPEC;
	mnl_attr_put_u32(nlh, FRA_TABLE, rule->table);
	mnl_attr_put_u32(nlh, FRA_PRIORITY, rule->priority);
	mnl_attr_put_u32(nlh, FRA_FWMARK, rule->mark);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, rule->protocol);
	if (rule->from_host)
		mnl_attr_put_strz(nlh, FRA_IIFNAME, "lo");
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

#define OURS_MAX 16

struct found {
	const struct niwa_net_config *config;
	uint8_t family;
	bool there[RULES];
	struct rule stale[OURS_MAX]; /* of another configuration */
	size_t stale_count;
	struct rule foreign; /* somebody else's that has our mark or our table */
};

static int take_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct found *f = arg;
	struct rule rule = read_rule(nlh);
	bool ours = rule.protocol == NIWA_NET_RTPROT;

	for (unsigned n = 0; ours && wants(f->config, f->family) && n < RULES; n++) {
		struct rule want = wanted(f->config, f->family, n);

		if (same(&rule, &want)) {
			f->there[n] = true;
			return 0;
		}
	}
	if (ours && f->stale_count < OURS_MAX)
		f->stale[f->stale_count++] = rule;
	if (!ours && wants(f->config, f->family) &&
	    (rule.mark == f->config->return_mark || rule.table == f->config->return_table))
		f->foreign = rule;
	return 0;
}

static void restart(void *arg)
{
	struct found *f = arg;

	*f = (struct found){.config = f->config, .family = f->family};
}

static int look(struct niwa_nl *rt, struct found *f)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *hdr = niwa_nl_put_extra(nlh, sizeof(*hdr));

	hdr->family = f->family;
	return niwa_nl_dump(rt, nlh, take_rule, f, restart);
}

/* The one route of the table. */
static int change_default(struct niwa_nl *rt, uint16_t type, uint16_t flags, uint8_t family, uint32_t table)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, type, flags);
	struct rtmsg *rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));

	rtm->rtm_family = family;
	rtm->rtm_protocol = NIWA_NET_RTPROT;
	rtm->rtm_scope = RT_SCOPE_HOST;
	rtm->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(nlh, RTA_TABLE, table);
	mnl_attr_put_u32(nlh, RTA_OIF, if_nametoindex("lo"));
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

static int collisions(struct niwa_net *net, uint8_t family, struct niwa_error *err)
{
	struct found f = {.config = &net->config, .family = family};
	int r;

	if (!wants(&net->config, family))
		return 0;
	r = look(&net->rt, &f);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "read the host's routing rules");
	if (!f.foreign.priority)
		return 0;
	return niwa_fail(err, NIWA_PERMANENT, EEXIST,
			 "the rule %u of this host (fwmark 0x%x lookup %u) has the mark or the table that niwa needs "
			 "for itself: choose another return_mark or return_table in niwad.conf",
			 f.foreign.priority, f.foreign.mark, f.foreign.table);
}

int niwa_return_collisions(struct niwa_net *net, struct niwa_error *err)
{
	int r = collisions(net, AF_INET, err);

	return r < 0 ? r : collisions(net, AF_INET6, err);
}

static int drop_stale(struct niwa_nl *rt, const struct found *f)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->stale_count; i++) {
		r = change_rule(rt, RTM_DELRULE, 0, &f->stale[i]);
		if (r == 0 && f->stale[i].table != RT_TABLE_MAIN)
			r = change_default(rt, RTM_DELROUTE, 0, f->family, f->stale[i].table);
		if (r == -ENOENT || r == -ESRCH)
			r = 0;
	}
	return r;
}

static int install(struct niwa_nl *rt, const struct niwa_net_config *config, uint8_t family)
{
	struct found f = {.config = config, .family = family};
	int r = look(rt, &f);

	if ((r == -EOPNOTSUPP || r == -EAFNOSUPPORT) && !wants(config, family))
		return 0; /* a kernel without routing rules, or without IPv6 */
	if (r == 0)
		r = drop_stale(rt, &f);
	if (r == 0 && wants(config, family))
		r = change_default(rt, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, family, config->return_table);
	for (unsigned n = 0; r == 0 && wants(config, family) && n < RULES; n++) {
		struct rule want = wanted(config, family, n);

		if (!f.there[n])
			r = change_rule(rt, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &want);
	}
	return r;
}

int niwa_return_install(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	int r = install(rt, config, AF_INET);

	if (r == 0)
		r = install(rt, config, AF_INET6);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r,
				 "add the routing rules %u and %u, by which apps see their clients' own addresses "
				 "(return_mark = 0 in niwad.conf does without)",
				 config->return_rule, config->return_rule + 1);
	return 0;
}

int niwa_return_remove(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	struct niwa_net_config none = *config;

	none.return_mark = 0;
	return niwa_return_install(rt, &none, err);
}

static int take_default(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	if (rtm->rtm_type == RTN_LOCAL && rtm->rtm_dst_len == 0)
		*(bool *)arg = true;
	return 0;
}

/* The table's own routes only: a dump of all of them takes long on a host with many instances. */
static int default_present(uint8_t family, uint32_t table)
{
	struct niwa_nl rt = {0};
	char buf[256];
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	const int on = 1;
	bool there = false;
	int r = niwa_nl_open(&rt, NETLINK_ROUTE);

	if (r < 0)
		return r;
	if (setsockopt(mnl_socket_get_fd(rt.sock), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0)
		r = -errno;
	nlh = niwa_nl_put(&rt, buf, RTM_GETROUTE, NLM_F_DUMP);
	rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));
	rtm->rtm_family = family;
	mnl_attr_put_u32(nlh, RTA_TABLE, table);
	if (r == 0)
		r = niwa_nl_talk(&rt, nlh, take_default, &there);
	niwa_nl_close(&rt);
	return r < 0 && r != -ENOENT ? r : there;
}

static int present(struct niwa_nl *rt, const struct niwa_net_config *config, uint8_t family)
{
	struct found f = {.config = config, .family = family};
	int r;

	if (!wants(config, family))
		return 1;
	r = look(rt, &f);
	if (r < 0)
		return r;
	return f.there[0] && f.there[1] ? default_present(family, config->return_table) : 0;
}

int niwa_return_present(struct niwa_nl *rt, const struct niwa_net_config *config)
{
	int r = present(rt, config, AF_INET);

	return r > 0 ? present(rt, config, AF_INET6) : r;
}
