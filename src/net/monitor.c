/* SPDX-License-Identifier: MIT
 *
 * Has somebody else touched our table? Listens to the nftables notifications of all who are not us, and compares
 * the table's fingerprint when there was a change; foreign changes of our elements count at once.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "net/net_private.h"

#define TURN_MAX 256 /* datagrams a turn of the loop */

enum heard { NOTHING, SUSPECT, CHANGED };

static enum heard judge(const struct nlmsghdr *nlh)
{
	const int msg = nlh->nlmsg_type & 0xff;
	const struct nlattr *attr;

	if (nlh->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return NOTHING;
	if (msg != NFT_MSG_NEWSETELEM && msg != NFT_MSG_DELSETELEM)
		return SUSPECT;
	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_LIST_TABLE)
			return strcmp(mnl_attr_get_str(attr), NIWA_NET_TABLE) == 0 ? CHANGED : NOTHING;
	}
	return NOTHING;
}

/* Reads what there is, up to a bound; the strongest of it. */
static enum heard listen_once(int fd)
{
	char buf[NIWA_NL_BUF] __attribute__((aligned(8)));
	enum heard all = NOTHING;

	for (unsigned i = 0; i < TURN_MAX; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)buf;
		int left = (int)n;

		if (n < 0 && errno == ENOBUFS)
			all = all == CHANGED ? CHANGED : SUSPECT;
		else if (n < 0)
			break;
		for (; n >= 0 && mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			enum heard one = judge(h);

			all = one > all ? one : all;
		}
	}
	return all;
}

static int on_watch(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct niwa_net *net = arg;
	enum heard heard = listen_once(fd);
	uint64_t now = 0;

	if (heard == NOTHING || net->lost)
		return 0;
	if (heard == SUSPECT && niwa_ruleset_fingerprint(&net->nf, &now) == 0 && now == net->fingerprint)
		return 0;
	net->lost = true; /* told once, until the repair */
	if (net->events.ruleset_lost)
		net->events.ruleset_lost(net->events.arg);
	return 0;
}

void niwa_monitor_drain(struct niwa_net *net)
{
	if (net->watch.sock)
		(void)listen_once(mnl_socket_get_fd(net->watch.sock));
}

/* Only what others did: the header of a notification names the socket that asked for the change. */
static int ignore_own(int fd, uint32_t portid)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(portid), 0, 1), /* the load converts to host order */
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

int niwa_monitor_open(struct niwa_net *net, struct niwa_error *err)
{
	const int group = NFNLGRP_NFTABLES;
	int r, fd;

	r = niwa_nl_open(&net->watch, NETLINK_NETFILTER);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "open a socket for nftables notifications");
	fd = mnl_socket_get_fd(net->watch.sock);
	r = ignore_own(fd, net->nf.portid);
	if (r == 0 && setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		r = -errno;
	if (r == 0)
		r = sd_event_add_io(net->event, &net->watch_source, fd, EPOLLIN, on_watch, net);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "listen to nftables notifications");
	return 0;
}
