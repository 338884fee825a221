/* SPDX-License-Identifier: MIT
 *
 * The order of the messages matters: interfaces are set up before they are brought up (so that nothing is ever
 * sent with the wrong settings), and brought up before routes name them.
 */
#include "container/rtnl.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

/* Room for len more bytes, zeroed; NULL when the batch is full. */
static void *grow(struct niwa_rtnl *b, size_t len)
{
	size_t aligned = NLMSG_ALIGN(len);
	uint8_t *p = b->data + b->len;

	if (b->overflow || aligned > sizeof(b->data) - b->len) {
		b->overflow = true;
		return NULL;
	}
	memset(p, 0, aligned);
	b->len += (uint32_t)aligned;
	return p;
}

static uint32_t message(struct niwa_rtnl *b, uint16_t type, uint16_t flags, const void *header, size_t header_len)
{
	uint32_t start = b->len;
	struct nlmsghdr *nh = grow(b, sizeof(*nh));
	void *body = grow(b, header_len);

	if (!nh || !body)
		return start;
	*nh = (struct nlmsghdr){.nlmsg_type = type,
				.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags),
				.nlmsg_seq = ++b->count};
	memcpy(body, header, header_len);
	return start;
}

static void message_end(struct niwa_rtnl *b, uint32_t start)
{
	if (!b->overflow)
		((struct nlmsghdr *)(void *)(b->data + start))->nlmsg_len = b->len - start;
}

static void attr(struct niwa_rtnl *b, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = grow(b, RTA_LENGTH(len));

	if (!a)
		return;
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
}

static void attr_u32(struct niwa_rtnl *b, uint16_t type, uint32_t value)
{
	attr(b, type, &value, sizeof(value));
}

static void attr_u8(struct niwa_rtnl *b, uint16_t type, uint8_t value)
{
	attr(b, type, &value, sizeof(value));
}

static void attr_text(struct niwa_rtnl *b, uint16_t type, const char *text)
{
	attr(b, type, text, strlen(text) + 1);
}

/* Nested attributes: the length is written at the end. */
static uint32_t nest(struct niwa_rtnl *b, uint16_t type)
{
	uint32_t start = b->len;

	attr(b, type, NULL, 0);
	return start;
}

static void nest_end(struct niwa_rtnl *b, uint32_t start)
{
	if (!b->overflow)
		((struct rtattr *)(void *)(b->data + start))->rta_len = (uint16_t)(b->len - start);
}

/* One queue in each direction: the kernel's default is one a CPU, each with folders in sysfs. */
static void queues(struct niwa_rtnl *b)
{
	attr_u32(b, IFLA_NUM_TX_QUEUES, 1);
	attr_u32(b, IFLA_NUM_RX_QUEUES, 1);
}

/* The pair. The peer is created in the child's namespace at once; a later move would cost another RTNL round. */
static void new_pair(struct niwa_rtnl *b, const struct niwa_rtnl_link *l)
{
	struct ifinfomsg host = {.ifi_family = AF_UNSPEC, .ifi_index = (int)l->host_index};
	struct ifinfomsg peer = {.ifi_family = AF_UNSPEC, .ifi_index = NIWA_ETH0_INDEX};
	uint32_t msg, info, data, nested;
	void *p;

	msg = message(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &host, sizeof(host));
	attr_text(b, IFLA_IFNAME, l->veth);
	attr(b, IFLA_ADDRESS, l->host_mac, 6);
	attr_u32(b, IFLA_GROUP, l->group);
	queues(b);
	info = nest(b, IFLA_LINKINFO);
	attr_text(b, IFLA_INFO_KIND, "veth");
	data = nest(b, IFLA_INFO_DATA);
	nested = nest(b, VETH_INFO_PEER);
	p = grow(b, sizeof(peer));
	if (p)
		memcpy(p, &peer, sizeof(peer));
	attr_text(b, IFLA_IFNAME, "eth0");
	attr(b, IFLA_ADDRESS, l->mac, 6);
	queues(b);
	b->pid_offset = b->len + (uint32_t)RTA_LENGTH(0);
	attr_u32(b, IFLA_NET_NS_PID, 0);
	nest_end(b, nested);
	nest_end(b, data);
	nest_end(b, info);
	message_end(b, msg);
}

