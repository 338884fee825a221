/* SPDX-License-Identifier: MIT
 *
 * Probe: service_range, private_range and ula_prefix against every route of the host, in every table. The local table
 * holds the host's addresses, so those are covered too. What niwa itself has set is recognised and left out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>

#include "base/memory.h"
#include "base/ula.h"
#include "cli/probe_list.h"
#include "spec/source.h"

#define LOOPBACK_INDEX 1 /* in every network namespace */

/* A network of either family; IPv4 is a part of IPv6 here: ::ffff:a.b.c.d, with 96 bits more. */
struct net {
	struct in6_addr first;
	unsigned bits;
};

struct range {
	const char *key; /* in niwad.conf */
	struct net net;
	struct in6_addr gateway;
};

#define RANGES_MAX 4

struct search {
	const struct niwa_probe_host *host;
	struct niwa_probe_report *report;
	struct range ranges[RANGES_MAX]; /* that of services, of instances; the same for IPv6 */
	size_t count;
};

struct route {
	struct net net;
	unsigned type, oif;
};

static struct net net_of4(uint32_t first, unsigned bits)
{
	return (struct net){.first = niwa_addr_mapped(first), .bits = 96 + bits};
}

static bool is_inside(const struct net *inner, const struct net *outer)
{
	const struct niwa_source source = {.bits = outer->bits, .first = outer->first};

	return inner->bits >= outer->bits && niwa_source_has(&source, &inner->first);
}

static bool is_same(const struct net *a, const struct net *b)
{
	return a->bits == b->bits && is_inside(a, b);
}

static char *net_text(const struct net *net, char *buf, size_t size)
{
	bool four = IN6_IS_ADDR_V4MAPPED(&net->first) && net->bits >= 96;
	char addr[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(four ? AF_INET : AF_INET6, &net->first.s6_addr[four ? 12 : 0], addr, sizeof(addr));
	(void)snprintf(buf, size, "%s/%u", addr, four ? net->bits - 96 : net->bits);
	return buf;
}

struct link {
	char name[64];
	uint32_t group;
};

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	struct link *link = arg;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg))
	{
		if (mnl_attr_get_type(attr) == IFLA_IFNAME && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			(void)snprintf(link->name, sizeof(link->name), "%s", mnl_attr_get_str(attr));
		else if (mnl_attr_get_type(attr) == IFLA_GROUP && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			link->group = mnl_attr_get_u32(attr);
	}
	return MNL_CB_OK;
}

/* Sends one request, gives each answer to fn. 0 or -errno. */
static int ask_routes(struct nlmsghdr *nlh, mnl_cb_t fn, void *arg)
{
	char buf[32768];
	struct mnl_socket *sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int r;

	if (!sock)
		return -errno;
	r = mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(sock, nlh, nlh->nlmsg_len) < 0
		    ? -1
		    : MNL_CB_OK;
	while (r > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(sock, buf, sizeof(buf));

		r = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(sock), fn, arg);
	}
	r = r < 0 ? -errno : 0;
	(void)mnl_socket_close(sock);
	return r;
}

/* By netlink, not /sys: that may show another network namespace. */
static void read_link(unsigned index, struct link *ret)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	*ret = (struct link){0};
	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = (int)index;
	if (index)
		(void)ask_routes(nlh, on_link, ret); /* an interface that is gone has no name */
}

/* Ours of a pair: services, instances. */
static bool is_ours_of(const struct search *s, const struct range *pair, const struct route *r)
{
	struct link link;

	if (is_same(&r->net, &pair[0].net))
		return r->type == RTN_LOCAL || r->type == RTN_UNREACHABLE;
	if (is_same(&r->net, &pair[1].net))
		return r->type == RTN_UNREACHABLE || r->type == RTN_BLACKHOLE;
	if (r->net.bits != 128 || !is_inside(&r->net, &pair[1].net))
		return false;
	if (IN6_ARE_ADDR_EQUAL(&r->net.first, &pair[1].gateway) && r->oif == LOOPBACK_INDEX)
		return true;
	read_link(r->oif, &link);
	return link.group == s->host->veth_group;
}

