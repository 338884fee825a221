/* SPDX-License-Identifier: MIT
 *
 * Do the networks of ula_prefix belong to somebody already? As collisions.c for IPv4: every route of the host is
 * compared, in all tables; the local table has its addresses. Ours are left out, and what is shorter than 8 bits.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
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
	char found[128]; /* "fd6e:6977:6100::/64 dev eth0"; "" when all is well */
};

struct route {
	uint8_t first[16];
	unsigned bits, index;
};

static void restart(void *arg)
{
	struct check *c = arg;

	c->found[0] = '\0';
}

/* They have addresses in common: the first bits of both are the same. */
static bool overlaps(const struct route *r, const uint8_t net[16])
{
	const unsigned bits = r->bits < NIWA_ULA_BITS ? r->bits : NIWA_ULA_BITS, bytes = bits / 8, rest = bits % 8;

	if (memcmp(r->first, net, bytes) != 0)
		return false;
	return rest == 0 || (r->first[bytes] ^ net[bytes]) >> (8 - rest) == 0;
}

static void compare(struct check *c, const struct route *r, enum niwa_ula_net kind)
{
	uint8_t net[16], gateway[16];
	char text[INET6_ADDRSTRLEN], dev[IF_NAMESIZE] = "";

	niwa_ula_make(&c->config->ula, kind, 0, net);
	niwa_ula_make(&c->config->ula, NIWA_ULA_PRIVATE, c->config->gateway_addr, gateway);
	if (c->found[0] || r->bits < SHORTEST_BITS || !overlaps(r, net) || niwa_map_get(c->veths, r->index) ||
	    (r->index == c->lo && r->bits == 128 && memcmp(r->first, gateway, sizeof(gateway)) == 0))
		return;
	if (r->index)
		(void)if_indextoname(r->index, dev);
	(void)inet_ntop(AF_INET6, r->first, text, sizeof(text));
	(void)snprintf(c->found, sizeof(c->found), "%s/%u%s%s", text, r->bits, dev[0] ? " dev " : "", dev);
}

static int take_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct route r = {.bits = rtm->rtm_dst_len};
	const struct nlattr *attr;

	if (rtm->rtm_family != AF_INET6 || rtm->rtm_protocol == NIWA_NET_RTPROT || rtm->rtm_flags & RTM_F_CLONED ||
	    (rtm->rtm_type != RTN_UNICAST && rtm->rtm_type != RTN_LOCAL))
		return 0;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		if (mnl_attr_get_type(attr) == RTA_DST && mnl_attr_get_payload_len(attr) == sizeof(r.first))
			memcpy(r.first, mnl_attr_get_payload(attr), sizeof(r.first));
		else if (mnl_attr_get_type(attr) == RTA_OIF)
			r.index = mnl_attr_get_u32(attr);
	}
	compare(arg, &r, NIWA_ULA_SERVICE);
	compare(arg, &r, NIWA_ULA_PRIVATE);
	return 0;
}

static int run(struct niwa_nl *rt, struct check *c)
{
	char buf[256];
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	int r = c->veths ? niwa_veth_indexes(rt, c->config->veth_group, c->veths) : -ENOMEM;

	if (r < 0)
		return r;
	nlh = niwa_nl_put(rt, buf, RTM_GETROUTE, NLM_F_DUMP);
	rtm = niwa_nl_put_extra(nlh, sizeof(*rtm));
	rtm->rtm_family = AF_INET6;
	return niwa_nl_dump(rt, nlh, take_route, c, restart);
}

int niwa_routes6_collisions(struct niwa_net *net, struct niwa_error *err)
{
	struct check c = {.config = &net->config, .lo = if_nametoindex("lo")};
	char text[INET6_ADDRSTRLEN];
	int r;

	if (!net->config.ula.on)
		return 0;
	c.veths = niwa_map_new(NIWA_MAP_U64);
	r = run(&net->rt, &c);
	niwa_map_free(&c.veths);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "read the host's IPv6 routes");
	if (!c.found[0])
		return 0;
	(void)niwa_ula_text(&net->config.ula, (enum niwa_ula_net)0, 0, text);
	return niwa_fail(err, NIWA_PERMANENT, EEXIST,
			 "ula_prefix %s/48 collides with the route %s of this host: choose another one in niwad.conf",
			 text, c.found);
}
