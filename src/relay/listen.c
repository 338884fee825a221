/* SPDX-License-Identifier: MIT
 *
 * Listeners, and who is let in: the bounds are looked at here, before the engine hears of a connection.
 */
#include "relay/relay_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ula.h"

#define FD_LIMIT_MIN 64 /* descriptors that listeners leave to connections */
#define MAPPED       12 /* bytes before the address of IPv4 in one of IPv6 */

/* ---- what is known of ports ---- */

static struct niwa_known *known_slot(struct niwa_relay *r, uint32_t service, uint16_t port)
{
	uint32_t h = (ntohl(service) ^ (uint32_t)port << 16 ^ port) * 2654435761u;

	return &r->known[h >> 20];
}

void niwa_listen_know(struct niwa_relay *r, uint32_t service, uint16_t port, uint32_t protocol)
{
	*known_slot(r, service, port) =
		(struct niwa_known){.service = service, .port = port, .protocol = (uint8_t)protocol};
}

enum niwa_protocol niwa_listen_protocol(const struct niwa_conn *c)
{
	const struct niwa_known *k = known_slot(c->relay, c->service, c->port);

	if (c->protocol_known)
		return c->protocol;
	return k->service == c->service && k->port == c->port ? k->protocol : NIWA_PROTO_TCP;
}

/* ---- admission ---- */

/* NULL, or the bound that is passed. */
static const char *bound_passed(const struct niwa_conn *c)
{
	const struct niwa_relay *r = c->relay;

	if (r->counters[NIWA_COUNT_OPEN] > r->limits.connections)
		return "connections";
	if (r->fds > r->fd_limit - r->fd_limit / 8)
		return "descriptors (RLIMIT_NOFILE)";
	if (r->counters[NIWA_COUNT_WAITING] >= r->limits.waiting)
		return "waiting";
	if (c->source->count > r->limits.waiting_per_source)
		return "waiting_per_source";
	return NULL;
}

static void drop(struct niwa_conn *c)
{
	c->relay->counters[NIWA_COUNT_REFUSED]++;
	c->reset = true;
	niwa_conn_die(c, ECONNRESET);
}

static void over_limit(struct niwa_conn *c, const char *bound)
{
	struct niwa_relay *r = c->relay;
	char client[INET6_ADDRSTRLEN];

	r->counters[NIWA_COUNT_OVER_LIMIT]++;
	if (niwa_log_allow(&r->log_limit, 3, 10 * NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, NULL,
			 "over the bound '%s': a connection from %s is turned away (%llu open, %llu waiting)", bound,
			 niwa_client_addr_text(c, client), (unsigned long long)r->counters[NIWA_COUNT_OPEN],
			 (unsigned long long)r->counters[NIWA_COUNT_WAITING]);
	/* An answer holds a descriptor until it was read: for a few, not for a flood. */
	if (r->fds > r->fd_limit || c->source->count / 2 > r->limits.waiting_per_source ||
	    r->counters[NIWA_COUNT_OPEN] > r->limits.connections + NIWA_RELAY_SPARE ||
	    niwa_conn_watch(c, NIWA_CLIENT) < 0) {
		drop(c);
		return;
	}
	c->kind = NIWA_TEMPORARY;
	niwa_reply(c, "Too many connections are waiting; please try again");
}

static uint64_t source_key(const struct niwa_conn *c)
{
	uint64_t network;

	if (!c->six)
		return c->client;
	memcpy(&network, c->client6, sizeof(network));
	return network | UINT64_C(1) << 63; /* above all IPv4 addresses */
}

static void judge(struct niwa_conn *c)
{
	int held = (int)(c->relay->limits.held_bytes < INT32_MAX / 2 ? c->relay->limits.held_bytes : INT32_MAX / 2);
	const char *bound;
	ssize_t n;
	char byte;

	c->source = niwa_source_get(c->relay, source_key(c));
	if (!c->source) {
		drop(c);
		return;
	}
	bound = bound_passed(c);
	if (bound) {
		over_limit(c, bound);
		return;
	}
	/* While it is held nothing is read: the kernel's buffer is the bound. It counts twice what is asked for, half
	 * of it for its own bookkeeping. Lifted when the connection is spliced. */
	(void)setsockopt(c->fd[NIWA_CLIENT], SOL_SOCKET, SO_RCVBUF, &held, sizeof(held));
	n = recv(c->fd[NIWA_CLIENT], &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN) || niwa_conn_watch(c, NIWA_CLIENT) < 0) {
		niwa_conn_die(c, 0); /* a probe: nobody has to know */
		return;
	}
	c->has_bytes = n > 0;
	niwa_conn_begin(c);
}

