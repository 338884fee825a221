/* SPDX-License-Identifier: MIT
 *
 * The guard table: one chain of type nat with a rule that only looks at conntrack, in a table that belongs to a socket.
 * Nobody else can flush or delete it (NFT_TABLE_F_OWNER, Linux 5.12). The rule keeps conntrack at work, the chain keeps
 * the kernel translating the connections that it knows. Without it a foreign `nft flush ruleset` would have the next
 * packet of each open connection answered with a reset, until our table is back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "net/net_private.h"

#define GUARD_CHAIN   "keeps_translating"
#define GUARD_TABLE   NIWA_NET_TABLE "_guard"
#define PRIORITY_DNAT (-100)

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 0x2 /* Linux 5.12; Debian 12 has the older header */
#endif

static size_t put_table(struct niwa_nl *nl, void *buf)
{
	struct nlmsghdr *nlh =
		niwa_nl_put_nfnl(nl, buf, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFPROTO_INET);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, GUARD_TABLE);
	mnl_attr_put_u32(nlh, NFTA_TABLE_FLAGS, htonl(NFT_TABLE_F_OWNER));
	return nlh->nlmsg_len;
}

static size_t put_chain(struct niwa_nl *nl, void *buf)
{
	struct nlmsghdr *nlh =
		niwa_nl_put_nfnl(nl, buf, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET);
	struct nlattr *hook;

	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, GUARD_TABLE);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, GUARD_CHAIN);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "nat");
	hook = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
	mnl_attr_put_u32(nlh, NFTA_HOOK_HOOKNUM, htonl(NF_INET_PRE_ROUTING));
	mnl_attr_put_u32(nlh, NFTA_HOOK_PRIORITY, htonl((uint32_t)PRIORITY_DNAT));
	mnl_attr_nest_end(nlh, hook);
	return nlh->nlmsg_len;
}

static size_t put_rule(struct niwa_nl *nl, void *buf)
{
	struct nlmsghdr *nlh = niwa_nl_put_nfnl(nl, buf, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE,
						NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET);
	struct nlattr *list, *elem, *data;

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, GUARD_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, GUARD_CHAIN);
	list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, "ct");
	data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	mnl_attr_put_u32(nlh, NFTA_CT_KEY, htonl(NFT_CT_STATUS));
	mnl_attr_put_u32(nlh, NFTA_CT_DREG, htonl(NFT_REG_1));
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, elem);
	mnl_attr_nest_end(nlh, list);
	return nlh->nlmsg_len;
}

int niwa_net_guard_open(int *ret_fd, struct niwa_error *err)
{
	char buf[2048] __attribute__((aligned(8)));
	struct niwa_nl nl = {0};
	size_t len;
	int r, fd;

	r = niwa_nl_open(&nl, NETLINK_NETFILTER);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "open a netlink socket");
	len = niwa_nl_put_batch(&nl, buf, NFNL_MSG_BATCH_BEGIN);
	len += put_table(&nl, buf + len);
	len += put_chain(&nl, buf + len);
	len += put_rule(&nl, buf + len);
	len += niwa_nl_put_batch(&nl, buf + len, NFNL_MSG_BATCH_END);
	r = niwa_nl_batch(&nl, buf, len, NULL, NULL);
	fd = r < 0 ? r : fcntl(mnl_socket_get_fd(nl.sock), F_DUPFD_CLOEXEC, 0);
	if (r == 0 && fd < 0)
		r = -errno;
	niwa_nl_close(&nl);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "make the nftables table " GUARD_TABLE);
	*ret_fd = fd;
	return 0;
}
