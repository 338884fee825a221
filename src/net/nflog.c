/* SPDX-License-Identifier: MIT
 *
 * What the packet path tells: one NFLOG group, prefix "k" for traffic to a frozen instance, "r" for a dropped reset.
 * Messages may be lost (ENOBUFS, or a gap in the sequence numbers); the caller is told and reads the kernel's sets.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <netinet/ip6.h>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>

#include "base/fault.h"
#include "net/net_private.h"

#define SNAPLEN    64
#define TURN_MAX   64 /* datagrams a turn of the loop */
#define QTHRESH    1
#define NO_TIMEOUT 0

struct heard {
	const char *prefix;
	const uint8_t *packet;
	size_t len;
	bool has_seq;
	uint32_t seq;
};

static void parse(const struct nlmsghdr *nlh, struct heard *h)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		switch (mnl_attr_get_type(attr)) {
		case NFULA_PREFIX:
			h->prefix = mnl_attr_get_str(attr);
			break;
		case NFULA_PAYLOAD:
			h->packet = mnl_attr_get_payload(attr);
			h->len = mnl_attr_get_payload_len(attr);
			break;
		case NFULA_SEQ:
			h->has_seq = true;
			h->seq = ntohl(mnl_attr_get_u32(attr));
			break;
		default:
			break;
		}
	}
}

/* What is read of a packet. Addresses of instances are the same in both families. */
struct packet {
	uint32_t from, to;     /* of instances */
	uint8_t sender[16];    /* IPv4 mapped */
	uint16_t sport, dport; /* 0: it has none, or they were cut off */
};

static int read_addresses(const struct heard *h, struct packet *p, uint8_t *ret_protocol, size_t *ret_len)
{
	struct ip6_hdr six;
	struct iphdr ip;

	if (h->len < sizeof(ip))
		return -EBADMSG;
	memcpy(&ip, h->packet, sizeof(ip));
	if (ip.version == 4) {
		*p = (struct packet){.from = ip.saddr, .to = ip.daddr, .sender = {[10] = 0xff, [11] = 0xff}};
		memcpy(p->sender + 12, &ip.saddr, sizeof(ip.saddr));
		*ret_protocol = ip.protocol;
		*ret_len = ip.ihl * 4u;
		return 0;
	}
	if (h->len < sizeof(six))
		return -EBADMSG;
	memcpy(&six, h->packet, sizeof(six));
	*p = (struct packet){.from = niwa_ula_addr(six.ip6_src.s6_addr), .to = niwa_ula_addr(six.ip6_dst.s6_addr)};
	memcpy(p->sender, six.ip6_src.s6_addr, sizeof(p->sender));
	*ret_protocol = six.ip6_nxt;
	*ret_len = sizeof(six);
	return 0;
}

static int read_packet(const struct heard *h, struct packet *p)
{
	uint16_t ports[2];
	uint8_t protocol;
	size_t header;
	int r = read_addresses(h, p, &protocol, &header);

	if (r < 0 || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || h->len < header + sizeof(ports))
		return r;
	memcpy(ports, h->packet + header, sizeof(ports));
	p->sport = ntohs(ports[0]);
	p->dport = ntohs(ports[1]);
	return 0;
}

static void dispatch(struct niwa_net *net, const struct heard *h)
{
	struct niwa_net_knock knock;
	struct packet p;

	if (!h->prefix || read_packet(h, &p) < 0)
		return;
	if (h->prefix[0] == 'k' && net->events.knocked) {
		knock = (struct niwa_net_knock){.private_addr = p.to, .port = p.dport};
		memcpy(knock.from, p.sender, sizeof(knock.from));
		net->events.knocked(&knock, net->events.arg);
	}
	if (h->prefix[0] == 'r' && net->events.refused)
		net->events.refused(p.from, p.sport, net->events.arg);
}

static void overflow(struct niwa_net *net)
{
	net->log_seq_known = false;
	if (net->events.overflow)
		net->events.overflow(net->events.arg);
}

static void take(struct niwa_net *net, const struct nlmsghdr *nlh)
{
	struct heard h = {0};

	if (nlh->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET))
		return;
	parse(nlh, &h);
	if (h.has_seq && net->log_seq_known && h.seq != net->log_seq)
		overflow(net);
	if (h.has_seq) {
		net->log_seq = h.seq + 1;
		net->log_seq_known = true;
	}
	dispatch(net, &h);
}

/* For tests. ENOBUFS: the datagram is lost and the kernel says so; another error: nobody says so. */
static bool is_lost(struct niwa_net *net)
{
	int r = niwa_fault("net.nflog");

	if (r == -ENOBUFS)
		overflow(net);
	return r < 0;
}

static int on_log(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct niwa_net *net = arg;
	char buf[NIWA_NL_BUF] __attribute__((aligned(8)));

	for (unsigned i = 0; i < TURN_MAX; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)buf;
		int left = (int)n;

		if (n < 0 && errno == ENOBUFS) {
			overflow(net);
			continue;
		}
		if (n < 0)
			return 0; /* EAGAIN: all read */
		if (is_lost(net))
			continue;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			take(net, h);
	}
	return 0;
}

static int configure(struct niwa_net *net)
{
	const struct nfulnl_msg_config_cmd bind_cmd = {.command = NFULNL_CFG_CMD_BIND};
	const struct nfulnl_msg_config_mode mode = {.copy_range = htonl(SNAPLEN), .copy_mode = NFULNL_COPY_PACKET};
	char buf[256];
	struct nlmsghdr *nlh;
	int r;

	nlh = niwa_nl_put_nfnl(&net->log, buf, NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG, 0, AF_INET);
	((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->res_id = htons(net->config.nflog_group);
	mnl_attr_put(nlh, NFULA_CFG_CMD, sizeof(bind_cmd), &bind_cmd);
	r = niwa_nl_talk(&net->log, nlh, NULL, NULL);
	if (r < 0)
		return r;
	nlh = niwa_nl_put_nfnl(&net->log, buf, NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG, 0, AF_INET);
	((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->res_id = htons(net->config.nflog_group);
	mnl_attr_put(nlh, NFULA_CFG_MODE, sizeof(mode), &mode);
	mnl_attr_put_u32(nlh, NFULA_CFG_QTHRESH, htonl(QTHRESH));
	mnl_attr_put_u32(nlh, NFULA_CFG_TIMEOUT, htonl(NO_TIMEOUT));
	mnl_attr_put_u16(nlh, NFULA_CFG_FLAGS, htons(NFULNL_CFG_F_SEQ));
	return niwa_nl_talk(&net->log, nlh, NULL, NULL);
}

int niwa_nflog_open(struct niwa_net *net, struct niwa_error *err)
{
	int r;

	r = niwa_nl_open(&net->log, NETLINK_NETFILTER);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "open a socket for NFLOG");
	r = configure(net);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "bind NFLOG group %u%s", net->config.nflog_group,
				 r == -EBUSY ? " (another program, or another niwad, has it: change nflog_group)" : "");
	r = sd_event_add_io(net->event, &net->log_source, mnl_socket_get_fd(net->log.sock), EPOLLIN, on_log, net);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "watch the NFLOG socket");
	(void)sd_event_source_set_priority(net->log_source,
					   SD_EVENT_PRIORITY_IMPORTANT); /* somebody waits for a thaw */
	return 0;
}