/* ---- accepting ---- */

/* A socket address of either family. */
union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* The address that the client has called. 0, or -EINVAL: it has called the listener itself. */
static int learn_service(struct niwa_conn *c, const struct niwa_listener *l, int fd)
{
	union address local = {.any.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(local);

	if (getsockname(fd, &local.any, &len) < 0)
		return -errno;
	c->port = ntohs(local.any.sa_family == AF_INET6 ? local.in6.sin6_port : local.in.sin_port);
	if (local.any.sa_family == AF_INET6) {
		c->service = niwa_ula_addr(local.in6.sin6_addr.s6_addr);
		return IN6_IS_ADDR_LOOPBACK(&local.in6.sin6_addr) ? -EINVAL : 0;
	}
	c->service = local.in.sin_addr.s_addr;
	return memcmp(&c->service, l->host + MAPPED, sizeof(c->service)) == 0 && c->port == l->host_port ? -EINVAL : 0;
}

/* A listener on every address has clients of both families. */
static void learn_client6(struct niwa_conn *c, const struct sockaddr_in6 *client)
{
	c->client_port = ntohs(client->sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&client->sin6_addr)) {
		memcpy(&c->client, &client->sin6_addr.s6_addr[MAPPED], sizeof(c->client));
		return;
	}
	c->six = true;
	memcpy(c->client6, &client->sin6_addr, sizeof(c->client6));
}

static void accepted(struct niwa_listener *l, int fd, const union address *client)
{
	struct niwa_relay *r = l->relay;
	struct niwa_conn *c = niwa_conn_new(r, fd);

	r->counters[NIWA_COUNT_ACCEPTED]++;
	if (!c)
		return;
	if (client->any.sa_family == AF_INET6) {
		learn_client6(c, &client->in6);
	} else {
		c->client = client->in.sin_addr.s_addr;
		c->client_port = ntohs(client->in.sin_port);
	}
	c->service = l->service;
	c->port = l->port;
	if (l->transparent && learn_service(c, l, fd) < 0) {
		drop(c);
		return;
	}
	judge(c);
}

static int resume(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_relay *r = arg;

	r->accept_paused = false;
	niwa_listen_update(r);
	return 0;
}

