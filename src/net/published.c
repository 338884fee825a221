/* SPDX-License-Identifier: MIT
 *
 * Ports published on the host's addresses. Two look-ups in a row, host address . port → service address . port →
 * instance, so that `published` never changes when an app wakes or sleeps; nft's language has no words for it.
 * While these rules are missing (between two transactions at start) the relay's own listeners serve.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include "base/memory.h"
#include "net/net_private.h"

#define CHAIN        "published_ports"
#define OFFSET_DADDR 16
#define OFFSET_DPORT 2
#define BUF          4096

/* Registers of 4 bytes: the first key, the service address and port, the instance's address and port. */
enum { REG_ADDR = NFT_REG32_00, REG_PORT = NFT_REG32_01, REG_SERVICE = NFT_REG_2, REG_TO = NFT_REG_3 };
#define REG_TO_PORT NFT_REG32_09

static struct nftnl_expr *add(struct nftnl_rule *rule, const char *name)
{
	struct nftnl_expr *e = nftnl_expr_alloc(name);

	if (e)
		nftnl_rule_add_expr(rule, e);
	return e;
}

static int add_payload(struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	struct nftnl_expr *e = add(rule, "payload");

	if (!e)
		return -ENOMEM;
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg);
	return 0;
}

static int add_lookup(struct nftnl_rule *rule, const char *map, uint32_t from, uint32_t to)
{
	struct nftnl_expr *e = add(rule, "lookup");

	if (!e)
		return -ENOMEM;
	nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, map);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, from);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, to);
	return 0;
}

static int add_dnat(struct nftnl_rule *rule)
{
	struct nftnl_expr *e = add(rule, "nat");

	if (!e)
		return -ENOMEM;
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, REG_TO);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, REG_TO_PORT);
	return 0;
}

/* fib daddr type local, then 0.0.0.0 as the address looked up */
static int add_any_address(struct nftnl_rule *rule)
{
	const uint32_t local = RTN_LOCAL, any = INADDR_ANY;
	struct nftnl_expr *fib, *cmp, *imm;

	fib = add(rule, "fib");
	cmp = fib ? add(rule, "cmp") : NULL;
	imm = cmp ? add(rule, "immediate") : NULL;
	if (!imm)
		return -ENOMEM;
	nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
	nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_DREG, REG_ADDR);
	nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_SREG, REG_ADDR);
	nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_OP, NFT_CMP_EQ);
	nftnl_expr_set(cmp, NFTNL_EXPR_CMP_DATA, &local, sizeof(local));
	nftnl_expr_set_u32(imm, NFTNL_EXPR_IMM_DREG, REG_ADDR);
	nftnl_expr_set(imm, NFTNL_EXPR_IMM_DATA, &any, sizeof(any));
	return 0;
}

static int add_address(struct nftnl_rule *rule)
{
	return add_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DADDR, 4, REG_ADDR);
}

static void free_rule(struct nftnl_rule **rule)
{
	if (*rule)
		nftnl_rule_free(*rule);
}

/* The callers' chain has checked that this is TCP over IPv4. */
static int add_rule(struct niwa_nl *nf, char *pos, int (*address)(struct nftnl_rule *), uint32_t *ret_len)
{
	NIWA_AUTO(free_rule) struct nftnl_rule *rule = nftnl_rule_alloc();
	struct nlmsghdr *nlh;
	int r;

	if (!rule)
		return -ENOMEM;
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, NIWA_NET_TABLE);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, CHAIN);
	r = address(rule);
	if (r == 0)
		r = add_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DPORT, 2, REG_PORT);
	if (r == 0)
		r = add_lookup(rule, "published", REG_ADDR, REG_SERVICE);
	if (r == 0)
		r = add_lookup(rule, "awake", REG_SERVICE, REG_TO);
	if (r == 0)
		r = add_dnat(rule);
	if (r < 0)
		return r;
	nlh = nftnl_nlmsg_build_hdr(pos, NFT_MSG_NEWRULE, NFPROTO_INET, NLM_F_CREATE | NLM_F_APPEND, ++nf->seq);
	nftnl_rule_nlmsg_build_payload(nlh, rule);
	*ret_len = nlh->nlmsg_len;
	return 0;
}

int niwa_published_rules(struct niwa_nl *nf)
{
	char buf[BUF] __attribute__((aligned(8)));
	size_t len;
	uint32_t n;
	int r;

	len = niwa_nl_put_batch(nf, buf, NFNL_MSG_BATCH_BEGIN);
	r = add_rule(nf, buf + len, add_address, &n);
	if (r < 0)
		return r;
	len += n;
	r = add_rule(nf, buf + len, add_any_address, &n);
	if (r < 0)
		return r;
	len += n;
	len += niwa_nl_put_batch(nf, buf + len, NFNL_MSG_BATCH_END);
	return niwa_nl_batch(nf, buf, len, NULL, NULL);
}
