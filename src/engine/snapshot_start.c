/* SPDX-License-Identifier: MIT
 *
 * What an instance has to do with images.
 */
#include "engine/snapshot_start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "container/instance_snapshot.h"
#include "engine/app.h"
#include "engine/criu.h"
#include "engine/dump.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/put_away.h"
#include "engine/share.h"
#include "engine/snapshot.h"
#include "engine/snapshot_host.h"

int niwa_snapshot_key_of(struct niwa_engine *e, const struct niwa_app_spec *spec, const struct niwa_instance_params *p,
			 const char *volumes, struct niwa_snapshot_key *ret, struct niwa_error *err)
{
	bool shared = niwa_share_is_wanted(spec);
	struct niwa_text extra = {0};
	struct niwa_key_params params = {.host = &e->host,
					 .instance = p,
					 .platform = &e->snapshots->platform,
					 .scope = shared ? NIWA_SCOPE_SHARED : NIWA_SCOPE_APP,
					 .kind = volumes ? NIWA_KIND_MOMENT : NIWA_KIND_READY};
	int r;

	for (char **path = spec->warm; path && *path; path++)
		niwa_text_addf(&extra, "warm %s\n", *path);
	if (shared) { /* not of the plan, but of the moment at which it is taken */
		niwa_text_addf(&extra, "ready %d %u %s\n", (int)spec->ready.kind, spec->ready.port,
			       spec->ready.path ? spec->ready.path : "");
		for (size_t n = 0; n < spec->port_count; n++)
			niwa_text_addf(&extra, "port %u\n", spec->ports[n].number);
	}
	niwa_text_add(&extra, volumes ? volumes : "");
	params.extra = extra.data;
	r = niwa_snapshot_key(&params, ret, err);
	niwa_text_fini(&extra);
	return r;
}

void niwa_snapshot_paths(const struct niwa_engine *e, struct niwa_instance_snapshot *s, const char *folder)
{
	(void)snprintf(s->folder, sizeof(s->folder), "%s", folder);
	(void)snprintf(s->layer_path, sizeof(s->layer_path), "%s/snapshots/%s/layer", e->config.state_dir, folder);
	(void)snprintf(s->shm_path, sizeof(s->shm_path), "%s/snapshots/%s/shm", e->config.state_dir, folder);
}

/* The key of its start. */
static int start_key(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_instance_params *p,
		     struct niwa_error *err)
{
	int r;

	if (i->app->template) { /* it has other volumes than those whose key it has */
		i->snapshot->key = i->app->snapshot->key;
		return 0;
	}
	r = niwa_snapshot_key_of(e, i->spec, p, NULL, &i->snapshot->key, err);
	return r == 0 && i->app->shares ? niwa_share_join(e, i->app, &i->snapshot->key, err) : r;
}

int niwa_snapshot_prepare(struct niwa_engine *e, struct niwa_instance *i, struct niwa_instance_params *p,
			  struct niwa_error *err)
{
	char refusal[NIWA_STORE_REASON_MAX];

	if (i->snapshot) { /* to be restored: looked at before */
		p->init = true;
		p->restore = i->snapshot->restoring ? &i->snapshot->restore : NULL;
		return 0;
	}
	if (*niwa_snapshot_refusal(e, i->spec, refusal, sizeof(refusal)) && !niwa_snapshot_hibernates(e, i->spec))
		return 0;
	i->snapshot = niwa_zalloc(sizeof(*i->snapshot));
	if (!i->snapshot)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start %s", i->app->name);
	niwa_store_image_init(&i->snapshot->image);
	p->init = true;
	return start_key(e, i, p, err);
}

void niwa_snapshot_instance_gone(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_instance_snapshot *s = i->snapshot;

	if (!s)
		return;
	niwa_dump_instance_gone(e, i);
	if (s->restoring && s->criu)
		niwa_criu_kill(e, s->criu);
	s->timer = sd_event_source_disable_unref(s->timer);
	niwa_store_image_close(&s->image);
	if (s->restoring) /* what was used once and went wrong */
		niwa_snapshots_collect(e);
	free(s);
	i->snapshot = NULL;
}

static void hold_name(uint64_t instance, char *buf, size_t size)
{
	(void)snprintf(buf, size, "image:%llu", (unsigned long long)instance);
}

void niwa_snapshot_hold(struct niwa_engine *e, const struct niwa_instance *i)
{
	char name[NIWA_KEEP_NAME_MAX];

	hold_name(i->id, name, sizeof(name));
	niwa_keep_store(e, name, i->snapshot->image.images);
}

void niwa_snapshot_let_go(struct niwa_engine *e, const struct niwa_instance *i)
{
	char name[NIWA_KEEP_NAME_MAX];

	hold_name(i->id, name, sizeof(name));
	niwa_keep_unstore(e, name);
	niwa_snapshots_collect(e);
}

void niwa_snapshot_held(struct niwa_engine *e, const char *name)
{
	uint64_t id;

	if (niwa_parse_u64(name + strlen("image:"), UINT64_MAX, &id) < 0 || !niwa_map_get(e->instances, id))
		niwa_keep_unstore(e, name);
}
