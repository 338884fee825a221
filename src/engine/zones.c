/* SPDX-License-Identifier: MIT
 *
 * There are a few hundred zones, and a host uses two or three.
 */
#include "engine/zones.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/memory.h"

struct niwa_zone_named {
	SLIST_ENTRY(niwa_zone_named) link;
	struct niwa_zone *zone;
	struct stat seen;
	char *name; /* NULL: the host's own */
};

struct niwa_zones {
	SLIST_HEAD(, niwa_zone_named) list;
};

struct niwa_zones *niwa_zones_new(void)
{
	return niwa_zalloc(sizeof(struct niwa_zones));
}

static void free_one(struct niwa_zone_named *n)
{
	niwa_zone_free(&n->zone);
	free(n->name);
	free(n);
}

void niwa_zones_free(struct niwa_zones **zones)
{
	struct niwa_zone_named *n;

	if (!*zones)
		return;
	while ((n = SLIST_FIRST(&(*zones)->list))) {
		SLIST_REMOVE_HEAD(&(*zones)->list, link);
		free_one(n);
	}
	free(*zones);
	*zones = NULL;
}

static bool is(const struct niwa_zone_named *n, const char *name)
{
	return name ? n->name && strcmp(n->name, name) == 0 : !n->name;
}

static void note_file(struct niwa_zone_named *n, struct stat *st)
{
	char path[128];

	if (stat(niwa_zone_path(n->name, path, sizeof(path)), st) < 0)
		*st = (struct stat){0};
}

int niwa_zones_get(struct niwa_zones *zones, const char *name, struct niwa_zone_named **ret, struct niwa_error *err)
{
	struct niwa_zone_named *n;
	int r;

	SLIST_FOREACH(n, &zones->list, link)
	if (is(n, name)) {
		*ret = n;
		return 0;
	}
	n = niwa_zalloc(sizeof(*n));
	if (!n || (name && !(n->name = niwa_strdup(name)))) {
		free(n);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read a time zone");
	}
	note_file(n, &n->seen); /* before it is read: a change in between is found later */
	r = niwa_zone_open(name, &n->zone, err);
	if (r < 0) {
		free_one(n);
		return r;
	}
	SLIST_INSERT_HEAD(&zones->list, n, link);
	*ret = n;
	return 0;
}

const struct niwa_zone *niwa_zone_now(const struct niwa_zone_named *named)
{
	return named ? named->zone : NULL;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool niwa_zones_look(struct niwa_zones *zones)
{
	struct niwa_zone_named *n;
	bool changed = false;

	SLIST_FOREACH(n, &zones->list, link)
	{
		struct niwa_zone *fresh = NULL;
		struct niwa_error err;
		struct stat st;

		note_file(n, &st);
		if (same_file(&st, &n->seen))
			continue;
		n->seen = st;
		if (niwa_zone_open(n->name, &fresh, &err) < 0) {
			niwa_log(NIWA_LOG_ERR, NULL, "%s; it stays as it was", err.msg);
			continue;
		}
		niwa_zone_free(&n->zone);
		n->zone = fresh;
		changed = true;
	}
	return changed;
}
