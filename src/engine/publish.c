/* SPDX-License-Identifier: MIT
 *
 * Published ports: bind, keep, tell the relay.
 */
#include "engine/publish.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/keep_client.h"

uint64_t niwa_publish_key(uint32_t addr, uint16_t port)
{
	return ((uint64_t)ntohl(addr) << 16 | port) + 1;
}

static void name_of(uint32_t addr, uint16_t port, char *buf, size_t size)
{
	char text[INET_ADDRSTRLEN];

	(void)inet_ntop(AF_INET, &addr, text, sizeof(text));
	(void)snprintf(buf, size, "publish:%s:%u", text, port);
}

static int bind_port(uint32_t addr, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = addr};
	NIWA_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 4096) < 0)
		return -errno;
	return NIWA_TAKE_FD(fd);
}

int niwa_publish_try(struct niwa_engine *e, const struct niwa_app_spec *spec, struct niwa_refusal *at,
		     struct niwa_error *err)
{
	for (size_t i = 0; i < spec->port_count; i++) {
		const struct niwa_publish *p = &spec->ports[i].publish;
		char text[INET_ADDRSTRLEN];
		int fd;

		if (!p->port || niwa_map_get(e->published, niwa_publish_key(p->addr, p->port)))
			continue;
		(void)inet_ntop(AF_INET, &p->addr, text, sizeof(text));
		fd = bind_port(p->addr, p->port);
		if (fd < 0) {
			(void)snprintf(at->app, sizeof(at->app), "%s", spec->name);
			(void)snprintf(at->key, sizeof(at->key), "ports[%zu].publish", i);
			return niwa_fail(err, NIWA_CALLER, -fd,
					 "%s: %s: cannot listen on %s:%u (another program has it, or it is no address "
					 "of this host)",
					 at->app, at->key, text, p->port);
		}
		niwa_fd_close(&fd);
	}
	return 0;
}

static void tell(struct niwa_engine *e, const struct niwa_published *p, enum niwa_relay_type type)
{
	struct niwa_relay_msg m = {.type = type, .host = p->addr, .host_port = p->port, .port = p->app_port};

	if (!e->relay)
		return;
	if (p->app)
		m.service = p->app->service_addr;
	if (niwa_channel_send(e->relay, &m, sizeof(m), &p->fd, type == NIWA_RELAY_LISTEN ? 1 : 0) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "cannot tell niwa-relay about a published port");
}

static void open_one(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_port *port)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "publish"};
	struct niwa_published *p = niwa_map_get(e->published, niwa_publish_key(port->publish.addr, port->publish.port));
	char name[NIWA_KEEP_NAME_MAX];

	name_of(port->publish.addr, port->publish.port, name, sizeof(name));
	if (!p) {
		p = niwa_zalloc(sizeof(*p));
		if (!p)
			return;
		p->addr = port->publish.addr;
		p->port = port->publish.port;
		p->fd = bind_port(p->addr, p->port);
		if (p->fd < 0 || niwa_map_put(e->published, niwa_publish_key(p->addr, p->port), p) < 0) {
			niwa_log(NIWA_LOG_ERR, &ctx,
				 "cannot listen on %s: %s; end the program that has it and apply again", name + 8,
				 strerror(p->fd < 0 ? -p->fd : ENOMEM));
			niwa_fd_close(&p->fd);
			free(p);
			return;
		}
		niwa_keep_store(e, name, p->fd);
	}
	p->app = app; /* perhaps instead of another one, which loses it in the same transaction */
	p->app_port = port->number;
	tell(e, p, NIWA_RELAY_LISTEN);
}

void niwa_publish_app(struct niwa_engine *e, struct niwa_app *app)
{
	for (unsigned i = 0; i < app->port_count; i++)
		if (app->ports[i].publish.port)
			open_one(e, app, &app->ports[i]);
}

static void close_one(struct niwa_engine *e, struct niwa_published *p)
{
	char name[NIWA_KEEP_NAME_MAX];

	name_of(p->addr, p->port, name, sizeof(name));
	tell(e, p, NIWA_RELAY_UNLISTEN);
	niwa_keep_unstore(e, name);
	/* the port is free at once, not when the relay and keep have closed theirs */
	(void)shutdown(p->fd, SHUT_RDWR);
	(void)niwa_map_del(e->published, niwa_publish_key(p->addr, p->port));
	niwa_fd_close(&p->fd);
	free(p);
}

void niwa_publish_drop(struct niwa_engine *e, struct niwa_app *app)
{
	for (unsigned i = 0; i < app->port_count; i++) {
		const struct niwa_publish *pub = &app->ports[i].publish;
		struct niwa_published *p =
			pub->port ? niwa_map_get(e->published, niwa_publish_key(pub->addr, pub->port)) : NULL;

		if (p && p->app == app)
			p->app = NULL;
	}
}

static bool publishes(const struct niwa_app *app, const struct niwa_publish *p)
{
	for (unsigned i = 0; i < app->port_count; i++)
		if (app->ports[i].publish.addr == p->addr && app->ports[i].publish.port == p->port)
			return true;
	return false;
}

void niwa_publish_change(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_port *old, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct niwa_publish *pub = &old[i].publish;
		struct niwa_published *p =
			pub->port ? niwa_map_get(e->published, niwa_publish_key(pub->addr, pub->port)) : NULL;

		if (p && p->app == app && !publishes(app, pub))
			p->app = NULL;
	}
}

void niwa_publish_tell_relay(struct niwa_engine *e)
{
	struct niwa_published *p;
	size_t pos = 0;

	while ((p = niwa_map_next(e->published, &pos)))
		if (p->app)
			tell(e, p, NIWA_RELAY_LISTEN);
}

void niwa_publish_adopt(struct niwa_engine *e, const char *name, int fd)
{
	struct niwa_published *p = niwa_zalloc(sizeof(*p));
	char addr[INET_ADDRSTRLEN];
	unsigned port;

	if (!p || sscanf(name, "publish:%15[0-9.]:%u", addr, &port) != 2 || inet_pton(AF_INET, addr, &p->addr) != 1)
		goto drop;
	p->port = (uint16_t)port;
	p->fd = fd;
	if (niwa_map_put(e->published, niwa_publish_key(p->addr, p->port), p) == 0)
		return;
drop:
	free(p);
	niwa_fd_close(&fd);
}

void niwa_publish_claim(struct niwa_engine *e)
{
	struct niwa_app *app;
	size_t pos = 0;

	while ((app = niwa_map_next(e->apps_by_id, &pos)))
		if (!app->removed)
			niwa_publish_app(e, app);
}

void niwa_publish_sweep(struct niwa_engine *e)
{
	struct niwa_published *p;
	size_t pos = 0;

	while ((p = niwa_map_next(e->published, &pos)))
		if (!p->app)
			close_one(e, p);
}
