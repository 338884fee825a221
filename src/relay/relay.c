/* SPDX-License-Identifier: MIT
 *
 * The loop: sources, one timer for all deadlines, bounds, and the one place where connections are freed.
 */
#include "relay/relay_private.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"

#define NOFILE_MIN     128
#define EVENTS_A_TURN  256
#define TIMER_ACCURACY NIWA_MS

static const struct niwa_relay_limits defaults = {
	.connections = 10000,
	.waiting = 8192,
	.waiting_per_source = 4096,
	.held_bytes = 65536,
	.first_byte_ms = 10000,
	.idle_ms = 0,
	.linger_ms = 2000,
	.linger_bytes = 65536,
	.ask_ms = 25000,
	.connect_ms = 10000,
};

/* ---- timers ---- */

static void set_timer(struct niwa_relay *r)
{
	const struct niwa_deadline *first = niwa_deadline_first(&r->deadlines);

	/* A timer that is too early is harmless and cheaper than moving it each time the first one goes. */
	if (!first || (r->timer_at_us && r->timer_at_us <= first->at_us))
		return;
	r->timer_at_us = first->at_us;
	(void)sd_event_source_set_time(r->timer, first->at_us);
	(void)sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

void niwa_relay_arm(struct niwa_relay *r, struct niwa_conn *c, uint64_t at_us)
{
	if (at_us == 0)
		niwa_deadline_disarm(&r->deadlines, &c->deadline);
	else
		niwa_deadline_arm(&r->deadlines, &c->deadline, at_us);
	set_timer(r);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_relay *r = arg;
	uint64_t now = niwa_now_us();
	struct niwa_deadline *d;

	r->timer_at_us = 0;
	/* Thousands may end together; the others get their turns in between. */
	for (int i = 0; i < EVENTS_A_TURN && (d = niwa_deadline_first(&r->deadlines)) && d->at_us <= now; i++) {
		struct niwa_conn *c = NIWA_CONTAINER_OF(d, struct niwa_conn, deadline);

		niwa_deadline_disarm(&r->deadlines, d);
		niwa_conn_event(c, NIWA_EVENT_DEADLINE, NULL);
	}
	set_timer(r);
	return 0;
}

/* ---- connections ---- */

static int on_conns(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct epoll_event got[EVENTS_A_TURN];
	int n = epoll_wait(fd, got, EVENTS_A_TURN, 0);

	for (int i = 0; i < n; i++) {
		struct niwa_conn *c = (struct niwa_conn *)(uintptr_t)(got[i].data.u64 & ~UINT64_C(1));

		niwa_conn_io(c, (int)(got[i].data.u64 & 1), got[i].events);
	}
	return 0;
}

void niwa_relay_runnable(struct niwa_conn *c)
{
	struct niwa_relay *r = c->relay;

	if (c->runnable)
		return;
	c->runnable = true;
	c->next_runnable = r->runnable;
	if (!r->runnable)
		(void)sd_event_source_set_enabled(r->defer, SD_EVENT_ON);
	r->runnable = c;
}

static int on_runnable(sd_event_source *s, void *arg)
{
	struct niwa_relay *r = arg;
	struct niwa_conn *c = r->runnable;

	r->runnable = NULL;
	while (c) {
		struct niwa_conn *next = c->next_runnable;

		c->runnable = false;
		if (c->state == NIWA_CONN_SPLICED)
			niwa_splice_pump(c);
		c = next;
	}
	return sd_event_source_set_enabled(s, r->runnable ? SD_EVENT_ON : SD_EVENT_OFF);
}

void niwa_relay_may_reap(struct niwa_conn *c)
{
	if (c->state != NIWA_CONN_DEAD || c->in_out_queue || c->reaping)
		return;
	c->reaping = true;
	c->next_reap = c->relay->reap;
	c->relay->reap = c;
}

static void reap(struct niwa_relay *r)
{
	struct niwa_conn *c = r->reap;

	r->reap = NULL;
	while (c) {
		struct niwa_conn *next = c->next_reap;

		if (c->runnable) { /* still in that list, which the next turn empties */
			c->next_reap = r->reap;
			r->reap = c;
		} else {
			assert(!c->in_fd_queue && !c->deadline.place && !c->source);
			(void)niwa_map_del(r->tickets, c->ticket);
			r->counters[NIWA_COUNT_OPEN]--;
			free(c);
		}
		c = next;
	}
}

/* ---- bounds ---- */

static uint32_t or_default(uint32_t asked, uint32_t other)
{
	return asked ? asked : other;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

void niwa_relay_apply_limits(struct niwa_relay *r, const struct niwa_relay_limits *asked)
{
	struct niwa_relay_limits *l = &r->limits;
	uint32_t wanted = or_default(asked->connections, defaults.connections);

	/* An eighth of the descriptors stays for the sockets to the instances, else all that wait could wait for one.
	 */
	l->connections = least(wanted, r->fd_limit - r->fd_limit / 8);
	l->waiting = least(or_default(asked->waiting, defaults.waiting), l->connections);
	l->waiting_per_source = or_default(asked->waiting_per_source, defaults.waiting_per_source);
	l->held_bytes = or_default(asked->held_bytes, defaults.held_bytes);
	l->first_byte_ms = or_default(asked->first_byte_ms, defaults.first_byte_ms);
	l->idle_ms = asked->idle_ms;
	l->linger_ms = or_default(asked->linger_ms, defaults.linger_ms);
	l->linger_bytes = or_default(asked->linger_bytes, defaults.linger_bytes);
	l->ask_ms = or_default(asked->ask_ms, defaults.ask_ms);
	l->connect_ms = or_default(asked->connect_ms, defaults.connect_ms);
	niwa_log(l->connections < wanted ? NIWA_LOG_WARN : NIWA_LOG_INFO, NULL,
		 "bounds: connections=%u (asked %u, RLIMIT_NOFILE %u) waiting=%u waiting_per_source=%u held_bytes=%u",
		 l->connections, wanted, r->nofile, l->waiting, l->waiting_per_source, l->held_bytes);
}

static int measure_descriptors(struct niwa_relay *r, struct niwa_error *err)
{
	struct rlimit rl;
	uint32_t used;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "getrlimit(RLIMIT_NOFILE)");
	r->nofile = rl.rlim_cur > 1u << 20 ? 1u << 20 : (uint32_t)rl.rlim_cur;
	if (r->nofile < NOFILE_MIN)
		return niwa_fail(err, NIWA_PERMANENT, 0, "RLIMIT_NOFILE is %u, at least %u are needed (LimitNOFILE=)",
				 r->nofile, NOFILE_MIN);
	r->pipes_max = least(NIWA_RELAY_PIPES, r->nofile / 16);
	used = NIWA_RELAY_FD_RESERVE + 2 * r->pipes_max;
	r->fd_limit = r->nofile - used;
	return 0;
}

/* ---- the whole ---- */

void niwa_relay_drain(struct niwa_relay *r, const char *why)
{
	if (r->draining)
		return;
	r->draining = true;
	r->want_draining = !r->engine_lost;
	niwa_listen_close_all(r);
	niwa_log(NIWA_LOG_INFO, NULL, "draining (%s): %llu connections are open", why,
		 (unsigned long long)r->counters[NIWA_COUNT_OPEN]);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *info, void *arg)
{
	niwa_relay_drain(arg, info->ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
	return 0;
}

/* All sources have one priority: sd-event takes them in turn, and a transfer that never pauses starves nobody. */
static int add_sources(struct niwa_relay *r)
{
	int ret = sd_event_new(&r->event);

	if (ret < 0)
		return ret;
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0)
		return -errno;
	ret = sd_event_add_io(r->event, &r->conns_io, r->epoll, EPOLLIN, on_conns, r);
	if (ret >= 0)
		ret = sd_event_add_time(r->event, &r->timer, CLOCK_MONOTONIC, UINT64_MAX, TIMER_ACCURACY, on_timer, r);
	if (ret >= 0)
		ret = sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
	if (ret >= 0)
		ret = sd_event_add_defer(r->event, &r->defer, on_runnable, r);
	if (ret >= 0)
		ret = sd_event_source_set_enabled(r->defer, SD_EVENT_OFF);
	return ret;
}

static int set_up(struct niwa_relay *r, int listener, struct niwa_error *err)
{
	int ret = add_sources(r);

	if (ret >= 0)
		ret = measure_descriptors(r, err);
	else
		(void)niwa_fail(err, NIWA_PERMANENT, -ret, "make an event loop");
	if (ret < 0)
		goto fail;
	niwa_relay_apply_limits(r, &defaults);
	ret = niwa_engine_attach(r, err);
	if (ret < 0)
		goto fail;
	if (listener < 0)
		return 0;
	ret = niwa_listen_add(r, NIWA_TAKE_FD(listener), NULL);
	if (ret < 0)
		return niwa_fail(err, NIWA_PERMANENT, -ret, "the listener is not a listening TCP socket over IPv4");
	return 0;
fail:
	if (listener >= 0)
		niwa_fd_close(&listener);
	return ret;
}

int niwa_relay_new(int listener, int engine, struct niwa_relay **ret_relay, struct niwa_error *err)
{
	struct niwa_relay *r = niwa_zalloc(sizeof(*r));
	int ret;

	if (r) {
		r->engine = engine;
		r->epoll = -1;
		r->tickets = niwa_map_new(NIWA_MAP_U64);
		r->sources = niwa_map_new(NIWA_MAP_U64);
		r->known = niwa_zalloc(NIWA_RELAY_KNOWN * sizeof(*r->known));
	}
	if (!r || !r->tickets || !r->sources || !r->known) {
		if (!r)
			niwa_fd_close(&engine);
		niwa_relay_free(&r);
		if (listener >= 0)
			niwa_fd_close(&listener);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make the relay");
	}
	ret = set_up(r, listener, err);
	if (ret < 0) {
		niwa_relay_free(&r);
		return ret;
	}
	*ret_relay = r;
	return 0;
}

static void free_conns(struct niwa_relay *r)
{
	struct niwa_conn *c;
	size_t pos = 0;

	r->engine_lost = true; /* nobody is told any more */
	while ((c = niwa_map_next(r->tickets, &pos))) {
		niwa_conn_die(c, 0);
		c->runnable = false;
		c->messages = 0;
	}
	niwa_engine_flush(r);
	reap(r);
}

void niwa_relay_free(struct niwa_relay **relay)
{
	struct niwa_relay *r = *relay;

	if (!r)
		return;
	if (r->event && r->tickets && r->sources)
		free_conns(r);
	niwa_check_free_all(r);
	niwa_listen_close_all(r);
	niwa_splice_free_pipes(r);
	niwa_deadlines_fini(&r->deadlines);
	(void)sd_event_source_disable_unref(r->engine_io);
	(void)sd_event_source_disable_unref(r->conns_io);
	(void)sd_event_source_disable_unref(r->timer);
	(void)sd_event_source_disable_unref(r->defer);
	(void)sd_event_source_disable_unref(r->signals[0]);
	(void)sd_event_source_disable_unref(r->signals[1]);
	(void)sd_event_unref(r->event);
	niwa_fd_close(&r->epoll);
	niwa_fd_close(&r->engine);
	niwa_map_free(&r->tickets);
	niwa_map_free(&r->sources);
	free(r->known);
	free(r);
	*relay = NULL;
}

void niwa_relay_log_moves(struct niwa_relay *r)
{
	r->log_moves = true;
}

static bool is_done(const struct niwa_relay *r)
{
	return r->draining && r->counters[NIWA_COUNT_OPEN] == 0;
}

int niwa_relay_turn(struct niwa_relay *r, uint64_t timeout_us)
{
	int ret = is_done(r) ? 0 : sd_event_run(r->event, timeout_us);

	if (ret < 0)
		return ret;
	reap(r); /* gives descriptors back, and STATS does not count the dead */
	niwa_conn_connect_queued(r);
	niwa_engine_flush(r);
	reap(r);
	return is_done(r);
}

int niwa_relay_run(struct niwa_relay *r, struct niwa_error *err)
{
	static const int signals[] = {SIGTERM, SIGINT};
	int ret = 0;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(signals) && ret >= 0; i++)
		ret = sd_event_add_signal(r->event, &r->signals[i], signals[i], on_signal, r);
	if (ret < 0)
		return niwa_fail(err, NIWA_PERMANENT, -ret, "watch signals");
	do
		ret = niwa_relay_turn(r, UINT64_MAX);
	while (ret == 0);
	if (ret < 0)
		return niwa_fail(err, NIWA_PERMANENT, -ret, "the event loop");
	return 0;
}