/* An end without a link-local address is silent in IPv6. */
static void without_ipv6(struct niwa_rtnl *b)
{
	uint32_t family = nest(b, AF_INET6);

	attr_u8(b, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	nest_end(b, family);
}

/* Strict reverse path, and nothing that makes the host end talk by itself. */
static void settings(struct niwa_rtnl *b, const struct niwa_rtnl_link *l)
{
	struct ifinfomsg host = {.ifi_family = AF_UNSPEC, .ifi_index = (int)l->host_index};
	uint32_t msg = message(b, RTM_NEWLINK, 0, &host, sizeof(host));
	uint32_t spec = nest(b, IFLA_AF_SPEC), family, conf;

	family = nest(b, AF_INET);
	conf = nest(b, IFLA_INET_CONF);
	attr_u32(b, IPV4_DEVCONF_RP_FILTER, 1);
	attr_u32(b, IPV4_DEVCONF_ACCEPT_REDIRECTS, 0);
	attr_u32(b, IPV4_DEVCONF_SEND_REDIRECTS, 0);
	nest_end(b, conf);
	nest_end(b, family);
	if (l->host_has_ipv6)
		without_ipv6(b);
	nest_end(b, spec);
	message_end(b, msg);
}

/* No address that it makes itself; ::1 stays. */
static void silent_eth0(struct niwa_rtnl *b)
{
	struct ifinfomsg eth0 = {.ifi_family = AF_UNSPEC, .ifi_index = NIWA_ETH0_INDEX};
	uint32_t msg = message(b, RTM_NEWLINK, 0, &eth0, sizeof(eth0));
	uint32_t spec = nest(b, IFLA_AF_SPEC);

	without_ipv6(b);
	nest_end(b, spec);
	message_end(b, msg);
}

static void link_up(struct niwa_rtnl *b, uint32_t index)
{
	struct ifinfomsg ifi = {
		.ifi_family = AF_UNSPEC, .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	message_end(b, message(b, RTM_NEWLINK, 0, &ifi, sizeof(ifi)));
}

/* With an IPv6 address the kernel would join the multicast group of its neighbour discovery and report that again and
 * again: traffic, for those who look whether the app is idle. All neighbours are known anyway. */
static void without_multicast(struct niwa_rtnl *b)
{
	struct ifinfomsg ifi = {
		.ifi_family = AF_UNSPEC, .ifi_index = NIWA_ETH0_INDEX, .ifi_flags = IFF_NOARP, .ifi_change = IFF_NOARP};

	message_end(b, message(b, RTM_NEWLINK, 0, &ifi, sizeof(ifi)));
}

static void address(struct niwa_rtnl *b, uint32_t index, uint32_t addr, uint8_t scope)
{
	struct ifaddrmsg ifa = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = scope, .ifa_index = index};
	uint32_t msg = message(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &ifa, sizeof(ifa));

	attr_u32(b, IFA_LOCAL, addr);
	attr_u32(b, IFA_ADDRESS, addr);
	message_end(b, msg);
}

/* Can be used at once: nobody else has it. */
static void address6(struct niwa_rtnl *b, uint32_t index, const uint8_t addr[16])
{
	struct ifaddrmsg ifa = {
		.ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_flags = IFA_F_NODAD, .ifa_index = index};
	uint32_t msg = message(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &ifa, sizeof(ifa));

	attr(b, IFA_LOCAL, addr, 16);
	attr(b, IFA_ADDRESS, addr, 16);
	message_end(b, msg);
}

static void neighbour6(struct niwa_rtnl *b, uint32_t index, const uint8_t addr[16], const uint8_t mac[6])
{
	struct ndmsg nd = {.ndm_family = AF_INET6, .ndm_ifindex = (int)index, .ndm_state = NUD_PERMANENT};
	uint32_t msg = message(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &nd, sizeof(nd));

	attr(b, NDA_DST, addr, 16);
	attr(b, NDA_LLADDR, mac, 6);
	message_end(b, msg);
}

/* Through the interface: to one address directly (to and bits 128), or to all by way of the gateway (to NULL). */
static void route6(struct niwa_rtnl *b, uint32_t index, const uint8_t *to, const uint8_t *gateway,
		   const uint8_t *source)
{
	struct rtmsg rt = {.rtm_family = AF_INET6,
			   .rtm_dst_len = to ? 128 : 0,
			   .rtm_table = RT_TABLE_MAIN,
			   .rtm_protocol = RTPROT_STATIC,
			   .rtm_type = RTN_UNICAST,
			   .rtm_flags = gateway ? RTNH_F_ONLINK : 0};
	uint32_t msg = message(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &rt, sizeof(rt));

	if (to)
		attr(b, RTA_DST, to, 16);
	if (gateway)
		attr(b, RTA_GATEWAY, gateway, 16);
	attr_u32(b, RTA_OIF, index);
	if (source)
		attr(b, RTA_PREFSRC, source, 16);
	message_end(b, msg);
}

static void neighbour(struct niwa_rtnl *b, uint32_t index, uint32_t addr, const uint8_t mac[6])
{
	struct ndmsg nd = {.ndm_family = AF_INET, .ndm_ifindex = (int)index, .ndm_state = NUD_PERMANENT};
	uint32_t msg = message(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &nd, sizeof(nd));

	attr_u32(b, NDA_DST, addr);
	attr(b, NDA_LLADDR, mac, 6);
	message_end(b, msg);
}

void niwa_rtnl_host(const struct niwa_rtnl_link *link, struct niwa_rtnl *ret)
{
	struct rtmsg rt = {.rtm_family = AF_INET,
			   .rtm_dst_len = 32,
			   .rtm_table = RT_TABLE_MAIN,
			   .rtm_protocol = RTPROT_STATIC,
			   .rtm_scope = RT_SCOPE_LINK,
			   .rtm_type = RTN_UNICAST};
	uint32_t msg;

	memset(ret, 0, sizeof(*ret));
	new_pair(ret, link);
	settings(ret, link);
	link_up(ret, link->host_index);
	/* replaces the route of an instance that had the address and whose namespace is still being taken down */
	msg = message(ret, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &rt, sizeof(rt));
	attr_u32(ret, RTA_DST, link->private_addr);
	attr_u32(ret, RTA_OIF, link->host_index);
	attr_u32(ret, RTA_PREFSRC, link->gateway_addr); /* else the relay would come from any address of the host's */
	message_end(ret, msg);
	neighbour(ret, link->host_index, link->private_addr, link->mac);
	if (link->private6) {
		route6(ret, link->host_index, link->private6, NULL, link->gateway6);
		neighbour6(ret, link->host_index, link->private6, link->mac);
	}
	assert(!ret->overflow);
}

void niwa_rtnl_child(const struct niwa_rtnl_link *link, struct niwa_rtnl *ret)
{
	struct rtmsg rt = {.rtm_family = AF_INET,
			   .rtm_table = RT_TABLE_MAIN,
			   .rtm_protocol = RTPROT_STATIC,
			   .rtm_scope = RT_SCOPE_UNIVERSE,
			   .rtm_type = RTN_UNICAST,
			   .rtm_flags = RTNH_F_ONLINK};
	uint32_t msg;

	memset(ret, 0, sizeof(*ret));
	link_up(ret, 1);
	if (link->service_addr)
		address(ret, 1, link->service_addr, RT_SCOPE_HOST);
	address(ret, NIWA_ETH0_INDEX, link->private_addr, RT_SCOPE_UNIVERSE);
	if (link->host_has_ipv6)
		silent_eth0(ret);
	if (link->private6)
		without_multicast(ret);
	link_up(ret, NIWA_ETH0_INDEX);
	neighbour(ret, NIWA_ETH0_INDEX, link->gateway_addr, link->host_mac);
	msg = message(ret, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &rt, sizeof(rt));
	attr_u32(ret, RTA_GATEWAY, link->gateway_addr);
	attr_u32(ret, RTA_OIF, NIWA_ETH0_INDEX);
	attr_u32(ret, RTA_PREFSRC, link->private_addr);
	message_end(ret, msg);
	if (link->private6) {
		if (link->service6)
			address6(ret, 1, link->service6);
		address6(ret, NIWA_ETH0_INDEX, link->private6);
		neighbour6(ret, NIWA_ETH0_INDEX, link->gateway6, link->host_mac);
		route6(ret, NIWA_ETH0_INDEX, NULL, link->gateway6, link->private6);
	}
	assert(!ret->overflow);
}

void niwa_rtnl_settle(const struct niwa_rtnl_link *link, struct niwa_rtnl *ret)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC, .ifi_index = (int)link->host_index};
	uint32_t msg;

	memset(ret, 0, sizeof(*ret));
	msg = message(ret, RTM_GETLINK, 0, &ifi, sizeof(ifi));
	attr_u32(ret, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	message_end(ret, msg);
	assert(!ret->overflow);
}
