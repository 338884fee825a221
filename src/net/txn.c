/* SPDX-License-Identifier: MIT
 *
 * Transactions: the changes a caller wants, in order, as keys and values the way the kernel has them. Nothing is sent
 * here (elements.c does).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/memory.h"
#include "net/elements_private.h"
#include "net/net_private.h"

const struct niwa_set_info niwa_set_infos[NIWA_SET_COUNT] = {
	[NIWA_SET_DECLARED] = {"declared", 8, 4, false},
	[NIWA_SET_AWAKE] = {"awake", 8, 8, false},
	[NIWA_SET_SCALED] = {"scaled", 8, 0, false},
	[NIWA_SET_SPREAD] = {"spread", 8, 4, false},
	[NIWA_SET_PUBLISHED] = {"published", 8, 8, false},
	[NIWA_SET_PUBLISHED_ANY] = {"published_any", 2, 8, false},
	[NIWA_SET_MARKS] = {"marks", 4, 4, false},
	[NIWA_SET_MAY] = {"may", 8, 0, false},
	[NIWA_SET_FROZEN] = {"frozen", 4, 0, false},
	[NIWA_SET_KNOCKED] = {"knocked", 4, 0, false},
	[NIWA_SET_EGRESS] = {"egress", 4, 0, false},
	[NIWA_SET_EGRESS_LIST] = {"egress_list", 8, 0, true},
	[NIWA_SET_EGRESS_NAMES] = {"egress_names", 8, 0, false},
	[NIWA_SET_CLIENT_FIRST] = {"client_first", 8, 0, false},
	[NIWA_SET_DECLARED6] = {"declared6", 20, 4, false},
	[NIWA_SET_AWAKE6] = {"awake6", 20, 20, false},
	[NIWA_SET_SCALED6] = {"scaled6", 20, 0, false},
	[NIWA_SET_SPREAD6] = {"spread6", 20, 16, false},
	[NIWA_SET_MARKS6] = {"marks6", 16, 4, false},
	[NIWA_SET_MAY6] = {"may6", 20, 0, false},
	[NIWA_SET_FROZEN6] = {"frozen6", 16, 0, false},
	[NIWA_SET_CLIENT_FIRST6] = {"client_first6", 20, 0, false},
	[NIWA_SET_KNOCKED6] = {"knocked6", 16, 0, false},
	[NIWA_SET_PUBLISHED6] = {"published6", 20, 20, false},
	[NIWA_SET_PUBLISHED_ANY6] = {"published_any6", 2, 20, false},
	[NIWA_SET_EGRESS6] = {"egress6", 16, 0, false},
	[NIWA_SET_EGRESS_LIST6] = {"egress_list6", 32, 0, true},
	[NIWA_SET_EGRESS_NAMES6] = {"egress_names6", 32, 0, false},
	[NIWA_SET_LOADING] = {"loading", 1, 0, false},
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

struct niwa_op *niwa_txn_next(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change change)
{
	struct niwa_op *op;

	if (!t || t->failed)
		return NULL;
	if (t->count == t->size) {
		size_t size = t->size ? t->size * 2 : 8;
		struct niwa_op *ops = reallocarray(t->ops, size, sizeof(*ops));

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

/* An address at the beginning of a key or value; what of it is written. */
static size_t pack(const struct niwa_net *net, size_t len, enum niwa_ula_net kind, uint32_t addr, uint8_t *to)
{
	if (len < 16) {
		memcpy(to, &addr, sizeof(addr));
		return sizeof(addr);
	}
	niwa_ula_make(&net->config.ula, kind, addr, to);
	return 16;
}

void niwa_pack_addr(const struct niwa_net *net, enum niwa_set set, uint32_t addr, uint8_t *key)
{
	(void)pack(net, niwa_set_infos[set].key_len, NIWA_ULA_PRIVATE, addr, key);
}

/* The IPv6 half of a change: address, what stands behind it in the key, value. */
struct twin {
	enum niwa_set set;
	enum niwa_ula_net net;
	uint32_t addr;
	const void *rest; /* 4 bytes as the kernel has them, or NULL */
	const void *data;
};

static struct niwa_op *put_twin(struct niwa_net_txn *t, enum niwa_change c, const struct twin *twin)
{
	struct niwa_op *op = t && t->net->config.ula.on ? niwa_txn_next(t, twin->set, c) : NULL;
	size_t at;

	if (!op)
		return NULL;
	at = pack(t->net, niwa_set_infos[twin->set].key_len, twin->net, twin->addr, op->key);
	if (twin->rest)
		memcpy(op->key + at, twin->rest, 4);
	if (twin->data)
		memcpy(op->data, twin->data, niwa_set_infos[twin->set].data_len);
	return op;
}

/* A port as it stands in a key: padded. */
static uint32_t padded(uint16_t port)
{
	const uint16_t be = htons(port);
	uint32_t ret = 0;

	memcpy(&ret, &be, sizeof(be));
	return ret;
}

