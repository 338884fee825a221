/* SPDX-License-Identifier: MIT
 *
 * The host's routes and its own address for IPv6, as routes.c has them for IPv4:
 *
 *   local fd6e:6977:6100:1::/96 dev lo table local src GATEWAY, unreachable behind it
 *   blackhole fd6e:6977:6100:2::/96
 *   GATEWAY/128 dev lo
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include <linux/rtnetlink.h>

#include "base/memory.h"
#include "net/net_private.h"

struct route {
	uint8_t type, table;
	uint32_t priority;
	enum niwa_ula_net net;
};

static const struct route routes[] = {
	{RTN_UNREACHABLE, RT_TABLE_MAIN, NIWA_NET_METRIC, NIWA_ULA_SERVICE},
	{RTN_BLACKHOLE, RT_TABLE_MAIN, NIWA_NET_METRIC, NIWA_ULA_PRIVATE},
	{RTN_LOCAL, RT_TABLE_LOCAL, 0, NIWA_ULA_SERVICE}, /* last: after the address it prefers */
};

static int change_route(struct niwa_nl *rt, uint16_t type, uint16_t flags, const struct route *route,
			const struct niwa_net_config *c)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, type, flags);
	struct rtmsg *rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));
	uint8_t addr[16];

	rtm->rtm_family = AF_INET6;
	rtm->rtm_dst_len = NIWA_ULA_BITS;
	rtm->rtm_table = route->table;
	rtm->rtm_protocol = NIWA_NET_RTPROT;
	rtm->rtm_type = route->type;
	niwa_ula_make(&c->ula, route->net, 0, addr);
	mnl_attr_put(nlh, RTA_DST, sizeof(addr), addr);
	mnl_attr_put_u32(nlh, RTA_OIF, if_nametoindex("lo"));
	if (route->priority)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, route->priority);
	if (route->type == RTN_LOCAL && type == RTM_NEWROUTE) {
		niwa_ula_make(&c->ula, NIWA_ULA_PRIVATE, c->gateway_addr, addr);
		mnl_attr_put(nlh, RTA_PREFSRC, sizeof(addr), addr);
	}
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

static int change_gateway(struct niwa_nl *rt, uint16_t type, uint16_t flags, const struct niwa_net_config *c)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, type, flags);
	struct ifaddrmsg *ifa = niwa_nl_put_extra(nlh, sizeof(*ifa));
	uint8_t addr[16];

	ifa->ifa_family = AF_INET6;
	ifa->ifa_prefixlen = 128;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	ifa->ifa_flags = IFA_F_NODAD; /* can be used at once */
	ifa->ifa_index = if_nametoindex("lo");
	niwa_ula_make(&c->ula, NIWA_ULA_PRIVATE, c->gateway_addr, addr);
	mnl_attr_put(nlh, IFA_LOCAL, sizeof(addr), addr);
	mnl_attr_put(nlh, IFA_ADDRESS, sizeof(addr), addr);
	return niwa_nl_talk(rt, nlh, NULL, NULL);
}

int niwa_routes6_remove(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	int r = 0;

	for (size_t i = 1; config->ula.on && i < NIWA_ARRAY_LEN(routes) && r == 0; i++) {
		r = change_route(rt, RTM_DELROUTE, 0, &routes[i], config);
		if (r == -ESRCH)
			r = 0;
	}
	if (config->ula.on && r == 0)
		r = change_gateway(rt, RTM_DELADDR, 0, config);
	if (r < 0 && r != -EADDRNOTAVAIL)
		return niwa_fail(err, NIWA_PERMANENT, -r, "remove the IPv6 address and routes of ula_prefix");
	return 0;
}

#define STALE_MAX 8

struct stale {
	const struct niwa_ula *now;
	struct niwa_ula found[STALE_MAX];
	size_t count;
};

/* A local route of ours with another prefix, or with any where there is no IPv6 any more. */
static int take_stale(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct stale *s = arg;
	const struct nlattr *attr;

	if (rtm->rtm_protocol != NIWA_NET_RTPROT || rtm->rtm_type != RTN_LOCAL || rtm->rtm_dst_len != NIWA_ULA_BITS)
		return 0;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		const uint8_t *prefix = mnl_attr_get_payload(attr);

		if (mnl_attr_get_type(attr) != RTA_DST || mnl_attr_get_payload_len(attr) != 16 ||
		    s->count == STALE_MAX ||
		    (s->now->on && memcmp(prefix, s->now->prefix, sizeof(s->now->prefix)) == 0))
			continue;
		s->found[s->count].on = true;
		memcpy(s->found[s->count++].prefix, prefix, sizeof(s->now->prefix));
	}
	return 0;
}

static void restart(void *arg)
{
	struct stale *s = arg;

	s->count = 0;
}

/* Else the host's own daemons would answer at addresses that were apps'. */
static int remove_stale(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	struct stale s = {.now = &config->ula};
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));
	int r;

	rtm->rtm_family = AF_INET6;
	r = niwa_nl_dump(rt, nlh, take_stale, &s, restart);
	if (r < 0) /* a kernel without IPv6 */
		return 0;
	for (size_t i = 0; i < s.count && r == 0; i++) {
		struct niwa_net_config old = *config;

		old.ula = s.found[i];
		r = niwa_routes6_remove(rt, &old, err);
	}
	return r;
}

int niwa_routes6_install(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err)
{
	int r = remove_stale(rt, config, err);

	if (r < 0 || !config->ula.on)
		return r;
	r = change_gateway(rt, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, config);
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(routes); i++)
		r = change_route(rt, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &routes[i], config);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "add the IPv6 address and routes of ula_prefix");
	return 0;
}

static int take_type(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	*(uint8_t *)arg = rtm->rtm_type;
	return 0;
}

static int route_type(struct niwa_nl *rt, const struct niwa_net_config *c, enum niwa_ula_net net, uint32_t addr,
		      uint8_t *ret)
{
	char buf[256];
	struct nlmsghdr *nlh = niwa_nl_put(rt, buf, RTM_GETROUTE, 0);
	struct rtmsg *rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));
	uint8_t bytes[16];

	rtm->rtm_family = AF_INET6;
	rtm->rtm_dst_len = 128;
	niwa_ula_make(&c->ula, net, addr, bytes);
	mnl_attr_put(nlh, RTA_DST, sizeof(bytes), bytes);
	return niwa_nl_talk(rt, nlh, take_type, ret);
}

bool niwa_net_reaches6(struct niwa_net *net, uint32_t priv)
{
	uint8_t type = 0;

	return net->config.ula.on && route_type(&net->rt, &net->config, NIWA_ULA_PRIVATE, priv, &type) == 0 &&
	       type == RTN_UNICAST;
}

int niwa_routes6_present(struct niwa_nl *rt, const struct niwa_net_config *config)
{
	const struct {
		enum niwa_ula_net net;
		uint32_t addr;
	} asked[] = {{NIWA_ULA_PRIVATE, config->gateway_addr}, {NIWA_ULA_SERVICE, config->service_net | htonl(1)}};

	for (size_t i = 0; config->ula.on && i < NIWA_ARRAY_LEN(asked); i++) {
		uint8_t type = 0;
		int r = route_type(rt, config, asked[i].net, asked[i].addr, &type);

		if (r == -EHOSTUNREACH || r == -ENETUNREACH || (r == 0 && type != RTN_LOCAL))
			return 0;
		if (r < 0)
			return r;
	}
	return 1;
}
