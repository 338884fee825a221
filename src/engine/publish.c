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

#define NAME "publish:" /* and the text of the port: what niwa-keep knows a listener by */

/* On addresses that the host has now, or that it may get. */
enum when { NOW, EARLY };

struct niwa_published *niwa_publish_find(const struct niwa_engine *e, const struct niwa_publish *at)
{
	char text[NIWA_PUBLISH_TEXT];

	return at->port ? niwa_map_get_str(e->published, niwa_publish_text(at, text)) : NULL;
}

static char *name_of(const struct niwa_publish *at, char *buf, size_t size)
{
	char text[NIWA_PUBLISH_TEXT];

	(void)snprintf(buf, size, NAME "%s", niwa_publish_text(at, text));
	return buf;
}

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t address_of(const struct niwa_publish *at, int family, union address *ret)
{
	if (family == AF_INET6) {
		ret->in6 = (struct sockaddr_in6){
			.sin6_family = AF_INET6, .sin6_port = htons(at->port), .sin6_addr = at->addr};
		return sizeof(ret->in6);
	}
	ret->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(at->port)};
	memcpy(&ret->in.sin_addr, &at->addr.s6_addr[12], sizeof(ret->in.sin_addr)); /* 0.0.0.0 of :: */
	return sizeof(ret->in);
}

/* EARLY: also on an address that the host has not got yet. At its start those of IPv6 come some seconds late. */
static int set_six(int fd, const struct niwa_publish *at, enum when when)
{
	const int alone = !niwa_publish_is_any(at), early = when == EARLY;

	if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &alone, sizeof(alone)) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &early, sizeof(early)) < 0)
		return -errno;
	return 0;
}

static int bind_port(const struct niwa_publish *at, enum when when)
{
	int family = niwa_publish_is_ipv4(at) ? AF_INET : AF_INET6;
	NIWA_AUTO_FD fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	union address sa;
	const int one = 1;
	socklen_t len;

	if (fd < 0 && errno == EAFNOSUPPORT && niwa_publish_is_any(at)) { /* every address that there is */
		family = AF_INET;
		fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0)
		return -errno;
	len = address_of(at, family, &sa);
	if (family == AF_INET6 && set_six(fd, at, when) < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 || bind(fd, &sa.any, len) < 0 ||
	    listen(fd, 4096) < 0)
		return -errno;
	return NIWA_TAKE_FD(fd);
}

/* Only the app's own listener is in the way, and it is to have another one instead. */
static bool is_own(const struct niwa_engine *e, const struct niwa_publish *at, const char *app)
{
	const struct niwa_published *p;
	bool own = false;
	size_t pos = 0;

	while ((p = niwa_map_next(e->published, &pos))) {
		if (!niwa_publish_clash(&p->at, at))
			continue;
		if (!p->app || strcmp(p->app->name, app) != 0)
			return false;
		own = true;
	}
	return own;
}

int niwa_publish_try(struct niwa_engine *e, const struct niwa_app_spec *spec, struct niwa_refusal *at,
		     struct niwa_error *err)
{
	for (size_t i = 0; i < spec->port_count; i++) {
		const struct niwa_publish *p = &spec->ports[i].publish;
		char text[NIWA_PUBLISH_TEXT];
		int fd;

		if (!p->port || niwa_publish_find(e, p))
			continue;
		fd = bind_port(p, NOW);
		if (fd < 0 && !(fd == -EADDRINUSE && is_own(e, p, spec->name))) {
			(void)snprintf(at->app, sizeof(at->app), "%s", spec->name);
			(void)snprintf(at->key, sizeof(at->key), "ports[%zu].publish", i);
			return niwa_fail(err, NIWA_CALLER, -fd,
					 "%s: %s: cannot listen on %s (another program has it, or it is no address "
					 "of this host)",
					 at->app, at->key, niwa_publish_text(p, text));
		}
		niwa_fd_close(&fd);
	}
	return 0;
}

static void tell(struct niwa_engine *e, const struct niwa_published *p, enum niwa_relay_type type)
{
	struct niwa_relay_msg m = {.type = type, .host_port = p->at.port, .port = p->app_port};

	if (!e->relay)
		return;
	if (niwa_publish_is_ipv4(&p->at)) {
		memcpy(&m.host, &p->at.addr.s6_addr[12], sizeof(m.host));
	} else {
		m.flags = NIWA_RELAY_HOST6;
		(void)inet_ntop(AF_INET6, &p->at.addr, m.text, INET6_ADDRSTRLEN);
	}
	if (p->app)
		m.service = p->app->service_addr;
	if (niwa_channel_send(e->relay, &m, sizeof(m), &p->fd, type == NIWA_RELAY_LISTEN ? 1 : 0) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "cannot tell niwa-relay about a published port");
}

