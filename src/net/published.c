/* SPDX-License-Identifier: MIT
 *
 * Ports published on the host's addresses. The packet path has one look-up, host address . port → instance, so an
 * entry must come and go with the one in `awake`. Which host ports belong to a service port is remembered here, from
 * what the engine told since its start; whether the app is awake is asked from the kernel. While an entry is missing
 * the relay's own listener takes the connection: slower, never wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/memory.h"
#include "net/elements_private.h"
#include "net/net_private.h"

struct published {
	uint32_t host, service;
	uint16_t port, service_port;
	struct published *next;     /* of the same service port */
	struct published *next_new; /* to be looked up at the commit */
	bool is_new;
};

static uint64_t key_of(uint32_t addr, uint16_t port)
{
	return (uint64_t)addr << 16 | port;
}

int niwa_published_open(struct niwa_net *net)
{
	net->published_hosts = niwa_map_new(NIWA_MAP_U64);
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
	(void)niwa_map_del(net->published_hosts, key_of(p->host, p->port));
	free(p);
}

static int remember(struct niwa_net *net, const struct published *wanted)
{
	struct published *p = niwa_zalloc(sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = *wanted;
	r = niwa_map_put(net->published_hosts, key_of(p->host, p->port), p);
	if (r == 0) {
		r = link_service(net, p);
		if (r < 0)
			(void)niwa_map_del(net->published_hosts, key_of(p->host, p->port));
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

static void put_entry(struct niwa_net_txn *t, enum niwa_change change, const struct published *p, const uint8_t *to)
{
	uint8_t key[8] = {0};
	const uint16_t port = htons(p->port);

	if (p->host == INADDR_ANY) {
		niwa_txn_put(t, NIWA_SET_PUBLISHED_ANY, change, &port, to);
		return;
	}
	niwa_pack_port(key, p->host, p->port);
	niwa_txn_put(t, NIWA_SET_PUBLISHED, change, key, to);
}

void niwa_net_published(struct niwa_net_txn *t, enum niwa_change c, uint32_t host, uint16_t port, uint32_t service,
			uint16_t service_port)
{
	const struct published wanted = {.host = host, .port = port, .service = service, .service_port = service_port};
	struct niwa_net *net = niwa_txn_net(t);
	struct published *p = niwa_map_get(net->published_hosts, key_of(host, port));

	if (c == NIWA_DEL && p && (p->service != service || p->service_port != service_port))
		return; /* in this transaction another one took it over */
	if (p)
		forget(net, p);
	if (c == NIWA_DEL)
		put_entry(t, NIWA_DEL, &wanted, NULL);
	else if (remember(net, &wanted) < 0)
		niwa_txn_fail(t);
}

void niwa_published_follow(struct niwa_net_txn *t, enum niwa_change change, uint32_t service, uint16_t port,
			   const uint8_t *to)
{
	const struct niwa_net *net = niwa_txn_net(t);
	const struct published *p = niwa_map_get(net->published_services, key_of(service, port));

	for (; p; p = p->next)
		put_entry(t, change, p, to);
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
		struct niwa_net_element e;
		uint8_t key[8] = {0}, to[8] = {0};

		unlink_new(net, p);
		niwa_pack_port(key, p->service, p->service_port);
		r = niwa_element_get(net, NIWA_SET_AWAKE, key, &e);
		if (r > 0)
			niwa_pack_port(to, e.to_addr, e.to_port);
		if (r >= 0)
			put_entry(t, r ? NIWA_ADD : NIWA_DEL, p, to);
	}
	if (r < 0) {
		niwa_net_txn_free(&t);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "look up an app in the nftables map awake");
	}
	return niwa_net_commit(&t, err); /* out of memory when there is none */
}
