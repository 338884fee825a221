/* SPDX-License-Identifier: MIT
 *
 * Changes of elements: the hot path of waking. A transaction is collected here and given to the kernel as one
 * batch. Kernels before 6.3 cannot say "delete if it is there" and none can say "add or replace": the batch is sent
 * in the hope that nothing surprises, and what the kernel refused (all of it is named in the answers, and nothing
 * was changed) is put right and sent again. So the usual change costs one round and no copy of the kernel's state
 * is kept here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/fault.h"
#include "base/memory.h"
#include "net/elements_private.h"
#include "net/net_private.h"

#define ROUNDS_MAX       8
#define MESSAGE_ELEMENTS 512 /* a list of elements is an attribute: 64 KiB at most */
#define ELEMENT_MAX      96  /* bytes an element takes in a message, at most */
#define MESSAGE_MAX      128 /* a message without its elements */

const struct niwa_set_info niwa_set_infos[NIWA_SET_COUNT] = {
	[NIWA_SET_DECLARED] = {"declared", 8, 4, false},   [NIWA_SET_AWAKE] = {"awake", 8, 8, false},
	[NIWA_SET_PUBLISHED] = {"published", 8, 8, false}, [NIWA_SET_PUBLISHED_ANY] = {"published_any", 2, 8, false},
	[NIWA_SET_MARKS] = {"marks", 4, 4, false},         [NIWA_SET_MAY] = {"may", 8, 0, false},
	[NIWA_SET_FROZEN] = {"frozen", 4, 0, false},       [NIWA_SET_KNOCKED] = {"knocked", 4, 0, false},
	[NIWA_SET_EGRESS] = {"egress", 4, 0, false},       [NIWA_SET_EGRESS_LIST] = {"egress_list", 8, 0, true},
	[NIWA_SET_LOADING] = {"loading", 1, 0, false},
};

struct op {
	uint8_t set, change;
	bool alone;   /* a message of its own: the one it was in was refused */
	bool done;    /* nothing to do: it is not there */
	bool replace; /* delete first: it is there with another value */
	bool flush;   /* every element of the set, no key */
	bool fresh;   /* of `frozen`: when it is there already, leave it and the operation before alone */
	uint8_t key[8], key_end[8], data[8];
};

struct niwa_net_txn {
	struct niwa_net *net;
	struct op *ops;
	size_t count, size;
	bool failed;  /* out of memory */
	bool flushed; /* by niwa_net_flush_sets */
};

struct niwa_net_txn *niwa_net_txn_new(struct niwa_net *net)
{
	struct niwa_net_txn *t = niwa_zalloc(sizeof(*t));

	if (t)
		t->net = net;
	return t;
}

void niwa_net_txn_free(struct niwa_net_txn **txn)
{
	if (*txn)
		free((*txn)->ops);
	free(*txn);
	*txn = NULL;
}

/* The next operation, zeroed; NULL when memory is out (told at the commit). */
static struct op *next_op(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change change)
{
	struct op *op;

	if (!t || t->failed)
		return NULL;
	if (t->count == t->size) {
		size_t size = t->size ? t->size * 2 : 8;
		struct op *ops = reallocarray(t->ops, size, sizeof(*ops));

		if (!ops) {
			t->failed = true;
			return NULL;
		}
		t->ops = ops;
		t->size = size;
	}
	op = &t->ops[t->count++];
	memset(op, 0, sizeof(*op));
	op->set = (uint8_t)set;
	op->change = (uint8_t)change;
	return op;
}

void niwa_pack_port(uint8_t *to, uint32_t addr, uint16_t port)
{
	const uint16_t be = htons(port);

	memcpy(to, &addr, sizeof(addr));
	memcpy(to + 4, &be, sizeof(be));
}

void niwa_txn_put(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change change, const void *key, const void *data)
{
	struct op *op = next_op(t, set, change);

	if (!op)
		return;
	memcpy(op->key, key, niwa_set_infos[set].key_len);
	if (data)
		memcpy(op->data, data, niwa_set_infos[set].data_len);
}

void niwa_txn_fail(struct niwa_net_txn *t)
{
	t->failed = true;
}

struct niwa_net *niwa_txn_net(struct niwa_net_txn *t)
{
	return t->net;
}

