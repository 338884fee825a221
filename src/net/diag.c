/* SPDX-License-Identifier: MIT
 *
 * sock_diag. The socket belongs to the network namespace it was opened in; it is used, never closed.
 */
#include "net/diag.h"

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>

#define BUF               32768
#define STATE_ESTABLISHED 1
#define STATE_SYN_RECV    3
#define STATE_FIN_WAIT1   4
#define STATE_CLOSE_WAIT  8
#define STATE_LAST_ACK    9
#define STATE_LISTEN      10
#define STATE_CLOSING     11
#define UNSENT            (1u << STATE_FIN_WAIT1 | 1u << STATE_LAST_ACK | 1u << STATE_CLOSING) /* the end is not acknowledged */
#define LOOPBACK_NET      127

typedef int answer_fn(const struct nlmsghdr *nlh, void *arg);

static struct inet_diag_req_v2 *put_request(struct nlmsghdr *nlh, uint8_t family, uint16_t flags)
{
	static uint32_t seq;
	struct inet_diag_req_v2 *req;

	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++seq;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	req->sdiag_family = family;
	req->sdiag_protocol = IPPROTO_TCP;
	req->id.idiag_cookie[0] = req->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return req;
}

/* Sends the request and gives the answers to fn; the kernel answers within the call. */
static int talk(int fd, const struct nlmsghdr *nlh, answer_fn *fn, void *arg)
{
	char buf[BUF] __attribute__((aligned(8)));
	int r = 0;

	if (send(fd, nlh, nlh->nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)buf;
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != nlh->nlmsg_seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
			if (h->nlmsg_type == NLMSG_DONE)
				return r;
			if (r == 0)
				r = fn(h, arg);
			if (!(h->nlmsg_flags & NLM_F_MULTI))
				return r;
		}
	}
}

static int is_listener(const struct nlmsghdr *nlh, void *arg)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);

	return m->idiag_state == STATE_LISTEN;
}

