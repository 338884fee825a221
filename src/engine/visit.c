/* SPDX-License-Identifier: MIT
 *
 * The policy of a port asked with what is known of a visitor.
 */
#include "engine/visit.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/ula.h"
#include "engine/app.h"
#include "engine/leave.h"
#include "engine/wake_policy.h"

#define RETRY_AFTER_S 60   /* where nobody knows when it is worth another try */
#define RETRY_MAX_S   3600 /* else it is hardly believed */

/* Does a connection wake the app, or does it find it awake or waking? */
static bool would_wake(const struct niwa_app *app)
{
	switch ((enum niwa_state)app->state) {
	case NIWA_FREEZING:
	case NIWA_FROZEN:
	case NIWA_PAGED:
		return true;
	case NIWA_STOPPED:
	case NIWA_SAVED:
	case NIWA_STOPPING:
	case NIWA_SAVING:
		return TAILQ_EMPTY(&app->waiters);
	case NIWA_RUNNING:
	case NIWA_STARTING:
	case NIWA_RESTORING:
	case NIWA_STATE_COUNT:
		break;
	}
	return false;
}

static bool is_host(const struct niwa_engine *e, const struct niwa_app *app, uint32_t client,
		    const struct in6_addr *from)
{
	struct in6_addr own;

	niwa_ula_make(&e->config.ula, NIWA_ULA_SERVICE, app->service_addr, own.s6_addr);
	return ntohl(client) >> 24 == 127 || client == e->config.gateway_addr || client == app->service_addr ||
	       IN6_IS_ADDR_LOOPBACK(from) || IN6_ARE_ADDR_EQUAL(from, &own);
}

static struct niwa_visitor visitor(struct niwa_engine *e, const struct niwa_app *app, uint32_t client,
				   const struct in6_addr *from)
{
	const struct niwa_instance *i = niwa_map_get(e->instances_by_addr, client);

	return (struct niwa_visitor){
		.addr = *from,
		.is_host = is_host(e, app, client, from),
		.is_tenant = i && i->tenant && i->tenant == app->tenant,
		.wakes = would_wake(app),
	};
}

char *niwa_visitor_text(const struct in6_addr *addr, char *buf)
{
	if (IN6_IS_ADDR_V4MAPPED(addr))
		(void)inet_ntop(AF_INET, &addr->s6_addr[12], buf, INET6_ADDRSTRLEN);
	else
		(void)inet_ntop(AF_INET6, addr, buf, INET6_ADDRSTRLEN);
	return buf;
}

static void tell(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_app_port *port,
		 enum niwa_wake_refusal refusal)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "wake"};
	char addr[INET6_ADDRSTRLEN];

	e->counts.refusals++;
	e->metrics.refusals[refusal == NIWA_WAKE_TOO_OFTEN ? NIWA_REFUSED_WAKES : NIWA_REFUSED_FROM]++;
	if (!niwa_log_allow(&e->refusals_logged, 10, NIWA_SEC))
		return;
	niwa_visitor_text(&port->wake->last, addr);
	if (refusal == NIWA_WAKE_TOO_OFTEN)
		niwa_log(NIWA_LOG_INFO, &ctx, "not woken by %s at port %u: more than %u wakes in %u s (wake.wakes)",
			 addr, port->number, port->wake->wakes.count, port->wake->wakes.per_s);
	else
		niwa_log(NIWA_LOG_INFO, &ctx, "not woken by %s at port %u: it may not (wake.from)", addr, port->number);
}

uint32_t niwa_visit_refused(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_port *port, uint32_t client,
			    const struct in6_addr *from)
{
	struct niwa_visitor v;
	enum niwa_wake_refusal refusal;
	uint64_t wait_us;

	if (!port->wake || app->state == NIWA_RUNNING)
		return 0;
	v = visitor(e, app, client, from);
	refusal = niwa_wake_policy_ask(port->wake, &v, niwa_now_us(), &wait_us);
	if (!refusal)
		return 0;
	tell(e, app, port, refusal);
	if (!wait_us)
		return RETRY_AFTER_S;
	return wait_us > RETRY_MAX_S * NIWA_SEC ? RETRY_MAX_S : (uint32_t)((wait_us + NIWA_SEC - 1) / NIWA_SEC);
}

uint32_t niwa_visit_guarded(const struct niwa_instance *i)
{
	uint32_t bits = 0;

	for (size_t n = 0; i->in_frozen && i->app->current == i && n < i->spec->port_count; n++) {
		const struct niwa_app_port *port = niwa_app_port(i->app, i->spec->ports[n].number);

		if (port && port->wake)
			bits |= 1u << n;
	}
	return bits;
}

void niwa_visit_guard(struct niwa_engine *e, struct niwa_instance *i, struct niwa_net_txn *txn)
{
	uint32_t guarded = niwa_visit_guarded(i), change = guarded ^ i->guarded;
	struct niwa_net_txn *own = NULL;
	struct niwa_error err;

	if (!change || !i->in_awake)
		return;
	if (!txn)
		txn = own = niwa_net_txn_new(e->net);
	if (!txn)
		return; /* as it was: a guard too many or too few */
	for (size_t n = 0; n < i->spec->port_count; n++)
		if ((change >> n & 1) && !(i->withheld >> n & 1) && i->spec->ports[n].proxy == NIWA_PORT_PROXY_NONE)
			niwa_awake_port(i, txn, guarded >> n & 1 ? NIWA_DEL : NIWA_ADD, i->spec->ports[n].number);
	i->guarded = guarded;
	if (own && niwa_net_commit(&own, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
}

json_t *niwa_visit_refusals(const struct niwa_app *app)
{
	json_t *list = NULL;

	for (unsigned n = 0; n < app->port_count; n++) {
		const struct niwa_wake_policy *p = app->ports[n].wake;
		char addr[INET6_ADDRSTRLEN];

		if (!p || !(p->refused[0] + p->refused[1]) || (!list && !(list = json_array())))
			continue;
		niwa_visitor_text(&p->last, addr);
		(void)json_array_append_new(
			list, json_pack("{s:i,s:I,s:I,s:s}", "port", app->ports[n].number, "not_from_there",
					(json_int_t)p->refused[NIWA_WAKE_NOT_FROM_THERE - 1], "too_often",
					(json_int_t)p->refused[NIWA_WAKE_TOO_OFTEN - 1], "last", addr));
	}
	return list;
}