static void pack_two(uint8_t *to, uint32_t first, uint32_t second)
{
	memcpy(to, &first, sizeof(first));
	memcpy(to + 4, &second, sizeof(second));
}

void niwa_net_declared(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t class_id)
{
	struct op *op = next_op(t, NIWA_SET_DECLARED, c);

	if (!op)
		return;
	niwa_pack_port(op->key, service, port);
	memcpy(op->data, &class_id, sizeof(class_id));
}

void niwa_net_awake(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t priv,
		    uint16_t priv_port)
{
	struct op *op = next_op(t, NIWA_SET_AWAKE, c);
	uint8_t to[8];

	if (!op)
		return;
	niwa_pack_port(op->key, service, port);
	niwa_pack_port(op->data, priv, priv_port);
	memcpy(to, op->data, sizeof(to)); /* the next operation may move this one */
	niwa_published_follow(t, c, service, port, to);
}

void niwa_net_mark(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t mark)
{
	struct op *op = next_op(t, NIWA_SET_MARKS, c);

	if (!op)
		return;
	memcpy(op->key, &priv, sizeof(priv));
	memcpy(op->data, &mark, sizeof(mark));
}

void niwa_net_may(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t class_id)
{
	struct op *op = next_op(t, NIWA_SET_MAY, c);

	if (op)
		pack_two(op->key, priv, class_id);
}

static void one_address(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change c, uint32_t priv)
{
	struct op *op = next_op(t, set, c);

	if (op)
		memcpy(op->key, &priv, sizeof(priv));
}

void niwa_net_frozen(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv)
{
	struct op *op;

	if (c == NIWA_ADD && !t->flushed) {
		one_address(t, NIWA_SET_KNOCKED, NIWA_DEL, priv);
		op = next_op(t, NIWA_SET_FROZEN, NIWA_ADD);
		if (!op)
			return;
		memcpy(op->key, &priv, sizeof(priv));
		op->fresh = true;
		return;
	}
	one_address(t, NIWA_SET_FROZEN, c, priv);
	if (c == NIWA_DEL)
		one_address(t, NIWA_SET_KNOCKED, NIWA_DEL, priv);
}

void niwa_net_egress(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv)
{
	one_address(t, NIWA_SET_EGRESS, c, priv);
}

void niwa_net_flush_sets(struct niwa_net_txn *t)
{
	static const enum niwa_set sets[] = {NIWA_SET_AWAKE,  NIWA_SET_PUBLISHED,  NIWA_SET_PUBLISHED_ANY,
					     NIWA_SET_MARKS,  NIWA_SET_MAY,        NIWA_SET_FROZEN,
					     NIWA_SET_EGRESS, NIWA_SET_EGRESS_LIST};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(sets); i++) {
		struct op *op = next_op(t, sets[i], NIWA_DEL);

		if (op)
			op->flush = true;
	}
	if (t)
		t->flushed = true;
}

/* True when op's prefix lies inside (or is) the other's. */
static bool inside(const struct op *op, const struct op *other)
{
	return memcmp(op->key + 4, other->key + 4, 4) >= 0 && memcmp(op->key_end + 4, other->key_end + 4, 4) <= 0;
}

/* The kernel refuses overlapping intervals; of two prefixes that overlap one holds the other. */
static void merge_prefix(struct niwa_net_txn *t, struct op *op)
{
	for (size_t i = t->count - 1; i-- > 0;) {
		struct op *other = &t->ops[i];

		if (other->set != NIWA_SET_EGRESS_LIST || other->change == NIWA_DEL ||
		    memcmp(op->key, other->key, 4) != 0)
			return;
		if (other->done)
			continue;
		if (inside(op, other))
			op->done = true;
		else if (inside(other, op))
			other->done = true;
	}
}

void niwa_net_egress_list(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t net, unsigned bits)
{
	struct op *op = next_op(t, NIWA_SET_EGRESS_LIST, c);
	const uint32_t mask = niwa_net_netmask(bits);

	if (!op)
		return;
	pack_two(op->key, priv, net & mask);
	pack_two(op->key_end, priv, net | ~mask);
	if (c == NIWA_ADD)
		merge_prefix(t, op);
}

