/* SPDX-License-Identifier: MIT
 *
 * Entering and leaving `awake`, and stopping.
 */
#include "engine/leave.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "engine/app.h"
#include "engine/busy.h"
#include "engine/dump.h"
#include "engine/instance.h"
#include "engine/ready.h"
#include "engine/restore.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/snapshot_start.h"
#include "engine/stop.h"
#include "engine/visit.h"
#include "engine/wake.h"
#include "net/diag.h"

#define SETTLE_US (100 * NIWA_MS)
#define SILENT_US NIWA_SEC /* a SYN without an answer comes again within it */

/* The kernel writes no header before the first byte: such a port is never in `awake`, all connections to it come by the
 * relay. */
static bool is_direct(const struct niwa_app_spec *spec, uint16_t number)
{
	for (size_t n = 0; n < spec->port_count; n++)
		if (spec->ports[n].number == number)
			return spec->ports[n].proxy == NIWA_PORT_PROXY_NONE;
	return false;
}

/* By IPv6 the kernel's way is for ports on which the instance listens there; others are served by the relay. */
void niwa_awake_port(struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change, uint16_t port)
{
	bool six = change == NIWA_ADD && niwa_ready_listens6(i, port);

	niwa_net_awake(txn, change, i->app->service_addr, port, i->private_addr, port);
	/* without: takes away what another instance may have left there */
	niwa_net_awake6(txn, six ? NIWA_ADD : NIWA_DEL, i->app->service_addr, port, i->private_addr, port);
}

static void put_awake(struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change)
{
	uint32_t guarded = change == NIWA_ADD ? niwa_visit_guarded(i) : 0;

	i->guarded = guarded;
	for (size_t n = 0; n < i->spec->port_count; n++)
		if (is_direct(i->spec, i->spec->ports[n].number) && !(guarded >> n & 1))
			niwa_awake_port(i, txn, change, i->spec->ports[n].number);
}

void niwa_awake_elements(struct niwa_instance *i, struct niwa_net_txn *txn)
{
	i->in_awake = true;
	if (niwa_spread_is_wanted(i->app))
		niwa_spread_elements(i->app, txn);
	else
		put_awake(i, txn, NIWA_ADD);
}

int niwa_awake_enter(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	int r;

	i->left_quiet = false;
	if (niwa_spread_is_wanted(i->app)) {
		niwa_net_txn_free(&txn);
		i->in_awake = true;
		i->withheld = 0;
		return niwa_spread_sync(e, i->app, err);
	}
	if (!txn)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "announce %s to the kernel", i->app->name);
	put_awake(i, txn, NIWA_ADD);
	r = niwa_net_commit(&txn, err);
	i->in_awake = r == 0;
	i->withheld = 0;
	return r;
}

int niwa_awake_replace(struct niwa_engine *e, struct niwa_instance *old, struct niwa_instance *fresh,
		       struct niwa_error *err)
{
	struct niwa_net_txn *txn;
	int r;

	if (niwa_spread_is_wanted(fresh->app)) {
		old->in_awake = false;
		fresh->in_awake = true;
		return niwa_spread_sync(e, fresh->app, err);
	}
	txn = niwa_net_txn_new(e->net);
	if (!txn)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "announce %s to the kernel", fresh->app->name);
	for (size_t n = 0; old->in_awake && n < old->spec->port_count; n++)
		if (!is_direct(fresh->spec, old->spec->ports[n].number))
			niwa_awake_port(old, txn, NIWA_DEL, old->spec->ports[n].number);
	put_awake(fresh, txn, NIWA_ADD);
	r = niwa_net_commit(&txn, err);
	fresh->in_awake = r == 0;
	if (r == 0)
		old->in_awake = false; /* else its elements are taken away when it stops */
	return r;
}

/* The ports of an app with several instances are those that the first one listens on. */
static void withhold_all(struct niwa_engine *e, struct niwa_instance *i, uint32_t withheld)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "ports"};
	struct niwa_error err;

	i->withheld = withheld;
	if (niwa_spread_sync(e, i->app, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
}

static int change_port(struct niwa_engine *e, struct niwa_instance *i, uint16_t port, enum niwa_change change)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "ports"};
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	struct niwa_error err;
	int r;

	niwa_awake_port(i, txn, change, port);
	r = niwa_net_commit(&txn, &err);
	if (r < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
	else
		niwa_log(NIWA_LOG_INFO, &ctx, "port %u %s", port,
			 change == NIWA_DEL ? "refuses connections" : "listens again");
	return r;
}

