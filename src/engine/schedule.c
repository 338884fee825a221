/* SPDX-License-Identifier: MIT
 *
 * The heap of schedules and what is done when one is due. `dealt` is an app's own: the last instant up to which its
 * times were dealt with.
 */
#include "engine/schedule.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/agenda.h"
#include "engine/due.h"
#include "engine/resident.h"
#include "engine/sleep.h"
#include "engine/snapshot_host.h"
#include "engine/start.h"
#include "engine/wake.h"
#include "engine/zones.h"

#define PRIORITY   (SD_EVENT_PRIORITY_NORMAL + 5) /* behind wakes, before the socket */
#define CROWDED_US (10 * NIWA_MS)
#define MINUTE_US  (60 * NIWA_SEC)
#define LATE_S     60

struct niwa_schedule {
	struct niwa_due due;
	TAILQ_ENTRY(niwa_schedule) link; /* in the order in which they were counted */
	struct niwa_app *app;
	struct niwa_agenda *agenda;
	struct niwa_agenda_look next;
	int64_t dealt;
	uint64_t busy_until_us; /* CLOCK_MONOTONIC */
	uint32_t epoch;         /* of the clock by which it was counted */
};

struct niwa_schedules {
	struct niwa_dues dues;
	TAILQ_HEAD(, niwa_schedule) list;
	struct niwa_zones *zones;
	sd_event_source *timer, *clock_set, *minute, *recount;
	int clock_fd, mark_fd;
	uint32_t epoch;
	int64_t dealt;     /* by the niwad before this one; 0: apps are declared now */
	int64_t offset_us; /* of the clock to CLOCK_MONOTONIC, as it was when it was looked at */
	bool begun;
};

static int64_t now_s(void)
{
	return (int64_t)(niwa_realtime_us() / NIWA_SEC);
}

static int64_t clock_offset_us(void)
{
	return (int64_t)niwa_realtime_us() - (int64_t)niwa_now_us();
}

