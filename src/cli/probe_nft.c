/* SPDX-License-Identifier: MIT
 *
 * Probes: nftables features. Each loads a small ruleset in a fresh network namespace, which takes it away.
 */
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <string.h>
#include <arpa/inet.h>

#include <libmnl/libmnl.h>

#include "cli/nft_run.h"
#include "cli/probe_list.h"

static void try_rules(const char *rules, const char *good, struct niwa_probe_report *report)
{
	struct niwa_error err = {0};
	int r = niwa_nft_run(rules, NIWA_NFT_TEXT, NULL, &err);

	if (r == -ENOPKG)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "%s", err.msg);
	else if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s", err.msg);
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "%s", good);
}

void niwa_probe_nft(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	try_rules("table inet probe {\n"
		  " set declared { type ipv4_addr . inet_service; }\n"
		  " set knocked { type ipv4_addr; flags dynamic; size 1024; }\n"
		  " chain post {\n"
		  "  type filter hook postrouting priority 0; policy accept;\n"
		  "  ct state new ct mark set 7 add @knocked { ip daddr }\n"
		  " }\n"
		  "}\n",
		  "sets filled by packets, connection marks", report);
}

void niwa_probe_nft_nat_map(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	try_rules("table inet probe {\n"
		  " map awake { type ipv4_addr . inet_service : ipv4_addr . inet_service; }\n"
		  " chain pre {\n"
		  "  type nat hook prerouting priority dstnat; policy accept;\n"
		  "  meta l4proto tcp dnat ip to ip daddr . tcp dport map @awake\n"
		  " }\n"
		  " chain post {\n"
		  "  type nat hook postrouting priority srcnat; policy accept;\n"
		  "  ip saddr 10.80.0.0/16 masquerade\n"
		  " }\n"
		  "}\n",
		  "dnat by map, masquerade", report);
}

void niwa_probe_nft_tproxy(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	try_rules("table inet probe {\n"
		  " set declared { type ipv4_addr . inet_service; }\n"
		  " chain pre {\n"
		  "  type filter hook prerouting priority dstnat + 1; policy accept;\n"
		  "  ip daddr . tcp dport @declared tproxy ip to 127.0.0.1:9999\n"
		  " }\n"
		  "}\n",
		  "tproxy from prerouting", report);
}

void niwa_probe_nft_fib(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	try_rules("table inet probe {\n"
		  " chain pre {\n"
		  "  type filter hook prerouting priority raw; policy accept;\n"
		  "  fib saddr . iif oif 0 drop\n"
		  "  fib daddr type local accept\n"
		  " }\n"
		  "}\n",
		  "source and type look-ups", report);
}

/* Binds NFLOG group 1 on a netfilter socket. 0 or -errno. */
static int bind_nflog(void)
{
	char buf[8192];
	struct nfulnl_msg_config_cmd cmd = {.command = NFULNL_CFG_CMD_BIND};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg;
	struct mnl_socket *sock;
	ssize_t n;
	int r = 0;

	nlh->nlmsg_type = (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_CONFIG;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	*nfg = (struct nfgenmsg){.nfgen_family = AF_INET, .version = NFNETLINK_V0, .res_id = htons(1)};
	mnl_attr_put(nlh, NFULA_CFG_CMD, sizeof(cmd), &cmd);
	sock = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!sock)
		return -errno;
	if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(sock, nlh, nlh->nlmsg_len) < 0)
		r = -errno;
	n = r < 0 ? 0 : mnl_socket_recvfrom(sock, buf, sizeof(buf));
	if (r == 0 && (n < 0 || mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(sock), NULL, NULL) < 0))
		r = -errno;
	(void)mnl_socket_close(sock);
	return r;
}

void niwa_probe_nft_log(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	int r;

	try_rules("table inet probe {\n"
		  " chain post {\n"
		  "  type filter hook postrouting priority 0; policy accept;\n"
		  "  log group 1 snaplen 64\n"
		  " }\n"
		  "}\n",
		  "rules log, and a program can listen", report);
	r = report->result == NIWA_PROBE_OK ? bind_nflog() : 0;
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "listen to a log group: %s", strerror(-r));
}
