/* SPDX-License-Identifier: MIT
 *
 * Looks of the governor, freezing, thawing. A freeze is: the address into `frozen`; the freezer; its
 * confirmation; the veth's counter compared with the one of the decision. Events are hints, `knocked` is state.
 */
#include "engine/sleep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/app.h"
#include "engine/busy.h"
#include "engine/govern.h"
#include "engine/group.h"
#include "engine/leave.h"
#include "engine/paging.h"
#include "engine/past.h"
#include "engine/scale.h"
#include "engine/start.h"
#include "engine/visit.h"
#include "engine/wake.h"
#include "net/diag.h"

#define LOOK_MIN_US        (20 * NIWA_MS)
#define LOOK_MAX_US        NIWA_SEC
#define FREEZE_DEADLINE_US (2 * NIWA_SEC)
#define RETRY_DEEPER_US    (60 * NIWA_SEC)
#define PAGE_SPREAD        4

static int on_look(sd_event_source *s, uint64_t usec, void *arg);

int niwa_sleep_usage(struct niwa_engine *e, struct niwa_instance *i, uint64_t *ret_bytes, uint64_t *ret_cpu_us)
{
	uint64_t rx, tx;
	int r = niwa_net_veth_bytes(e->net, i->veth, &rx, &tx);

	if (r < 0)
		return r;
	*ret_bytes = rx + tx;
	return niwa_group_cpu_us(e, i->id, ret_cpu_us);
}

uint64_t niwa_sleep_memory(struct niwa_engine *e, const struct niwa_instance *i)
{
	uint64_t bytes;

	return niwa_group_memory(e, i->id, &bytes) < 0 ? 0 : bytes;
}

bool niwa_sleep_too_many_sockets(const struct niwa_instance *i)
{
	char path[64], text[1024], *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/sockstat", (int)i->pid);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return false;
	at = strstr(text, "TCP: inuse ");
	return at && strtoul(at + 11, NULL, 10) > NIWA_SLEEP_SOCKETS_MAX;
}

bool niwa_sleep_has_connections(const struct niwa_instance *i)
{
	unsigned active = 0, total = 0;

	if (niwa_sleep_too_many_sockets(i))
		return true;
	return i->diag_fd >= 0 && i->spec->sleep.connection_us &&
	       niwa_diag_active(i->diag_fd, i->spec->sleep.connection_us, &active, &total) == 0 && active > 0;
}

