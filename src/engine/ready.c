/* SPDX-License-Identifier: MIT
 *
 * Readiness: exact look-ups of the LISTEN socket, first often, then ever slower, until the deadline.
 */
#include "engine/ready.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/app.h"
#include "engine/busy.h"
#include "engine/dump.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/relay_client.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/start.h"
#include "engine/wake.h"
#include "net/diag.h"

#define PAUSE_FIRST_US  300
#define PAUSE_MAX_US    (20 * NIWA_MS)
#define CHECK_PAUSE_US  (50 * NIWA_MS)
#define OTHERS_US       NIWA_SEC /* that the other ports are waited for */
#define NOTIFY_BATCH    16       /* datagrams a turn of the loop */
#define NOTIFY_PAUSE_US (200 * NIWA_MS)
#define CHECK_TICKET    (UINT64_C(1) << 63)

static void look(struct niwa_engine *e, struct niwa_instance *i);

int niwa_ready_listens(const struct niwa_instance *i)
{
	uint16_t port = i->spec->ready.port ? i->spec->ready.port : i->spec->port_count ? i->spec->ports[0].number : 0;

	if (!port)
		return 1;
	return i->diag_fd < 0 ? -EBADF : niwa_diag_listens(i->diag_fd, i->private_addr, port);
}

bool niwa_ready_listens6(const struct niwa_instance *i, uint16_t port)
{
	const struct niwa_ula *ula = &i->engine->config.ula;
	uint8_t addr[16];

	if (!ula->on || i->diag_fd < 0)
		return false;
	niwa_ula_make(ula, NIWA_ULA_PRIVATE, i->private_addr, addr);
	return niwa_diag_listens6(i->diag_fd, addr, port) > 0 && niwa_net_reaches6(i->engine->net, i->private_addr);
}

int niwa_ready_listens_at_all(const struct niwa_instance *i)
{
	int r = i->diag_fd < 0 ? -EBADF : i->spec->port_count == 0;

	for (size_t n = 0; r == 0 && n < i->spec->port_count; n++)
		r = niwa_diag_listens(i->diag_fd, i->private_addr, i->spec->ports[n].number);
	return r;
}

void niwa_ready_forget(struct niwa_engine *e, struct niwa_instance *i)
{
	if (i->check_ticket)
		(void)niwa_map_del(e->checks, i->check_ticket);
	i->check_ticket = 0;
}

static void done(struct niwa_engine *e, struct niwa_instance *i)
{
	i->timer = sd_event_source_disable_unref(i->timer);
	niwa_ready_forget(e, i);
	i->lost = false;
	if (i->app->fresh == i)
		niwa_rotate_ready(e, i);
	else if (niwa_scale_is_growing(i))
		niwa_scale_ready(e, i);
	else
		niwa_wake_ready(e, i);
}

static void too_late(struct niwa_engine *e, struct niwa_instance *i)
{
	uint16_t port = i->spec->ready.port ? i->spec->ready.port : i->spec->port_count ? i->spec->ports[0].number : 0;
	struct niwa_error err;

	if (i->spec->ready.kind == NIWA_READY_NOTIFY && !i->notified)
		(void)niwa_fail(&err, NIWA_TEMPORARY, 0,
				"%s was not ready in time: it sent no READY=1 to $NOTIFY_SOCKET", i->app->name);
	else if (i->check_status)
		(void)niwa_fail(&err, NIWA_TEMPORARY, 0,
				"%s was not ready in time: GET %s on port %u was answered with %u, not with 2xx or 3xx",
				i->app->name, i->spec->ready.path ? i->spec->ready.path : "/", port, i->check_status);
	else if (i->check_ticket || niwa_ready_listens(i) > 0)
		(void)niwa_fail(&err, NIWA_TEMPORARY, 0,
				"%s was not ready in time: GET %s on port %u was not answered with 2xx or 3xx",
				i->app->name, i->spec->ready.path ? i->spec->ready.path : "/", port);
	else
		(void)niwa_fail(&err, NIWA_TEMPORARY, 0,
				"%s was not ready in time: nothing listens on TCP port %u (on all addresses, not only "
				"127.0.0.1)",
				i->app->name, port);
	niwa_ready_forget(e, i);
	if (i->app->fresh == i || niwa_scale_is_growing(i)) {
		niwa_start_give_back(i);
		if (i->app->fresh == i)
			niwa_rotate_failed(e, i->app, &err);
		else
			niwa_scale_failed(e, i->app, &err);
		i->killed = true;
		niwa_leave_stop(e, i, "not ready in time");
		return;
	}
	i->killed = true;
	niwa_wake_gave_up(e, i->app, &err);
	niwa_leave_stop(e, i, "not ready in time");
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	look(i->engine, i);
	return 0;
}