void niwa_awake_withhold(struct niwa_engine *e, struct niwa_instance *i, uint16_t port)
{
	struct niwa_error err;

	for (size_t n = 0; n < i->spec->port_count; n++) {
		if (i->spec->ports[n].number != port || !is_direct(i->spec, port) || i->withheld & 1u << n)
			continue;
		if (niwa_spread_is_wanted(i->app))
			withhold_all(e, i, i->withheld | 1u << n);
		else if (change_port(e, i, port, NIWA_DEL) == 0)
			i->withheld |= 1u << n;
	}
	(void)niwa_net_flush_unreplied(e->net, i->mark, &err); /* else the repeated SYN waits for its entry to end */
}

void niwa_awake_look_again(struct niwa_engine *e, struct niwa_instance *i)
{
	for (size_t n = 0; i->withheld && n < i->spec->port_count; n++) {
		if (!(i->withheld & 1u << n) ||
		    niwa_diag_listens(i->diag_fd, i->private_addr, i->spec->ports[n].number) <= 0)
			continue;
		if (niwa_spread_is_wanted(i->app))
			withhold_all(e, i, i->withheld & ~(1u << n));
		else if (change_port(e, i, i->spec->ports[n].number, NIWA_ADD) == 0)
			i->withheld &= ~(1u << n);
	}
}

/* Nothing has crossed its interface since the last look, which is long ago: no SYN is on its way to it. */
static bool is_silent(struct niwa_engine *e, const struct niwa_instance *i)
{
	uint64_t rx, tx;

	return i->seen_bytes && niwa_now_us() - i->active_us >= SILENT_US &&
	       niwa_net_veth_bytes(e->net, i->veth, &rx, &tx) == 0 && rx + tx == i->seen_bytes;
}

/* To be called when its elements are out of `awake`. The search takes a walk through the whole table of the kernel,
 * so it is spared where there is nothing to be found. */
static void flush_unreplied(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "leave awake"};
	struct niwa_error err;

	if (!is_silent(e, i) && niwa_net_flush_unreplied(e->net, i->mark, &err) < 0)
		niwa_log(NIWA_LOG_WARN, &ctx, "%s", err.msg);
}

void niwa_awake_leave(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "leave awake"};
	struct niwa_net_txn *txn;
	struct niwa_error err;

	if (!i->in_awake)
		return;
	i->in_awake = false;
	if (niwa_spread_is_wanted(i->app)) {
		if (niwa_spread_sync(e, i->app, &err) < 0)
			niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
		flush_unreplied(e, i);
		return;
	}
	txn = niwa_net_txn_new(e->net);
	if (!txn) {
		niwa_log(NIWA_LOG_ERR, &ctx, "out of memory");
		return;
	}
	put_awake(i, txn, NIWA_DEL);
	if (niwa_net_commit(&txn, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
	(void)niwa_fault("niwad.left-awake");
	flush_unreplied(e, i);
	(void)niwa_fault("niwad.flushed");
}

/* After the element is gone nobody new can come: did somebody come just before? */
static bool is_quiet(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t bytes, cpu;

	if (i->execs || niwa_is_busy(i) || niwa_sleep_has_connections(i))
		return false;
	return niwa_sleep_usage(e, i, &bytes, &cpu) < 0 || bytes == i->seen_bytes;
}

/* -EBUSY: its memory is to be kept, and cannot be saved now. */
static int sleep_or_end(struct niwa_engine *e, struct niwa_instance *i, enum niwa_leave how, const char *why)
{
	int r = how == NIWA_LEAVE_SLEEPS ? niwa_dump_moment(e, i, why) : -EOPNOTSUPP;

	if (r < 0 && r != -EBUSY)
		niwa_leave_stop(e, i, why);
	return r == -EBUSY ? r : 0;
}

int niwa_leave_idle(struct niwa_engine *e, struct niwa_instance *i, enum niwa_leave how, const char *why)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "sleep"};
	struct niwa_error err;

	if (niwa_scale_is_grown(i->app)) /* it is one instance again before it sleeps */
		return -EAGAIN;
	if (how == NIWA_LEAVE_SLEEPS && niwa_dump_may_save(e, i) == -EBUSY) /* nor is it put in and out of `awake` */
		return -EAGAIN;
	if (!is_quiet(e, i)) /* a look before anything is changed: the common case of open connections */
		return -EAGAIN;
	niwa_awake_leave(e, i);
	i->left_quiet = is_quiet(e, i);
	if (!i->left_quiet || sleep_or_end(e, i, how, why) < 0) {
		if (niwa_awake_enter(e, i, &err) < 0)
			niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
		return -EAGAIN;
	}
	return 0;
}

