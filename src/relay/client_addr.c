/* SPDX-License-Identifier: MIT
 *
 * Connections to instances begin at the client's own address, and port where that is free, so that an app sees the same
 * client through the relay as through the kernel. The answers find their way back by src/net/return_path.c.
 *
 * With the PROXY protocol the address is told in a header instead, and the connection begins at the host's own address,
 * by which the app knows whom to believe. From there also come: clients of the host that are on loopback (an instance
 * would take such packets for its own), and those that have the address already. A port that is taken (by the client's
 * own socket when it is on this host, by a listener of the host's, by a connection that has just ended) or below 1024
 * is replaced by any other; the address never is.
 */
#include "relay/relay_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

enum from { CLIENT_PORT, ANY_PORT, HOST };

static bool is_loopback(uint32_t addr)
{
	return ntohl(addr) >> 24 == IN_LOOPBACKNET;
}

static enum from begin_at(const struct niwa_conn *c)
{
	if (!c->relay->client_addr || c->proxy != NIWA_PROXY_NONE || is_loopback(c->client) ||
	    c->client == c->relay->host || c->client == c->to)
		return HOST;
	return CLIENT_PORT;
}

static int bind_client(const struct niwa_conn *c, int fd, enum from from)
{
	const struct sockaddr_in sa = {.sin_family = AF_INET,
				       .sin_addr.s_addr = c->client,
				       .sin_port = from == CLIENT_PORT ? htons(c->client_port) : 0};
	const int on = 1;

	if (from == HOST)
		return 0;
	if (setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)) < 0)
		return -errno;
	/* Two services may have the same client and port; without a port the kernel looks for one that is free towards
	 * this instance, not towards all. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    (from == ANY_PORT && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0) ||
	    bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return 0;
}

/* One try: a socket whose SYN is sent, or -errno. */
static int try_from(const struct niwa_conn *c, enum from from)
{
	const struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = c->to, .sin_port = htons(c->to_port)};
	NIWA_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = bind_client(c, fd, from);
	if (r < 0)
		return r;
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return -errno;
	return NIWA_TAKE_FD(fd);
}

int niwa_client_addr_dial(struct niwa_conn *c)
{
	enum from from = begin_at(c);
	int fd = try_from(c, from);

	/* taken: EADDRINUSE by whom the port belongs to, EADDRNOTAVAIL by a connection with the same four numbers */
	if (from == CLIENT_PORT && (fd == -EADDRINUSE || fd == -EADDRNOTAVAIL || fd == -EACCES))
		fd = try_from(c, ANY_PORT);
	return fd;
}

enum niwa_proxy_version niwa_client_addr_version(const struct niwa_relay_msg *m)
{
	if (m->flags & NIWA_RELAY_PROXY_V2)
		return NIWA_PROXY_V2;
	return m->flags & NIWA_RELAY_PROXY_V1 ? NIWA_PROXY_V1 : NIWA_PROXY_NONE;
}

int niwa_client_addr_tell(struct niwa_conn *c)
{
	struct niwa_proxy_ends ends = {.client = c->client, .client_port = c->client_port};
	uint8_t header[NIWA_PROXY_HEADER_MAX];
	struct sockaddr_in sa = {0};
	socklen_t len = sizeof(sa);

	if (c->proxy == NIWA_PROXY_NONE)
		return 0;
	/* of a published port, the host's address and port: what the client has connected to */
	if (getsockname(c->fd[NIWA_CLIENT], (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	ends.server = sa.sin_addr.s_addr;
	ends.server_port = ntohs(sa.sin_port);
	return niwa_splice_keep(c, NIWA_IN, header, niwa_proxy_header(c->proxy, &ends, header));
}

void niwa_client_addr_hello(struct niwa_relay *r, const struct niwa_relay_msg *m)
{
	NIWA_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	r->host = m->host;
	r->client_addr = m->flags & NIWA_RELAY_CLIENT_ADDR;
	if (!r->client_addr || fd < 0 || setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)) == 0)
		return;
	r->client_addr = false;
	niwa_log(NIWA_LOG_WARN, NULL, "apps see the host's address instead of their clients': IP_TRANSPARENT: %s",
		 strerror(errno));
}
