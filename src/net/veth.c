/* SPDX-License-Identifier: MIT
 *
 * The host ends of the instances' veths: byte counters, lists, and the removal of leftovers.
 */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/map.h"
#include "base/memory.h"
#include "net/net_private.h"

struct veths {
	struct entry {
		int index;
		char name[IF_NAMESIZE];
		uint64_t rx, tx;
	} * list;
	size_t count, size;
	uint32_t group;
};

static void restart(void *arg)
{
	struct veths *v = arg;

	v->count = 0;
}

static void read_stats(const struct nlattr *attr, struct entry *e)
{
	struct rtnl_link_stats64 stats = {0};
	size_t len = mnl_attr_get_payload_len(attr);

	memcpy(&stats, mnl_attr_get_payload(attr), len < sizeof(stats) ? len : sizeof(stats));
	e->rx = stats.rx_bytes;
	e->tx = stats.tx_bytes;
}

static int collect(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct veths *v = arg;
	struct entry e = {.index = ifi->ifi_index};
	const struct nlattr *attr;
	uint32_t group = 0;

	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		if (mnl_attr_get_type(attr) == IFLA_GROUP)
			group = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == IFLA_IFNAME)
			strncpy(e.name, mnl_attr_get_str(attr), sizeof(e.name) - 1);
		else if (mnl_attr_get_type(attr) == IFLA_STATS64)
			read_stats(attr, &e);
	}
	if (group != v->group)
		return 0;
	if (v->count == v->size) {
		size_t size = v->size ? v->size * 2 : 64;
		struct entry *list = reallocarray(v->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		v->list = list;
		v->size = size;
	}
	v->list[v->count++] = e;
	return 0;
}

int niwa_veth_dump(struct niwa_nl *rt, uint32_t group, int (*fn)(const struct niwa_veth *veth, void *arg), void *arg)
{
	struct veths v = {.group = group};
	struct nlmsghdr *nlh;
	struct ifinfomsg *ifi;
	struct nlattr *nest;
	char buf[256];
	int r;

	nlh = niwa_nl_put(rt, buf, RTM_GETLINK, NLM_F_DUMP);
	ifi = niwa_nl_put_extra(nlh, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	nest = mnl_attr_nest_start(nlh, IFLA_LINKINFO); /* the kernel filters by kind, not by group */
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	mnl_attr_nest_end(nlh, nest);
	r = niwa_nl_dump(rt, nlh, collect, &v, restart);
	for (size_t i = 0; i < v.count && r == 0; i++) {
		const struct niwa_veth veth = {
			.index = v.list[i].index, .name = v.list[i].name, .rx = v.list[i].rx, .tx = v.list[i].tx};

		r = fn(&veth, arg);
	}
	free(v.list);
	return r;
}

static int note_index(const struct niwa_veth *veth, void *arg)
{
	struct niwa_map *indexes = arg;
	int r = niwa_map_put(indexes, (uint64_t)veth->index, indexes);

	return r == -EEXIST ? 0 : r;
}

int niwa_veth_indexes(struct niwa_nl *rt, uint32_t group, struct niwa_map *indexes)
{
	return niwa_veth_dump(rt, group, note_index, indexes);
}

struct bytes_call {
	int (*fn)(const char *name, uint64_t rx, uint64_t tx, void *arg);
	int (*name_fn)(const char *name, void *arg);
	void *arg;
	bool called; /* a failure is then the callback's */
};

static int call(const struct niwa_veth *veth, void *arg)
{
	struct bytes_call *c = arg;

	c->called = true;
	return c->fn ? c->fn(veth->name, veth->rx, veth->tx, c->arg) : c->name_fn(veth->name, c->arg);
}

static int each(struct niwa_net *net, struct bytes_call *c, struct niwa_error *err)
{
	int r = niwa_veth_dump(&net->rt, net->config.veth_group, call, c);

	if (r < 0 && !c->called)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "list the interfaces of group %u", net->config.veth_group);
	return r;
}

int niwa_net_each_veth_bytes(struct niwa_net *net, int (*fn)(const char *name, uint64_t rx, uint64_t tx, void *arg),
			     void *arg, struct niwa_error *err)
{
	return each(net, &(struct bytes_call){.fn = fn, .arg = arg}, err);
}

int niwa_net_each_veth(struct niwa_net *net, int (*fn)(const char *name, void *arg), void *arg, struct niwa_error *err)
{
	return each(net, &(struct bytes_call){.name_fn = fn, .arg = arg}, err);
}

static int take_stats(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct if_stats_msg))
	{
		if (mnl_attr_get_type(attr) == IFLA_STATS_LINK_64)
			read_stats(attr, arg);
	}
	return 0;
}

int niwa_net_veth_bytes(struct niwa_net *net, const char *veth, uint64_t *ret_rx, uint64_t *ret_tx)
{
	struct ifreq ifr = {0};
	struct if_stats_msg *ism;
	struct nlmsghdr *nlh;
	struct entry e = {0};
	char buf[256];
	int r;

	if (strlen(veth) >= sizeof(ifr.ifr_name))
		return -ENODEV;
	memcpy(ifr.ifr_name, veth, strlen(veth));
	/* without locks (RTM_GETLINK by name waits for the RTNL), and any socket will do */
	if (ioctl(mnl_socket_get_fd(net->rt.sock), SIOCGIFINDEX, &ifr) < 0)
		return -errno;
	nlh = niwa_nl_put(&net->rt, buf, RTM_GETSTATS, 0);
	ism = niwa_nl_put_extra(nlh, sizeof(*ism));
	ism->ifindex = (uint32_t)ifr.ifr_ifindex;
	ism->filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
	r = niwa_nl_talk(&net->rt, nlh, take_stats, &e);
	if (r < 0)
		return r;
	*ret_rx = e.rx;
	*ret_tx = e.tx;
	return 0;
}

int niwa_net_veth_delete(struct niwa_net *net, const char *veth)
{
	struct nlmsghdr *nlh;
	struct ifinfomsg *ifi;
	char buf[256];

	if (strlen(veth) >= IF_NAMESIZE)
		return -ENODEV;
	nlh = niwa_nl_put(&net->rt, buf, RTM_DELLINK, 0);
	ifi = niwa_nl_put_extra(nlh, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, veth);
	return niwa_nl_talk(&net->rt, nlh, NULL, NULL);
}
