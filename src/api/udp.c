/* SPDX-License-Identifier: MIT
 *
 * Questions over UDP, many a system call. A datagram that cannot be answered at once is lost, as datagrams are.
 */
#include "api/api_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "api/rate.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"

#define BATCH       64
#define BATCHES     4 /* a turn of the loop */
#define QUERY_MAX   NIWA_DNS_UDP_MAX
#define BUFFER      (1024 * 1024) /* of the socket; the kernel gives what it allows */
#define CONTROL_MAX CMSG_SPACE(sizeof(struct in_pktinfo))

struct niwa_udp {
	struct niwa_api *api;
	int fd;
	sd_event_source *source;
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_data[BATCH], out_data[BATCH];
	struct sockaddr_in from[BATCH];
	/* Where 0.0.0.0 is listened on: the address that was asked, which has to answer. */
	_Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_MAX];
	struct niwa_rate *rate; /* NULL: anybody may ask as much as he likes */
	uint8_t queries[BATCH][QUERY_MAX], answers[BATCH][NIWA_DNS_ROOM];
};

static void prepare(struct niwa_udp *u)
{
	for (size_t i = 0; i < BATCH; i++) {
		u->in_data[i] = (struct iovec){.iov_base = u->queries[i], .iov_len = QUERY_MAX};
		u->in[i].msg_hdr = (struct msghdr){.msg_name = &u->from[i],
						   .msg_namelen = sizeof(u->from[i]),
						   .msg_iov = &u->in_data[i],
						   .msg_iovlen = 1,
						   .msg_control = u->control[i],
						   .msg_controllen = CONTROL_MAX};
	}
}

/* The interface that the question came in by need not be the one that leads back. */
static void forget_interface(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (!c || c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO) {
		m->msg_control = NULL;
		m->msg_controllen = 0;
		return;
	}
	((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_ifindex = 0;
}

static unsigned answer_all(struct niwa_udp *u, unsigned count)
{
	uint64_t now_us = u->rate ? niwa_now_us() : 0;
	struct niwa_api *api = u->api;
	unsigned answers = 0;

	for (unsigned i = 0; i < count; i++) {
		struct msghdr *m = &u->in[i].msg_hdr;
		size_t len;

		if (m->msg_flags & MSG_TRUNC)
			continue;
		if (u->rate && !niwa_rate_allow(u->rate, u->from[i].sin_addr.s_addr, now_us)) {
			api->counts.dropped++;
			continue;
		}
		len = niwa_dns_answer(&api->dns, u->queries[i], u->in[i].msg_len, u->answers[answers], NIWA_DNS_ROOM);
		if (len == 0)
			continue;
		niwa_api_count(api, u->answers[answers]);
		api->counts.udp++;
		u->out_data[answers] = (struct iovec){.iov_base = u->answers[answers], .iov_len = len};
		u->out[answers].msg_hdr = *m;
		u->out[answers].msg_hdr.msg_iov = &u->out_data[answers];
		u->out[answers].msg_hdr.msg_flags = 0;
		forget_interface(&u->out[answers].msg_hdr);
		answers++;
	}
	return answers;
}

static void send_all(struct niwa_udp *u, unsigned count)
{
	unsigned sent = 0;

	while (sent < count) {
		int n = sendmmsg(u->fd, u->out + sent, count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;
		sent += n > 0 ? (unsigned)n : 1; /* one that cannot be reached (port 0, a filter) is left out */
	}
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_udp *u = arg;

	(void)s, (void)revents;
	for (unsigned i = 0; i < BATCHES; i++) {
		int n;

		prepare(u);
		n = recvmmsg(fd, u->in, BATCH, MSG_DONTWAIT, NULL);
		if (n <= 0)
			break;
		niwa_watch_catch_up(u->api);
		send_all(u, answer_all(u, (unsigned)n));
		if (n < BATCH)
			break;
	}
	return 0;
}

int niwa_udp_open(struct niwa_api *api, enum niwa_door door, struct niwa_error *err)
{
	const struct sockaddr_in *at = &api->settings.listen[door];
	int any = at->sin_addr.s_addr == htonl(INADDR_ANY), size = BUFFER, r;
	struct niwa_udp *u = niwa_zalloc(sizeof(*u));

	api->udp[door] = u;
	if (!u)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "UDP");
	u->api = api;
	u->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->fd < 0 || setsockopt(u->fd, IPPROTO_IP, IP_PKTINFO, &any, sizeof(any)) < 0 ||
	    bind(u->fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "UDP");
	if (door == NIWA_DOOR_INSTANCES && !(u->rate = niwa_rate_new(api->settings.instance_rate)))
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "UDP");
	(void)setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(u->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = sd_event_add_io(api->event, &u->source, u->fd, EPOLLIN, on_readable, u);
	if (r >= 0)
		r = sd_event_source_set_priority(u->source, niwa_door_priority(door));
	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "UDP") : 0;
}

void niwa_udp_close(struct niwa_api *api, enum niwa_door door)
{
	struct niwa_udp *u = api->udp[door];

	if (!u)
		return;
	(void)sd_event_source_disable_unref(u->source);
	niwa_fd_close(&u->fd);
	niwa_rate_free(&u->rate);
	free(u);
	api->udp[door] = NULL;
}
