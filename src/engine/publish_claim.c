/* SPDX-License-Identifier: MIT
 *
 * Claims of a transaction: one record a published port, and the names of apps that give theirs up.
 */
#include "engine/publish_claim.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/publish.h"

struct claim {
	SLIST_ENTRY(claim) link;
	struct niwa_publish at;
	char key[NIWA_PUBLISH_TEXT];
	size_t index; /* in the app's ports */
	bool settled; /* in engine.claims */
	char app[];
};

struct touched {
	SLIST_ENTRY(touched) link;
	char app[];
};

struct niwa_publish_claims {
	SLIST_HEAD(, claim) claims;
	SLIST_HEAD(, touched) touched;
	bool settling;
	struct claim *next;               /* to be settled */
	struct niwa_map *by_key, *by_app; /* → struct claim, struct touched */
};

static struct niwa_publish_claims *claims_new(void)
{
	struct niwa_publish_claims *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->by_key = niwa_map_new(NIWA_MAP_STRING);
	c->by_app = niwa_map_new(NIWA_MAP_STRING);
	if (c->by_key && c->by_app)
		return c;
	niwa_publish_claims_free(NULL, &c);
	return NULL;
}

static int taken(struct niwa_refusal *at, struct niwa_error *err, const struct claim *c, const char *by)
{
	(void)snprintf(at->app, sizeof(at->app), "%s", c->app);
	(void)snprintf(at->key, sizeof(at->key), "ports[%zu].publish", c->index);
	return niwa_fail(err, NIWA_CALLER, 0, "%s: %s: %s is published by app %s already; choose another port", at->app,
			 at->key, c->key, by);
}

static int no_memory(struct niwa_error *err, const char *app)
{
	return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "%s", app);
}

/* The app may lose what it publishes now. */
static int touch(struct niwa_publish_claims *c, const char *app, struct niwa_error *err)
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

static int claim_one(struct niwa_publish_claims *c, const struct niwa_app_spec *spec, size_t index,
		     struct niwa_refusal *at, struct niwa_error *err)
{
	const struct niwa_port *port = &spec->ports[index];
	const char *app = spec->name;
	size_t len = strlen(app);
	struct claim *have, *claim = niwa_zalloc(sizeof(*claim) + len + 1);
	int r = 0;

	if (!claim)
		return no_memory(err, app);
	memcpy(claim->app, app, len + 1);
	claim->at = port->publish;
	(void)niwa_publish_text(&claim->at, claim->key);
	claim->index = index;
	have = niwa_map_get_str(c->by_key, claim->key);
	if (have)
		r = strcmp(have->app, app) == 0 ? -EEXIST : taken(at, err, claim, have->app);
	else if (niwa_map_put_str(c->by_key, claim->key, claim) < 0)
		r = no_memory(err, app);
	if (r < 0) {
		free(claim);
		return r == -EEXIST ? 0 : r; /* the same app again */
	}
	SLIST_INSERT_HEAD(&c->claims, claim, link);
	return 0;
}

static bool app_publishes(struct niwa_engine *e, const char *name)
{
	struct niwa_app *app = niwa_app_by_name(e, name);

	for (unsigned i = 0; app && i < app->port_count; i++)
		if (app->ports[i].publish.port)
			return true;
	return false;
}

static bool spec_publishes(const struct niwa_app_spec *spec)
{
	for (size_t i = 0; i < spec->port_count; i++)
		if (spec->ports[i].publish.port)
			return true;
	return false;
}

int niwa_publish_claim_put(struct niwa_engine *e, struct niwa_publish_claims **claims, const struct niwa_app_spec *spec,
			   struct niwa_refusal *at, struct niwa_error *err)
{
	bool has = app_publishes(e, spec->name), wants = spec_publishes(spec);
	int r = 0;

	if (!has && !wants)
		return 0;
	if (!*claims && !(*claims = claims_new()))
		return no_memory(err, spec->name);
	if (has)
		r = touch(*claims, spec->name, err);
	if (r == 0)
		r = niwa_publish_try(e, spec, at, err);
	for (size_t i = 0; i < spec->port_count && r == 0; i++)
		if (spec->ports[i].publish.port)
			r = claim_one(*claims, spec, i, at, err);
	return r;
}

int niwa_publish_claim_remove(struct niwa_engine *e, struct niwa_publish_claims **claims, const char *app,
			      struct niwa_error *err)
{
	if (!app_publishes(e, app))
		return 0;
	if (!*claims && !(*claims = claims_new()))
		return no_memory(err, app);
	return touch(*claims, app, err);
}

static int settle_one(struct niwa_engine *e, struct niwa_publish_claims *c, struct claim *claim,
		      struct niwa_refusal *at, struct niwa_error *err)
{
	const struct niwa_published *have = niwa_map_get_str(e->published, claim->key);
	const struct claim *other = niwa_map_get_str(e->claims, claim->key);

	if (other)
		return taken(at, err, claim, other->app);
	if (have && have->app && strcmp(have->app->name, claim->app) != 0 &&
	    !niwa_map_get_str(c->by_app, have->app->name))
		return taken(at, err, claim, have->app->name);
	if (niwa_map_put_str(e->claims, claim->key, claim) < 0)
		return no_memory(err, claim->app);
	claim->settled = true;
	return 0;
}

int niwa_publish_claims_settle(struct niwa_engine *e, struct niwa_publish_claims *claims, unsigned *budget,
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

void niwa_publish_claims_free_some(struct niwa_engine *e, struct niwa_publish_claims **claims, unsigned *budget)
{
	struct niwa_publish_claims *c = *claims;
	struct touched *t;
	struct claim *claim;

	if (!c)
		return;
	for (; *budget && (claim = SLIST_FIRST(&c->claims)); --*budget) {
		SLIST_REMOVE_HEAD(&c->claims, link);
		if (claim->settled)
			(void)niwa_map_del_str(e->claims, claim->key);
		free(claim);
	}
	for (; *budget && (t = SLIST_FIRST(&c->touched)); --*budget) {
		SLIST_REMOVE_HEAD(&c->touched, link);
		free(t);
	}
	if (!SLIST_EMPTY(&c->claims) || !SLIST_EMPTY(&c->touched))
		return;
	niwa_map_free_some(&c->by_key, budget);
	if (!*budget)
		return;
	niwa_map_free_some(&c->by_app, budget);
	free(c);
	*claims = NULL;
}

void niwa_publish_claims_free(struct niwa_engine *e, struct niwa_publish_claims **claims)
{
	while (*claims) {
		unsigned all = UINT_MAX;

		niwa_publish_claims_free_some(e, claims, &all);
	}
}
