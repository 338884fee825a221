/* SPDX-License-Identifier: MIT
 *
 * What the files of src/net share: netlink sockets, the instance, and one header's worth of each concern. All
 * requests are synchronous: the kernel answers within sendmsg(), so nothing here waits.
 */
#ifndef NIWA_NET_PRIVATE_H
#define NIWA_NET_PRIVATE_H

#include <libmnl/libmnl.h>

#include "base/map.h"
#include "base/text.h"
#include "net/wake.h"

#define NIWA_NET_TABLE   "niwa"
#define NIWA_NET_RTPROT  78         /* rtm_protocol of our routes */
#define NIWA_NET_METRIC  0x7ffffffe /* of the routes behind the local one */
#define NIWA_NL_BUF      32768      /* the kernel's own bound of a dump message */
#define NIWA_NL_RCVBUF   (4 * 1024 * 1024)
#define NIWA_NET_TXN_MAX 16384 /* elements the kernel is given at once */

/* socket.c. One netlink socket: requests one after the other. */
struct niwa_nl {
	struct mnl_socket *sock; /* NULL: not open */
	uint32_t seq, portid;
};
int niwa_nl_open(struct niwa_nl *nl, int protocol);
void niwa_nl_close(struct niwa_nl *nl);
/* Starts a message in buf (NIWA_NL_BUF, or MNL_NLMSG_HDRLEN + extra at least). */
struct nlmsghdr *niwa_nl_put(struct niwa_nl *nl, void *buf, uint16_t type, uint16_t flags);
void *niwa_nl_put_extra(struct nlmsghdr *nlh, size_t size);
/* Gives every answer to fn (0, or -errno, which is returned at the end) up to the acknowledgement or the end of the
 * dump. A dump that a change interrupted is -EINTR. */
typedef int niwa_nl_fn(const struct nlmsghdr *nlh, void *arg);
int niwa_nl_talk(struct niwa_nl *nl, struct nlmsghdr *nlh, niwa_nl_fn *fn, void *arg);
/* A dump, repeated when it was interrupted; restart forgets what was collected. */
int niwa_nl_dump(struct niwa_nl *nl, struct nlmsghdr *nlh, niwa_nl_fn *fn, void *arg, void (*restart)(void *arg));
/* A request of nfnetlink: subsystem and message, family. */
struct nlmsghdr *niwa_nl_put_nfnl(struct niwa_nl *nl, void *buf, int subsys, int msg, uint16_t flags, int family);

/* NFNL_MSG_BATCH_BEGIN or _END at buf; its length. */
size_t niwa_nl_put_batch(struct niwa_nl *nl, void *buf, uint16_t type);
/* Sends a batch of nftables messages, none of which asks for an acknowledgement: no answer is success. failed is
 * told each message that was refused. Returns 0, -EREMOTEIO when there was any (and failed is not NULL), or -errno
 * (without failed: the first one's). */
typedef void niwa_nl_failed_fn(uint32_t seq, int error, void *arg);
int niwa_nl_batch(struct niwa_nl *nl, const void *buf, size_t len, niwa_nl_failed_fn *failed, void *arg);

struct published;
struct niwa_net {
	struct niwa_net_config config;
	struct niwa_net_events events;
	sd_event *event;
	struct niwa_nl nf, rt;     /* nftables and conntrack; routes and interfaces */
	struct niwa_nl log, watch; /* NFLOG; the nftables monitor */
	sd_event_source *log_source, *watch_source, *loading_timer;
	uint64_t fingerprint;                /* of the rules and sets as we installed them */
	struct niwa_map *published_hosts;    /* struct published by host address and port (published.c) */
	struct niwa_map *published_services; /* the first of each service address and port */
	struct published *published_new;     /* to be looked up in `awake` at the commit */
	bool has_destroy;                    /* the kernel deletes elements that need not be there */
	bool loading;                        /* the element that says so may be in the kernel */
	bool lost;                           /* told already */
	bool log_seq_known;
	uint32_t log_seq; /* next NFULA_SEQ */
};

/* ruleset.c */
int niwa_ruleset_render(const struct niwa_net_config *config, struct niwa_text *out, struct niwa_error *err);
int niwa_ruleset_install(struct niwa_net *net, struct niwa_error *err);
int niwa_ruleset_remove(struct niwa_error *err);
/* fingerprint.c: of all rules, sets and chains of the table; -ENOENT without a table. */
int niwa_ruleset_fingerprint(struct niwa_nl *nf, uint64_t *ret);
/* routes.c */
struct niwa_net_range {
	uint32_t net; /* network order */
	unsigned bits;
};
bool niwa_net_overlap(struct niwa_net_range a, struct niwa_net_range b);
uint32_t niwa_net_netmask(unsigned bits); /* network order */
/* "10.64.0.0/12"; buf of 20 bytes */
const char *niwa_net_range_text(struct niwa_net_range r, char *buf);
/* collisions.c */
int niwa_routes_collisions(struct niwa_net *net, struct niwa_error *err);
int niwa_routes_install(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err);
int niwa_routes_remove(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err);
int niwa_routes_present(struct niwa_nl *rt, const struct niwa_net_config *config); /* 1, 0, -errno */

/* collisions6.c, routes6.c: nothing without IPv6 */
int niwa_routes6_collisions(struct niwa_net *net, struct niwa_error *err);
int niwa_routes6_install(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err);
int niwa_routes6_remove(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err);
int niwa_routes6_present(struct niwa_nl *rt, const struct niwa_net_config *config); /* 1, 0, -errno */
/* return_path.c */
int niwa_return_collisions(struct niwa_net *net, struct niwa_error *err);
int niwa_return_install(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err);
int niwa_return_remove(struct niwa_nl *rt, const struct niwa_net_config *config, struct niwa_error *err);
int niwa_return_present(struct niwa_nl *rt, const struct niwa_net_config *config); /* 1, 0, -errno */

/* veth.c: one dump of the veths; fn as for niwa_net_each_veth_bytes, with the index. */
struct niwa_veth {
	int index;
	const char *name;
	uint64_t rx, tx;
};
int niwa_veth_dump(struct niwa_nl *rt, uint32_t group, int (*fn)(const struct niwa_veth *veth, void *arg), void *arg);
/* Puts the index of each into the map, as a key. */
int niwa_veth_indexes(struct niwa_nl *rt, uint32_t group, struct niwa_map *indexes);

/* elements.c */
int niwa_elements_open(struct niwa_net *net, struct niwa_error *err); /* finds out what the kernel can */
int niwa_elements_loaded(struct niwa_net *net, struct niwa_error *err);

/* published.c */
int niwa_published_open(struct niwa_net *net);
void niwa_published_close(struct niwa_net *net);

/* conntrack.c: what the flushes do where the kernel cannot filter by status. */
int niwa_conntrack_dump_and_delete(struct niwa_nl *nf, uint32_t mark, bool unreplied_only);

/* nflog.c, monitor.c */
int niwa_nflog_open(struct niwa_net *net, struct niwa_error *err);
int niwa_monitor_open(struct niwa_net *net, struct niwa_error *err);
void niwa_monitor_drain(struct niwa_net *net); /* forgets what was heard: it was us */

/* sysctl.c */
int niwa_net_sysctls(const struct niwa_net_config *config, struct niwa_error *err);

#endif