static void look_again(struct niwa_engine *e, struct niwa_instance *i, uint64_t pause_us)
{
	i->timer = sd_event_source_disable_unref(i->timer);
	if (sd_event_add_time_relative(e->event, &i->timer, CLOCK_MONOTONIC, pause_us, 1, on_timer, i) < 0)
		too_late(e, i); /* no memory for a timer: nobody would look again */
}

static void ask_http(struct niwa_engine *e, struct niwa_instance *i)
{
	uint16_t port = i->spec->ready.port ? i->spec->ready.port : i->spec->ports[0].number;

	niwa_ready_forget(e, i);
	i->check_ticket = CHECK_TICKET | ++e->next_check;
	if (niwa_map_put(e->checks, i->check_ticket, i) < 0 ||
	    niwa_relay_check(e, i->check_ticket, i, port, i->spec->ready.path) < 0)
		look_again(e, i, CHECK_PAUSE_US);
	else
		look_again(e, i, NIWA_SEC); /* the answer comes before, or is asked for again */
}

/* Does the fresh instance listen on every port that the old one listens on? */
static bool covers(const struct niwa_instance *old, const struct niwa_instance *fresh)
{
	for (size_t n = 0; old && n < fresh->spec->port_count; n++) {
		uint16_t port = fresh->spec->ports[n].number;

		if (niwa_diag_listens(old->diag_fd, old->private_addr, port) > 0 &&
		    niwa_diag_listens(fresh->diag_fd, fresh->private_addr, port) == 0)
			return false;
	}
	return true;
}

/* An app listens on its ports one after the other: the first is no sign yet that the others are there. They are waited
 * for, but not for long: a program may never listen on one of them. */
static bool others_are_awaited(struct niwa_instance *i)
{
	uint64_t now = niwa_now_us();
	bool missing = false;

	if (!i->others_until_us)
		i->others_until_us = now + OTHERS_US;
	for (size_t n = 0; !missing && n < i->spec->port_count; n++)
		missing = niwa_diag_listens(i->diag_fd, i->private_addr, i->spec->ports[n].number) == 0;
	return missing && now < i->others_until_us;
}

static void look(struct niwa_engine *e, struct niwa_instance *i)
{
	int r = 0;

	if (i->life != NIWA_LIFE_STARTED)
		return;
	if (niwa_now_us() >= i->ready_deadline_us) {
		too_late(e, i);
		return;
	}
	if (i->spec->ready.kind == NIWA_READY_NOTIFY && !i->notified)
		r = 0;
	else if (i->lost && i->spec->ready.kind != NIWA_READY_HTTP) /* it was ready: it is again when it listens */
		r = niwa_ready_listens_at_all(i);
	else if (i->spec->ready.kind == NIWA_READY_NOTIFY)
		r = 1;
	else
		r = niwa_ready_listens(i);
	if (r > 0 && i->spec->ready.kind == NIWA_READY_HTTP) {
		ask_http(e, i);
		return;
	}
	if (r > 0 && i->spec->ready.kind == NIWA_READY_LISTEN && i->spec->port_count > 1 && others_are_awaited(i))
		r = 0;
	if (r > 0 && i->app->fresh == i && !covers(i->app->current, i))
		r = 0; /* the old one serves those ports as long */
	if (r > 0) {
		done(e, i);
		return;
	}
	i->ready_pause_us = i->ready_pause_us ? i->ready_pause_us + i->ready_pause_us / 8 : PAUSE_FIRST_US;
	if (i->ready_pause_us > PAUSE_MAX_US)
		i->ready_pause_us = PAUSE_MAX_US;
	look_again(e, i, i->ready_pause_us);
}

