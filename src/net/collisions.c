/* SPDX-License-Identifier: MIT
 *
 * Do the ranges belong to somebody already? Compares them with every address and route of the host. Ours are left
 * out, and what is shorter than 8 bits: the default route, and the halves of it that VPNs use.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

#include "base/map.h"
#include "base/memory.h"
#include "net/net_private.h"

#define SHORTEST_BITS 8

struct check {
	const struct niwa_net_config *config;
	struct niwa_map *veths; /* interfaces of instances, by index */
	unsigned lo;
	char found[128]; /* "route 10.64.0.0/16 dev eth0"; "" when all is well */
	bool private;    /* which range */
	bool table;      /* somebody else has routes in the table of the return path */
};

static void restart(void *arg)
{
	struct check *c = arg;

	c->found[0] = '\0';
	c->table = false;
}

static void compare(struct check *c, struct niwa_net_range r, const char *what, unsigned index)
{
	const struct niwa_net_range service = {c->config->service_net, c->config->service_bits};
	const struct niwa_net_range private = {c->config->private_net, c->config->private_bits};
	char text[20], dev[IF_NAMESIZE] = "";
	bool in_service = niwa_net_overlap(r, service);

	if (c->found[0] || r.bits < SHORTEST_BITS || (!in_service && !niwa_net_overlap(r, private)))
		return;
	if (index == c->lo && r.net == c->config->gateway_addr && r.bits == 32)
		return; /* the gateway address, or the kernel's route for it */
	if (niwa_map_get(c->veths, index))
		return;
	c->private = !in_service;
	if (index)
		(void)if_indextoname(index, dev);
	(void)snprintf(c->found, sizeof(c->found), "%s %s%s%s", what, niwa_net_range_text(r, text),
		       dev[0] ? " dev " : "", dev);
}

static int take_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct niwa_net_range range = {.bits = rtm->rtm_dst_len};
	const struct nlattr *attr;
	struct check *c = arg;
	unsigned index = 0, table = rtm->rtm_table;
	char text[20];

	if (rtm->rtm_family != AF_INET || rtm->rtm_protocol == NIWA_NET_RTPROT || rtm->rtm_flags & RTM_F_CLONED ||
	    (rtm->rtm_type != RTN_UNICAST && rtm->rtm_type != RTN_LOCAL))
		return 0; /* an unreachable or blackhole route gives the range to nobody */
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		if (mnl_attr_get_type(attr) == RTA_DST)
			range.net = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == RTA_OIF)
			index = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == RTA_TABLE)
			table = mnl_attr_get_u32(attr);
	}
	if (c->config->return_mark && table == c->config->return_table && !c->found[0]) {
		c->table = true;
		(void)snprintf(c->found, sizeof(c->found), "route %s", niwa_net_range_text(range, text));
	}
	compare(c, range, "route", index);
	return 0;
}

static int take_address(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct niwa_net_range range = {.bits = ifa->ifa_prefixlen};
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(*ifa))
	{
		/* of the peer, when there is one: that is where packets go */
		if (mnl_attr_get_type(attr) == IFA_ADDRESS)
			range.net = mnl_attr_get_u32(attr);
	}
	compare(arg, range, "address", ifa->ifa_index);
	return 0;
}

static int run(struct niwa_nl *rt, struct check *c)
{
	char buf[256];
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	struct ifaddrmsg *ifa;
	int r;

	r = niwa_veth_indexes(rt, c->config->veth_group, c->veths);
	if (r < 0)
		return r;
	nlh = niwa_nl_put(rt, buf, RTM_GETADDR, NLM_F_DUMP);
	ifa = niwa_nl_put_extra(nlh, sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	r = niwa_nl_dump(rt, nlh, take_address, c, restart);
	if (r < 0 || c->found[0])
		return r;
	nlh = niwa_nl_put(rt, buf, RTM_GETROUTE, NLM_F_DUMP);
	rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));
	rtm->rtm_family = AF_INET;
	return niwa_nl_dump(rt, nlh, take_route, c, restart);
}

int niwa_routes_collisions(struct niwa_net *net, struct niwa_error *err)
{
	const struct niwa_net_config *config = &net->config;
	struct check c = {.config = config, .lo = if_nametoindex("lo"), .veths = niwa_map_new(NIWA_MAP_U64)};
	char text[20];
	int r;

	r = c.veths ? run(&net->rt, &c) : -ENOMEM;
	niwa_map_free(&c.veths);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "read the host's addresses and routes");
	if (!c.found[0])
		return 0;
	if (c.table)
		return niwa_fail(err, NIWA_PERMANENT, EEXIST,
				 "the routing table %u of this host has a %s of somebody else's: choose another "
				 "return_table in niwad.conf",
				 config->return_table, c.found);
	return niwa_fail(
		err, NIWA_PERMANENT, EEXIST,
		"the %s range %s collides with %s of this host: choose another range in niwad.conf",
		c.private ? "private" : "service",
		niwa_net_range_text(c.private ? (struct niwa_net_range){config->private_net, config->private_bits}
					      : (struct niwa_net_range){config->service_net, config->service_bits},
				    text),
		c.found);
}
