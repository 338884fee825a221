/* SPDX-License-Identifier: MIT
 *
 * The host's routes for the two ranges, and the gateway address:
 *
 *   local 10.64.0.0/12 dev lo table local src GATEWAY   the service range is here
 *   unreachable 10.64.0.0/12 metric high                and never leaves by the default route, niwa or not
 *   blackhole 10.80.0.0/12 metric high                  an instance that has gone: its clients repeat their SYN, while
 *                                                       an ICMP error would end their connect()
 *   GATEWAY/32 dev lo                                   next hop and resolver of the instances
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

#include "base/memory.h"
#include "net/net_private.h"

uint32_t niwa_net_netmask(unsigned bits)
{
	return bits == 0 ? 0 : htonl(~0u << (32 - bits));
}

bool niwa_net_overlap(struct niwa_net_range a, struct niwa_net_range b)
{
	const uint32_t mask = niwa_net_netmask(a.bits < b.bits ? a.bits : b.bits);

	return (a.net & mask) == (b.net & mask);
}

const char *niwa_net_range_text(struct niwa_net_range r, char *buf)
{
	char addr[INET_ADDRSTRLEN];

	(void)inet_ntop(AF_INET, &r.net, addr, sizeof(addr));
	(void)snprintf(buf, 20, "%s/%u", addr, r.bits);
	return buf;
}

struct route {
	uint8_t type, table, scope;
	uint32_t priority;
	bool lo, src; /* through lo; prefers the gateway address as source */
	struct niwa_net_range range;
};

static struct route local_route(const struct niwa_net_config *c)
{
	return (struct route){.type = RTN_LOCAL,
			      .table = RT_TABLE_LOCAL,
			      .scope = RT_SCOPE_HOST,
			      .lo = true,
			      .src = true,
			      .range = {c->service_net, c->service_bits}};
}

static struct route behind_route(uint8_t type, uint32_t net, unsigned bits)
{
	return (struct route){.type = type,
			      .table = RT_TABLE_MAIN,
			      .scope = RT_SCOPE_UNIVERSE,
			      .priority = NIWA_NET_METRIC,
			      .range = {net, bits}};
}

static int change_route(struct niwa_nl *rt, uint16_t type, uint16_t flags, const struct route *route, uint32_t gateway)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, type, flags);
	struct rtmsg *rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));

	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = (uint8_t)route->range.bits;
	rtm->rtm_table = route->table;
	rtm->rtm_protocol = NIWA_NET_RTPROT;
	rtm->rtm_scope = route->scope;
	rtm->rtm_type = route->type;
	mnl_attr_put_u32(nlh, RTA_DST, route->range.net);
	if (route->priority)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, route->priority);
	if (route->lo)
		mnl_attr_put_u32(nlh, RTA_OIF, if_nametoindex("lo"));
	if (route->src)
		mnl_attr_put_u32(nlh, RTA_PREFSRC, gateway);
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

static int change_gateway(struct niwa_nl *rt, uint16_t type, uint16_t flags, uint32_t gateway)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, type, flags);
	struct ifaddrmsg *ifa = niwa_nl_put_extra(nlh, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 32;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	ifa->ifa_index = if_nametoindex("lo");
	mnl_attr_put_u32(nlh, IFA_LOCAL, gateway);
	mnl_attr_put_u32(nlh, IFA_ADDRESS, gateway);
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

/* A network namespace of its own begins with lo down. */
static int lo_up(struct niwa_nl *rt)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = niwa_nl_put_extra(nlh, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)if_nametoindex("lo");
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

int niwa_routes_install(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	const struct route routes[] = {
		behind_route(RTN_UNREACHABLE, config->service_net, config->service_bits),
		behind_route(RTN_BLACKHOLE, config->private_net, config->private_bits),
		local_route(config), /* after the address it prefers, and after what stands behind it */
	};
	char text[20];
	int r;

	r = lo_up(rt);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "bring the interface lo up");
	r = change_gateway(rt, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, config->gateway_addr);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "put the gateway address %s on lo",
				 niwa_net_range_text((struct niwa_net_range){config->gateway_addr, 32}, text));
	for (size_t i = 0; i < NIWA_ARRAY_LEN(routes); i++) {
		r = change_route(rt, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &routes[i], config->gateway_addr);
		if (r < 0)
			return niwa_fail(err, NIWA_PERMANENT, -r, "add the %s route %s",
					 routes[i].type == RTN_LOCAL         ? "local"
					 : routes[i].type == RTN_UNREACHABLE ? "unreachable"
									     : "blackhole",
					 niwa_net_range_text(routes[i].range, text));
	}
	return 0;
}

int niwa_routes_remove(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	const struct route routes[] = {local_route(config),
				       behind_route(RTN_BLACKHOLE, config->private_net, config->private_bits)};
	char text[20];
	int r;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(routes); i++) {
		r = change_route(rt, RTM_DELROUTE, 0, &routes[i], config->gateway_addr);
		if (r < 0 && r != -ESRCH)
			return niwa_fail(err, NIWA_PERMANENT, -r, "remove the route %s",
					 niwa_net_range_text(routes[i].range, text));
	}
	r = change_gateway(rt, RTM_DELADDR, 0, config->gateway_addr);
	if (r < 0 && r != -EADDRNOTAVAIL)
		return niwa_fail(err, NIWA_PERMANENT, -r, "remove the gateway address from lo");
	return 0;
}

static int take_type(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	*(uint8_t *)arg = rtm->rtm_type;
	return 0;
}

/* Where would the kernel send a packet for the address? */
static int route_type(struct niwa_nl *rt, uint32_t addr, uint8_t *ret)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, RTM_GETROUTE, 0);
	struct rtmsg *rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));

	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = 32;
	mnl_attr_put_u32(nlh, RTA_DST, addr);
	return niwa_nl_talk(rt, nlh, take_type, ret);
}

int niwa_routes_present(struct niwa_nl *rt, const struct niwa_net_config *config)
{
	const uint32_t addrs[] = {config->gateway_addr, config->service_net | htonl(1)};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(addrs); i++) {
		uint8_t type = 0;
		int r = route_type(rt, addrs[i], &type);

		if (r == -EHOSTUNREACH || r == -ENETUNREACH || (r == 0 && type != RTN_LOCAL))
			return 0;
		if (r < 0)
			return r;
	}
	return 1;
}
