/* SPDX-License-Identifier: MIT
 *
 * A transaction's way into the kernel: the hot path of waking. It becomes one batch, all or none. A batch that the
 * kernel refuses is dear (it waits for an RCU grace period, 15 ms), so what can be foreseen is: "delete if it is
 * there" is a message of its own since Linux 6.3, and small batches for older kernels ask first. What is refused all
 * the same (a large batch that finds other values) is named in the answers, put right and sent again. No copy of the
 * kernel's state is kept here.
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
#define SMALL            256 /* operations; up to here each is made sure of beforehand */
#define MESSAGE_ELEMENTS 384 /* a list of elements is an attribute: 64 KiB at most */
#define ELEMENT_MAX      128 /* bytes an element takes in a message, at most */
#define MESSAGE_MAX      128 /* a message without its elements */
#define MSG_DESTROY      30  /* NFT_MSG_DESTROYSETELEM, which older headers do not have */

/* A message of the batch: which operations are in it. */
struct message {
	uint32_t seq;
	size_t first, count;
	bool deleting;
};

struct batch {
	struct niwa_net *net;
	struct niwa_op *ops;
	size_t count; /* of operations */
	char *buf;
	size_t len, size;
	struct message *messages;
	size_t message_count;
	int error; /* of a refusal that cannot be put right */
	struct niwa_op *culprit;
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

static void put_element(struct nlmsghdr *nlh, const struct niwa_op *op, bool deleting)
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

static int message_type(const struct batch *b, const struct niwa_op *op, bool deleting)
{
	if (!deleting)
		return NFT_MSG_NEWSETELEM;
	return b->net->has_destroy && !op->flush ? MSG_DESTROY : NFT_MSG_DELSETELEM;
}

/* One message with the operations first .. first + count, all of one set and one kind. */
static int put_message(struct batch *b, size_t first, size_t count, bool deleting)
{
	const struct niwa_op *op = &b->ops[first];
	/* Without NLM_F_EXCL Linux 6.1 leaves out a range that overlaps another, and says nothing. */
	const uint16_t add = niwa_set_infos[op->set].interval ? NLM_F_CREATE | NLM_F_EXCL : NLM_F_CREATE;
	struct nlmsghdr *nlh;
	struct nlattr *list;
	int r;

	r = grow(b, MESSAGE_MAX + count * ELEMENT_MAX);
	if (r < 0)
		return r;
	nlh = niwa_nl_put_nfnl(&b->net->nf, b->buf + b->len, NFNL_SUBSYS_NFTABLES, message_type(b, op, deleting),
			       deleting ? 0 : add, NFPROTO_INET);
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

static bool same_message(const struct niwa_op *a, const struct niwa_op *b)
{
	return a->set == b->set && a->change == b->change && !b->alone && !b->replace && !b->done && !a->flush &&
	       !b->flush;
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
		const struct niwa_op *op = &b->ops[i];

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
	struct niwa_op *op;

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

/* For kernels that cannot delete or replace without looking: look. */
static int foresee(struct niwa_net *net, struct niwa_op *op)
{
	const bool map = niwa_set_infos[op->set].data_len != 0;
	struct niwa_net_element e;
	int r;

	if (op->flush || niwa_set_infos[op->set].interval || (op->change == NIWA_ADD && !map))
		return 0;
	if (net->has_destroy) {
		op->replace = map && op->change == NIWA_ADD;
		return 0;
	}
	r = niwa_element_get(net, op->set, op->key, &e);
	if (r < 0)
		return r;
	if (op->change == NIWA_DEL)
		op->done = r == 0;
	else
		op->replace = r == 1;
	return 0;
}

static int prepare(struct batch *b)
{
	struct niwa_net_element e;
	int r = 0;

	for (size_t i = 0; i < b->count && r >= 0; i++) {
		struct niwa_op *op = &b->ops[i];

		if (op->fresh) {
			r = niwa_element_get(b->net, op->set, op->key, &e);
			if (r == 1)
				op[0].done = op[-1].done = true; /* frozen since before, its knock counts */
		} else if (b->count <= SMALL && !op->done) {
			r = foresee(b->net, op);
		}
	}
	return r < 0 ? r : 0;
}

static int send_rounds(struct batch *b, struct niwa_error *err)
{
	int r = prepare(b);

	if (r < 0)
		return explain(b, r, err);
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

static int commit_part(struct niwa_net *net, struct niwa_op *ops, size_t count, struct niwa_error *err)
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
	struct niwa_op *op;
	int r = 0;

	if (!t)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "change the nftables table");
	if (t->net->loading) {
		op = niwa_txn_next(t, NIWA_SET_LOADING, NIWA_DEL);
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

int niwa_elements_open(struct niwa_net *net, struct niwa_error *err)
{
	struct niwa_op op = {.set = NIWA_SET_LOADING, .change = NIWA_DEL, .key = {IPPROTO_UDP}}; /* is never there */

	net->has_destroy = true;
	if (commit_part(net, &op, 1, NULL) == 0)
		return 0;
	net->has_destroy = false;
	return commit_part(net, &op, 1, err);
}

int niwa_elements_loaded(struct niwa_net *net, struct niwa_error *err)
{
	NIWA_AUTO(niwa_net_txn_free) struct niwa_net_txn *t = niwa_net_txn_new(net);

	return niwa_net_commit(&t, err);
}