static void look_after(struct niwa_instance *i, uint64_t pause_us)
{
	i->timer = sd_event_source_disable_unref(i->timer);
	if (sd_event_add_time_relative(i->engine->event, &i->timer, CLOCK_MONOTONIC, pause_us, pause_us / 20, on_look,
				       i) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: %s stays awake", i->app->name);
}

static uint64_t first_goal(const struct niwa_instance *i)
{
	return i->spec->sleep.freeze_us ? i->spec->sleep.freeze_us : i->spec->sleep.save_us;
}

/* How long until the next look is worth something. */
static uint64_t next_pause(const struct niwa_instance *i, uint64_t quiet_us)
{
	uint64_t goal = first_goal(i);
	uint64_t pause = quiet_us < goal ? goal - quiet_us : LOOK_MIN_US;

	if (pause > goal / 2)
		pause = goal / 2;
	if (pause > LOOK_MAX_US)
		pause = LOOK_MAX_US;
	return pause < LOOK_MIN_US ? LOOK_MIN_US : pause;
}

/* For niwa show. */
static void note_activity(struct niwa_instance *i, uint64_t bytes, uint64_t cpu, uint64_t now)
{
	uint64_t elapsed = now - i->looked_us;

	if (bytes != i->seen_bytes)
		i->bytes_at_us = now;
	if ((cpu - i->seen_cpu_us) * 10000 >= (uint64_t)i->spec->sleep.cpu_centi * (elapsed ? elapsed : 1))
		i->cpu_at_us = now;
}

/* Notes activity since the last look; returns how long the instance has been quiet. */
static uint64_t look(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t now = niwa_now_us(), bytes, cpu, elapsed = now - i->looked_us;

	if (niwa_sleep_usage(e, i, &bytes, &cpu) < 0)
		return 0; /* it is ending */
	if (bytes != i->seen_bytes || i->execs || !TAILQ_EMPTY(&i->app->waiters) ||
	    (cpu - i->seen_cpu_us) * 10000 >= (uint64_t)i->spec->sleep.cpu_centi * (elapsed ? elapsed : 1))
		i->active_us = now;
	if (bytes != i->seen_bytes)
		niwa_govern_visit(i->app, now);
	note_activity(i, bytes, cpu, now);
	i->seen_bytes = bytes;
	i->seen_cpu_us = cpu;
	i->looked_us = now;
	if (i->active_us != now && now - i->active_us >= first_goal(i) && niwa_is_busy(i)) /* it would sleep now */
		i->active_us = now;
	return now - i->active_us;
}

/* Frozen, and time to be paged: where that cannot be now it is asked for again. */
static void go_paged(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	if (niwa_paging_begin(e, i, why) < 0) /* not all of them at the same moment */
		look_after(i, LOOK_MAX_US * (1 + i->id % PAGE_SPREAD));
}

/* Bytes that woke nothing (a handshake without a word, what another program sent to its device) while it stood still,
 * and no connection is left of them: the time of quiet begins anew. */
static bool was_touched(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t bytes, cpu;

	if (i->app->state == NIWA_RUNNING || niwa_sleep_has_connections(i) ||
	    niwa_sleep_usage(e, i, &bytes, &cpu) < 0 || bytes == i->seen_bytes)
		return false;
	i->seen_bytes = bytes;
	i->active_us = niwa_now_us();
	return true;
}

static void go_deeper(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	uint64_t pause =
		i->spec->sleep.connection_us < RETRY_DEEPER_US ? i->spec->sleep.connection_us : RETRY_DEEPER_US;

	if (niwa_leave_idle(e, i, NIWA_LEAVE_SLEEPS, why) == 0)
		return;
	if (was_touched(e, i))
		pause = i->spec->sleep.save_us;
	look_after(i, pause < LOOK_MAX_US ? LOOK_MAX_US : pause);
	/* with a connection open it cannot be saved; its memory can go all the same */
	if (i->app->state == NIWA_FROZEN && i->spec->sleep.page_us && !i->page_failed &&
	    niwa_govern_can_page(e, i->held_bytes))
		(void)niwa_paging_begin(e, i, "quiet, with a connection open"); /* else with the next try */
}

/* A request may wait inside the app for a disk or a timer, without a byte and without CPU: frozen, it would never be
 * answered, because nobody knocks. */
bool niwa_sleep_owes_answer(const struct niwa_instance *i)
{
	if (niwa_sleep_too_many_sockets(i))
		return true;
	return i->diag_fd >= 0 && i->spec->sleep.answer_us && niwa_diag_owed(i->diag_fd, i->spec->sleep.answer_us) > 0;
}

static void look_running(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "sleep"};
	uint64_t quiet = look(e, i);
	struct niwa_error err;

	if (i->withheld)
		niwa_awake_look_again(e, i);
	if (i->app->fresh || niwa_start_is_beside(i->app) ||
	    niwa_scale_is_grown(i->app)) { /* about to be replaced, or one of several */
		look_after(i, LOOK_MAX_US);
		return;
	}
	if (i->spec->sleep.freeze_us && quiet >= i->spec->sleep.freeze_us && !niwa_sleep_owes_answer(i)) {
		if (niwa_sleep_freeze(e, i, "quiet for sleep.freeze", &err) == 0)
			return;
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
		look_after(i, LOOK_MAX_US);
		return;
	}
	if (!i->spec->sleep.freeze_us && i->spec->sleep.save_us && quiet >= i->spec->sleep.save_us) {
		go_deeper(e, i, "quiet for sleep.save");
		return;
	}
	look_after(i, next_pause(i, quiet));
}

/* No instruction is executed in it: nothing is to be seen but the time. */
static void look_frozen(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_governor_answer a;
	uint64_t now = niwa_now_us();

	niwa_govern_ask(e, i, now > i->active_us ? now - i->active_us : 0, &a);
	if (a.next == NIWA_DEPTH_SAVED)
		go_deeper(e, i, niwa_govern_why(&a, "quiet for sleep.save"));
	else if (a.next == NIWA_DEPTH_PAGED && i->app->state == NIWA_FROZEN)
		go_paged(e, i, niwa_govern_why(&a, "quiet for sleep.page"));
	else if (a.again_us)
		look_after(i, a.again_us);
}

static int on_look(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;
	struct niwa_engine *e = i->engine;

	(void)s, (void)usec;
	if (i->app->state == NIWA_RUNNING)
		look_running(e, i);
	else if (i->app->state == NIWA_FROZEN || i->app->state == NIWA_PAGED)
		look_frozen(e, i);
	return 0;
}

