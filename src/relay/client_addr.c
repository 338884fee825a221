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
#include "base/ula.h"

enum from { CLIENT_PORT, ANY_PORT, HOST };

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

const char *niwa_client_addr_text(const struct niwa_conn *c, char *buf)
{
	const void *addr = c->six ? (const void *)c->client6 : (const void *)&c->client;

	(void)inet_ntop(c->six ? AF_INET6 : AF_INET, addr, buf, INET6_ADDRSTRLEN);
	return buf;
}

static bool is_loopback(uint32_t addr)
{
	return ntohl(addr) >> 24 == IN_LOOPBACKNET;
}

/* The host's own address, or that of the instance itself, in its private network. */
static bool is_private6(const struct niwa_conn *c, uint32_t addr)
{
	return memcmp(c->client6, c->relay->private6, sizeof(c->relay->private6)) == 0 &&
	       niwa_ula_addr(c->client6) == addr;
}

static enum from begin_at(const struct niwa_conn *c)
{
	static const uint8_t loopback6[16] = {[15] = 1};

	if (!c->relay->client_addr || c->proxy != NIWA_PROXY_NONE)
		return HOST;
	if (c->six) /* by IPv4 it cannot be seen */
		return !c->to_six || memcmp(c->client6, loopback6, sizeof(loopback6)) == 0 ||
				       is_private6(c, c->relay->host) || is_private6(c, c->to)
			       ? HOST
			       : CLIENT_PORT;
	return is_loopback(c->client) || c->client == c->relay->host || c->client == c->to ? HOST : CLIENT_PORT;
}

static socklen_t client_address(const struct niwa_conn *c, enum from from, union address *ret)
{
	const in_port_t port = from == CLIENT_PORT ? htons(c->client_port) : 0;

	if (!c->six) {
		ret->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = c->client, .sin_port = port};
		return sizeof(ret->in);
	}
	ret->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
	memcpy(&ret->in6.sin6_addr, c->client6, sizeof(c->client6));
	return sizeof(ret->in6);
}

static socklen_t instance_address(const struct niwa_conn *c, union address *ret)
{
	if (!c->to_six) {
		ret->in = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_addr.s_addr = c->to, .sin_port = htons(c->to_port)};
		return sizeof(ret->in);
	}
	ret->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(c->to_port)};
	memcpy(&ret->in6.sin6_addr, c->relay->private6, sizeof(c->relay->private6));
	memcpy(ret->in6.sin6_addr.s6_addr + sizeof(c->relay->private6), &c->to, sizeof(c->to));
	return sizeof(ret->in6);
}

static int set_transparent(int fd, bool six)
{
	const int on = 1;
	int r = six ? setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on))
		    : setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on));

	return r < 0 ? -errno : 0;
}

static int bind_client(const struct niwa_conn *c, int fd, enum from from)
{
	union address sa;
	socklen_t len = client_address(c, from, &sa);
	const int on = 1;
	int r;

	if (from == HOST)
		return 0;
	r = set_transparent(fd, c->six);
	if (r < 0)
		return r;
	/* Two services may have the same client and port; without a port the kernel looks for one that is free towards
	 * this instance, not towards all. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    (from == ANY_PORT && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0) ||
	    bind(fd, &sa.any, len) < 0)
		return -errno;
	return 0;
}

/* One try: a socket whose SYN is sent, or -errno. */
static int try_from(const struct niwa_conn *c, enum from from)
{
	union address to;
	socklen_t len = instance_address(c, &to);
	NIWA_AUTO_FD fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = bind_client(c, fd, from);
	if (r < 0)
		return r;
	if (connect(fd, &to.any, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return NIWA_TAKE_FD(fd);
}

static int dial(struct niwa_conn *c)
{
	enum from from = begin_at(c);
	int fd = try_from(c, from);

	/* taken: EADDRINUSE by whom the port belongs to, EADDRNOTAVAIL by a connection with the same four numbers */
	if (from == CLIENT_PORT && (fd == -EADDRINUSE || fd == -EADDRNOTAVAIL || fd == -EACCES))
		fd = try_from(c, ANY_PORT);
	return fd;
}

int niwa_client_addr_dial(struct niwa_conn *c)
{
	int fd = dial(c);

	if (fd >= 0 || !c->to_six)
		return fd;
	c->to_six = false; /* an instance of a time before IPv6 was turned on, or an address that cannot be used */
	return dial(c);
}

void niwa_client_addr_ready(struct niwa_conn *c, const struct niwa_relay_msg *m)
{
	uint8_t to[16];
	char text[INET6_ADDRSTRLEN];

	c->proxy = niwa_client_addr_version(m) & 3;
	memcpy(text, m->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	c->to_six = c->six && (m->flags & NIWA_RELAY_V6) && inet_pton(AF_INET6, text, to) == 1;
	if (c->to_six)
		memcpy(c->relay->private6, to, sizeof(c->relay->private6));
}

enum niwa_proxy_version niwa_client_addr_version(const struct niwa_relay_msg *m)
{
	if (m->flags & NIWA_RELAY_PROXY_V2)
		return NIWA_PROXY_V2;
	return m->flags & NIWA_RELAY_PROXY_V1 ? NIWA_PROXY_V1 : NIWA_PROXY_NONE;
}

int niwa_client_addr_tell(struct niwa_conn *c)
{
	struct niwa_proxy_ends ends = {.client_port = c->client_port, .six = c->six};
	uint8_t header[NIWA_PROXY_HEADER_MAX];
	union address sa = {.any.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(sa);

	if (c->proxy == NIWA_PROXY_NONE)
		return 0;
	/* of a published port, the host's address and port: what the client has connected to */
	if (getsockname(c->fd[NIWA_CLIENT], &sa.any, &len) < 0)
		return -errno;
	if (c->six) {
		memcpy(ends.client, c->client6, sizeof(ends.client));
		memcpy(ends.server, &sa.in6.sin6_addr, sizeof(ends.server));
		ends.server_port = ntohs(sa.in6.sin6_port);
	} else {
		bool mapped = sa.any.sa_family == AF_INET6; /* the listener is one of both families */

		memcpy(ends.client, &c->client, sizeof(c->client));
		memcpy(ends.server, mapped ? &sa.in6.sin6_addr.s6_addr[12] : (uint8_t *)&sa.in.sin_addr,
		       sizeof(c->client));
		ends.server_port = ntohs(mapped ? sa.in6.sin6_port : sa.in.sin_port);
	}
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