static bool is_ours(const struct search *s, const struct route *r)
{
	for (size_t i = 0; i < s->count; i += 2)
		if (is_ours_of(s, &s->ranges[i], r))
			return true;
	return false;
}

static void compare(struct search *s, const struct route *r, const struct range *range)
{
	char route[64], ours[64], through[80] = "";
	struct link link;

	if (s->report->result == NIWA_PROBE_FAIL)
		return; /* the first is told */
	read_link(r->oif, &link);
	if (*link.name)
		(void)snprintf(through, sizeof(through), " through %s", link.name);
	(void)net_text(&r->net, route, sizeof(route));
	(void)net_text(&range->net, ours, sizeof(ours));
	if (is_inside(&r->net, &range->net))
		niwa_probe_say(s->report, NIWA_PROBE_FAIL, "%s %s: the host has %s%s inside it", range->key, ours,
			       route, through);
	else if (is_inside(&range->net, &r->net) && s->report->result == NIWA_PROBE_OK)
		niwa_probe_say(s->report, NIWA_PROBE_WARN,
			       "%s %s hides a part of the route %s%s: what is there cannot be reached", range->key,
			       ours, route, through);
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const size_t len = rtm->rtm_family == AF_INET ? 4 : 16;
	struct search *s = arg;
	struct route r = {.net = net_of4(0, rtm->rtm_dst_len), .type = rtm->rtm_type};
	const struct nlattr *attr;

	if ((rtm->rtm_family != AF_INET && rtm->rtm_family != AF_INET6) || rtm->rtm_dst_len == 0 ||
	    (rtm->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	if (rtm->rtm_family == AF_INET6)
		r.net = (struct net){.bits = rtm->rtm_dst_len};
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		if (mnl_attr_get_type(attr) == RTA_DST && mnl_attr_get_payload_len(attr) == len)
			memcpy(&r.net.first.s6_addr[16 - len], mnl_attr_get_payload(attr), len);
		else if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			r.oif = mnl_attr_get_u32(attr);
	}
	for (size_t i = 0; i < s->count && !is_ours(s, &r); i++)
		compare(s, &r, &s->ranges[i]);
	return MNL_CB_OK;
}

static int each_route(struct search *s, uint8_t family)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = family;
	return ask_routes(nlh, on_route, s);
}

static void add_ranges6(struct search *s, const struct niwa_ula *ula)
{
	const uint32_t gateway = htonl(ntohl(s->host->private_net) + 1);
	static const enum niwa_ula_net nets[] = {NIWA_ULA_SERVICE, NIWA_ULA_PRIVATE};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(nets); i++) {
		struct range *range = &s->ranges[s->count++];

		*range = (struct range){.key = "ula_prefix", .net.bits = NIWA_ULA_BITS};
		niwa_ula_make(ula, nets[i], 0, range->net.first.s6_addr);
		niwa_ula_make(ula, nets[i], gateway, range->gateway.s6_addr);
	}
}

void niwa_probe_ranges(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	const struct in6_addr gateway = niwa_addr_mapped(htonl(ntohl(host->private_net) + 1));
	struct search s = {.host = host,
			   .report = report,
			   .ranges = {{"service_range", net_of4(host->service_net, host->service_bits), gateway},
				      {"private_range", net_of4(host->private_net, host->private_bits), gateway}},
			   .count = 2};
	char service[64], private[64];
	struct niwa_ula ula = {0};
	int r;

	niwa_probe_say(report, NIWA_PROBE_OK, "%s and %s", net_text(&s.ranges[0].net, service, sizeof(service)),
		       net_text(&s.ranges[1].net, private, sizeof(private)));
	if (niwa_ula_parse(host->ula_prefix, &ula) == 0 && ula.on) {
		niwa_probe_say(report, NIWA_PROBE_OK, "%s, %s and %s", service, private, host->ula_prefix);
		add_ranges6(&s, &ula);
	}
	r = each_route(&s, AF_INET);
	if (r == 0 && ula.on)
		r = each_route(&s, AF_INET6);
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "list the routes: %s", strerror(-r));
}