static void pause_accepting(struct niwa_relay *r, int error)
{
	if (niwa_log_allow(&r->log_accept, 1, 10 * NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, NULL, "accept a connection: %s; pausing", strerrordesc_np(error));
	if (sd_event_add_time_relative(r->event, NULL, CLOCK_MONOTONIC, NIWA_RELAY_PAUSE_US, 0, resume, r) < 0)
		return; /* then it is tried again at once */
	r->accept_paused = true;
	niwa_listen_update(r);
}

static int on_listener(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct niwa_listener *l = arg;

	for (int i = 0; i < NIWA_RELAY_ACCEPTS && !l->relay->accept_off; i++) {
		union address client = {.any.sa_family = AF_UNSPEC};
		socklen_t len = sizeof(client);
		int conn = accept4(fd, &client.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (conn >= 0) {
			accepted(l, conn, &client);
			continue;
		}
		if (errno == EAGAIN)
			break;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			pause_accepting(l->relay, errno);
			break;
		}
		/* The others belong to the connection that is gone already (accept(2), "Error handling"). */
	}
	niwa_listen_update(l->relay);
	return 0;
}

void niwa_listen_update(struct niwa_relay *r)
{
	bool off = r->accept_paused || r->out_count >= NIWA_RELAY_QUEUE;

	if (off == r->accept_off)
		return;
	r->accept_off = off;
	for (struct niwa_listener *l = r->listeners; l; l = l->next)
		(void)sd_event_source_set_enabled(l->io, off ? SD_EVENT_OFF : SD_EVENT_ON);
}

/* ---- listeners ---- */

static void listener_free(struct niwa_listener *l)
{
	l->relay->listener_count--;
	l->relay->fd_limit++;
	(void)sd_event_source_disable_unref(l->io);
	niwa_fd_close(&l->fd);
	free(l);
}

bool niwa_listen_has6(const struct niwa_relay *r)
{
	const struct niwa_listener *l = r->listeners;

	while (l && !(l->transparent && l->host_port == 0))
		l = l->next;
	return l != NULL;
}

static void map_host(uint32_t host, uint8_t ret[16])
{
	memset(ret, 0, MAPPED);
	ret[10] = ret[11] = 0xff;
	memcpy(ret + MAPPED, &host, sizeof(host));
}

/* The address that a message is about. -EINVAL. */
static int host_of(const struct niwa_relay_msg *msg, uint8_t ret[16])
{
	char text[INET6_ADDRSTRLEN];

	if (!(msg->flags & NIWA_RELAY_HOST6)) {
		map_host(msg->host, ret);
		return 0;
	}
	memcpy(text, msg->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	return inet_pton(AF_INET6, text, ret) == 1 ? 0 : -EINVAL;
}

void niwa_listen_remove(struct niwa_relay *r, const struct niwa_relay_msg *msg)
{
	uint8_t host[16];

	if (host_of(msg, host) < 0)
		return;
	for (struct niwa_listener **p = &r->listeners; *p; p = &(*p)->next) {
		struct niwa_listener *l = *p;

		if (!l->transparent && memcmp(l->host, host, sizeof(host)) == 0 && l->host_port == msg->host_port) {
			*p = l->next;
			listener_free(l);
			return;
		}
	}
}

void niwa_listen_close_all(struct niwa_relay *r)
{
	while (r->listeners) {
		struct niwa_listener *l = r->listeners;

		r->listeners = l->next;
		listener_free(l);
	}
}

static int is_listener(int fd)
{
	int listening = 0, domain = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -errno;
	return listening && (domain == AF_INET || domain == AF_INET6) ? 0 : -EINVAL;
}

static int fill_listener(struct niwa_listener *l, const struct niwa_relay_msg *msg)
{
	union address local = {.any.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(local);

	if (msg) {
		l->host_port = msg->host_port;
		l->service = msg->service;
		l->port = msg->port;
		return host_of(msg, l->host);
	}
	if (getsockname(l->fd, &local.any, &len) < 0)
		return -errno;
	l->transparent = true;
	if (local.any.sa_family == AF_INET) {
		map_host(local.in.sin_addr.s_addr, l->host);
		l->host_port = ntohs(local.in.sin_port);
	}
	return 0;
}

int niwa_listen_add(struct niwa_relay *r, int fd, const struct niwa_relay_msg *msg)
{
	struct niwa_listener *l = niwa_zalloc(sizeof(*l));
	int ret = -ENOMEM;

	if (!l)
		goto fail;
	*l = (struct niwa_listener){.relay = r, .fd = fd};
	ret = r->listener_count < NIWA_RELAY_LISTENERS && r->fd_limit > FD_LIMIT_MIN ? is_listener(fd) : -ENOSPC;
	if (ret >= 0)
		ret = niwa_fd_nonblock(fd);
	if (ret >= 0)
		ret = fill_listener(l, msg);
	if (ret >= 0)
		ret = sd_event_add_io(r->event, &l->io, fd, EPOLLIN, on_listener, l);
	if (ret < 0)
		goto fail;
	if (r->accept_off)
		(void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
	if (msg) {
		niwa_listen_remove(r, msg);
		if (msg->protocol != NIWA_PROTO_TCP && msg->protocol < NIWA_PROTO_COUNT)
			niwa_listen_know(r, msg->service, msg->port, msg->protocol);
	}
	l->next = r->listeners;
	r->listeners = l;
	r->listener_count++;
	r->fd_limit--;
	return 0;
fail:
	(void)close(fd);
	free(l);
	return ret;
}
