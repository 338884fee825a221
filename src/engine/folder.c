/* SPDX-License-Identifier: MIT
 *
 * The registry of folders: a table of fixed size by device and inode, in which each instance, adopted ones too, has one
 * entry a folder that it writes to.
 */
#include "engine/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "engine/leave.h"
#include "engine/start.h"
#include "engine/volume.h"

/* What cannot be looked at is left out: it cannot be mounted either, and the plan says why. */
static void note_all(struct niwa_instance *i)
{
	struct stat st;

	i->folder_count = i->folders_shared = 0;
	for (size_t n = 0; n < i->spec->volume_count && i->folder_count < NIWA_VOLUMES_MAX; n++) {
		const struct niwa_volume *v = &i->spec->volumes[n];

		if (v->read_only || niwa_volume_stat(v, &st) < 0)
			continue;
		if (v->shared)
			i->folders_shared |= 1u << i->folder_count;
		i->folders[i->folder_count++] = (struct niwa_folder){.dev = st.st_dev, .ino = st.st_ino};
	}
}

struct niwa_folder_hold {
	LIST_ENTRY(niwa_folder_hold) link;
	struct niwa_instance *instance;
	struct niwa_folder folder;
	bool shared;
};

static struct niwa_folder_holds *place_of(struct niwa_engine *e, const struct niwa_folder *folder)
{
	uint64_t key = (folder->ino ^ folder->dev << 32) * UINT64_C(0x9e3779b97f4a7c15);

	return &e->folder_holds[key >> 32 & (NIWA_FOLDER_PLACES - 1)];
}

/* What i->folders says, into the table. */
static int enter(struct niwa_instance *i)
{
	if (!i->folder_count)
		return 0;
	i->holds = niwa_zalloc(i->folder_count * sizeof(*i->holds));
	if (!i->holds)
		return -ENOMEM;
	for (unsigned n = 0; n < i->folder_count; n++) {
		struct niwa_folder_hold *hold = &i->holds[n];

		hold->instance = i;
		hold->folder = i->folders[n];
		hold->shared = i->folders_shared >> n & 1;
		LIST_INSERT_HEAD(place_of(i->engine, &hold->folder), hold, link);
	}
	return 0;
}

static void leave(struct niwa_instance *i)
{
	for (unsigned n = 0; i->holds && n < i->folder_count; n++)
		LIST_REMOVE(&i->holds[n], link);
	free(i->holds);
	i->holds = NULL;
	i->folder_count = 0;
}

/* An instance whose app was removed or changed ends, as does one that is not its app's any more. */
static bool goes_on(const struct niwa_instance *i)
{
	const struct niwa_app *app = i->app;

	return !i->killed && i->life != NIWA_LIFE_DRAINING && i->life != NIWA_LIFE_STOPPING &&
	       i->life != NIWA_LIFE_GONE && !app->removed && (app->current == i || app->fresh == i) &&
	       app->state != NIWA_STOPPING && i->generation == app->generation;
}

/* Of two that hold it the one that goes on counts. */
static struct niwa_instance *holder_of(struct niwa_engine *e, const struct niwa_instance *i, unsigned n)
{
	const struct niwa_folder *folder = &i->folders[n];
	struct niwa_instance *found = NULL;
	const struct niwa_folder_hold *h;

	LIST_FOREACH(h, place_of(e, folder), link)
	if (h->folder.ino == folder->ino && h->folder.dev == folder->dev && h->instance != i &&
	    !(h->shared && i->folders_shared >> n & 1) && (!found || !goes_on(found)))
		found = h->instance;
	return found;
}

static int explain(const struct niwa_instance *i, unsigned n, const struct niwa_instance *holder,
		   struct niwa_error *err)
{
	const char *from = "a folder";
	struct stat st;
	size_t v = 0;

	for (; v < i->spec->volume_count; v++)
		if (!i->spec->volumes[v].read_only && niwa_volume_stat(&i->spec->volumes[v], &st) == 0 &&
		    st.st_dev == i->folders[n].dev && st.st_ino == i->folders[n].ino) {
			from = i->spec->volumes[v].from;
			break;
		}
	(void)niwa_fail(err, NIWA_TEMPORARY, 0,
			"%s: volumes[%zu].from: '%s' is written to by instance %llu of app %s%s", i->app->name, v, from,
			(unsigned long long)holder->id, holder->app->name,
			goes_on(holder) ? "; only one may, unless it is `shared: true` at both" : ", which is ending");
	return goes_on(holder) ? -EBUSY : -EINPROGRESS;
}

int niwa_folder_take(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_instance *holder;
	int r = 0;

	note_all(i);
	for (unsigned n = 0; n < i->folder_count; n++) {
		holder = holder_of(e, i, n);
		if (!holder)
			continue;
		if (r != -EBUSY)
			r = explain(i, n, holder, err);
		if (holder->life == NIWA_LIFE_DRAINING && !holder->adopting)
			niwa_leave_stop(e, holder, "its folder is wanted");
	}
	if (r == 0 && enter(i) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start %s", i->app->name);
	if (r < 0)
		i->folder_count = 0;
	return r;
}

int niwa_folder_adopt(struct niwa_instance *i, const struct niwa_tag *tag)
{
	if (!(tag->record & NIWA_TAG_RECORD_KNOWN)) {
		note_all(i);
		return enter(i);
	}
	i->folder_count = tag->folder_count < NIWA_VOLUMES_MAX ? tag->folder_count : NIWA_VOLUMES_MAX;
	i->folders_shared = tag->folders_shared;
	memcpy(i->folders, tag->folders, sizeof(i->folders));
	return enter(i);
}

void niwa_folder_tag(const struct niwa_instance *i, struct niwa_tag *tag)
{
	tag->folder_count = i->folder_count;
	tag->folders_shared = i->folders_shared;
	memcpy(tag->folders, i->folders, sizeof(tag->folders));
}

void niwa_folder_look_again(struct niwa_engine *e)
{
	if (!niwa_start_waiting_for_folders(e))
		return;
	e->folders_changed = true;
	(void)sd_event_source_set_enabled(e->bury_source, SD_EVENT_ON);
}

void niwa_folder_release(struct niwa_instance *i)
{
	if (!i->folder_count)
		return;
	leave(i);
	niwa_folder_look_again(i->engine);
}