static int on_notify_pause(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	if (i->notify_source)
		(void)sd_event_source_set_enabled(i->notify_source, SD_EVENT_ON);
	return 0;
}

/* What an app goes on sending waits in its socket: it is read a few times a second, however much it is. */
static void pause_notify(struct niwa_instance *i)
{
	i->notify_pause = sd_event_source_disable_unref(i->notify_pause);
	if (sd_event_add_time_relative(i->engine->event, &i->notify_pause, CLOCK_MONOTONIC, NOTIFY_PAUSE_US,
				       NOTIFY_PAUSE_US / 4, on_notify_pause, i) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: what %s notifies is read no more", i->app->name);
	(void)sd_event_source_set_enabled(i->notify_source, SD_EVENT_OFF);
}

static int on_notify(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_instance *i = arg;
	char text[512];
	int left = NOTIFY_BATCH;
	bool busy = false;
	uint64_t us = 0;
	ssize_t n;

	(void)s, (void)revents;
	while (left-- > 0 && (n = recv(fd, text, sizeof(text), MSG_DONTWAIT)) >= 0) {
		for (ssize_t at = 0; at + 7 <= n; at++)
			if ((at == 0 || text[at - 1] == '\n') && memcmp(text + at, "READY=1", 7) == 0 &&
			    (at + 7 == n || text[at + 7] == '\n'))
				i->notified = true;
		busy = niwa_busy_read(text, (size_t)n, &us) || busy;
	}
	if (busy)
		niwa_busy_told(i->engine, i, us);
	if (i->notified || left < 0)
		pause_notify(i);
	if (i->notified && i->life == NIWA_LIFE_STARTED)
		look(i->engine, i);
	return 0;
}

void niwa_ready_begin(struct niwa_engine *e, struct niwa_instance *i)
{
	i->ready_deadline_us = niwa_now_us() + i->spec->ready.deadline_us;
	i->ready_pause_us = i->others_until_us = 0;
	if (i->notify_source)
		(void)sd_event_source_set_enabled(i->notify_source, SD_EVENT_ON);
	look(e, i);
}

void niwa_ready_watch_notify(struct niwa_engine *e, struct niwa_instance *i)
{
	if (i->notify_fd >= 0 && !i->notify_source &&
	    sd_event_add_io(e->event, &i->notify_source, i->notify_fd, EPOLLIN, on_notify, i) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: %s cannot notify", i->app->name);
}

void niwa_ready_checked(struct niwa_engine *e, uint64_t ticket, int error, const char *text)
{
	struct niwa_instance *i = niwa_map_del(e->checks, ticket);

	if (i && niwa_dump_warmed(e, i, ticket))
		return;
	if (!i || i->check_ticket != ticket || i->life != NIWA_LIFE_STARTED)
		return;
	i->check_ticket = 0;
	if (error != EBADMSG || sscanf(text, "answered %3u", &i->check_status) != 1)
		i->check_status = 0;
	if (!error)
		done(e, i);
	else
		look_again(e, i, CHECK_PAUSE_US);
}

void niwa_ready_lost(struct niwa_engine *e, struct niwa_instance *i, const char *why)
{
	if (i->copy || niwa_scale_take_over(e, i->app, why)) { /* one of several */
		if (i->copy)
			niwa_scale_lost(e, i);
		niwa_leave_stop(e, i, why);
		return;
	}
	niwa_awake_leave(e, i);
	niwa_sleep_unwatch(i);
	i->life = NIWA_LIFE_STARTED;
	i->lost = true;
	niwa_app_set_state(e, i->app, NIWA_STARTING, why);
	niwa_ready_begin(e, i);
}
