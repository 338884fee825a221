/* SPDX-License-Identifier: MIT
 *
 * Claims in hash tables; ports in a table by number, because an address may be all addresses.
 */
#include "spec/claims_private.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/memory.h"

struct claim {
	struct claim *next; /* all of them, to free them */
	size_t app;
	uint32_t line;
	bool shared;
	char name[]; /* the map borrows it */
};

struct port_claim {
	uint32_t line;
	char text[NIWA_PUBLISH_TEXT];
};

struct niwa_claims {
	struct claim *all;
	struct niwa_map *names, *volumes;
	struct niwa_map *published; /* struct port_claim by its text */
	/* of who publishes a port first: on an address of IPv4, of IPv6, on every one of IPv4, on every one */
	uint32_t first[UINT16_MAX + 1], first6[UINT16_MAX + 1], any4[UINT16_MAX + 1], any[UINT16_MAX + 1];
};

struct niwa_claims *niwa_claims_new(void)
{
	NIWA_AUTO(niwa_claims_free) struct niwa_claims *claims = niwa_zalloc(sizeof(*claims));

	if (!claims)
		return NULL;
	claims->names = niwa_map_new(NIWA_MAP_STRING);
	claims->volumes = niwa_map_new(NIWA_MAP_STRING);
	claims->published = niwa_map_new(NIWA_MAP_STRING);
	if (!claims->names || !claims->volumes || !claims->published)
		return NULL;
	return NIWA_TAKE(claims);
}

void niwa_claims_free(struct niwa_claims **claims)
{
	struct niwa_claims *c = *claims;
	struct port_claim *port;
	size_t pos = 0;

	if (!c)
		return;
	while (c->published && (port = niwa_map_next(c->published, &pos)))
		free(port);
	while (c->all) {
		struct claim *next = c->all->next;

		free(c->all);
		c->all = next;
	}
	niwa_map_free(&c->names);
	niwa_map_free(&c->volumes);
	niwa_map_free(&c->published);
	free(c);
	*claims = NULL;
}

static int claim_new(struct niwa_claims *claims, struct niwa_map *map, const char *name, struct claim **ret)
{
	size_t size = strlen(name) + 1;
	struct claim *c = niwa_zalloc(sizeof(*c) + size);

	if (!c)
		return -ENOMEM;
	memcpy(c->name, name, size);
	c->next = claims->all;
	claims->all = c;
	*ret = c;
	return niwa_map_put_str(map, c->name, c);
}

int niwa_claims_name(struct niwa_claims *claims, const char *name, size_t app, uint32_t line, uint32_t *ret_line)
{
	struct claim *c = niwa_map_get_str(claims->names, name);
	int r;

	if (c) {
		*ret_line = c->line;
		return -EEXIST;
	}
	r = claim_new(claims, claims->names, name, &c);
	if (r == 0) {
		c->line = line;
		c->app = app;
	}
	return r;
}

int niwa_claims_route(struct niwa_claims *claims, const struct niwa_route *route, size_t app, uint32_t line,
		      uint32_t *ret_line)
{
	char name[NIWA_NAME_MAX + 16];
	const struct claim *c;

	(void)snprintf(name, sizeof(name), "%s.%s", route->domain, niwa_protocol_name(route->protocol));
	c = niwa_map_get_str(claims->names, name);
	return c && c->app == app ? 0 : niwa_claims_name(claims, name, app, line, ret_line);
}

/* The line of one that clashes, or 0. */
static uint32_t port_before(const struct niwa_claims *claims, const struct niwa_publish *publish, const char *text)
{
	const struct port_claim *same = niwa_map_get_str(claims->published, text);
	uint16_t port = publish->port;
	uint32_t before = same ? same->line : claims->any[port];

	if (!before && niwa_publish_is_ipv4(publish))
		return niwa_publish_is_any(publish) ? claims->first[port] : claims->any4[port];
	if (!before && niwa_publish_is_any(publish))
		return claims->first[port] ? claims->first[port] : claims->first6[port];
	return before;
}

static void note_first(uint32_t *first, uint32_t line)
{
	if (!*first)
		*first = line;
}

int niwa_claims_port(struct niwa_claims *claims, const struct niwa_publish *publish, uint32_t line, uint32_t *ret_line)
{
	char text[NIWA_PUBLISH_TEXT];
	uint32_t before = port_before(claims, publish, niwa_publish_text(publish, text));
	bool four = niwa_publish_is_ipv4(publish);
	struct port_claim *c;
	int r;

	if (before) {
		*ret_line = before;
		return -EEXIST;
	}
	c = niwa_zalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->line = line;
	memcpy(c->text, text, strlen(text) + 1);
	r = niwa_map_put_str(claims->published, c->text, c);
	if (r < 0) {
		free(c);
		return r;
	}
	note_first(four ? &claims->first[publish->port] : &claims->first6[publish->port], line);
	if (niwa_publish_is_any(publish))
		note_first(four ? &claims->any4[publish->port] : &claims->any[publish->port], line);
	return 0;
}

int niwa_claims_volume(struct niwa_claims *claims, const struct niwa_volume *volume, size_t app, uint32_t line,
		       uint32_t *ret_line)
{
	struct claim *c = niwa_map_get_str(claims->volumes, volume->from);
	int r;

	if (volume->read_only || (c && c->shared && volume->shared) || (c && c->app == app))
		return 0;
	if (c) {
		*ret_line = c->line;
		return -EEXIST;
	}
	r = claim_new(claims, claims->volumes, volume->from, &c);
	if (r == 0) {
		c->line = line;
		c->app = app;
		c->shared = volume->shared;
	}
	return r;
}