void niwa_txn_put(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change change, const void *key, const void *data)
{
	struct niwa_op *op = niwa_txn_next(t, set, change);

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
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_DECLARED, c);
	const uint32_t be = padded(port);

	if (!op)
		return;
	niwa_pack_port(op->key, service, port);
	memcpy(op->data, &class_id, sizeof(class_id));
	(void)put_twin(t, c, &(struct twin){NIWA_SET_DECLARED6, NIWA_ULA_SERVICE, service, &be, &class_id});
}

void niwa_net_awake(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t priv,
		    uint16_t priv_port)
{
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_AWAKE, c);
	uint8_t to[8] = {0};

	if (!op)
		return;
	niwa_pack_port(op->key, service, port);
	niwa_pack_port(to, priv, priv_port);
	memcpy(op->data, to, sizeof(to));
	niwa_published_follow(t, c, NIWA_IPV4, (struct niwa_end){service, port}, to);
}

void niwa_net_awake6(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t priv,
		     uint16_t priv_port)
{
	const uint32_t be = padded(port), to = padded(priv_port);
	uint8_t data[NIWA_VALUE_MAX];

	if (!t)
		return;
	niwa_ula_make(&t->net->config.ula, NIWA_ULA_PRIVATE, priv, data);
	memcpy(data + 16, &to, sizeof(to));
	if (put_twin(t, c, &(struct twin){NIWA_SET_AWAKE6, NIWA_ULA_SERVICE, service, &be, data}))
		niwa_published_follow(t, c, NIWA_IPV6, (struct niwa_end){service, port}, data);
}

void niwa_net_scaled(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port)
{
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_SCALED, c);

	if (op)
		niwa_pack_port(op->key, service, port);
}

void niwa_net_scaled6(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port)
{
	const uint32_t be = padded(port);

	(void)put_twin(t, c, &(struct twin){NIWA_SET_SCALED6, NIWA_ULA_SERVICE, service, &be, NULL});
}

void niwa_net_spread(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, unsigned bucket, uint32_t priv)
{
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_SPREAD, c);
	const uint32_t number = bucket;
	uint8_t data[NIWA_VALUE_MAX];

	if (!op)
		return;
	pack_two(op->key, service, number); /* numgen counts in the host's byte order */
	memcpy(op->data, &priv, sizeof(priv));
	niwa_ula_make(&t->net->config.ula, NIWA_ULA_PRIVATE, priv, data);
	(void)put_twin(t, c, &(struct twin){NIWA_SET_SPREAD6, NIWA_ULA_SERVICE, service, &number, data});
}

void niwa_net_mark(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t mark)
{
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_MARKS, c);

	if (!op)
		return;
	memcpy(op->key, &priv, sizeof(priv));
	memcpy(op->data, &mark, sizeof(mark));
	(void)put_twin(t, c, &(struct twin){NIWA_SET_MARKS6, NIWA_ULA_PRIVATE, priv, NULL, &mark});
}

void niwa_net_may(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t class_id)
{
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_MAY, c);

	if (op)
		pack_two(op->key, priv, class_id);
	(void)put_twin(t, c, &(struct twin){NIWA_SET_MAY6, NIWA_ULA_PRIVATE, priv, &class_id, NULL});
}

static void one_address(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change c, uint32_t priv)
{
	struct niwa_op *op = niwa_txn_next(t, set, c);

	if (op)
		memcpy(op->key, &priv, sizeof(priv));
}

static void frozen6(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, bool fresh)
{
	const struct twin frozen = {NIWA_SET_FROZEN6, NIWA_ULA_PRIVATE, priv, NULL, NULL};
	const struct twin knocked = {NIWA_SET_KNOCKED6, NIWA_ULA_PRIVATE, priv, NULL, NULL};
	struct niwa_op *op;

	if (fresh || c == NIWA_DEL)
		(void)put_twin(t, NIWA_DEL, &knocked);
	op = put_twin(t, c, &frozen);
	if (op)
		op->fresh = fresh;
}

void niwa_net_frozen(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv)
{
	struct niwa_op *op;

	if (c == NIWA_ADD && !t->flushed) {
		one_address(t, NIWA_SET_KNOCKED, NIWA_DEL, priv);
		op = niwa_txn_next(t, NIWA_SET_FROZEN, NIWA_ADD);
		if (!op)
			return;
		memcpy(op->key, &priv, sizeof(priv));
		op->fresh = true;
		frozen6(t, c, priv, true);
		return;
	}
	one_address(t, NIWA_SET_FROZEN, c, priv);
	if (c == NIWA_DEL)
		one_address(t, NIWA_SET_KNOCKED, NIWA_DEL, priv);
	frozen6(t, c, priv, false);
}

void niwa_net_client_first(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint16_t priv_port)
{
	uint8_t key[8] = {0};

	niwa_pack_port(key, priv, priv_port);
	niwa_txn_put(t, NIWA_SET_CLIENT_FIRST, c, key, NULL);
	(void)put_twin(t, c, &(struct twin){NIWA_SET_CLIENT_FIRST6, NIWA_ULA_PRIVATE, priv, key + 4, NULL});
}

