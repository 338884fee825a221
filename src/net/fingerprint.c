/* SPDX-License-Identifier: MIT
 *
 * Has anybody changed our table? A hash over its rules as the kernel gives them, and over the names and handles of
 * its sets and chains. Elements and counters are not in it.
 */
#include <string.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "net/net_private.h"

#define FNV_START 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

struct hash {
	uint64_t start, value;
};

static void hash_bytes(struct hash *h, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		h->value = (h->value ^ p[i]) * FNV_PRIME;
}

static void restart(void *arg)
{
	struct hash *h = arg;

	h->value = h->start;
}

static bool ours(const struct nlmsghdr *nlh)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		/* the table's name is attribute 1 of rules, chains and sets alike */
		if (mnl_attr_get_type(attr) == NFTA_RULE_TABLE)
			return strcmp(mnl_attr_get_str(attr), NIWA_NET_TABLE) == 0;
	}
	return false;
}

static int add_rule(const struct nlmsghdr *nlh, void *arg)
{
	if (ours(nlh))
		hash_bytes(arg, mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)),
			   nlh->nlmsg_len - MNL_NLMSG_HDRLEN - sizeof(struct nfgenmsg));
	return 0;
}

static int add_named(const struct nlmsghdr *nlh, void *arg, uint16_t name, uint16_t handle)
{
	const struct nlattr *attr;

	if (!ours(nlh))
		return 0;
	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == name || mnl_attr_get_type(attr) == handle)
			hash_bytes(arg, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
	}
	return 0;
}

static int add_chain(const struct nlmsghdr *nlh, void *arg)
{
	return add_named(nlh, arg, NFTA_CHAIN_NAME, NFTA_CHAIN_HANDLE);
}

static int add_set(const struct nlmsghdr *nlh, void *arg)
{
	return add_named(nlh, arg, NFTA_SET_NAME, NFTA_SET_HANDLE);
}

int niwa_ruleset_fingerprint(struct niwa_nl *nf, uint64_t *ret)
{
	static const struct {
		int msg;
		niwa_nl_fn *fn;
	} dumps[] = {{NFT_MSG_GETRULE, add_rule}, {NFT_MSG_GETCHAIN, add_chain}, {NFT_MSG_GETSET, add_set}};
	struct hash h = {.start = FNV_START};
	char buf[256];
	int r;

	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		struct nlmsghdr *nlh =
			niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_NFTABLES, dumps[i].msg, NLM_F_DUMP, NFPROTO_INET);

		mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, NIWA_NET_TABLE);
		r = niwa_nl_dump(nf, nlh, dumps[i].fn, &h, restart);
		if (r == -ENOENT)
			break; /* the dump of sets says so, the others end empty */
		if (r < 0)
			return r;
		h.start = h.value;
	}
	*ret = h.value;
	return h.value == FNV_START ? -ENOENT : 0;
}
