/* SPDX-License-Identifier: MIT
 *
 * Ports published on the host's addresses. The packet path has one look-up, host address . port → instance, so an
 * entry must come and go with the one in `awake`. Which host ports belong to a service port is remembered here, from
 * what the engine told since its start; whether the app is awake is asked from the kernel. While an entry is missing
 * the relay's own listener takes the connection: slower, never wrong. What is published on every address has an entry
 * in each family, where the app is in `awake` of that family.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/memory.h"
#include "net/elements_private.h"
#include "net/net_private.h"

#define HOST_KEY 40 /* bytes of address and port as text */

struct published {
	struct in6_addr host;
	uint32_t service;
	uint16_t port, service_port;
	char key[HOST_KEY];
	struct published *next;     /* of the same service port */
	struct published *next_new; /* to be looked up at the commit */
	bool is_new;
};

static void host_key(const struct in6_addr *addr, uint16_t port, char *buf)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < sizeof(addr->s6_addr); i++) {
		buf[2 * i] = digits[addr->s6_addr[i] >> 4];
		buf[2 * i + 1] = digits[addr->s6_addr[i] & 15];
	}
	(void)snprintf(buf + 2 * sizeof(addr->s6_addr), HOST_KEY - 2 * sizeof(addr->s6_addr), "%u", port);
}

static uint64_t key_of(uint32_t addr, uint16_t port)
{
	return (uint64_t)addr << 16 | port;
}

int niwa_published_open(struct niwa_net *net)
{
	net->published_hosts = niwa_map_new(NIWA_MAP_STRING);
	net->published_services = niwa_map_new(NIWA_MAP_U64);
	return net->published_hosts && net->published_services ? 0 : -ENOMEM;
}

void niwa_published_close(struct niwa_net *net)
{
	struct published *p;
	size_t pos = 0;

	while (net->published_hosts && (p = niwa_map_next(net->published_hosts, &pos)))
		free(p);
	niwa_map_free(&net->published_hosts);
	niwa_map_free(&net->published_services);
}

/* Takes p out of the list of its service port. */
static void unlink_service(struct niwa_net *net, struct published *p)
{
	const uint64_t key = key_of(p->service, p->service_port);
	struct published *head = niwa_map_del(net->published_services, key);
	struct published **at = &head;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	if (head)
		(void)niwa_map_put(net->published_services, key, head); /* there was room for it a moment ago */
}

static int link_service(struct niwa_net *net, struct published *p)
{
	const uint64_t key = key_of(p->service, p->service_port);
	struct published *head = niwa_map_get(net->published_services, key);

	if (!head) {
		p->next = NULL;
		return niwa_map_put(net->published_services, key, p);
	}
	p->next = head->next;
	head->next = p;
	return 0;
}

static void unlink_new(struct niwa_net *net, struct published *p)
{
	struct published **at = &net->published_new;

	while (*at && *at != p)
		at = &(*at)->next_new;
	if (*at)
		*at = p->next_new;
	p->is_new = false;
}

static void forget(struct niwa_net *net, struct published *p)
{
	unlink_service(net, p);
	if (p->is_new)
		unlink_new(net, p);
	(void)niwa_map_del_str(net->published_hosts, p->key);
	free(p);
}

