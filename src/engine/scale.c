/* SPDX-License-Identifier: MIT
 *
 * Looks once a second at apps that run and may grow, and nobody else; what follows from a look is scale_plan's word.
 */
#include "engine/scale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/dump.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/limit_set.h"
#include "engine/past.h"
#include "engine/rotate.h"
#include "engine/sleep.h"
#include "engine/start.h"
#include "engine/wake.h"
#include "net/diag.h"

#define LOOK_US     NIWA_SEC
#define SOON_US     (100 * NIWA_MS) /* after it was thawed or made: it may not run for a second */
#define RETRY_US    (10 * NIWA_SEC) /* after a copy that did not become ready */
#define CRASH_US    (2 * NIWA_SEC)  /* after the end of one that did; doubled each time, up to */
#define CRASH_MAX   (60 * NIWA_SEC) /* this, and forgotten after one that lived so long */
#define IDLE_CENTI  100             /* of CPU: with less, and without a connection, nobody uses it */
#define STRIDE      39  /* of the relay's walk over the buckets, which lie in blocks: all, and no two beside */
#define SOCKETS_MAX 128 /* with more the kernel's sum is taken: a dump of them would take too long */

static struct niwa_log_ctx context(const struct niwa_instance *i)
{
	return (struct niwa_log_ctx){.app = i->app->name, .instance = i->id, .doing = "scale"};
}

bool niwa_scale_is_grown(const struct niwa_app *app)
{
	return app->scale && (app->scale->copy_count || app->scale->growing);
}

bool niwa_scale_is_growing(const struct niwa_instance *i)
{
	return i->app->scale && i->app->scale->growing == i;
}

const struct niwa_instance *niwa_scale_target(const struct niwa_app *app)
{
	struct niwa_spread *s = app->scale && app->scale->spread.there ? &app->scale->spread : NULL;
	uint32_t to = s ? s->owners[(s->next += STRIDE) % NIWA_NET_BUCKETS] : 0;
	const struct niwa_instance *i = to ? niwa_map_get(app->engine->instances_by_addr, to) : NULL;

	return i && i->app == app ? i : app->current;
}

