/* SPDX-License-Identifier: MIT
 *
 * Claims of a transaction: the names of its apps, and one record a folder that they write to.
 */
#include "engine/folder_claim.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/app.h"
#include "engine/publish.h"

struct claim {
	SLIST_ENTRY(claim) link;
	size_t index; /* in the app's volumes */
	bool shared;
	const char *from; /* both lie behind the record */
	char app[];
};

struct touched {
	SLIST_ENTRY(touched) link;
	char app[];
};

struct niwa_folder_claims {
	SLIST_HEAD(, claim) claims;
	SLIST_HEAD(, touched) touched;
	struct claim *next;                /* to be settled */
	struct niwa_map *by_from, *by_app; /* → struct claim (of several that share it the first), struct touched */
	SLIST_ENTRY(niwa_folder_claims) link; /* in engine.folder_claims */
	bool settled;
};

/* What apps in the registry write to, in engine.folders by its path. */
struct folder {
	LIST_HEAD(, niwa_app_folder) writers;
	unsigned alone; /* of them do not share it */
	char from[];
};

/* That an app is one of the writers. */
struct niwa_app_folder {
	struct niwa_app_folder *next; /* of the same app */
	LIST_ENTRY(niwa_app_folder) link;
	struct niwa_app *app;
	struct folder *folder;
	bool shared;
};

static struct folder *folder_get(struct niwa_engine *e, const char *from)
{
	struct folder *f = niwa_map_get_str(e->folders, from);
	size_t size = strlen(from) + 1;

	if (f || !(f = niwa_zalloc(sizeof(*f) + size)))
		return f;
	memcpy(f->from, from, size);
	if (niwa_map_put_str(e->folders, f->from, f) == 0)
		return f;
	free(f);
	return NULL;
}

static void writers_free(struct niwa_engine *e, struct niwa_app_folder *w)
{
	for (struct niwa_app_folder *next; w; w = next) {
		next = w->next;
		LIST_REMOVE(w, link);
		w->folder->alone -= !w->shared;
		if (LIST_EMPTY(&w->folder->writers)) {
			(void)niwa_map_del_str(e->folders, w->folder->from);
			free(w->folder);
		}
		free(w);
	}
}

int niwa_folder_declare(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec)
{
	struct niwa_app_folder *all = NULL;

	for (size_t n = 0; spec && n < spec->volume_count; n++) {
		const struct niwa_volume *v = &spec->volumes[n];
		struct niwa_app_folder *w = v->read_only ? NULL : niwa_zalloc(sizeof(*w));

		if (v->read_only)
			continue;
		if (!w || !(w->folder = folder_get(e, v->from))) {
			free(w);
			writers_free(e, all);
			return -ENOMEM;
		}
		w->app = app;
		w->shared = v->shared;
		w->folder->alone += !v->shared;
		LIST_INSERT_HEAD(&w->folder->writers, w, link);
		w->next = all;
		all = w;
	}
	writers_free(e, app->folders);
	app->folders = all;
	return 0;
}

static struct niwa_folder_claims *claims_new(void)
{
	struct niwa_folder_claims *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->by_from = niwa_map_new(NIWA_MAP_STRING);
	c->by_app = niwa_map_new(NIWA_MAP_STRING);
	if (c->by_from && c->by_app)
		return c;
	niwa_folder_claims_free(NULL, &c);
	return NULL;
}

static int taken(struct niwa_refusal *at, struct niwa_error *err, const struct claim *c, const char *by)
{
	(void)snprintf(at->app, sizeof(at->app), "%s", c->app);
	(void)snprintf(at->key, sizeof(at->key), "volumes[%zu].from", c->index);
	return niwa_fail(err, NIWA_CALLER, 0,
			 "%s: %s: '%s' is written to by app %s; allowed: one writer, or read_only: true, or shared: "
			 "true at both",
			 at->app, at->key, c->from, by);
}

static int no_memory(struct niwa_error *err, const char *app)
{
	return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "%s", app);
}

/* What the app writes to now does not count any more. */
static int touch(struct niwa_folder_claims *c, const char *app, struct niwa_error *err)
{
	size_t size = strlen(app) + 1;
	struct touched *t;

	if (niwa_map_get_str(c->by_app, app))
		return 0;
	t = niwa_zalloc(sizeof(*t) + size);
	if (!t)
		return no_memory(err, app);
	memcpy(t->app, app, size);
	if (niwa_map_put_str(c->by_app, t->app, t) < 0) {
		free(t);
		return no_memory(err, app);
	}
	SLIST_INSERT_HEAD(&c->touched, t, link);
	return 0;
}

static int claim_one(struct niwa_folder_claims *c, const struct niwa_app_spec *spec, size_t index,
		     struct niwa_refusal *at, struct niwa_error *err)
{
	const struct niwa_volume *v = &spec->volumes[index];
	size_t name = strlen(spec->name) + 1, from = strlen(v->from) + 1;
	struct claim *have = niwa_map_get_str(c->by_from, v->from), *claim;
	int r = 0;