static void close_one(struct niwa_engine *e, struct niwa_published *p)
{
	char name[NIWA_KEEP_NAME_MAX];

	LIST_REMOVE(p, link);
	tell(e, p, NIWA_RELAY_UNLISTEN);
	niwa_keep_unstore(e, name_of(&p->at, name, sizeof(name)));
	/* the port is free at once, not when the relay and keep have closed theirs */
	(void)shutdown(p->fd, SHUT_RDWR);
	(void)niwa_map_del_str(e->published, p->text);
	niwa_fd_close(&p->fd);
	free(p);
}

/* Listeners that were given up and stand in the way of this one. True when there was any. */
static bool make_way(struct niwa_engine *e, const struct niwa_publish *at)
{
	struct niwa_published *p = LIST_FIRST(&e->unpublished), *next;
	bool any = false;

	for (; p; p = next) {
		next = LIST_NEXT(p, link);
		if (!niwa_publish_clash(&p->at, at))
			continue;
		close_one(e, p);
		any = true;
	}
	return any;
}

static struct niwa_published *entry_new(struct niwa_engine *e, const struct niwa_publish *at, int fd)
{
	struct niwa_published *p = niwa_zalloc(sizeof(*p));

	if (!p)
		return NULL;
	p->at = *at;
	p->fd = fd;
	(void)niwa_publish_text(at, p->text);
	if (niwa_map_put_str(e->published, p->text, p) == 0) {
		LIST_INSERT_HEAD(&e->unpublished, p, link);
		return p;
	}
	free(p);
	return NULL;
}

static struct niwa_published *open_listener(struct niwa_engine *e, const struct niwa_app *app,
					    const struct niwa_publish *at)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "publish"};
	struct niwa_published *p = NULL;
	char name[NIWA_KEEP_NAME_MAX];
	int fd = bind_port(at, EARLY);

	if (fd == -EADDRINUSE && make_way(e, at))
		fd = bind_port(at, EARLY);
	if (fd >= 0)
		p = entry_new(e, at, fd);
	if (!p) {
		niwa_log(NIWA_LOG_ERR, &ctx, "cannot listen on %s: %s; end the program that has it and apply again",
			 name_of(at, name, sizeof(name)) + strlen(NAME), strerror(fd < 0 ? -fd : ENOMEM));
		niwa_fd_close(&fd);
		return NULL;
	}
	niwa_keep_store(e, name_of(at, name, sizeof(name)), p->fd);
	return p;
}

static void open_one(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_port *port)
{
	struct niwa_published *p = niwa_publish_find(e, &port->publish);

	if (!p)
		p = open_listener(e, app, &port->publish);
	if (!p)
		return;
	if (!p->app)
		LIST_REMOVE(p, link);
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

static void give_up(struct niwa_engine *e, struct niwa_published *p)
{
	p->app = NULL;
	LIST_INSERT_HEAD(&e->unpublished, p, link);
}

void niwa_publish_drop(struct niwa_engine *e, struct niwa_app *app)
{
	for (unsigned i = 0; i < app->port_count; i++) {
		struct niwa_published *p = niwa_publish_find(e, &app->ports[i].publish);

		if (p && p->app == app)
			give_up(e, p);
	}
}

static bool publishes(const struct niwa_app *app, const struct niwa_publish *p)
{
	for (unsigned i = 0; i < app->port_count; i++)
		if (niwa_publish_same(&app->ports[i].publish, p))
			return true;
	return false;
}

void niwa_publish_change(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_port *old, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct niwa_publish *pub = &old[i].publish;
		struct niwa_published *p = niwa_publish_find(e, pub);

		if (p && p->app == app && !publishes(app, pub))
			give_up(e, p);
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
	struct niwa_publish at;

	if (strncmp(name, NAME, strlen(NAME)) == 0 && niwa_publish_parse(name + strlen(NAME), &at) &&
	    entry_new(e, &at, fd))
		return;
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

	while ((p = LIST_FIRST(&e->unpublished)))
		close_one(e, p);
}