int niwa_diag_listens(int diag_fd, uint32_t addr, uint16_t port)
{
	char buf[256] __attribute__((aligned(8)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req = put_request(nlh, AF_INET, 0);
	int r;

	/* The kernel's own look-up for a SYN to the address: it finds a listener at the address, at any address, and
	 * a dual-stack one. */
	req->idiag_states = 1u << STATE_LISTEN;
	req->id.idiag_sport = htons(port);
	req->id.idiag_src[0] = addr;
	r = talk(diag_fd, nlh, is_listener, NULL);
	return r == -ENOENT ? 0 : r;
}

int niwa_diag_listens6(int diag_fd, const uint8_t addr[16], uint16_t port)
{
	char buf[256] __attribute__((aligned(8)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req = put_request(nlh, AF_INET6, 0);
	int r;

	req->idiag_states = 1u << STATE_LISTEN;
	req->id.idiag_sport = htons(port);
	memcpy(req->id.idiag_src, addr, 16);
	r = talk(diag_fd, nlh, is_listener, NULL);
	return r == -ENOENT ? 0 : r;
}

struct activity {
	uint64_t within_us;
	unsigned active, total, owed;
};

static bool is_loopback(uint8_t family, const uint32_t addr[4])
{
	static const uint32_t one[4] = {0, 0, 0, 1};
	const uint32_t v4 = family == AF_INET ? addr[0] : addr[3];

	if (family == AF_INET6 && memcmp(addr, (const uint32_t[4]){0, 0, 0, htonl(one[3])}, 16) == 0)
		return true;
	if (family == AF_INET6 && (addr[0] || addr[1] || addr[2] != htonl(0xffff)))
		return false;
	return ntohl(v4) >> 24 == LOOPBACK_NET;
}

/* False: the kernel did not tell. */
static bool tcp_info_of(const struct nlmsghdr *nlh, struct tcp_info *ret)
{
	const struct nlattr *attr;
	size_t len;

	memset(ret, 0, sizeof(*ret));
	mnl_attr_for_each(attr, nlh, sizeof(struct inet_diag_msg))
	{
		if (mnl_attr_get_type(attr) != INET_DIAG_INFO)
			continue;
		len = mnl_attr_get_payload_len(attr);
		memcpy(ret, mnl_attr_get_payload(attr), len < sizeof(*ret) ? len : sizeof(*ret));
		return true;
	}
	return false;
}

static bool within(const struct nlmsghdr *nlh, uint64_t within_us)
{
	struct tcp_info t;

	if (!tcp_info_of(nlh, &t))
		return true; /* rather busy than lost */
	return (uint64_t)(t.tcpi_last_data_sent < t.tcpi_last_data_recv ? t.tcpi_last_data_sent
									: t.tcpi_last_data_recv) *
		       1000 <=
	       within_us;
}

/* Times are counted in the kernel's ticks, and both begin with the connection: a first request in the same tick is
 * told by what was never sent. A later request in the tick of the answer before it cannot be told from an answer. */
static bool owes(const struct nlmsghdr *nlh, uint64_t within_us)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct tcp_info t;

	if (!tcp_info_of(nlh, &t) || (uint64_t)t.tcpi_last_data_recv * 1000 > within_us)
		return false;
	return m->idiag_rqueue > 0 || (t.tcpi_bytes_received > 0 && t.tcpi_bytes_sent == 0) ||
	       t.tcpi_last_data_recv < t.tcpi_last_data_sent;
}

/* Of the app with itself, also through its own service address. */
static bool is_own(const struct inet_diag_msg *m)
{
	return is_loopback(m->idiag_family, m->id.idiag_src) || is_loopback(m->idiag_family, m->id.idiag_dst) ||
	       memcmp(m->id.idiag_src, m->id.idiag_dst, sizeof(m->id.idiag_src)) == 0;
}

static int count(const struct nlmsghdr *nlh, void *arg)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct activity *a = arg;

	if (is_own(m))
		return 0;
	a->total++;
	if (within(nlh, a->within_us))
		a->active++;
	if (!(1u << m->idiag_state & UNSENT) && owes(nlh, a->within_us))
		a->owed++;
	return 0;
}

static int dump(int diag_fd, struct activity *a)
{
	static const uint8_t families[] = {AF_INET, AF_INET6}; /* a dual-stack server's connections are IPv6 ones */
	char buf[256] __attribute__((aligned(8)));

	for (size_t i = 0; i < sizeof(families); i++) {
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
		struct inet_diag_req_v2 *req = put_request(nlh, families[i], NLM_F_DUMP);
		int r;

		req->idiag_states = 1u << STATE_ESTABLISHED | 1u << STATE_CLOSE_WAIT | UNSENT;
		req->idiag_ext = 1u << (INET_DIAG_INFO - 1);
		r = talk(diag_fd, nlh, count, a);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

int niwa_diag_active(int diag_fd, uint64_t within_us, unsigned *ret_active, unsigned *ret_total)
{
	struct activity a = {.within_us = within_us};
	int r = dump(diag_fd, &a);

	if (r < 0)
		return r;
	*ret_active = a.active;
	*ret_total = a.total;
	return 0;
}

int niwa_diag_owed(int diag_fd, uint64_t within_us)
{
	struct activity a = {.within_us = within_us};
	int r = dump(diag_fd, &a);

	return r < 0 ? r : (int)a.owed;
}

static int count_unsent(const struct nlmsghdr *nlh, void *arg)
{
	*(int *)arg += !is_own(mnl_nlmsg_get_payload(nlh));
	return 0;
}

int niwa_diag_unsent(int diag_fd)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	char buf[256] __attribute__((aligned(8)));
	int unsent = 0;

	for (size_t i = 0; i < sizeof(families); i++) {
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
		struct inet_diag_req_v2 *req = put_request(nlh, families[i], NLM_F_DUMP);
		int r;

		req->idiag_states = 1u << STATE_ESTABLISHED | 1u << STATE_CLOSE_WAIT | UNSENT;
		r = talk(diag_fd, nlh, count_unsent, &unsent);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return unsent;
}

struct serving {
	const uint16_t *ports;
	size_t port_count;
	bool own_too;
	int found;
};

static int count_serving(const struct nlmsghdr *nlh, void *arg)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct serving *s = arg;

	if (!s->own_too && is_own(m))
		return 0;
	for (size_t n = 0; n < s->port_count; n++)
		s->found += ntohs(m->id.idiag_sport) == s->ports[n];
	return 0;
}

static int serving(int diag_fd, struct serving *s)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	char buf[256] __attribute__((aligned(8)));

	for (size_t i = 0; i < sizeof(families); i++) {
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
		struct inet_diag_req_v2 *req = put_request(nlh, families[i], NLM_F_DUMP);
		int r;

		req->idiag_states = 1u << STATE_ESTABLISHED | 1u << STATE_CLOSE_WAIT | 1u << STATE_SYN_RECV;
		r = talk(diag_fd, nlh, count_serving, s);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return s->found;
}

int niwa_diag_serving(int diag_fd, const uint16_t *ports, size_t port_count)
{
	return serving(diag_fd, &(struct serving){.ports = ports, .port_count = port_count, .own_too = true});
}

int niwa_diag_clients(int diag_fd, const uint16_t *ports, size_t port_count)
{
	return serving(diag_fd, &(struct serving){.ports = ports, .port_count = port_count});
}