static void tell_kernel(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "scale"};
	struct niwa_error err;

	if (niwa_spread_sync(e, app, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
}

/* Measuring. */

static unsigned sockets_of(const struct niwa_instance *i)
{
	char path[64], text[1024], *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/sockstat", (int)i->pid);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, "TCP: inuse ");
	return at ? (unsigned)strtoul(at + strlen("TCP: inuse "), NULL, 10) : 0;
}

unsigned niwa_scale_connections(const struct niwa_instance *i)
{
	uint16_t ports[NIWA_PORTS_MAX];
	unsigned sockets = sockets_of(i);
	int served;

	if (sockets > SOCKETS_MAX || i->diag_fd < 0 || !i->spec)
		return sockets;
	for (size_t n = 0; n < i->spec->port_count; n++)
		ports[n] = i->spec->ports[n].number;
	served = niwa_diag_serving(i->diag_fd, ports, i->spec->port_count);
	return served < 0 ? sockets : (unsigned)served;
}

static void measure(struct niwa_engine *e, struct niwa_instance *i, uint64_t now)
{
	uint64_t cpu, took = now - i->load_at_us;

	i->load.connections = niwa_scale_connections(i);
	if (niwa_group_cpu_us(e, i->id, &cpu) < 0)
		return;
	i->cpu_centi = i->load_at_us && took ? (uint32_t)((cpu - i->load_cpu_us) * 10000 / took) : 0;
	i->load.cpu_centi = (i->load.cpu_centi * 2 + i->cpu_centi) / 3;
	i->load_cpu_us = cpu;
	i->load_at_us = now;
}

/* Members. */

static void join(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app_scale *s = i->app->scale;

	i->copy = true;
	i->copy_to_be = false;
	i->in_awake = true;
	LIST_INSERT_HEAD(&s->copies, i, copy_link);
	s->copy_count++;
	niwa_rotate_arm(e, i);
}

/* Not a copy any more; what it is in the tables stays. */
static void unlist(struct niwa_instance *i)
{
	if (!i->copy)
		return;
	LIST_REMOVE(i, copy_link);
	i->app->scale->copy_count--;
	i->copy = false;
}

static void flush(struct niwa_engine *e, const struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = context(i);
	struct niwa_error err;

	if (niwa_net_flush_unreplied(e->net, i->mark, &err) < 0)
		niwa_log(NIWA_LOG_WARN, &ctx, "%s", err.msg);
}

static void drain(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	struct niwa_log_ctx ctx = context(i);

	niwa_log(NIWA_LOG_INFO, &ctx, "gets no new connection and ends when it has none (%s)", why);
	unlist(i);
	i->in_awake = false;
	tell_kernel(e, i->app);
	flush(e, i);
	niwa_rotate_drain_within(e, i, i->app->scale->drain_us);
}

/* What ends again and again is not made again and again. */
static void pause_after(struct niwa_app_scale *s, const struct niwa_instance *i)
{
	uint64_t now = niwa_now_us();

	if (i && i->stages.ready_us && now - i->stages.ready_us >= CRASH_MAX)
		s->pause_us = 0;
	s->pause_us = s->pause_us ? s->pause_us * 2 : CRASH_US;
	if (s->pause_us > CRASH_MAX)
		s->pause_us = CRASH_MAX;
	s->not_before_us = now + s->pause_us;
}

void niwa_scale_lost(struct niwa_engine *e, struct niwa_instance *i)
{
	pause_after(i->app->scale, i);
	unlist(i);
	i->in_awake = false;
	tell_kernel(e, i->app);
	flush(e, i);
}

static struct niwa_instance *first_copy(const struct niwa_app *app)
{
	struct niwa_instance *i;

	if (app->scale)
		LIST_FOREACH(i, &app->scale->copies, copy_link)
	if (i->life == NIWA_LIFE_SERVING && !i->killed && i->in_awake)
		return i;
	return NULL;
}

static bool is_old(const struct niwa_instance *i)
{
	return i->old || i->generation != i->app->generation;
}

bool niwa_scale_take_over(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *i = first_copy(app), *old = app->current;
	struct niwa_log_ctx ctx;

	if (!i)
		return false;
	unlist(i);
	pause_after(app->scale, old);
	app->current = i;
	if (old && old->in_awake) {
		old->in_awake = false;
		niwa_sleep_unwatch(old);
		tell_kernel(e, app);
		flush(e, old);
	} else {
		tell_kernel(e, app);
	}
	(void)niwa_fault("niwad.taken-over");
	niwa_instance_write_tag(e, i);
	ctx = context(i);
	niwa_log(NIWA_LOG_INFO, &ctx, "takes the place of the first instance (%s)", why);
	if (app->state == NIWA_STOPPING)
		niwa_app_set_state(e, app, NIWA_STARTING, "another instance serves");
	niwa_app_set_state(e, app, NIWA_RUNNING, "another instance serves");
	niwa_sleep_watch(e, i);
	niwa_wake_answer_all(e, app);
	niwa_app_notify(app);
	if (is_old(i))
		niwa_rotate(e, app, "it was to be replaced");
	return true;
}

/* Growing. */

void niwa_scale_failed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "scale"};

	niwa_log(NIWA_LOG_ERR, &ctx, "%s; the others go on, the next try is in 10 s", err->msg);
	e->counts.failures++;
	app->scale->growing = NULL;
	app->scale->not_before_us = niwa_now_us() + RETRY_US;
	niwa_app_note_error(app, err->msg);
}

static bool may_grow_now(const struct niwa_app *app)
{
	const struct niwa_app_scale *s = app->scale;

	return app->state == NIWA_RUNNING && !s->growing && !app->fresh && niwa_now_us() >= s->not_before_us &&
	       !niwa_dump_is_under_way(app->current) && app->current->generation == app->generation;
}

static void grow(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	if (may_grow_now(app))
		(void)niwa_start_push_beside(e, app, NIWA_START_COPY, why);
}

int niwa_scale_make(struct niwa_engine *e, struct niwa_app *app, const char *why, struct niwa_instance **ret,
		    struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "scale"};
	int r;

	if (!may_grow_now(app)) /* the next look asks again */
		return 0;
	niwa_log(NIWA_LOG_INFO, &ctx, "one more instance is made, beside %u (%s)", app->scale->copy_count + 1, why);
	r = niwa_instance_make(e, app, &app->scale->growing, err);
	*ret = app->scale->growing;
	(void)niwa_fault("niwad.growing");
	return r;
}