void niwa_sleep_watch(struct niwa_engine *e, struct niwa_instance *i)
{
	i->active_us = i->looked_us = niwa_now_us();
	if (niwa_sleep_usage(e, i, &i->seen_bytes, &i->seen_cpu_us) < 0)
		i->seen_bytes = i->seen_cpu_us = 0;
	if (i->spec->sleep.freeze_us || i->spec->sleep.save_us)
		look_after(i, next_pause(i, 0));
}

void niwa_sleep_unwatch(struct niwa_instance *i)
{
	i->timer = sd_event_source_disable_unref(i->timer);
	i->freeze_source = sd_event_source_disable_unref(i->freeze_source);
	niwa_fd_close(&i->cgroup_events_fd);
}

static int set_frozen_element(struct niwa_engine *e, struct niwa_instance *i, enum niwa_change change,
			      struct niwa_error *err)
{
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);

	if (!txn)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "freeze %s", i->app->name);
	niwa_net_frozen(txn, change, i->private_addr);
	i->in_frozen = change == NIWA_ADD;
	niwa_visit_guard(e, i, txn);
	return niwa_net_commit(&txn, err);
}

void niwa_sleep_resume_frozen(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_governor_answer a;
	uint64_t now = niwa_now_us();

	i->timer = sd_event_source_disable_unref(i->timer);
	if (!i->held_bytes)
		niwa_govern_measure(e, i);
	niwa_govern_ask(e, i, now > i->active_us ? now - i->active_us : 0, &a);
	if (a.next > (i->app->state == NIWA_PAGED ? NIWA_DEPTH_PAGED : NIWA_DEPTH_FROZEN))
		look_after(i, LOOK_MIN_US);
	else if (a.again_us)
		look_after(i, a.again_us);
}

static void frozen_now(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t bytes, cpu;

	i->freeze_source = sd_event_source_disable_unref(i->freeze_source);
	niwa_fd_close(&i->cgroup_events_fd);
	(void)niwa_fault("niwad.frozen");
	if (niwa_sleep_usage(e, i, &bytes, &cpu) == 0 && bytes != i->seen_bytes) {
		niwa_sleep_thaw(e, i, "bytes came while it froze");
		return;
	}
	if (niwa_busy_is_new(i)) {
		niwa_sleep_thaw(e, i, "it is busy");
		return;
	}
	i->held_bytes = 0;
	i->page_failed = false;
	niwa_app_set_state(e, i->app, NIWA_FROZEN, "quiet");
	(void)niwa_fault("niwad.frozen-known");
	niwa_sleep_resume_frozen(e, i);
}

static int on_group_event(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)revents;
	if (niwa_group_events_frozen(fd) > 0 && i->app->state == NIWA_FREEZING)
		frozen_now(i->engine, i);
	return 0;
}

static int on_freeze_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	if (i->app->state == NIWA_FREEZING)
		niwa_sleep_thaw(i->engine, i, "the freezer did not finish in time");
	return 0;
}

int niwa_sleep_freeze(struct niwa_engine *e, struct niwa_instance *i, const char *why, struct niwa_error *err)
{
	int r = set_frozen_element(e, i, NIWA_ADD, err);

	if (r < 0)
		return r;
	i->timer = sd_event_source_disable_unref(i->timer);
	niwa_app_set_state(e, i->app, NIWA_FREEZING, why);
	(void)niwa_fault("niwad.before-freeze");
	i->cgroup_events_fd = niwa_group_open_events(e, i->id);
	r = i->cgroup_events_fd < 0 ? i->cgroup_events_fd : niwa_group_freeze(e, i->id, true);
	(void)niwa_fault("niwad.freeze-asked");
	if (r == 0)
		r = sd_event_add_io(e->event, &i->freeze_source, i->cgroup_events_fd, EPOLLPRI, on_group_event, i);
	if (r >= 0)
		r = sd_event_add_time_relative(e->event, &i->timer, CLOCK_MONOTONIC, FREEZE_DEADLINE_US, 10 * NIWA_MS,
					       on_freeze_deadline, i);
	if (r < 0) {
		niwa_sleep_thaw(e, i, "the freezer refused");
		return niwa_fail(err, NIWA_TEMPORARY, -r, "freeze the control group");
	}
	if (niwa_group_events_frozen(i->cgroup_events_fd) > 0)
		frozen_now(e, i);
	return 0;
}

