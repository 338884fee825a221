/* SPDX-License-Identifier: MIT
 *
 * The kernel's side of sleeping and waking: niwa's nftables table, the local routes, conntrack, NFLOG.
 * State lives in the kernel, this module changes it: one netlink transaction a call, no child processes.
 * Addresses are IPv4 in network order, ports in host order. The table is called "niwa", family inet.
 *
 *   declared  map  service address . port → class (u32, the tenant's, or a class of the port's own `allow`)
 *   awake     map  service address . port → private address . port
 *   scaled    set  service address . port          of apps with several instances, which are not in awake
 *   spread    map  service address . bucket → private address; a new connection draws its bucket by chance
 *   published map  host address . port → private address . port, of awake apps only; published_any: port → the same
 *   marks     map  private address → instance mark (u32, never 0)
 *   may       set  private address . class         what an instance may connect to
 *   frozen    set  private address
 *   client_first set  private address . port
 *   knocked   set  private address, filled by the packet path
 *   egress    set  private address; egress_list set private address . prefix (interval);
 *             egress_names set private address . name server
 */
#ifndef NIWA_NET_WAKE_H
#define NIWA_NET_WAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/ula.h"

struct niwa_net; /* opaque */

struct niwa_net_config {
	uint32_t service_net, private_net; /* network order; instances live in private_net */
	unsigned service_bits, private_bits;
	uint32_t gateway_addr; /* first address of private_net, on lo */
	uint16_t relay_port;   /* the transparent listener: 127.0.0.1:relay_port */
	uint32_t veth_group;   /* never 0: the group of all other interfaces */
	uint16_t nflog_group;
	/* New connections a second that one remote address (or instance) may bring to the relay, and how many at once;
	 * the SYN of one too many is dropped, so its sender tries again. Local clients are not limited. 0: no limit. */
	unsigned held_rate, held_burst;
	/* Connections one instance may have open itself, to services and outside: the host's conntrack table is for
	 * all. More are refused. 0: no limit. */
	unsigned instance_connections;
	/* Name server of instances: what they send there, port 53, goes to this port of the gateway. 0: none. */
	uint32_t names_addr;
	uint16_t names_port;
	/* What brings an instance's answers to a client's address back to the relay: the mark that such packets get (0:
	 * there is none, the relay comes from the gateway address), the table of routes it leads to, and the first of
	 * the two routing rules. */
	uint32_t return_mark, return_table, return_rule;
	struct niwa_ula ula; /* on: all of it in IPv6, too */
};

/* A packet for a frozen instance. */
struct niwa_net_knock {
	uint32_t private_addr;
	uint8_t from[16]; /* who sent it, IPv4 mapped; :: where nobody knows */
	uint16_t port;    /* of the instance; 0: none, or nobody knows */
};

/* What the packet path tells. Hints only: `knocked` in the kernel is the state. */
struct niwa_net_events {
	void (*knocked)(const struct niwa_net_knock *knock, void *arg);   /* traffic for a frozen instance */
	void (*refused)(uint32_t private_addr, uint16_t port, void *arg); /* a RST that answered a SYN was dropped */
	void (*overflow)(void *arg);                                      /* messages were lost: read `knocked` */
	/* Our table was removed or changed by somebody else. Told once, until the repair. In between packets may have
	 * passed without a knock: then compare the byte counters of the frozen instances, or thaw them. */
	void (*ruleset_lost)(void *arg);
	void *arg;
};

/* Checks the ranges against the host's addresses and routes (-EEXIST with the clashing route in err), installs
 * the unreachable and local routes, gateway address, the table (an existing one of ours is kept with its elements
 * when its layout version matches, else replaced), opens NFLOG and the nftables monitor. */
int niwa_net_open(const struct niwa_net_config *config, const struct niwa_net_events *events, sd_event *event,
		  struct niwa_net **ret, struct niwa_error *err);