static struct niwa_instance *an_old_copy(const struct niwa_app *app)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &app->scale->copies, copy_link)
	if (is_old(i))
		return i;
	return NULL;
}

void niwa_scale_ready(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;
	struct niwa_log_ctx ctx = context(i);
	struct niwa_instance *old;

	niwa_start_give_back(i);
	app->scale->growing = NULL;
	if (app->state != NIWA_RUNNING) {
		i->killed = true;
		niwa_leave_stop(e, i, "not wanted any more");
		return;
	}
	i->life = NIWA_LIFE_SERVING;
	i->stages.ready_us = niwa_now_us();
	join(e, i);
	tell_kernel(e, app);
	(void)niwa_fault("niwad.grown");
	niwa_instance_write_tag(e, i);
	niwa_log(NIWA_LOG_INFO, &ctx, "serves beside %u", app->scale->copy_count);
	old = an_old_copy(app);
	if (old)
		drain(e, old, "replaced");
}

void niwa_scale_cancel(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *i = app->scale ? app->scale->growing : NULL;

	niwa_start_drop_beside(e, app, NIWA_START_COPY);
	if (!i)
		return;
	app->scale->growing = NULL; /* its end is nobody's failure */
	i->killed = true;
	niwa_leave_stop(e, i, why);
}

void niwa_scale_shrink(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	struct niwa_instance *i;

	niwa_scale_cancel(e, app, why);
	while (app->scale && (i = LIST_FIRST(&app->scale->copies)))
		drain(e, i, why);
}

/* The one with the fewest connections; an old one first. */
static void give_up_one(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_instance *i, *least = an_old_copy(app);

	if (!least)
		LIST_FOREACH(i, &app->scale->copies, copy_link)
	if (!least || i->load.connections < least->load.connections)
		least = i;
	if (least)
		drain(e, least, "it fits in fewer");
}

/* Nobody uses it: it is on its way to sleep, and that would take a time of quiet for each. */
static void give_up_some(struct niwa_engine *e, struct niwa_app *app, const struct niwa_scale_load *loads, size_t count)
{
	bool used = false;

	for (size_t n = 0; n < count; n++)
		used = used || loads[n].connections || loads[n].cpu_centi >= IDLE_CENTI;
	if (used)
		give_up_one(e, app);
	else
		niwa_scale_shrink(e, app, "nobody uses it");
}

/* Wider limits. */

