/* SPDX-License-Identifier: MIT
 *
 * The end of an instance: signal, grace, kill.
 */
#include "engine/stop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/group.h"
#include "engine/instance.h"

#define ALONE_PAUSE_US (20 * NIWA_MS)

static void arm(struct niwa_instance *i, uint64_t pause_us);

/* Does the first process have a handler for the signal? Unknown counts as yes. */
static bool catches(const struct niwa_instance *i, int signal)
{
	char path[64], text[8192], *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)i->pid);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return true;
	at = strstr(text, "\nSigCgt:");
	return !at || (strtoull(at + 8, NULL, 16) >> (signal - 1)) & 1;
}

struct others {
	const struct niwa_instance *instance;
	int signal; /* 0: only counted */
	unsigned count;
};

static int visit(pid_t pid, void *arg)
{
	struct others *o = arg;

	if (pid == o->instance->pid)
		return 0;
	o->count++;
	if (o->signal)
		(void)kill(pid, o->signal); /* of this moment's list of our own group */
	return 0;
}

static unsigned others(struct niwa_engine *e, struct niwa_instance *i, int signal)
{
	struct others o = {.instance = i, .signal = signal};

	return niwa_group_each_process(e, i->id, visit, &o) < 0 ? 0 : o.count;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "stop"};
	uint64_t now = niwa_now_us();

	(void)s, (void)usec;
	if (now >= i->stop_deadline_us) {
		niwa_log(NIWA_LOG_WARN, &ctx, "did not end within its grace; killed");
		niwa_instance_kill(i->engine, i);
	} else if (i->deaf && !others(i->engine, i, 0)) {
		niwa_instance_kill(i->engine, i);
	} else {
		arm(i,
		    i->deaf && i->stop_deadline_us - now > ALONE_PAUSE_US ? ALONE_PAUSE_US : i->stop_deadline_us - now);
	}
	return 0;
}

static void arm(struct niwa_instance *i, uint64_t pause_us)
{
	i->timer = sd_event_source_disable_unref(i->timer);
	if (sd_event_add_time_relative(i->engine->event, &i->timer, CLOCK_MONOTONIC, pause_us, 1, on_timer, i) < 0)
		niwa_instance_kill(i->engine, i); /* no memory for a grace */
}

void niwa_stop_send(struct niwa_engine *e, struct niwa_instance *i)
{
	int signal = i->spec->stop.signal;
	uint64_t now = niwa_now_us();

	if (i->killed || signal == SIGKILL || now >= i->stop_deadline_us) {
		niwa_instance_kill(e, i);
		return;
	}
	i->deaf = !catches(i, signal);
	if (i->deaf && !others(e, i, signal)) {
		niwa_instance_kill(e, i);
		return;
	}
	if (!i->deaf && niwa_instance_signal(i, signal) < 0)
		return; /* it has ended already */
	arm(i, i->deaf ? ALONE_PAUSE_US : i->stop_deadline_us - now);
}