/* Closes sockets; leaves the kernel state as it is. */
void niwa_net_close(struct niwa_net **net);
/* Removes table, local route and gateway address; the unreachable route stays. For `niwad --remove`. */
int niwa_net_remove(const struct niwa_net_config *config, struct niwa_error *err);
/* Puts back whatever is missing of table, rules, routes and gateway address. Elements that are still there stay; the
 * caller then adds all of them again (one niwa_net_txn: see loading below). */
int niwa_net_repair(struct niwa_net *net, struct niwa_error *err);
/* A table of its own, without rules, that lives as long as *ret_fd is open in any process, and that nobody can flush:
 * it keeps the kernel translating open connections while the other table is gone. The caller has somebody hold the
 * descriptor who lives longer than the connections. Fails while another socket has such a table. */
int niwa_net_guard_open(int *ret_fd, struct niwa_error *err);
/* 1: rules, sets and routes are as this process installed them; 0: not (the ruleset_lost event follows from the
 * monitor too, for changes of rules); -errno. About 0.2 ms. Elements are not compared. */
int niwa_net_check(struct niwa_net *net, struct niwa_error *err);

/* Loading. A table that was just made knows no declared port yet. Until the first commit after niwa_net_open or
 * niwa_net_repair (at most NIWA_NET_LOADING_MAX_US) connections to undeclared ports are dropped, not refused, so that
 * clients try again. So put everything into that first transaction. */
#define NIWA_NET_LOADING_MAX_US (5 * 1000000ull)

/* A batch of element changes, applied by the kernel all or none. Deleting what is not there and adding what is
 * there are not errors (adding replaces the value of a map). Large batches are split at 16,384 elements. One change
 * takes about 10 us, each further element 3: a loop that must answer within 2 ms commits some 500 at once. */
struct niwa_net_txn;
struct niwa_net_txn *niwa_net_txn_new(struct niwa_net *net); /* NULL: out of memory */
void niwa_net_txn_free(struct niwa_net_txn **txn);
enum niwa_change { NIWA_ADD, NIWA_DEL };
void niwa_net_declared(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t class_id);
void niwa_net_awake(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t priv,
		    uint16_t priv_port);
/* An app with several instances: its ports in `scaled`, and an instance in each of the buckets, as many as its share is
 * of them. A bucket without an entry: the connection goes to the relay. What is published for such a port goes to the
 * relay's own listener. */
#define NIWA_NET_BUCKETS 64
void niwa_net_scaled(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port);
/* By IPv6, where all of them listen there; else its clients come by the relay. The buckets are the same. */
void niwa_net_scaled6(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port);
void niwa_net_spread(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, unsigned bucket, uint32_t priv);
/* The same by IPv6, for a port on which the instance listens there. Without it clients come by the relay, which
 * connects by IPv4 where it must. Nothing without IPv6. */
void niwa_net_awake6(struct niwa_net_txn *t, enum niwa_change c, uint32_t service, uint16_t port, uint32_t priv,
		     uint16_t priv_port);
void niwa_net_mark(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t mark);
void niwa_net_may(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t class_id);
/* DEL also deletes it from `knocked`; so does ADD, when it was not in `frozen` yet: a knock of an earlier owner of the
 * address must not hide the next one. */
void niwa_net_frozen(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv);
/* The port of an instance where clients speak first: while it is frozen a connection alone does not knock, the first
 * byte does (or the end). */
void niwa_net_client_first(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint16_t priv_port);
void niwa_net_egress(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv);
/* Prefixes of one instance that are added one after the other may overlap (the wider one is taken); later ones must
 * not (-EEXIST). Delete the whole list of an instance: deleting a part of a wider prefix deletes that. `internet`
 * (niwa_net_egress) means public addresses only; 0.0.0.0/0 in the list means everything. */
void niwa_net_egress_list(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t net, unsigned bits);
/* The same for a network of IPv6; internet means 2000::/3 there, without tunnels to IPv4. Nothing without IPv6. */
void niwa_net_egress_list6(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, const uint8_t net[16],
			   unsigned bits);