static void widen(struct niwa_engine *e, struct niwa_instance *i, uint64_t now)
{
	const struct niwa_limits base = niwa_limits_over(i->app, &i->spec->limits);
	struct niwa_log_ctx ctx = context(i);
	uint32_t is = i->cpu_limit_centi ? i->cpu_limit_centi : base.cpu_centi;
	uint32_t next = niwa_scale_cpu(base.cpu_centi, i->spec->scale.cpu_max_centi, is, i->cpu_centi,
				       i->spec->scale.quiet_us, now, &i->cpu_idle_since_us);
	struct niwa_error err;

	if (next == is || !i->spec->scale.cpu_max_centi)
		return;
	if (niwa_limits_cpu(e, i, next, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
		return;
	}
	niwa_log(NIWA_LOG_INFO, &ctx, "limits.cpu is %u%% now", next / 100);
	i->cpu_limit_centi = next == base.cpu_centi ? 0 : next;
}

/* Looking. */

static void look(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_instance *members[NIWA_SCALE_MAX + 1];
	struct niwa_scale_load loads[NIWA_SCALE_MAX + 1];
	struct niwa_app_scale *s = app->scale;
	size_t count = niwa_spread_members(app, members);
	uint64_t now = niwa_now_us();
	enum niwa_scale_verdict verdict;

	s->looked_us = now;
	for (size_t n = 0; n < count; n++) {
		measure(e, members[n], now);
		loads[n] = members[n]->load;
		widen(e, members[n], now);
	}
	verdict = count ? niwa_scale_judge(&s->rule, loads, count, now, &s->fits_since_us) : NIWA_SCALE_STAYS;
	if (verdict == NIWA_SCALE_MORE)
		grow(e, app, "it is full");
	else if (verdict == NIWA_SCALE_FEWER && !s->growing)
		give_up_some(e, app, loads, count);
	else if (an_old_copy(app))
		grow(e, app, "a copy is to be replaced");
	if (niwa_spread_is_wanted(app))
		tell_kernel(e, app); /* shares by the room that is left; and what failed before */
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_app *app = arg;

	(void)usec;
	if (app->state != NIWA_RUNNING || !app->current) {
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* on again when it runs again */
		return 0;
	}
	look(app->engine, app);
	(void)sd_event_source_set_time_relative(source, LOOK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static struct niwa_app_scale *scale_of(struct niwa_app *app)
{
	if (!app->scale && (app->scale = niwa_zalloc(sizeof(*app->scale))))
		LIST_INIT(&app->scale->copies);
	return app->scale;
}

static void take_rule(struct niwa_app_scale *s, const struct niwa_app_spec *spec)
{
	s->rule = (struct niwa_scale_rule){.max = niwa_rotate_declared(spec) ? spec->scale.max : 1,
					   .connections = spec->scale.connections,
					   .cpu_centi = spec->scale.cpu_centi,
					   .quiet_us = spec->scale.quiet_us};
	s->drain_us = spec->scale.drain_us;
}

static bool may_grow(const struct niwa_app_spec *spec)
{
	return spec->scale.max > 1 || spec->scale.cpu_max_centi;
}

void niwa_scale_moved(struct niwa_engine *e, struct niwa_app *app)
{
	const struct niwa_instance *i = app->current;
	struct niwa_app_scale *s;
	uint64_t at;
	int r;

	if (app->state != NIWA_RUNNING || app->template || !i || !i->spec || (!may_grow(i->spec) && !app->scale))
		return;
	s = scale_of(app);
	if (!s)
		return; /* it serves, alone */
	take_rule(s, i->spec);
	at = s->looked_us + LOOK_US > niwa_now_us() + SOON_US ? s->looked_us + LOOK_US : niwa_now_us() + SOON_US;
	if (!s->timer)
		r = sd_event_add_time(e->event, &s->timer, CLOCK_MONOTONIC, at, 50 * NIWA_MS, on_timer, app);
	else if ((r = sd_event_source_set_time(s->timer, at)) >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
	if (r < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: %s does not grow", app->name);
}

static bool same_ports(const struct niwa_app_spec *a, const struct niwa_app_spec *b)
{
	size_t n = 0;

	while (n < a->port_count && n < b->port_count && a->ports[n].number == b->ports[n].number)
		n++;
	return n == a->port_count && n == b->port_count;
}

void niwa_scale_follow(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_instance *i, *next;

	niwa_scale_moved(e, app);
	if (!app->scale)
		return;
	if (app->scale->rule.max == 1) {
		niwa_scale_shrink(e, app, "its record has one instance");
		return;
	}
	for (i = LIST_FIRST(&app->scale->copies); i; i = next) {
		next = LIST_NEXT(i, copy_link);
		if (!same_ports(i->spec, app->current->spec))
			drain(e, i, "its ports are others");
	}
}

void niwa_scale_age_one(struct niwa_instance *i)
{
	i->old = true; /* seen by the next look */
}

void niwa_scale_age(struct niwa_app *app)
{
	struct niwa_instance *i;

	if (app->scale)
		LIST_FOREACH(i, &app->scale->copies, copy_link)
	niwa_scale_age_one(i);
}

bool niwa_scale_adopt(struct niwa_engine *e, struct niwa_instance *i)
{
	if (!i->spec || !niwa_rotate_declared(i->spec) || i->spec->scale.max < 2 || !scale_of(i->app))
		return false;
	take_rule(i->app->scale, i->spec);
	if (!i->stages.ready_us)
		i->stages.ready_us = i->stages.executed_us;
	join(e, i);
	return true;
}

bool niwa_scale_adopt_growing(struct niwa_instance *i)
{
	struct niwa_app *app = i->app;

	if (!app->current || app->current->generation != app->generation || !i->spec ||
	    !niwa_rotate_declared(i->spec) || i->spec->scale.max < 2 || !scale_of(app) || app->scale->growing)
		return false;
	take_rule(app->scale, i->spec);
	app->scale->growing = i;
	return true;
}

void niwa_scale_free(struct niwa_app *app)
{
	if (!app->scale)
		return;
	(void)sd_event_source_disable_unref(app->scale->timer);
	free(app->scale);
	app->scale = NULL;
}
