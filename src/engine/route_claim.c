/* SPDX-License-Identifier: MIT
 *
 * Claims of a transaction: one record a name, and the apps that may give theirs up. An app's own name is claimed only
 * where it could be that of a route.
 */
#include "engine/route_claim.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/app.h"
#include "engine/names.h"
#include "engine/publish.h"

#define OWN_NAME SIZE_MAX /* in place of the position of a route */

struct claim {
	SLIST_ENTRY(claim) link;
	size_t index; /* in the app's routes, or OWN_NAME */
	bool settled; /* in engine.route_claims */
	char *app;    /* in the same piece of memory */
	char name[];
};

struct touched {
	SLIST_ENTRY(touched) link;
	char app[];
};

struct niwa_route_claims {
	SLIST_HEAD(, claim) claims;
	SLIST_HEAD(, touched) touched;
	bool settling;
	struct claim *next;                /* to be settled */
	struct niwa_map *by_name, *by_app; /* → struct claim, struct touched */
};

static struct niwa_route_claims *claims_new(void)
{
	struct niwa_route_claims *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->by_name = niwa_map_new(NIWA_MAP_STRING);
	c->by_app = niwa_map_new(NIWA_MAP_STRING);
	if (c->by_name && c->by_app)
		return c;
	niwa_route_claims_free(NULL, &c);
	return NULL;
}

static int no_memory(struct niwa_error *err, const char *app)
{
	return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "%s", app);
}

static int taken(struct niwa_refusal *at, struct niwa_error *err, const struct claim *c, const char *by)
{
	(void)snprintf(at->app, sizeof(at->app), "%s", c->app);
	if (c->index == OWN_NAME)
		(void)snprintf(at->key, sizeof(at->key), "name");
	else
		(void)snprintf(at->key, sizeof(at->key), "routes[%zu].domain", c->index);
	return niwa_fail(err, NIWA_CALLER, 0,
			 "%s: %s: %s leads to app %s already; take it away there, or remove the app", at->app, at->key,
			 c->name, by);
}

static int too_long(struct niwa_engine *e, struct niwa_refusal *at, struct niwa_error *err, const char *app,
		    size_t index, const char *name)
{
	(void)snprintf(at->app, sizeof(at->app), "%s", app);
	(void)snprintf(at->key, sizeof(at->key), "routes[%zu].domain", index);
	return niwa_fail(err, NIWA_CALLER, 0,
			 "%s: %s: longer than %d bytes with .%s.%.120s behind it, which no name is", at->app, at->key,
			 NIWA_NAME_MAX, strrchr(name, '.') + 1, e->config.domain);
}

/* The app may lose the names that it has now. */
static int touch(struct niwa_route_claims *c, const char *app, struct niwa_error *err)
{
	size_t len = strlen(app);
	struct touched *t;

	if (niwa_map_get_str(c->by_app, app))
		return 0;
	t = niwa_zalloc(sizeof(*t) + len + 1);
	if (!t)
		return no_memory(err, app);
	memcpy(t->app, app, len + 1);
	if (niwa_map_put_str(c->by_app, t->app, t) < 0) {
		free(t);
		return no_memory(err, app);
	}
	SLIST_INSERT_HEAD(&c->touched, t, link);
	return 0;
}

static int claim_one(struct niwa_route_claims *c, const char *app, const char *name, size_t index,
		     struct niwa_refusal *at, struct niwa_error *err)
{
	size_t name_len = strlen(name), app_len = strlen(app);
	struct claim *claim = niwa_zalloc(sizeof(*claim) + name_len + 1 + app_len + 1);
	const struct claim *have = niwa_map_get_str(c->by_name, name);
	int r = 0;

	if (!claim)
		return no_memory(err, app);
	memcpy(claim->name, name, name_len + 1);
	claim->app = claim->name + name_len + 1;
	memcpy(claim->app, app, app_len + 1);
	claim->index = index;
	if (have)
		r = strcmp(have->app, app) == 0 ? -EEXIST : taken(at, err, claim, have->app);
	else if (niwa_map_put_str(c->by_name, claim->name, claim) < 0)
		r = no_memory(err, app);
	if (r < 0) {
		free(claim);
		return r == -EEXIST ? 0 : r; /* the same app again */
	}
	SLIST_INSERT_HEAD(&c->claims, claim, link);
	return 0;
}