/* --- the batch ------------------------------------------------------------------------------------------------ */

/* A message of the batch: which operations are in it. */
struct message {
	uint32_t seq;
	size_t first, count;
	bool deleting;
};

struct batch {
	struct niwa_net *net;
	struct op *ops;
	size_t count; /* of operations */
	char *buf;
	size_t len, size;
	struct message *messages;
	size_t message_count;
	int error; /* of a refusal that cannot be put right */
	struct op *culprit;
};

static int grow(struct batch *b, size_t need)
{
	size_t size = b->size ? b->size : 1024;
	char *buf;

	while (size < b->len + need)
		size *= 2;
	if (size == b->size)
		return 0;
	buf = realloc(b->buf, size);
	if (!buf)
		return -ENOMEM;
	b->buf = buf;
	b->size = size;
	return 0;
}

static void put_value(struct nlmsghdr *nlh, uint16_t type, const uint8_t *value, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, type);

	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(nlh, nest);
}

static void put_element(struct nlmsghdr *nlh, const struct op *op, bool deleting)
{
	const struct niwa_set_info *info = &niwa_set_infos[op->set];
	struct nlattr *nest = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);

	put_value(nlh, NFTA_SET_ELEM_KEY, op->key, info->key_len);
	if (info->interval)
		put_value(nlh, NFTA_SET_ELEM_KEY_END, op->key_end, info->key_len);
	if (info->data_len && !deleting)
		put_value(nlh, NFTA_SET_ELEM_DATA, op->data, info->data_len);
	mnl_attr_nest_end(nlh, nest);
}

/* One message with the operations first .. first + count, all of one set and one kind. */
static int put_message(struct batch *b, size_t first, size_t count, bool deleting)
{
	const struct op *op = &b->ops[first];
	struct nlmsghdr *nlh;
	struct nlattr *list;
	int r;

	r = grow(b, MESSAGE_MAX + count * ELEMENT_MAX);
	if (r < 0)
		return r;
	nlh = niwa_nl_put_nfnl(&b->net->nf, b->buf + b->len, NFNL_SUBSYS_NFTABLES,
			       deleting ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM,
			       deleting    ? 0
			       : op->fresh ? NLM_F_CREATE | NLM_F_EXCL
					   : NLM_F_CREATE,
			       NFPROTO_INET);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NIWA_NET_TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, niwa_set_infos[op->set].name);
	if (!op->flush) { /* without a list all elements are meant */
		list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
		for (size_t i = first; i < first + count; i++)
			if (!b->ops[i].done)
				put_element(nlh, &b->ops[i], deleting);
		mnl_attr_nest_end(nlh, list);
	}
	b->len += nlh->nlmsg_len;
	b->messages[b->message_count++] =
		(struct message){.seq = nlh->nlmsg_seq, .first = first, .count = count, .deleting = deleting};
	return 0;
}

static bool same_message(const struct op *a, const struct op *b)
{
	return a->set == b->set && a->change == b->change && !b->alone && !b->replace && !b->done && !a->flush &&
	       !b->flush && !a->fresh && !b->fresh;
}

static int put_all(struct batch *b)
{
	int r = 0;

	b->len = 0;
	b->message_count = 0;
	r = grow(b, MESSAGE_MAX);
	if (r < 0)
		return r;
	b->len = niwa_nl_put_batch(&b->net->nf, b->buf, NFNL_MSG_BATCH_BEGIN);
	for (size_t i = 0, n; i < b->count && r == 0; i += n) {
		const struct op *op = &b->ops[i];

		n = 1;
		if (op->done)
			continue;
		if (!op->alone && !op->replace)
			while (i + n < b->count && n < MESSAGE_ELEMENTS && same_message(op, &b->ops[i + n]))
				n++;
		if (op->replace)
			r = put_message(b, i, 1, true);
		if (r == 0)
			r = put_message(b, i, n, op->change == NIWA_DEL);
	}
	if (r == 0)
		r = grow(b, MESSAGE_MAX);
	if (r == 0)
		b->len += niwa_nl_put_batch(&b->net->nf, b->buf + b->len, NFNL_MSG_BATCH_END);
	return r;
}

