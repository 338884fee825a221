/* SPDX-License-Identifier: MIT
 *
 * Netlink requests. The kernel handles a request inside sendmsg(), so an answer is there at once; the receive
 * time-out only guards against a kernel that breaks this.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <arpa/inet.h>

#include <linux/netfilter/nfnetlink.h>

#include "net/net_private.h"

#define ANSWER_TIMEOUT_S 2
#define DUMP_TRIES       10

static void set_buffers(int fd)
{
	const int size = NIWA_NL_RCVBUF, one = 1;
	const struct timeval tv = {.tv_sec = ANSWER_TIMEOUT_S};

	/* Without the privilege to pass net.core.*mem_max the plain option gives what it can. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one,
			 sizeof(one));                                  /* errors without our own message: optional */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)); /* a guard only */
}

int niwa_nl_open(struct niwa_nl *nl, int protocol)
{
	int r;

	nl->sock = mnl_socket_open2(protocol, SOCK_CLOEXEC);
	if (!nl->sock)
		return -errno;
	if (mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		niwa_nl_close(nl);
		return r;
	}
	nl->portid = mnl_socket_get_portid(nl->sock);
	set_buffers(mnl_socket_get_fd(nl->sock));
	return 0;
}

void niwa_nl_close(struct niwa_nl *nl)
{
	if (nl->sock)
		(void)mnl_socket_close(nl->sock); /* nothing to lose: no request is under way */
	nl->sock = NULL;
}

struct nlmsghdr *niwa_nl_put(struct niwa_nl *nl, void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++nl->seq;
	return nlh;
}

void *niwa_nl_put_extra(struct nlmsghdr *nlh, size_t size)
{
	return mnl_nlmsg_put_extra_header(nlh, size);
}

struct nlmsghdr *niwa_nl_put_nfnl(struct niwa_nl *nl, void *buf, int subsys, int msg, uint16_t flags, int family)
{
	struct nlmsghdr *nlh = niwa_nl_put(nl, buf, (uint16_t)(subsys << 8 | msg), flags);
	struct nfgenmsg *nfg = niwa_nl_put_extra(nlh, sizeof(*nfg));

	nfg->nfgen_family = (uint8_t)family;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

/* One message of an answer. True at the end, with the result in *ret. */
static bool take(const struct nlmsghdr *nlh, niwa_nl_fn *fn, void *arg, int *failed, int *ret)
{
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		*failed = -EINTR;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

		*ret = e->error ? e->error : *failed;
		return true;
	}
	if (nlh->nlmsg_type == NLMSG_DONE) {
		*ret = *failed;
		return true;
	}
	/* after a failure the rest is only read, else the next request would find it */
	if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && fn && !*failed)
		*failed = fn(nlh, arg);
	return false;
}

int niwa_nl_talk(struct niwa_nl *nl, struct nlmsghdr *nlh, niwa_nl_fn *fn, void *arg)
{
	char buf[NIWA_NL_BUF] __attribute__((aligned(8)));
	int failed = 0, ret = 0;

	if ((nlh->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) /* one of its bits is NLM_F_REPLACE too */
		nlh->nlmsg_flags |= NLM_F_ACK;             /* so that every answer has an end */
	if (mnl_socket_sendto(nl->sock, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl->sock, buf, sizeof(buf));
		const struct nlmsghdr *h = (const void *)buf;
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			if (h->nlmsg_seq == nlh->nlmsg_seq && take(h, fn, arg, &failed, &ret))
				return ret;
	}
}

int niwa_nl_dump(struct niwa_nl *nl, struct nlmsghdr *nlh, niwa_nl_fn *fn, void *arg, void (*restart)(void *arg))
{
	int r = -EINTR;

	for (unsigned i = 0; r == -EINTR && i < DUMP_TRIES; i++) {
		restart(arg);
		nlh->nlmsg_seq = ++nl->seq;
		r = niwa_nl_talk(nl, nlh, fn, arg);
	}
	return r;
}

size_t niwa_nl_put_batch(struct niwa_nl *nl, void *buf, uint16_t type)
{
	struct nlmsghdr *nlh = niwa_nl_put(nl, buf, type, 0);
	struct nfgenmsg *nfg = niwa_nl_put_extra(nlh, sizeof(*nfg));

	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(NFNL_SUBSYS_NFTABLES);
	return nlh->nlmsg_len;
}

int niwa_nl_batch(struct niwa_nl *nl, const void *buf, size_t len, niwa_nl_failed_fn *failed, void *arg)
{
	const int fd = mnl_socket_get_fd(nl->sock);
	char answer[NIWA_NL_BUF] __attribute__((aligned(8)));
	int first = 0;

	if (mnl_socket_sendto(nl->sock, buf, len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)answer;
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno; /* ENOBUFS: the kernel could not say what was wrong */
		if (n < 0)
			return first && failed ? -EREMOTEIO : first;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR || e->error == 0)
				continue;
			if (first == 0)
				first = e->error;
			if (failed)
				failed(h->nlmsg_seq, e->error, arg);
		}
	}
}
