/* SPDX-License-Identifier: MIT
 *
 * Opening, repairing and removing the kernel's side of sleeping and waking. Order at open: nothing of the host is
 * touched before the ranges are known to be free; the routes that keep the range at home come before the rules;
 * events are listened to before the rules that cause them exist.
 */
#include "net/wake.h"

#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

#include "base/log.h"
#include "base/memory.h"
#include "net/net_private.h"

#define BITS_MIN 8
#define BITS_MAX 30
#define RULE_MAX 32764u /* of the first; behind the second begin the kernel's own */

static int check_range(const char *what, uint32_t net, unsigned bits, struct niwa_error *err)
{
	char text[20];

	niwa_net_range_text((struct niwa_net_range){net, bits}, text);
	if (bits < BITS_MIN || bits > BITS_MAX)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "%s range %s: /%d to /%d is allowed", what, text, BITS_MIN,
				 BITS_MAX);
	if (net & ~niwa_net_netmask(bits))
		return niwa_fail(err, NIWA_CALLER, EINVAL, "%s range %s has bits set beyond its prefix", what, text);
	return 0;
}

static int check_config(const struct niwa_net_config *c, struct niwa_error *err)
{
	const struct niwa_net_range service = {c->service_net, c->service_bits};
	const struct niwa_net_range private = {c->private_net, c->private_bits};
	char a[20], b[20];
	int r;

	r = check_range("service", c->service_net, c->service_bits, err);
	if (r == 0)
		r = check_range("private", c->private_net, c->private_bits, err);
	if (r < 0)
		return r;
	niwa_net_range_text(service, a);
	niwa_net_range_text(private, b);
	if (niwa_net_overlap(service, private))
		return niwa_fail(err, NIWA_CALLER, EINVAL, "service range %s and private range %s overlap", a, b);
	if (!niwa_net_overlap(private, (struct niwa_net_range){c->gateway_addr, 32}))
		return niwa_fail(err, NIWA_CALLER, EINVAL, "the gateway address is not in the private range %s", b);
	if (c->return_mark && (c->return_rule == 0 || c->return_rule > RULE_MAX || c->return_table == 0 ||
			       (c->return_table >= RT_TABLE_DEFAULT && c->return_table <= RT_TABLE_LOCAL)))
		return niwa_fail(err, NIWA_CALLER, EINVAL,
				 "return_rule %u, return_table %u: 1 to %u is allowed for the rule, no table of the "
				 "kernel's own for the table",
				 c->return_rule, c->return_table, RULE_MAX);
	if (c->relay_port == 0 || c->veth_group == 0)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "relay port %u, interface group %u: neither may be 0",
				 c->relay_port, c->veth_group);
	return 0;
}

static int on_loading_end(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_net *net = arg;
	struct niwa_error err;

	if (net->loading && niwa_elements_loaded(net, &err) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "undeclared ports stay silent: %s", err.msg);
	return 0;
}

static int arm_loading(struct niwa_net *net)
{
	sd_event_source_disable_unref(net->loading_timer);
	net->loading_timer = NULL;
	net->loading = true;
	return sd_event_add_time_relative(net->event, &net->loading_timer, CLOCK_MONOTONIC, NIWA_NET_LOADING_MAX_US, 0,
					  on_loading_end, net);
}

/* Routes, settings, rules: all of it is idempotent. */
static int install(struct niwa_net *net, struct niwa_error *err)
{
	int r;

	r = niwa_routes_install(&net->rt, &net->config, err);
	if (r == 0)
		r = niwa_routes6_install(&net->rt, &net->config, err);
	if (r == 0)
		r = niwa_return_install(&net->rt, &net->config, err);
	if (r == 0)
		r = niwa_net_sysctls(&net->config, err);
	if (r == 0)
		r = niwa_ruleset_install(net, err);
	if (r == 0 && !net->loading_timer)
		r = niwa_elements_open(net, err);
	niwa_monitor_drain(net); /* libnftables has a socket of its own: this was us */
	if (r < 0)
		return r;
	net->lost = false;
	r = arm_loading(net);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "arm a timer");
	return 0;
}

int niwa_net_open(const struct niwa_net_config *config, const struct niwa_net_events *events, sd_event *event,
		  struct niwa_net **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_net_close) struct niwa_net *net = niwa_zalloc(sizeof(*net));
	int r;

	if (!net)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open the wake network");
	r = check_config(config, err);
	if (r < 0)
		return r;
	net->config = *config;
	net->events = *events;
	net->event = sd_event_ref(event);
	r = niwa_published_open(net);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "open the wake network");
	r = niwa_nl_open(&net->nf, NETLINK_NETFILTER);
	if (r == 0)
		r = niwa_nl_open(&net->rt, NETLINK_ROUTE);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "open netlink sockets");
	r = niwa_routes_collisions(net, err);
	if (r == 0)
		r = niwa_routes6_collisions(net, err);
	if (r == 0)
		r = niwa_return_collisions(net, err);
	if (r == 0)
		r = niwa_nflog_open(net, err);
	if (r == 0)
		r = niwa_monitor_open(net, err);
	if (r == 0)
		r = install(net, err);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(net);
	return 0;
}

void niwa_net_close(struct niwa_net **pnet)
{
	struct niwa_net *net = *pnet;

	*pnet = NULL;
	if (!net)
		return;
	sd_event_source_disable_unref(net->loading_timer);
	sd_event_source_disable_unref(net->log_source);
	sd_event_source_disable_unref(net->watch_source);
	niwa_nl_close(&net->log);
	niwa_nl_close(&net->watch);
	niwa_nl_close(&net->nf);
	niwa_nl_close(&net->rt);
	niwa_published_close(net);
	sd_event_unref(net->event);
	free(net);
}

int niwa_net_repair(struct niwa_net *net, struct niwa_error *err)
{
	return install(net, err);
}

int niwa_net_check(struct niwa_net *net, struct niwa_error *err)
{
	uint64_t now = 0;
	int r;

	r = niwa_ruleset_fingerprint(&net->nf, &now);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "read the nftables table " NIWA_NET_TABLE);
	if (now != net->fingerprint)
		return 0;
	r = niwa_routes_present(&net->rt, &net->config);
	if (r > 0)
		r = niwa_routes6_present(&net->rt, &net->config);
	if (r > 0)
		r = niwa_return_present(&net->rt, &net->config);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "look up the routes of the ranges");
	return r;
}

int niwa_net_remove(const struct niwa_net_config *config, struct niwa_error *err)
{
	struct niwa_nl rt = {0};
	int r;

	r = check_config(config, err);
	if (r < 0)
		return r;
	r = niwa_nl_open(&rt, NETLINK_ROUTE);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "open a netlink socket");
	r = niwa_ruleset_remove(err);
	if (r == 0)
		r = niwa_routes_remove(&rt, config, err);
	if (r == 0)
		r = niwa_routes6_remove(&rt, config, err);
	if (r == 0)
		r = niwa_return_remove(&rt, config, err);
	niwa_nl_close(&rt);
	return r;
}