static void send_stop(struct niwa_engine *e, struct niwa_instance *i)
{
	(void)niwa_fault("niwad.before-stop-signal");
	i->life = NIWA_LIFE_STOPPING;
	if (!i->stop_deadline_us) /* else the grace began under a niwad that is no more */
		i->stop_deadline_us = niwa_now_us() + i->spec->stop.grace_us;
	niwa_instance_write_tag(e, i);
	(void)niwa_fault("niwad.stop-tagged");
	niwa_sleep_release(e, i);
	niwa_stop_send(e, i);
	(void)niwa_fault("niwad.stop-sent");
}

/* A program that has just begun to listen may not hear signals as it will: gunicorn's workers do not. */
static bool is_new(const struct niwa_instance *i)
{
	return !i->restored && niwa_now_us() - i->stages.ready_us < SETTLE_US;
}

/* Is there a connection with one of its ports, even one that its kernel is about to accept? */
static bool has_clients(const struct niwa_instance *i)
{
	uint16_t ports[NIWA_PORTS_MAX];

	for (size_t n = 0; n < i->spec->port_count; n++)
		ports[n] = i->spec->ports[n].number;
	return i->diag_fd < 0 || niwa_sleep_too_many_sockets(i) ||
	       niwa_diag_serving(i->diag_fd, ports, i->spec->port_count) != 0;
}

static int on_settled(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	send_stop(i->engine, i);
	return 0;
}

void niwa_leave_stop(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	struct niwa_app *app = i->app;
	bool busy = i->life == NIWA_LIFE_SERVING && app->current == i && app->state == NIWA_RUNNING && !i->killed;

	if (i->life == NIWA_LIFE_GONE || i->life == NIWA_LIFE_STOPPING ||
	    (i->life == NIWA_LIFE_SERVING && app->current == i && app->state == NIWA_STOPPING)) /* it settles */
		return;
	if (app->current == i)
		niwa_app_set_state(e, app, NIWA_STOPPING, why);
	if (i->life == NIWA_LIFE_CLONING) { /* its pid is not known yet */
		i->killed = true;
		return;
	}
	niwa_awake_leave(e, i);
	niwa_sleep_unwatch(i);
	if (niwa_restore_is_under_way(i)) /* nobody in it hears a signal yet */
		i->killed = true;
	if (niwa_dump_is_under_way(i)) { /* a program that stands still hears no signal */
		i->snapshot->stop_wanted = true;
		niwa_dump_give_up(i);
		return;
	}
	/* Connections that the instance's kernel has accepted a moment ago get a chance to be taken by the app: a
	 * listener that is closed with connections in its backlog resets them. */
	if (!busy || (!has_clients(i) && !is_new(i)) ||
	    sd_event_add_time_relative(e->event, &i->timer, CLOCK_MONOTONIC, SETTLE_US, NIWA_MS, on_settled, i) < 0)
		send_stop(e, i);
}

void niwa_leave_go_on(struct niwa_engine *e, struct niwa_instance *i)
{
	i->snapshot->stop_wanted = false;
	send_stop(e, i);
}

void niwa_leave_all(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *i, *next;

	niwa_rotate_cancel(e, app, why);
	niwa_scale_cancel(e, app, why);
	niwa_wake_unqueue(e, app, why);
	for (i = LIST_FIRST(&app->instance_list); i; i = next) {
		next = LIST_NEXT(i, app_link);
		niwa_leave_stop(e, i, why);
	}
}