/* The timer goes off at the next one that is due; where that is over, at once. */
static void arm(struct niwa_engine *e)
{
	struct niwa_schedules *s = e->schedules;
	const struct niwa_due *first = niwa_due_first(&s->dues);

	if (!s->begun)
		return;
	if (!first || first->at == INT64_MAX) {
		(void)sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(s->timer, first->at > 0 ? (uint64_t)first->at * NIWA_SEC : 0);
	(void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void note_counted(struct niwa_engine *e, struct niwa_schedule *sch)
{
	sch->epoch = e->schedules->epoch;
	TAILQ_REMOVE(&e->schedules->list, sch, link);
	TAILQ_INSERT_TAIL(&e->schedules->list, sch, link);
}

/* What is to come from `now` on, and what was missed since `dealt`. */
static void count_on(struct niwa_engine *e, struct niwa_schedule *sch, int64_t now)
{
	sch->dealt = niwa_agenda_believe(sch->dealt, now);
	sch->next = niwa_agenda_look(sch->agenda, now, sch->dealt);
	note_counted(e, sch);
	if (niwa_due_set(&e->schedules->dues, &sch->due, niwa_agenda_due(&sch->next)) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: the schedule of %s is not kept", sch->app->name);
}

/* A niwad that is killed now deals with the same times once more: waking twice is better than never. */
static void mark(struct niwa_engine *e)
{
	struct niwa_schedules *s = e->schedules;
	const struct timespec at = {.tv_sec = now_s()}, times[] = {at, at}; /* the kernel's own are a little late */

	(void)niwa_fault("niwad.schedule-mark");
	if (s->mark_fd >= 0)
		(void)futimens(s->mark_fd, times); /* what is missed then is missed */
}

/* It is ready, or will not be. */
static void on_awake(const struct niwa_error *err, void *arg)
{
	struct niwa_app *app = arg;

	if (!err && app->schedule)
		app->schedule->busy_until_us = niwa_now_us() + app->schedule->agenda->for_us;
}

/* done: NULL or on_awake, for what keeps it awake for a time. */
static void wake(struct niwa_engine *e, struct niwa_app *app, const char *why,
		 void (*done)(const struct niwa_error *err, void *arg))
{
	struct niwa_waiter *w = niwa_waiter_new(app, 0, 0, 0);

	if (!w) {
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: %s is not woken (%s)", app->name, why);
		return;
	}
	w->why = why;
	w->done = done;
	w->arg = app;
	niwa_wake(e, app, w, niwa_now_us());
}

/* Hours begin with an app that is up; that it stays so is the business of resident.c and sleep.c. */
static void hours_begin(struct niwa_engine *e, struct niwa_app *app)
{
	if (app->state == NIWA_FROZEN || app->state == NIWA_PAGED || app->state == NIWA_FREEZING)
		wake(e, app, "its hours", NULL);
	niwa_resident_declare(e, app, app->resident);
}

static void deal_with(struct niwa_engine *e, struct niwa_schedule *sch)
{
	int64_t now = now_s();
	bool was_on = sch->next.hours_end, woken = sch->next.wake <= now;
	struct niwa_app *app = sch->app;

	if (woken)
		sch->dealt = now;
	count_on(e, sch, now);
	if (woken) {
		wake(e, app, "its schedule", on_awake);
		niwa_start_for_resident(e, app);
	}
	if (sch->next.hours_end && !was_on)
		hours_begin(e, app);
}

/* Who visits goes first: while many starts wait for their turn, times wait too. For a minute; then, or where they were
 * missed, some of them stand in the queue always, as resident apps do. It has a bound, and is not filled with
 * thousands: a visitor would find no room. */
static bool must_wait(const struct niwa_engine *e, const struct niwa_due *due)
{
	if (!niwa_snapshots_are_known(e)) /* all of them would begin at that moment */
		return true;
	if (e->starts.length < e->starts.places)
		return false;
	return now_s() - due->at < LATE_S || e->residents_queued >= e->starts.places ||
	       e->starts.length >= e->starts.length_max / 2;
}

/* One app a turn: as many more as are due follow at once. */
static int on_due(sd_event_source *timer, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_due *first = niwa_due_first(&e->schedules->dues);

	(void)usec;
	if (!first || first->at > now_s()) {
		arm(e);
		return 0;
	}
	if (must_wait(e, first)) {
		(void)sd_event_source_set_time(timer, niwa_realtime_us() + CROWDED_US);
		return sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
	}
	deal_with(e, NIWA_CONTAINER_OF(first, struct niwa_schedule, due));
	first = niwa_due_first(&e->schedules->dues);
	if (!first || first->at > now_s())
		mark(e);
	arm(e);
	return 0;
}

/* By another clock: one app a turn, those that were counted longest ago first. */
static int on_recount(sd_event_source *source, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_schedule *sch = TAILQ_FIRST(&e->schedules->list);

	if (!sch || sch->epoch == e->schedules->epoch)
		return 0;
	if (sch->due.at > now_s())
		deal_with(e, sch);
	else
		note_counted(e, sch); /* it is dealt with when it is its turn */
	arm(e);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void count_anew(struct niwa_engine *e)
{
	e->schedules->epoch++;
	(void)sd_event_source_set_enabled(e->schedules->recount, SD_EVENT_ONESHOT);
}

static int arm_clock(int fd)
{
	const struct itimerspec never = {.it_value.tv_sec = INT64_MAX};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ? -errno : 0;
}

static int on_clock_set(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct niwa_engine *e = arg;
	int64_t offset = clock_offset_us(), by = offset - e->schedules->offset_us;
	uint64_t n;
	int r = read(fd, &n, sizeof(n)) < 0 && errno != ECANCELED ? -errno : arm_clock(fd);

	(void)source, (void)revents;
	e->schedules->offset_us = offset;
	niwa_log(NIWA_LOG_INFO, NULL, "the clock was set by %.1f s", (double)by / 1e6);
	count_anew(e);
	return r == -EAGAIN ? 0 : r;
}

static int on_minute(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	const struct niwa_due *first = niwa_due_first(&e->schedules->dues);

	if (first && first->at > now_s()) /* else some are not dealt with yet */
		mark(e);
	if (niwa_zones_look(e->schedules->zones))
		count_anew(e);
	(void)sd_event_source_set_time(source, usec + MINUTE_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Until when times were dealt with; a clock that was set back since is believed. */
static void read_mark(struct niwa_engine *e, struct niwa_schedules *s)
{
	char path[300];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/scheduled", e->config.state_dir);
	s->dealt = now_s();
	s->offset_us = clock_offset_us();
	s->mark_fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (s->mark_fd >= 0 && fstat(s->mark_fd, &st) == 0 && st.st_mtime < s->dealt)
		s->dealt = st.st_mtime;
	if (s->mark_fd < 0)
		s->mark_fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (s->mark_fd < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "open '%s': error %d; times that are missed while niwad is down stay so",
			 path, errno);
}

static int add_sources(struct niwa_engine *e, struct niwa_schedules *s)
{
	int r = sd_event_add_time(e->event, &s->timer, CLOCK_REALTIME, 0, NIWA_MS, on_due, e);

	if (r >= 0)
		r = sd_event_source_set_priority(s->timer, PRIORITY);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(e->event, &s->recount, on_recount, e);
	if (r >= 0)
		r = sd_event_source_set_priority(s->recount, PRIORITY);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->recount, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(e->event, &s->minute, CLOCK_MONOTONIC, MINUTE_US, NIWA_SEC, on_minute,
					       e);
	if (r >= 0)
		r = sd_event_add_io(e->event, &s->clock_set, s->clock_fd, EPOLLIN, on_clock_set, e);
	return r;
}

int niwa_schedule_open(struct niwa_engine *e, struct niwa_error *err)
{
	struct niwa_schedules *s = niwa_zalloc(sizeof(*s));
	int r;

	e->schedules = s;
	if (!s)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make the timer of schedules");
	TAILQ_INIT(&s->list);
	s->mark_fd = -1;
	s->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	s->zones = niwa_zones_new();
	r = s->clock_fd < 0 ? -errno : !s->zones ? -ENOMEM : arm_clock(s->clock_fd);
	if (r >= 0)
		r = add_sources(e, s);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "make the timer of schedules");
	read_mark(e, s);
	return 0;
}

void niwa_schedule_close(struct niwa_engine *e)
{
	struct niwa_schedules *s = e->schedules;

	e->schedules = NULL;
	if (!s)
		return;
	(void)sd_event_source_disable_unref(s->timer);
	(void)sd_event_source_disable_unref(s->recount);
	(void)sd_event_source_disable_unref(s->minute);
	(void)sd_event_source_disable_unref(s->clock_set);
	niwa_fd_close(&s->clock_fd);
	niwa_fd_close(&s->mark_fd);
	niwa_dues_fini(&s->dues);
	niwa_zones_free(&s->zones);
	free(s); /* the schedules themselves go with their apps */
}

/* What an app that runs was awake for goes on, though niwad is another one. */
static void resume(struct niwa_schedule *sch)
{
	int64_t rest = niwa_agenda_rest(sch->agenda, now_s());

	sch->busy_until_us = rest > 0 ? niwa_now_us() + (uint64_t)rest * NIWA_SEC : 0;
}

void niwa_schedule_begin(struct niwa_engine *e)
{
	struct niwa_schedules *s = e->schedules;

	s->begun = true;
	s->dealt = 0; /* for apps that are declared from now on, now */
	arm(e);
}

static void drop(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_schedule *sch = app->schedule;

	if (!sch)
		return;
	app->schedule = NULL;
	niwa_due_drop(&e->schedules->dues, &sch->due);
	TAILQ_REMOVE(&e->schedules->list, sch, link);
	free(sch->agenda);
	free(sch);
}

/* Up to when the times of a record that follows another one are dealt with: one that has come and waits for its turn
 * is still to be. */
static int64_t dealt_before(const struct niwa_engine *e, const struct niwa_schedule *old)
{
	int64_t now = e->schedules->dealt ? e->schedules->dealt : now_s();

	return old && old->next.wake <= now ? old->next.wake - 1 : now;
}

int niwa_schedule_declare(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "schedule"};
	struct niwa_schedule *sch;
	struct niwa_agenda *agenda = NULL;
	struct niwa_error err;
	uint64_t busy_until_us = app->schedule ? app->schedule->busy_until_us : 0;
	int64_t dealt = dealt_before(e, app->schedule);
	int r = spec ? niwa_agenda_make(e->schedules->zones, spec, &agenda, &err) : 0;

	drop(e, app);
	if (r < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s; its times do not come", err.msg);
	if (!agenda)
		return r == -ENOMEM ? r : 0;
	sch = niwa_zalloc(sizeof(*sch));
	if (!sch) {
		free(agenda);
		return -ENOMEM;
	}
	sch->app = app;
	sch->agenda = agenda;
	sch->busy_until_us = busy_until_us;
	sch->dealt = dealt;
	if (e->schedules->begun && TAILQ_EMPTY(&e->schedules->list))
		mark(e); /* nobody has done so while there was none */
	TAILQ_INSERT_TAIL(&e->schedules->list, sch, link);
	app->schedule = sch;
	if (!e->schedules->begun)
		resume(sch);
	count_on(e, sch, now_s());
	if (sch->next.hours_end) { /* they begin when it is its turn */
		sch->next.hours_end = 0;
		(void)niwa_due_set(&e->schedules->dues, &sch->due, now_s()); /* it has its place already */
	}
	arm(e);
	return 0;
}

uint64_t niwa_schedule_busy_until(const struct niwa_app *app, const char **ret_why)
{
	const struct niwa_schedule *sch = app->schedule;
	uint64_t until = 0, now = niwa_now_us();
	int64_t left;

	if (!sch)
		return 0;
	if (sch->busy_until_us > now) {
		until = sch->busy_until_us;
		*ret_why = "its schedule";
	}
	left = sch->next.hours_end - now_s();
	if (sch->next.hours_end && left > 0 && now + (uint64_t)left * NIWA_SEC > until) {
		until = now + (uint64_t)left * NIWA_SEC;
		*ret_why = "its hours";
	}
	return until;
}

bool niwa_schedule_is_on(const struct niwa_app *app)
{
	return app->schedule && app->schedule->next.hours_end > now_s();
}

uint64_t niwa_schedule_next_us(const struct niwa_app *app)
{
	const struct niwa_schedule *sch = app->schedule;
	int64_t next;

	if (!sch)
		return 0;
	next = sch->next.hours_next < sch->next.wake ? sch->next.hours_next : sch->next.wake;
	return next == INT64_MAX ? 0 : (uint64_t)next * NIWA_SEC;
}