static bool has_some(struct niwa_engine *e, const char *name)
{
	const struct niwa_app *app = niwa_app_by_name(e, name);

	return app && !app->removed && (app->names || niwa_names_is_like_route(name));
}

int niwa_route_claim_put(struct niwa_engine *e, struct niwa_route_claims **claims, const struct niwa_app_spec *spec,
			 struct niwa_refusal *at, struct niwa_error *err)
{
	bool has = has_some(e, spec->name), own = niwa_names_is_like_route(spec->name);
	int r = 0;

	if (!has && !own && !spec->route_count)
		return 0;
	if (!*claims && !(*claims = claims_new()))
		return no_memory(err, spec->name);
	if (has)
		r = touch(*claims, spec->name, err);
	if (r == 0 && own)
		r = claim_one(*claims, spec->name, spec->name, OWN_NAME, at, err);
	for (size_t i = 0; i < spec->route_count && r == 0; i++) {
		char name[NIWA_RELATIVE_MAX];

		niwa_names_of_route(&spec->routes[i], name);
		if (strlen(name) + 1 + strlen(e->config.domain) > NIWA_NAME_MAX)
			r = too_long(e, at, err, spec->name, i, name);
		else
			r = claim_one(*claims, spec->name, name, i, at, err);
	}
	return r;
}

int niwa_route_claim_remove(struct niwa_engine *e, struct niwa_route_claims **claims, const char *app,
			    struct niwa_error *err)
{
	if (!has_some(e, app))
		return 0;
	if (!*claims && !(*claims = claims_new()))
		return no_memory(err, app);
	return touch(*claims, app, err);
}

static int settle_one(struct niwa_engine *e, struct niwa_route_claims *c, struct claim *claim, struct niwa_refusal *at,
		      struct niwa_error *err)
{
	const struct niwa_app *have = niwa_names_find(e, claim->name);
	const struct claim *other = niwa_map_get_str(e->route_claims, claim->name);

	if (other)
		return taken(at, err, claim, other->app);
	/* One that is touched and keeps the name has claimed it itself. */
	if (have && strcmp(have->name, claim->app) != 0 && !niwa_map_get_str(c->by_app, have->name))
		return taken(at, err, claim, have->name);
	if (niwa_map_put_str(e->route_claims, claim->name, claim) < 0)
		return no_memory(err, claim->app);
	claim->settled = true;
	return 0;
}

int niwa_route_claims_settle(struct niwa_engine *e, struct niwa_route_claims *claims, unsigned *budget,
			     struct niwa_refusal *at, struct niwa_error *err)
{
	int r = 0;

	if (!claims)
		return 0;
	if (!claims->settling)
		claims->next = SLIST_FIRST(&claims->claims);
	claims->settling = true;
	for (; claims->next; claims->next = SLIST_NEXT(claims->next, link), --*budget) {
		if (*budget == 0)
			return 1;
		r = settle_one(e, claims, claims->next, at, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void niwa_route_claims_free_some(struct niwa_engine *e, struct niwa_route_claims **claims, unsigned *budget)
{
	struct niwa_route_claims *c = *claims;
	struct touched *t;
	struct claim *claim;

	if (!c)
		return;
	for (; *budget && (claim = SLIST_FIRST(&c->claims)); --*budget) {
		SLIST_REMOVE_HEAD(&c->claims, link);
		if (claim->settled)
			(void)niwa_map_del_str(e->route_claims, claim->name);
		free(claim);
	}
	for (; *budget && (t = SLIST_FIRST(&c->touched)); --*budget) {
		SLIST_REMOVE_HEAD(&c->touched, link);
		free(t);
	}
	if (!SLIST_EMPTY(&c->claims) || !SLIST_EMPTY(&c->touched))
		return;
	niwa_map_free_some(&c->by_name, budget);
	if (!*budget)
		return;
	niwa_map_free_some(&c->by_app, budget);
	free(c);
	*claims = NULL;
}

void niwa_route_claims_free(struct niwa_engine *e, struct niwa_route_claims **claims)
{
	while (*claims) {
		unsigned all = UINT_MAX;

		niwa_route_claims_free_some(e, claims, &all);
	}
}
