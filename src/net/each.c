/* SPDX-License-Identifier: MIT
 *
 * Reading sets and maps. The dump is collected whole before the caller sees any of it, because it may be
 * interrupted and started again, and because the caller may want the socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/memory.h"
#include "net/elements_private.h"
#include "net/net_private.h"

struct collected {
	enum niwa_set set;
	struct niwa_net_element *list;
	size_t count, size;
};

static void restart(void *arg)
{
	struct collected *c = arg;

	c->count = 0;
}

static void copy_value(const struct nlattr *value, uint8_t *to, size_t len)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, value)
	{
		if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE && mnl_attr_get_payload_len(attr) == len)
			memcpy(to, mnl_attr_get_payload(attr), len);
	}
}

static void unpack_port(const uint8_t *from, uint32_t *addr, uint16_t *port)
{
	uint16_t be;

	memcpy(addr, from, sizeof(*addr));
	memcpy(&be, from + 4, sizeof(be));
	*port = ntohs(be);
}

/* An IPv6 address is told as the IPv4 one that it was made from. The length that is left. */
static size_t skip_prefix(const uint8_t **value, size_t len)
{
	const size_t prefix = NIWA_ULA_BITS / 8;

	if (len <= prefix)
		return len;
	*value += prefix;
	return len - prefix;
}

static int append(struct collected *c, const uint8_t *key, const uint8_t *data)
{
	struct niwa_net_element *e;
	size_t key_len, data_len;

	if (c->count == c->size) {
		size_t size = c->size ? c->size * 2 : 64;
		struct niwa_net_element *list = reallocarray(c->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		c->list = list;
		c->size = size;
	}
	e = &c->list[c->count++];
	memset(e, 0, sizeof(*e));
	key_len = skip_prefix(&key, niwa_set_infos[c->set].key_len);
	data_len = skip_prefix(&data, niwa_set_infos[c->set].data_len);
	if (key_len == 8)
		unpack_port(key, &e->addr, &e->port);
	else
		memcpy(&e->addr, key, sizeof(e->addr));
	if (data_len == 8)
		unpack_port(data, &e->to_addr, &e->to_port);
	else
		memcpy(&e->value, data, sizeof(e->value));
	return 0;
}

static int add_element(struct collected *c, const struct nlattr *elem)
{
	const struct niwa_set_info *info = &niwa_set_infos[c->set];
	uint8_t key[NIWA_ELEMENT_MAX] = {0}, data[NIWA_ELEMENT_MAX] = {0};
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, elem)
	{
		if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY)
			copy_value(attr, key, info->key_len);
		else if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_DATA)
			copy_value(attr, data, info->data_len);
	}
	return append(c, key, data);
}

static int collect(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr, *elem;
	int r = 0;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
			continue;
		mnl_attr_for_each_nested(elem, attr)
		{
			if (r == 0)
				r = add_element(arg, elem);
		}
	}
	return r;
}

static struct nlmsghdr *put_get(struct niwa_net *net, char *buf, enum niwa_set set, uint16_t flags)
{
	struct nlmsghdr *nlh =
		niwa_nl_put_nfnl(&net->nf, buf, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETSETELEM, flags, NFPROTO_INET);

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NIWA_NET_TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, niwa_set_infos[set].name);
	return nlh;
}

int niwa_element_get(struct niwa_net *net, enum niwa_set set, const uint8_t *key, struct niwa_net_element *ret)
{
	struct collected c = {.set = set};
	char buf[256];
	struct nlmsghdr *nlh = put_get(net, buf, set, 0);
	struct nlattr *list, *elem, *nest;
	int r;

	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	nest = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, niwa_set_infos[set].key_len, key);
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, elem);
	mnl_attr_nest_end(nlh, list);
	r = niwa_nl_talk(&net->nf, nlh, collect, &c);
	if (r == 0 && c.count)
		*ret = c.list[0];
	if (r == 0)
		r = c.count > 0;
	free(c.list);
	return r == -ENOENT ? 0 : r;
}

static int dump_set(struct niwa_net *net, struct collected *c)
{
	char buf[256];

	return niwa_nl_dump(&net->nf, put_get(net, buf, c->set, NLM_F_DUMP), collect, c, restart);
}

/* Behind what was collected before. */
static int dump_more(struct niwa_net *net, struct collected *c, size_t before)
{
	struct collected more = {.set = c->set};
	int r = dump_set(net, &more);

	for (size_t i = 0; i < more.count && r == 0; i++) {
		struct niwa_net_element *list = reallocarray(c->list, before + i + 1, sizeof(*list));

		if (!list) {
			r = -ENOMEM;
			break;
		}
		c->list = list;
		c->list[before + i] = more.list[i];
		c->count = c->size = before + i + 1;
	}
	free(more.list);
	return r;
}

static int knocked_clean(struct niwa_net *net, enum niwa_set knocked, enum niwa_set frozen)
{
	struct collected c = {.set = knocked};
	struct niwa_net_txn *t = NULL;
	uint8_t key[NIWA_ELEMENT_MAX];
	struct niwa_net_element e;
	int r;

	r = dump_set(net, &c);
	for (size_t i = 0; i < c.count && r >= 0; i++) {
		niwa_pack_addr(net, knocked, c.list[i].addr, key);
		r = niwa_element_get(net, frozen, key, &e);
		if (r != 0)
			continue;
		if (!t && !(t = niwa_net_txn_new(net)))
			r = -ENOMEM;
		else
			niwa_txn_put(t, knocked, NIWA_DEL, key, NULL);
	}
	free(c.list);
	if (r >= 0 && t)
		return niwa_net_commit(&t, NULL);
	niwa_net_txn_free(&t);
	return r < 0 ? r : 0;
}

int niwa_knocked_clean(struct niwa_net *net)
{
	int r = knocked_clean(net, NIWA_SET_KNOCKED, NIWA_SET_FROZEN);

	return r < 0 ? r : knocked_clean(net, NIWA_SET_KNOCKED6, NIWA_SET_FROZEN6);
}

int niwa_net_each(struct niwa_net *net, enum niwa_net_set set, int (*fn)(const struct niwa_net_element *e, void *arg),
		  void *arg, struct niwa_error *err)
{
	static const enum niwa_set sets[] = {
		[NIWA_NET_KNOCKED] = NIWA_SET_KNOCKED, [NIWA_NET_FROZEN] = NIWA_SET_FROZEN,
		[NIWA_NET_AWAKE] = NIWA_SET_AWAKE,     [NIWA_NET_DECLARED] = NIWA_SET_DECLARED,
		[NIWA_NET_MARK] = NIWA_SET_MARKS,
	};
	struct collected c = {.set = sets[set]};
	int r = dump_set(net, &c);

	if (r == 0 && set == NIWA_NET_KNOCKED) {
		size_t four = c.count;

		c.set = NIWA_SET_KNOCKED6;
		r = dump_more(net, &c, four);
	}
	if (r < 0)
		(void)niwa_fail(err, NIWA_TEMPORARY, -r, "read nftables set %s of table " NIWA_NET_TABLE,
				niwa_set_infos[c.set].name);
	for (size_t i = 0; i < c.count && r == 0; i++)
		r = fn(&c.list[i], arg);
	free(c.list);
	return r;
}