/* The instance may ask this name server, on port 53 and no other. */
void niwa_net_egress_names(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, uint32_t server);
void niwa_net_egress_names6(struct niwa_net_txn *t, enum niwa_change c, uint32_t priv, const uint8_t server[16]);
/* host address and port → service address and port, not on loopback. Told once (again after a restart); from then on
 * niwa_net_awake and niwa_net_awake6 change the port's entries along with their own. */
struct niwa_net_host_port {
	uint8_t addr[16]; /* IPv4 is mapped; ::ffff:0.0.0.0: any address of IPv4, ::: any of both */
	uint16_t port;
};
void niwa_net_published(struct niwa_net_txn *t, enum niwa_change c, const struct niwa_net_host_port *host,
			uint32_t service, uint16_t service_port);
/* Empties awake, scaled, spread, published, marks, may, frozen, client_first and the egress sets; what is added behind
 * it in the same transaction replaces them, and no packet sees them empty (as long as it is fewer than 16,384
 * elements). `declared` stays, and `knocked` as far as those are still frozen. */
void niwa_net_flush_sets(struct niwa_net_txn *t);
int niwa_net_commit(struct niwa_net_txn **txn, struct niwa_error *err); /* takes the transaction */

/* Reads a set as it is in the kernel, whole, then calls fn for each element (fn may commit; a value other than 0
 * ends the walk and is returned). An element that is added meanwhile may be missed or seen twice. */
enum niwa_net_set { NIWA_NET_KNOCKED, NIWA_NET_FROZEN, NIWA_NET_AWAKE, NIWA_NET_DECLARED, NIWA_NET_MARK };
struct niwa_net_element {
	uint32_t addr;
	uint16_t port;
	uint32_t to_addr;
	uint16_t to_port;
	uint32_t value;
};
int niwa_net_each(struct niwa_net *net, enum niwa_net_set set, int (*fn)(const struct niwa_net_element *e, void *arg),
		  void *arg, struct niwa_error *err);

/* Has the instance an IPv6 address? Those of a time before there was a prefix have none. About 10 us. */
bool niwa_net_reaches6(struct niwa_net *net, uint32_t priv);

/* Deletes the conntrack entries of the mark that never saw a reply, so that a SYN under way is sent again to
 * whoever is there now. */
int niwa_net_flush_unreplied(struct niwa_net *net, uint32_t mark, struct niwa_error *err);
/* Deletes all conntrack entries of the mark (the instance is gone). Both walk the whole table: 17 ms where there are
 * 90,000 connections. */
int niwa_net_flush_all(struct niwa_net *net, uint32_t mark, struct niwa_error *err);
/* The same of many in one walk, with a socket of its own: any thread may call it. marks: none is 0; they are sorted. */
int niwa_net_flush_many(uint32_t *marks, size_t count, struct niwa_error *err);

/* Bytes that went through the host end of an instance's veth, both directions, since its creation. -ENODEV. */
int niwa_net_veth_bytes(struct niwa_net *net, const char *veth, uint64_t *ret_rx, uint64_t *ret_tx);
int niwa_net_veth_delete(struct niwa_net *net, const char *veth); /* slow (RTNL): only for leftovers */
/* The same for all interfaces of the veth group in one request: cheaper than one by one from about ten on. */
int niwa_net_each_veth_bytes(struct niwa_net *net, int (*fn)(const char *name, uint64_t rx, uint64_t tx, void *arg),
			     void *arg, struct niwa_error *err);
/* Every interface of the veth group. fn as with niwa_net_each. */
int niwa_net_each_veth(struct niwa_net *net, int (*fn)(const char *name, void *arg), void *arg, struct niwa_error *err);

/* conntrack sizing as in niwad.conf: time_wait, established, max; what this namespace may not write is skipped. */
void niwa_net_tune_conntrack(unsigned time_wait_s, unsigned established_s, unsigned max);

#endif