void niwa_net_egress(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv)
{
	one_address(t, NIWA_SET_EGRESS, c, priv);
	(void)put_twin(t, c, &(struct twin){NIWA_SET_EGRESS6, NIWA_ULA_PRIVATE, priv, NULL, NULL});
}

void niwa_net_egress_names(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t server)
{
	uint8_t key[8];

	pack_two(key, priv, server);
	niwa_txn_put(t, NIWA_SET_EGRESS_NAMES, c, key, NULL);
}

void niwa_net_egress_names6(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, const uint8_t server[16])
{
	struct niwa_op *op = put_twin(t, c, &(struct twin){NIWA_SET_EGRESS_NAMES6, NIWA_ULA_PRIVATE, priv, NULL, NULL});

	if (op)
		memcpy(op->key + 16, server, 16);
}

void niwa_net_flush_sets(struct niwa_net_txn *t)
{
	struct niwa_op *op;

	static const enum niwa_set sets[] = {
		NIWA_SET_AWAKE,          NIWA_SET_SCALED,      NIWA_SET_SPREAD,        NIWA_SET_PUBLISHED,
		NIWA_SET_PUBLISHED_ANY,  NIWA_SET_MARKS,       NIWA_SET_MAY,           NIWA_SET_FROZEN,
		NIWA_SET_EGRESS,         NIWA_SET_EGRESS_LIST, NIWA_SET_EGRESS_NAMES,  NIWA_SET_CLIENT_FIRST,
		NIWA_SET_AWAKE6,         NIWA_SET_SCALED6,     NIWA_SET_SPREAD6,       NIWA_SET_MARKS6,
		NIWA_SET_MAY6,           NIWA_SET_FROZEN6,     NIWA_SET_CLIENT_FIRST6, NIWA_SET_PUBLISHED6,
		NIWA_SET_PUBLISHED_ANY6, NIWA_SET_EGRESS6,     NIWA_SET_EGRESS_LIST6,  NIWA_SET_EGRESS_NAMES6};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(sets); i++) {
		op = niwa_txn_next(t, sets[i], NIWA_DEL);
		if (op)
			op->flush = true;
	}
	if (t && !t->net->config.ula.on && (op = niwa_txn_next(t, NIWA_SET_DECLARED6, NIWA_DEL)))
		op->flush = true; /* of a time with IPv6: nobody deletes them one by one any more */
	if (t)
		t->flushed = true;
}

/* True when op's prefix lies inside (or is) the other's. len: of an address. */
static bool inside(const struct niwa_op *op, const struct niwa_op *other, size_t len)
{
	return memcmp(op->key + len, other->key + len, len) >= 0 &&
	       memcmp(op->key_end + len, other->key_end + len, len) <= 0;
}

/* The kernel refuses overlapping intervals; of two prefixes that overlap one holds the other. */
static void merge_prefix(struct niwa_net_txn *t, struct niwa_op *op)
{
	const size_t len = niwa_set_infos[op->set].key_len / 2;

	for (size_t i = t->count - 1; i-- > 0;) {
		struct niwa_op *other = &t->ops[i];

		if ((other->set != NIWA_SET_EGRESS_LIST && other->set != NIWA_SET_EGRESS_LIST6) ||
		    other->change == NIWA_DEL)
			return;
		if (other->set != op->set || other->done) /* the other family's stand between */
			continue;
		if (memcmp(op->key, other->key, len) != 0)
			return;
		if (inside(op, other, len))
			op->done = true;
		else if (inside(other, op, len))
			other->done = true;
	}
}

void niwa_net_egress_list(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t net, unsigned bits)
{
	struct niwa_op *op = niwa_txn_next(t, NIWA_SET_EGRESS_LIST, c);
	const uint32_t mask = niwa_net_netmask(bits);

	if (!op)
		return;
	pack_two(op->key, priv, net & mask);
	pack_two(op->key_end, priv, net | ~mask);
	if (c == NIWA_ADD)
		merge_prefix(t, op);
}

/* The bits of byte number at that belong to the prefix. */
static uint8_t mask_at(unsigned at, unsigned bits)
{
	const unsigned before = at * 8;

	if (bits >= before + 8)
		return 0xff;
	return bits <= before ? 0 : (uint8_t)(0xff00 >> (bits - before));
}

void niwa_net_egress_list6(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, const uint8_t net[16],
			   unsigned bits)
{
	struct niwa_op *op = put_twin(t, c, &(struct twin){NIWA_SET_EGRESS_LIST6, NIWA_ULA_PRIVATE, priv, NULL, NULL});

	if (!op)
		return;
	memcpy(op->key_end, op->key, 16);
	for (unsigned at = 0; at < 16; at++) {
		op->key[16 + at] = net[at] & mask_at(at, bits);
		op->key_end[16 + at] = (uint8_t)(net[at] | ~mask_at(at, bits));
	}
	if (c == NIWA_ADD)
		merge_prefix(t, op);
}