void niwa_sleep_thaw(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "thaw"};
	bool paged = i->app->state == NIWA_PAGED;
	struct niwa_error err;
	int r;

	(void)niwa_fault("niwad.before-thaw");
	niwa_paging_stop(e, i);
	r = niwa_group_freeze(e, i->id, false);
	if (paged)
		niwa_paging_fetch(e, i);
	if (r < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "thaw the control group: error %d", -r);
	e->counts.thaws++;
	i->freeze_source = sd_event_source_disable_unref(i->freeze_source);
	niwa_fd_close(&i->cgroup_events_fd);
	(void)niwa_fault("niwad.thawed");
	if (set_frozen_element(e, i, NIWA_DEL, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
	(void)niwa_fault("niwad.thaw-done");
	niwa_app_set_state(e, i->app, NIWA_RUNNING, why);
	if (i->app->past && i->app->past->now.accepted_us) {
		i->app->past->now.ready_us = niwa_now_us();
		niwa_app_note_woke(i->app, NIWA_WAKE_OK);
	}
	niwa_sleep_watch(e, i);
}

void niwa_sleep_release(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_error err;

	niwa_paging_stop(e, i);
	(void)niwa_group_freeze(e, i->id, false); /* a group that is gone needs none */
	if (i->in_frozen && set_frozen_element(e, i, NIWA_DEL, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
}

/* A late or foreign hint: the set must be empty for the next knock. */
static void clear_knock(struct niwa_engine *e, uint32_t private_addr)
{
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	struct niwa_error err;

	if (!txn)
		return;
	niwa_net_frozen(txn, NIWA_DEL, private_addr);
	if (niwa_net_commit(&txn, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
}

static bool stands_still(const struct niwa_instance *i)
{
	return i->app->state == NIWA_FREEZING || i->app->state == NIWA_FROZEN || i->app->state == NIWA_PAGED;
}

void niwa_sleep_knocked(struct niwa_engine *e, const struct niwa_net_knock *knock)
{
	struct niwa_instance *i = niwa_map_get(e->instances_by_addr, knock->private_addr);
	struct niwa_waiter by = {.why = "traffic"};

	if (i && i->app->current == i && stands_still(i)) {
		memcpy(&by.from, knock->from, sizeof(by.from));
		if (niwa_app_port(i->app, knock->port)) /* else it answers a connection of the app's own */
			by.port = knock->port;
		niwa_wake_note(e, i->app, &by, "thaw", niwa_now_us());
		niwa_sleep_thaw(e, i, "traffic");
	} else {
		clear_knock(e, knock->private_addr);
	}
}

void niwa_sleep_compare_frozen(struct niwa_engine *e)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	{
		uint64_t rx, tx;

		if (i->app->current != i || !stands_still(i))
			continue;
		if (niwa_net_veth_bytes(e->net, i->veth, &rx, &tx) == 0 && rx + tx == i->seen_bytes)
			continue;
		niwa_wake_note(e, i->app, NULL, "thaw", niwa_now_us());
		niwa_sleep_thaw(e, i, "bytes came while nobody could see them");
	}
}

static int note_watched(const struct niwa_net_element *el, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_instance *i = niwa_map_get(e->instances_by_addr, el->addr);

	if (i)
		i->watched = true;
	return 0;
}

void niwa_sleep_thaw_unwatched(struct niwa_engine *e)
{
	struct niwa_instance *i;
	struct niwa_error err;

	if (e->frozen && niwa_net_each(e->net, NIWA_NET_FROZEN, note_watched, e, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "read who is frozen: %s", err.msg);
	LIST_FOREACH(i, &e->instance_list, link)
	if (i->app->current == i && i->app->state == NIWA_FROZEN && !i->watched)
		niwa_sleep_thaw(e, i, "bytes may have come while nobody could see them");
}

struct knocks {
	uint32_t addr[256];
	size_t count;
};

static int on_knocked_element(const struct niwa_net_element *el, void *arg)
{
	struct knocks *k = arg;

	if (k->count < NIWA_ARRAY_LEN(k->addr))
		k->addr[k->count++] = el->addr;
	return 0;
}

void niwa_sleep_read_knocked(struct niwa_engine *e)
{
	struct knocks k;
	struct niwa_error err;

	do { /* thawing takes the address out of the set */
		k.count = 0;
		if (niwa_net_each(e->net, NIWA_NET_KNOCKED, on_knocked_element, &k, &err) < 0) {
			niwa_log(NIWA_LOG_ERR, NULL, "read who knocked: %s", err.msg);
			return;
		}
		for (size_t n = 0; n < k.count; n++)
			niwa_sleep_knocked(e, &(struct niwa_net_knock){.private_addr = k.addr[n]});
	} while (k.count == NIWA_ARRAY_LEN(k.addr));
}
