/* SPDX-License-Identifier: MIT
 *
 * Probes: what niwa does by netlink without nftables, tried in a fresh network namespace.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/veth.h>
#include <netinet/in.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "cli/probe_list.h"

static int nothing(const struct nlmsghdr *nlh, void *arg)
{
	return MNL_CB_OK;
}

/* Sends one request and reads its answer, a dump or an acknowledgement. 0 or -errno. */
static int ask(int bus, struct nlmsghdr *nlh)
{
	char buf[8192];
	struct mnl_socket *sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
	ssize_t n = 0;
	int r;

	if (!sock)
		return -errno;
	r = mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(sock, nlh, nlh->nlmsg_len) < 0
		    ? -errno
		    : MNL_CB_OK;
	while (r > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(sock, buf, sizeof(buf));
		r = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(sock), nothing, NULL);
		if (r < 0)
			r = -errno;
	}
	(void)mnl_socket_close(sock);
	return r;
}

static void report_on(int r, const char *what, struct niwa_probe_report *report)
{
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s: %s", what, strerror(-r));
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "%s: yes", what);
}

void niwa_probe_veth(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nlattr *info, *data, *peer;

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	(void)mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "probe0");
	mnl_attr_put_u32(nlh, IFLA_GROUP, (uint32_t)host->veth_group);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	(void)mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "probe1");
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	report_on(ask(NETLINK_ROUTE, nlh), "make a pair", report);
}

void niwa_probe_sock_diag(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req;

	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	*req = (struct inet_diag_req_v2){
		.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1u << 10 /* LISTEN */};
	report_on(ask(NETLINK_SOCK_DIAG, nlh), "list listening TCP sockets", report);
}

void niwa_probe_conntrack(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	*nfg = (struct nfgenmsg){.nfgen_family = AF_INET, .version = NFNETLINK_V0};
	report_on(ask(NETLINK_NETFILTER, nlh), "list connections", report);
}