static int remember(struct niwa_net *net, const struct published *wanted)
{
	struct published *p = niwa_zalloc(sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = *wanted;
	r = niwa_map_put_str(net->published_hosts, p->key, p);
	if (r == 0) {
		r = link_service(net, p);
		if (r < 0)
			(void)niwa_map_del_str(net->published_hosts, p->key);
	}
	if (r < 0) {
		free(p);
		return r;
	}
	p->is_new = true;
	p->next_new = net->published_new;
	net->published_new = p;
	return 0;
}

static bool is_any(const struct in6_addr *host)
{
	static const struct in6_addr any4 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	return IN6_IS_ADDR_UNSPECIFIED(host) || IN6_ARE_ADDR_EQUAL(host, &any4);
}

/* Is the port reached by this family? */
static bool has_family(const struct niwa_net *net, const struct published *p, enum niwa_family family)
{
	if (family == NIWA_IPV4)
		return IN6_IS_ADDR_V4MAPPED(&p->host) || IN6_IS_ADDR_UNSPECIFIED(&p->host);
	return net->config.ula.on && !IN6_IS_ADDR_V4MAPPED(&p->host);
}

static void put_entry(struct niwa_net_txn *t, enum niwa_change change, const struct published *p,
		      enum niwa_family family, const uint8_t *to)
{
	static const enum niwa_set sets[][2] = {[NIWA_IPV4] = {NIWA_SET_PUBLISHED, NIWA_SET_PUBLISHED_ANY},
						[NIWA_IPV6] = {NIWA_SET_PUBLISHED6, NIWA_SET_PUBLISHED_ANY6}};
	const size_t skip = family == NIWA_IPV4 ? 12 : 0;
	const uint16_t port = htons(p->port);
	uint8_t key[NIWA_ELEMENT_MAX] = {0};

	if (!has_family(niwa_txn_net(t), p, family))
		return;
	if (is_any(&p->host)) {
		niwa_txn_put(t, sets[family][1], change, &port, to);
		return;
	}
	memcpy(key, p->host.s6_addr + skip, sizeof(p->host.s6_addr) - skip);
	memcpy(key + sizeof(p->host.s6_addr) - skip, &port, sizeof(port));
	niwa_txn_put(t, sets[family][0], change, key, to);
}

void niwa_net_published(struct niwa_net_txn *t, enum niwa_change c, const struct niwa_net_host_port *host,
			uint32_t service, uint16_t service_port)
{
	struct published wanted = {.port = host->port, .service = service, .service_port = service_port};
	struct niwa_net *net = niwa_txn_net(t);
	struct published *p;

	memcpy(&wanted.host, host->addr, sizeof(host->addr));
	host_key(&wanted.host, wanted.port, wanted.key);
	p = niwa_map_get_str(net->published_hosts, wanted.key);
	if (c == NIWA_DEL && p && (p->service != service || p->service_port != service_port))
		return; /* in this transaction another one took it over */
	if (p)
		forget(net, p);
	if (c == NIWA_DEL) {
		put_entry(t, NIWA_DEL, &wanted, NIWA_IPV4, NULL);
		put_entry(t, NIWA_DEL, &wanted, NIWA_IPV6, NULL);
	} else if (remember(net, &wanted) < 0) {
		niwa_txn_fail(t);
	}
}

void niwa_published_follow(struct niwa_net_txn *t, enum niwa_change change, enum niwa_family family,
			   struct niwa_end service, const uint8_t *to)
{
	const struct niwa_net *net = niwa_txn_net(t);
	const struct published *p = niwa_map_get(net->published_services, key_of(service.addr, service.port));

	for (; p; p = p->next)
		put_entry(t, change, p, family, to);
}

/* Address and port as keys and values of `awake` have them. */
static void pack_end(const struct niwa_net *net, enum niwa_family family, enum niwa_ula_net kind, struct niwa_end end,
		     uint8_t *to)
{
	const uint16_t port = htons(end.port);

	if (family == NIWA_IPV4) {
		niwa_pack_port(to, end.addr, end.port);
		return;
	}
	niwa_ula_make(&net->config.ula, kind, end.addr, to);
	memcpy(to + 16, &port, sizeof(port));
}

/* The entry as the app's in `awake` is, in one family. */
static int sync_one(struct niwa_net *net, struct niwa_net_txn *t, const struct published *p, enum niwa_family family)
{
	const enum niwa_set awake = family == NIWA_IPV4 ? NIWA_SET_AWAKE : NIWA_SET_AWAKE6;
	uint8_t key[NIWA_ELEMENT_MAX] = {0}, to[NIWA_VALUE_MAX] = {0};
	struct niwa_net_element e;
	int r;

	if (!has_family(net, p, family))
		return 0;
	pack_end(net, family, NIWA_ULA_SERVICE, (struct niwa_end){p->service, p->service_port}, key);
	r = niwa_element_get(net, awake, key, &e);
	if (r > 0)
		pack_end(net, family, NIWA_ULA_PRIVATE, (struct niwa_end){e.to_addr, e.to_port}, to);
	if (r >= 0)
		put_entry(t, r ? NIWA_ADD : NIWA_DEL, p, family, to);
	return r < 0 ? r : 0;
}

int niwa_published_sync(struct niwa_net *net, struct niwa_error *err)
{
	struct niwa_net_txn *t;
	struct published *p;
	int r = 0;

	if (!net->published_new)
		return 0;
	t = niwa_net_txn_new(net);
	while (t && r >= 0 && (p = net->published_new)) {
		unlink_new(net, p);
		r = sync_one(net, t, p, NIWA_IPV4);
		if (r == 0)
			r = sync_one(net, t, p, NIWA_IPV6);
	}
	if (r < 0) {
		niwa_net_txn_free(&t);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "look up an app in the nftables map awake");
	}
	return niwa_net_commit(&t, err); /* out of memory when there is none */
}
