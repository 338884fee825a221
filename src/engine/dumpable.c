/* SPDX-License-Identifier: MIT
 *
 * Instances of which images can be made, over the end of niwad.
 */
#include "engine/dumpable.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "container/instance_snapshot.h"
#include "engine/dump.h"
#include "engine/instance.h"
#include "engine/snapshot.h"

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

void niwa_dumpables_begin(struct niwa_engine *e)
{
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	if (i->snapshot && i->snapshot->adopted && i->app->current == i && i->life == NIWA_LIFE_SERVING)
		niwa_dump_when_quiet(e, i);
}