	if (have && strcmp(have->app, spec->name) == 0) {
		have->shared = have->shared && v->shared;
		return 0;
	}
	claim = niwa_zalloc(sizeof(*claim) + name + from);
	if (!claim)
		return no_memory(err, spec->name);
	memcpy(claim->app, spec->name, name);
	memcpy(claim->app + name, v->from, from);
	claim->from = claim->app + name;
	claim->index = index;
	claim->shared = v->shared;
	if (have && !(have->shared && v->shared))
		r = taken(at, err, claim, have->app);
	else if (!have && niwa_map_put_str(c->by_from, claim->from, claim) < 0)
		r = no_memory(err, spec->name);
	if (have || r < 0)
		free(claim);
	else
		SLIST_INSERT_HEAD(&c->claims, claim, link);
	return r;
}

static bool app_writes(struct niwa_engine *e, const char *name)
{
	const struct niwa_app *app = niwa_app_by_name(e, name);

	return app && app->folders;
}

int niwa_folder_claim_put(struct niwa_engine *e, struct niwa_folder_claims **claims, const struct niwa_app_spec *spec,
			  struct niwa_refusal *at, struct niwa_error *err)
{
	int r = 0;

	if (!spec->volume_count && !app_writes(e, spec->name))
		return 0;
	if (!*claims && !(*claims = claims_new()))
		return no_memory(err, spec->name);
	r = touch(*claims, spec->name, err);
	for (size_t n = 0; r == 0 && n < spec->volume_count; n++)
		if (!spec->volumes[n].read_only)
			r = claim_one(*claims, spec, n, at, err);
	return r;
}

int niwa_folder_claim_remove(struct niwa_engine *e, struct niwa_folder_claims **claims, const char *app,
			     struct niwa_error *err)
{
	if (!app_writes(e, app))
		return 0;
	if (!*claims && !(*claims = claims_new()))
		return no_memory(err, app);
	return touch(*claims, app, err);
}

static int compare_with_apps(struct niwa_engine *e, struct niwa_folder_claims *c, const struct claim *claim,
			     struct niwa_refusal *at, struct niwa_error *err)
{
	const struct folder *f = niwa_map_get_str(e->folders, claim->from);
	const struct niwa_app_folder *w;

	if (!f || (claim->shared && !f->alone))
		return 0;
	LIST_FOREACH(w, &f->writers, link)
	if (!(claim->shared && w->shared) && !niwa_map_get_str(c->by_app, w->app->name))
		return taken(at, err, claim, w->app->name);
	return 0;
}

static int compare_with_commits(struct niwa_engine *e, const struct niwa_folder_claims *c, const struct claim *claim,
				struct niwa_refusal *at, struct niwa_error *err)
{
	const struct niwa_folder_claims *other;
	const struct claim *theirs;

	SLIST_FOREACH(other, &e->folder_claims, link)
	{
		theirs = other == c ? NULL : niwa_map_get_str(other->by_from, claim->from);
		if (theirs && !(theirs->shared && claim->shared) && strcmp(theirs->app, claim->app) != 0)
			return taken(at, err, claim, theirs->app);
	}
	return 0;
}

int niwa_folder_claims_settle(struct niwa_engine *e, struct niwa_folder_claims *claims, unsigned *budget,
			      struct niwa_refusal *at, struct niwa_error *err)
{
	int r = 0;

	if (!claims || SLIST_EMPTY(&claims->claims))
		return 0;
	if (!claims->settled) { /* of two that are looked at at the same time the one that finds the other is refused */
		SLIST_INSERT_HEAD(&e->folder_claims, claims, link);
		claims->next = SLIST_FIRST(&claims->claims);
	}
	claims->settled = true;
	for (; claims->next; claims->next = SLIST_NEXT(claims->next, link), --*budget) {
		if (*budget == 0)
			return 1;
		r = compare_with_apps(e, claims, claims->next, at, err);
		if (r == 0)
			r = compare_with_commits(e, claims, claims->next, at, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void niwa_folder_claims_free_some(struct niwa_engine *e, struct niwa_folder_claims **claims, unsigned *budget)
{
	struct niwa_folder_claims *c = *claims;
	struct touched *t;
	struct claim *claim;

	if (!c)
		return;
	if (c->settled) { /* from here on nobody compares with it */
		SLIST_REMOVE(&e->folder_claims, c, niwa_folder_claims, link);
		c->settled = false;
	}
	for (; *budget && (claim = SLIST_FIRST(&c->claims)); --*budget) {
		SLIST_REMOVE_HEAD(&c->claims, link);
		free(claim);
	}
	for (; *budget && (t = SLIST_FIRST(&c->touched)); --*budget) {
		SLIST_REMOVE_HEAD(&c->touched, link);
		free(t);
	}
	if (!SLIST_EMPTY(&c->claims) || !SLIST_EMPTY(&c->touched))
		return;
	niwa_map_free_some(&c->by_from, budget);
	if (!*budget)
		return;
	niwa_map_free_some(&c->by_app, budget);
	free(c);
	*claims = NULL;
}

void niwa_folder_claims_free(struct niwa_engine *e, struct niwa_folder_claims **claims)
{
	while (*claims) {
		unsigned all = UINT_MAX;

		niwa_folder_claims_free_some(e, claims, &all);
	}
}
