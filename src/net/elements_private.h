/* SPDX-License-Identifier: MIT
 *
 * The sets and maps of the table, for those who write them (elements.c) and read them (each.c).
 */
#ifndef NIWA_NET_ELEMENTS_PRIVATE_H
#define NIWA_NET_ELEMENTS_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "net/wake.h"

enum niwa_set {
	NIWA_SET_DECLARED,
	NIWA_SET_AWAKE,
	NIWA_SET_SCALED,
	NIWA_SET_SPREAD,
	NIWA_SET_PUBLISHED,     /* by address and port */
	NIWA_SET_PUBLISHED_ANY, /* by port */
	NIWA_SET_MARKS,
	NIWA_SET_MAY,
	NIWA_SET_FROZEN,
	NIWA_SET_CLIENT_FIRST,
	NIWA_SET_KNOCKED,
	NIWA_SET_EGRESS,
	NIWA_SET_EGRESS_LIST,
	NIWA_SET_EGRESS_NAMES,
	NIWA_SET_DECLARED6, /* those of IPv6 */
	NIWA_SET_AWAKE6,
	NIWA_SET_SCALED6,
	NIWA_SET_SPREAD6,
	NIWA_SET_MARKS6,
	NIWA_SET_MAY6,
	NIWA_SET_FROZEN6,
	NIWA_SET_CLIENT_FIRST6,
	NIWA_SET_KNOCKED6,
	NIWA_SET_PUBLISHED6,
	NIWA_SET_PUBLISHED_ANY6,
	NIWA_SET_EGRESS6,
	NIWA_SET_EGRESS_LIST6,
	NIWA_SET_EGRESS_NAMES6,
	NIWA_SET_LOADING,
	NIWA_SET_COUNT,
};

struct niwa_set_info {
	const char *name;
	uint8_t key_len, data_len; /* bytes; data 0: a set */
	bool interval;
};
extern const struct niwa_set_info niwa_set_infos[NIWA_SET_COUNT];

#define NIWA_ELEMENT_MAX 32 /* bytes of a key: two IPv6 addresses */
#define NIWA_VALUE_MAX   20 /* an IPv6 address and a port */

/* One change. */
struct niwa_op {
	uint8_t set, change;
	bool alone;   /* a message of its own: the one it was in was refused */
	bool done;    /* nothing to do */
	bool replace; /* delete first: it is there with another value */
	bool flush;   /* every element of the set, no key */
	bool fresh;   /* of `frozen`: when it is there already, leave it and the operation before alone */
	uint8_t key[NIWA_ELEMENT_MAX];
	union {
		uint8_t key_end[NIWA_ELEMENT_MAX]; /* intervals have no value */
		uint8_t data[NIWA_VALUE_MAX];
	};
};

struct niwa_net_txn {
	struct niwa_net *net;
	struct niwa_op *ops;
	size_t count, size;
	bool failed;  /* out of memory */
	bool flushed; /* by niwa_net_flush_sets */
};

/* The next operation, zeroed; NULL when memory is out (told at the commit). */
struct niwa_op *niwa_txn_next(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change change);
/* An operation added to a transaction by another file; key and data as the kernel has them. */
void niwa_txn_put(struct niwa_net_txn *t, enum niwa_set set, enum niwa_change change, const void *key,
		  const void *data);
void niwa_txn_fail(struct niwa_net_txn *t); /* out of memory: told at the commit */
struct niwa_net *niwa_txn_net(struct niwa_net_txn *t);
/* Concatenations have each part padded to four bytes; a port stands in front of its padding. */
void niwa_pack_port(uint8_t *to, uint32_t addr, uint16_t port);

/* The key of one address in such a set, in its family. key: NIWA_ELEMENT_MAX. */
void niwa_pack_addr(const struct niwa_net *net, enum niwa_set set, uint32_t addr, uint8_t *key);

/* each.c: the value of one key. 1: found, 0: not there, -errno. */
int niwa_element_get(struct niwa_net *net, enum niwa_set set, const uint8_t *key, struct niwa_net_element *ret);
/* each.c: deletes from `knocked` what is not in `frozen`. */
int niwa_knocked_clean(struct niwa_net *net);

/* published.c: adds the changes of the ports that are published for a service port, for connections that come by
 * this family. to: the value as the kernel has it, not a part of the transaction. */
enum niwa_family { NIWA_IPV4, NIWA_IPV6 };
struct niwa_end {
	uint32_t addr; /* IPv4; that of IPv6 is made of it */
	uint16_t port;
};
void niwa_published_follow(struct niwa_net_txn *t, enum niwa_change change, enum niwa_family family,
			   struct niwa_end service, const uint8_t *to);
/* Entries of what was published in this transaction: those of apps that are awake, in a transaction of their own. */
int niwa_published_sync(struct niwa_net *net, struct niwa_error *err);

#endif
