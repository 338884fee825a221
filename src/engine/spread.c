/* SPDX-License-Identifier: MIT
 *
 * What the kernel has is remembered here, so that a change is the difference. A commit that fails has changed nothing.
 */
#include "engine/spread.h"

#include <string.h>

#include "base/fault.h"
#include "engine/leave.h"
#include "engine/ready.h"
#include "engine/scale.h"

bool niwa_spread_is_wanted(const struct niwa_app *app)
{
	return app->scale && (app->scale->spread.there || !LIST_EMPTY(&app->scale->copies));
}

size_t niwa_spread_members(const struct niwa_app *app, struct niwa_instance **ret)
{
	struct niwa_instance *i;
	size_t count = 0;

	if (app->current && app->current->in_awake)
		ret[count++] = app->current;
	if (app->scale)
		LIST_FOREACH(i, &app->scale->copies, copy_link)
	if (i->in_awake && i != app->current && count <= NIWA_SCALE_MAX)
		ret[count++] = i;
	return count;
}

/* What the first instance listens on, and what does not always come by the relay. */
static size_t ports_of(const struct niwa_instance *i, uint16_t *ret)
{
	size_t count = 0;

	for (size_t n = 0; n < i->spec->port_count; n++)
		if (i->spec->ports[n].proxy == NIWA_PORT_PROXY_NONE && !(i->withheld & 1u << n))
			ret[count++] = i->spec->ports[n].number;
	return count;
}

static bool is_among(const uint16_t *ports, size_t count, uint16_t port)
{
	for (size_t n = 0; n < count; n++)
		if (ports[n] == port)
			return true;
	return false;
}

static void put_alone(struct niwa_net_txn *txn, struct niwa_instance *i)
{
	uint16_t ports[NIWA_PORTS_MAX];
	size_t count = ports_of(i, ports);

	for (size_t n = 0; n < count; n++)
		niwa_awake_port(i, txn, NIWA_ADD, ports[n]);
}

/* By IPv6 the kernel's way is for ports on which all of them listen there. */
static uint32_t six_of(struct niwa_instance *const *members, size_t count, const struct niwa_spread *s)
{
	uint32_t six = 0;

	for (size_t p = 0; p < s->port_count; p++) {
		size_t n = 0;

		while (n < count && niwa_ready_listens6(members[n], s->ports[p]))
			n++;
		six |= (uint32_t)(n == count) << p;
	}
	return six;
}

static bool has_six(const struct niwa_spread *s, uint16_t port)
{
	for (size_t n = 0; n < s->port_count; n++)
		if (s->ports[n] == port)
			return s->six & 1u << n;
	return false;
}

static void put_ports(struct niwa_net_txn *txn, struct niwa_app *app, const struct niwa_spread *now,
		      const struct niwa_spread *next)
{
	for (size_t n = 0; n < now->port_count; n++)
		if (!is_among(next->ports, next->port_count, now->ports[n]))
			niwa_net_scaled(txn, NIWA_DEL, app->service_addr, now->ports[n]);
	for (size_t n = 0; n < next->port_count; n++)
		if (!is_among(now->ports, now->port_count, next->ports[n]))
			niwa_net_scaled(txn, NIWA_ADD, app->service_addr, next->ports[n]);
	for (size_t n = 0; n < now->port_count; n++)
		if (now->six & 1u << n && !has_six(next, now->ports[n]))
			niwa_net_scaled6(txn, NIWA_DEL, app->service_addr, now->ports[n]);
	for (size_t n = 0; n < next->port_count; n++)
		if (next->six & 1u << n && !has_six(now, next->ports[n]))
			niwa_net_scaled6(txn, NIWA_ADD, app->service_addr, next->ports[n]);
}

static void put_buckets(struct niwa_net_txn *txn, struct niwa_app *app, const struct niwa_spread *now,
			const struct niwa_spread *next)
{
	for (unsigned b = 0; b < NIWA_NET_BUCKETS; b++) {
		uint32_t was = now->owners[b], is = next->owners[b];

		if (is && was != is)
			niwa_net_spread(txn, NIWA_ADD, app->service_addr, b, is);
		else if (was && !is)
			niwa_net_spread(txn, NIWA_DEL, app->service_addr, b, was);
	}
}

/* Who gets which bucket, as few of them moved as possible. */
static void deal(const struct niwa_app *app, struct niwa_instance *const *members, size_t count,
		 struct niwa_spread *next)
{
	struct niwa_scale_load loads[NIWA_SCALE_MAX + 1];
	unsigned shares[NIWA_SCALE_MAX + 1];
	int owners[NIWA_NET_BUCKETS];

	for (size_t n = 0; n < count; n++)
		loads[n] = members[n]->load;
	niwa_scale_share(&app->scale->rule, loads, count, NIWA_NET_BUCKETS, shares);
	for (unsigned b = 0; b < NIWA_NET_BUCKETS; b++) {
		owners[b] = -1;
		for (size_t n = 0; n < count; n++)
			if (next->owners[b] == members[n]->private_addr)
				owners[b] = (int)n;
	}
	niwa_scale_assign(shares, count, owners, NIWA_NET_BUCKETS);
	for (unsigned b = 0; b < NIWA_NET_BUCKETS; b++)
		next->owners[b] = owners[b] < 0 ? 0 : members[owners[b]]->private_addr;
}

/* What it is to be, from what it is. */
static void plan(const struct niwa_app *app, struct niwa_instance *const *members, size_t count,
		 struct niwa_spread *next)
{
	next->there = count > 1;
	next->port_count = count > 1 ? ports_of(members[0], next->ports) : 0;
	next->six = app->engine->config.ula.on ? six_of(members, count, next) : 0;
	if (count > 1)
		deal(app, members, count, next);
	else
		memset(next->owners, 0, sizeof(next->owners));
}

static void take_away(struct niwa_net_txn *txn, const struct niwa_app *app, uint16_t port)
{
	niwa_net_awake(txn, NIWA_DEL, app->service_addr, port, 0, 0);
	niwa_net_awake6(txn, NIWA_DEL, app->service_addr, port, 0, 0);
}

int niwa_spread_sync(struct niwa_engine *e, struct niwa_app *app, struct niwa_error *err)
{
	struct niwa_instance *members[NIWA_SCALE_MAX + 1];
	struct niwa_spread *now = &app->scale->spread, next = *now;
	size_t count = niwa_spread_members(app, members);
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	int r;

	if (!txn)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "announce %s to the kernel", app->name);
	plan(app, members, count, &next);
	if (count == 0 || (next.there && !now->there))
		for (unsigned n = 0; n < app->port_count; n++) /* whoever was there alone */
			take_away(txn, app, app->ports[n].number);
	put_ports(txn, app, now, &next);
	put_buckets(txn, app, now, &next);
	if (count == 1)
		put_alone(txn, members[0]);
	r = niwa_fault("niwad.spread");
	if (r < 0) {
		niwa_net_txn_free(&txn);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "announce %s to the kernel", app->name);
	}
	r = niwa_net_commit(&txn, err);
	if (r == 0)
		*now = next;
	return r;
}

void niwa_spread_elements(struct niwa_app *app, struct niwa_net_txn *txn)
{
	struct niwa_instance *members[NIWA_SCALE_MAX + 1];
	struct niwa_spread none = {0};
	size_t count = niwa_spread_members(app, members);

	plan(app, members, count, &app->scale->spread);
	put_ports(txn, app, &none, &app->scale->spread);
	put_buckets(txn, app, &none, &app->scale->spread);
	if (count == 1)
		put_alone(txn, members[0]);
}
