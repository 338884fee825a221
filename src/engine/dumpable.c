/* SPDX-License-Identifier: MIT
 *
 * Instances of which images can be made, over the end of niwad.
 */
#include "engine/dumpable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "container/instance_snapshot.h"
#include "engine/dump.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/snapshot_start.h"

pid_t niwa_dumpable_pid(const struct niwa_instance *i)
{
	return i->restored ? i->snapshot->restore.pid : NIWA_INIT_COMMAND_PID;
}

void niwa_dumpable_tag(const struct niwa_instance *i, struct niwa_tag *tag)
{
	const struct niwa_instance_snapshot *s = i->snapshot;

	tag->ready_us = i->stages.ready_us;
	if (!s)
		return;
	tag->dump_pid = (uint32_t)(s->restore.pid ? s->restore.pid : NIWA_INIT_COMMAND_PID);
	tag->dump_monotonic_ns = s->restore.monotonic_ns;
	tag->dump_boottime_ns = s->restore.boottime_ns;
	tag->start_key = s->key;
	if (s->restore.layer)
		(void)snprintf(tag->restored_from, sizeof(tag->restored_from), "%s", s->folder);
}

void niwa_dumpable_adopt(struct niwa_instance *i, const struct niwa_tag *tag)
{
	struct niwa_instance_snapshot *s = tag->dump_pid ? niwa_zalloc(sizeof(*s)) : NULL;

	i->stages.ready_us = tag->ready_us;
	if (!s)
		return;
	niwa_store_image_init(&s->image);
	s->restore = (struct niwa_instance_restore){.pid = (pid_t)tag->dump_pid,
						    .monotonic_ns = tag->dump_monotonic_ns,
						    .boottime_ns = tag->dump_boottime_ns};
	s->key = tag->start_key;
	s->key.hex[NIWA_KEY_HEX] = '\0';
	if (*tag->restored_from) {
		niwa_snapshot_paths(i->engine, s, tag->restored_from);
		s->restore.layer = s->layer_path;
	}
	s->adopted = true;
	i->snapshot = s;
}

bool niwa_dumpable_is_current(struct niwa_engine *e, struct niwa_instance *i)
{
	NIWA_AUTO(niwa_prepared_fini) struct niwa_prepared p = {0};
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "snapshot"};
	struct niwa_snapshot_key now;
	struct niwa_error err;

	if (!i->snapshot || !i->snapshot->adopted)
		return i->snapshot != NULL;
	if (niwa_instance_prepare(e, i, &p, &err) < 0 ||
	    niwa_snapshot_key_of(e, i->spec, &p.params, NULL, &now, &err) < 0)
		return false;
	i->snapshot->adopted = strcmp(now.hex, i->snapshot->key.hex) != 0;
	if (i->snapshot->adopted)
		niwa_log(NIWA_LOG_INFO, &ctx,
			 "no image: its image, CRIU, niwa or this host were changed since it began");
	return !i->snapshot->adopted;
}

struct look {
	const struct niwa_engine *engine;
	const struct niwa_instance *instance;
	struct niwa_error *err;
	bool again;
	bool said; /* in err */
};

/* The last number of a line of /proc/PID/status, 0: there is none. Names in it hold no line ends. */
static long last_number(const char *status, const char *key)
{
	const char *at = strstr(status, key);
	long number = 0;

	for (at = at ? at + strlen(key) : ""; *at == '\t' || *at == ' ';) {
		char *end;

		number = strtol(at, &end, 10);
		if (end == at)
			break;
		at = end;
	}
	return number;
}

static int say(struct look *look, enum niwa_error_kind kind, const char *status, long pid)
{
	const char *name = status + strlen("Name:\t");
	char quoted[128];

	look->said = true;
	if (kind == NIWA_TEMPORARY)
		return niwa_fail(look->err, kind, 0, "a command of niwa exec runs in it");
	return niwa_fail(look->err, kind, 0,
			 "the parent of process %ld (%s) has ended: CRIU would leave it out of the image", pid,
			 niwa_quote(name, strcspn(name, "\n"), quoted, sizeof(quoted)));
}

static int look_at(pid_t pid, void *arg)
{
	struct look *look = arg;
	const struct niwa_instance *i = look->instance;
	char path[64], status[8192], *state;
	long parent, inside;
	ssize_t n;

	if (pid == i->pid)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	n = niwa_file_read(path, status, sizeof(status));
	if (n == -ENOENT || n == -ESRCH) /* it has ended */
		return 0;
	if (n < 0)
		return (int)n;
	state = strstr(status, "\nState:\t");
	if (!state)
		return 0;
	if (strchr("ZX", state[strlen("\nState:\t")]) && last_number(status, "\nThreads:") < 2 &&
	    (!look->again || last_number(status, "\nPPid:") != i->pid))
		return 0; /* nothing of it is left but its status */
	parent = last_number(status, "\nPPid:");
	inside = last_number(status, "\nNSpid:");
	if (parent == look->engine->keep_pid)
		return say(look, NIWA_TEMPORARY, status, inside);
	if (parent == i->pid && inside != niwa_dumpable_pid(i))
		return say(look, NIWA_PERMANENT, status, inside);
	return 0;
}

static int look(struct look *look)
{
	const struct niwa_instance *i = look->instance;
	int r = niwa_group_each_process((struct niwa_engine *)(uintptr_t)look->engine, i->id, look_at, look);

	return r < 0 && !look->said
		       ? niwa_fail(look->err, NIWA_TEMPORARY, -r, "look at the processes of %s", i->app->name)
		       : r;
}

/* Page faults of the children that niwa-init has reaped so far: none ends without one. It has nobody else's but those
 * whose parent has ended. */
static uint64_t reaped(const struct niwa_instance *i)
{
	char path[64], stat[1024];
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)i->pid);
	at = niwa_file_read(path, stat, sizeof(stat)) < 0 ? NULL : strrchr(stat, ')');
	for (int n = 0; at && n < 9; n++) /* the ninth after the name: cminflt */
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

int niwa_dumpable_look(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_error *err)
{
	struct look first = {.engine = e, .instance = i, .err = err};

	i->snapshot->reaped = reaped(i); /* before the look: what ends during it is counted */
	return look(&first);
}

int niwa_dumpable_look_again(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_error *err)
{
	struct look again = {.engine = e, .instance = i, .err = err, .again = true};
	int r = look(&again);

	if (r < 0 || i->snapshot->reaped == reaped(i))
		return r;
	return niwa_fail(err, NIWA_TEMPORARY, EBUSY, "a process whose parent had ended came and went meanwhile");
}

void niwa_dumpables_begin(struct niwa_engine *e)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	if (i->snapshot && i->snapshot->adopted && i->app->current == i && i->life == NIWA_LIFE_SERVING)
		niwa_dump_when_quiet(e, i);
}