/* What the refusal of a message means for the next round. */
static void refused(uint32_t seq, int error, void *arg)
{
	struct batch *b = arg;
	const struct message *m;
	struct op *op;

	if (seq - b->messages[0].seq >= b->message_count) { /* they are numbered without a gap */
		b->error = error;                           /* of the whole batch */
		return;
	}
	m = &b->messages[seq - b->messages[0].seq];
	op = &b->ops[m->first];
	if (m->count > 1 && (error == -ENOENT || error == -EBUSY || error == -EEXIST)) {
		for (size_t i = 0; i < m->count; i++)
			op[i].alone = true;
		return;
	}
	if (m->deleting && error == -ENOENT && op->replace)
		op->replace = false; /* it has gone in between */
	else if (m->deleting && error == -ENOENT)
		op->done = true;
	else if (op->fresh && error == -EEXIST)
		op[0].done = op[-1].done = true; /* frozen since before, its knock counts */
	else if (!m->deleting && !op->replace && niwa_set_infos[op->set].data_len && error != -ENOENT)
		op->replace = true; /* EBUSY or EEXIST: there, with another value */
	else if (b->error == 0) {
		b->error = error;
		b->culprit = op;
	}
}

static int explain(const struct batch *b, int r, struct niwa_error *err)
{
	if (b->culprit)
		return niwa_fail(err, r == -ENOENT ? NIWA_TEMPORARY : NIWA_PERMANENT, -r,
				 "change nftables set %s of table " NIWA_NET_TABLE "%s",
				 niwa_set_infos[b->culprit->set].name,
				 r == -EEXIST ? " (the address range overlaps one that is there)" : "");
	return niwa_fail(err, NIWA_TEMPORARY, -r, "change %zu elements of the nftables table " NIWA_NET_TABLE,
			 b->count);
}

static int send_rounds(struct batch *b, struct niwa_error *err)
{
	int r = -EAGAIN;

	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		r = put_all(b);
		if (r < 0)
			return niwa_fail(err, NIWA_TEMPORARY, -r, "build a change of the nftables table");
		if (b->message_count == 0)
			return 0;
		r = niwa_nl_batch(&b->net->nf, b->buf, b->len, refused, b);
		if (r == 0)
			return 0;
		if (r != -EREMOTEIO)
			return explain(b, r, err);
		if (b->error)
			return explain(b, b->error, err);
	}
	return explain(b, -EAGAIN, err);
}

static int commit_part(struct niwa_net *net, struct op *ops, size_t count, struct niwa_error *err)
{
	struct batch b = {.net = net, .ops = ops, .count = count};
	int r;

	b.messages = niwa_zalloc(2 * count * sizeof(*b.messages)); /* a replacement takes two */
	if (!b.messages)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "change the nftables table");
	r = niwa_fault("net-commit");
	if (r < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, -r, "change the nftables table");
	else
		r = send_rounds(&b, err);
	free(b.buf);
	free(b.messages);
	return r;
}

int niwa_net_commit(struct niwa_net_txn **txn, struct niwa_error *err)
{
	NIWA_AUTO(niwa_net_txn_free) struct niwa_net_txn *t = NIWA_TAKE(*txn);
	struct op *op;
	int r = 0;

	if (!t)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "change the nftables table");
	if (t->net->loading) {
		op = next_op(t, NIWA_SET_LOADING, NIWA_DEL);
		if (op)
			op->key[0] = IPPROTO_TCP;
	}
	if (t->failed)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "change the nftables table");
	for (size_t i = 0; i < t->count && r == 0; i += NIWA_NET_TXN_MAX) {
		size_t left = t->count - i;

		r = commit_part(t->net, t->ops + i, left < NIWA_NET_TXN_MAX ? left : NIWA_NET_TXN_MAX, err);
	}
	if (r < 0)
		return r;
	t->net->loading = false;
	if (t->flushed && (r = niwa_knocked_clean(t->net)) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "clean the nftables set knocked");
	return niwa_published_sync(t->net, err);
}

int niwa_elements_loaded(struct niwa_net *net, struct niwa_error *err)
{
	NIWA_AUTO(niwa_net_txn_free) struct niwa_net_txn *t = niwa_net_txn_new(net);

	return niwa_net_commit(&t, err);
}
