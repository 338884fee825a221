/* SPDX-License-Identifier: MIT
 *
 * Probe: service_range and private_range against every route of the host, in every table. The local table holds the
 * host's addresses, so those are covered too. What niwa itself has set is recognised and left out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>

#include "cli/probe_list.h"

#define LOOPBACK_INDEX 1 /* in every network namespace */

struct search {
	const struct niwa_probe_host *host;
	struct niwa_probe_report *report;
};

struct route {
	uint32_t net; /* network order */
	unsigned bits, type, oif;
};

static uint32_t mask_of(unsigned bits)
{
	return bits ? htonl(~UINT32_C(0) << (32 - bits)) : 0;
}

static bool is_inside(uint32_t net, unsigned bits, uint32_t outer, unsigned outer_bits)
{
	return bits >= outer_bits && (net & mask_of(outer_bits)) == outer;
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

static bool is_ours(const struct niwa_probe_host *host, const struct route *r)
{
	uint32_t gateway = htonl(ntohl(host->private_net) + 1);
	struct link link;

	if (r->net == host->service_net && r->bits == host->service_bits)
		return r->type == RTN_LOCAL || r->type == RTN_UNREACHABLE;
	if (r->net == host->private_net && r->bits == host->private_bits)
		return r->type == RTN_UNREACHABLE || r->type == RTN_BLACKHOLE;
	if (r->net == gateway && r->bits == 32 && r->oif == LOOPBACK_INDEX)
		return true;
	if (r->bits != 32 || !is_inside(r->net, 32, host->private_net, host->private_bits))
		return false;
	read_link(r->oif, &link);
	return link.group == host->veth_group;
}

static void compare(struct search *s, const struct route *r, uint32_t net, unsigned bits, const char *key)
{
	char route[INET_ADDRSTRLEN] = "", range[INET_ADDRSTRLEN] = "", through[80] = "";
	struct link link;

	if (s->report->result == NIWA_PROBE_FAIL)
		return; /* the first is told */
	(void)inet_ntop(AF_INET, &r->net, route, sizeof(route));
	(void)inet_ntop(AF_INET, &net, range, sizeof(range));
	read_link(r->oif, &link);
	if (*link.name)
		(void)snprintf(through, sizeof(through), " through %s", link.name);
	if (is_inside(r->net, r->bits, net, bits))
		niwa_probe_say(s->report, NIWA_PROBE_FAIL, "%s %s/%u: the host has %s/%u%s inside it", key, range, bits,
			       route, r->bits, through);
	else if (is_inside(net, bits, r->net, r->bits) && s->report->result == NIWA_PROBE_OK)
		niwa_probe_say(s->report, NIWA_PROBE_WARN,
			       "%s %s/%u hides a part of the route %s/%u%s: what is there cannot be reached", key,
			       range, bits, route, r->bits, through);
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct search *s = arg;
	struct route r = {.bits = rtm->rtm_dst_len, .type = rtm->rtm_type};
	const struct nlattr *attr;

	if (rtm->rtm_family != AF_INET || rtm->rtm_dst_len == 0 || (rtm->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		if (mnl_attr_get_type(attr) == RTA_DST && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			r.net = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			r.oif = mnl_attr_get_u32(attr);
	}
	if (is_ours(s->host, &r))
		return MNL_CB_OK;
	compare(s, &r, s->host->service_net, s->host->service_bits, "service_range");
	compare(s, &r, s->host->private_net, s->host->private_bits, "private_range");
	return MNL_CB_OK;
}

static int each_route(struct search *s)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = AF_INET;
	return ask_routes(nlh, on_route, s);
}

void niwa_probe_ranges(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct search s = {.host = host, .report = report};
	char service[INET_ADDRSTRLEN] = "", private[INET_ADDRSTRLEN] = "";
	int r;

	(void)inet_ntop(AF_INET, &host->service_net, service, sizeof(service));
	(void)inet_ntop(AF_INET, &host->private_net, private, sizeof(private));
	niwa_probe_say(report, NIWA_PROBE_OK, "%s/%u and %s/%u", service, host->service_bits, private,
		       host->private_bits);
	r = each_route(&s);
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "list the routes: %s", strerror(-r));
}
