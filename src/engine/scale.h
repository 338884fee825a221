/* SPDX-License-Identifier: MIT
 *
 * Apps with several instances. One is app->current, whose state is the app's; the others are copies: ready, in the
 * kernel's tables, without a state of their own. They are made when it is full and drained when it is quiet; while
 * there are copies the app does not sleep. When the current one dies a copy takes its place.
 */
#ifndef NIWA_ENGINE_SCALE_H
#define NIWA_ENGINE_SCALE_H

#include "engine/engine_private.h"
#include "engine/spread.h"

struct niwa_app_scale {
	struct niwa_scale_rule rule;
	uint64_t drain_us;
	struct niwa_instance *growing; /* being made; not ready yet */
	LIST_HEAD(, niwa_instance) copies;
	unsigned copy_count;
	uint64_t looked_us, fits_since_us;
	uint64_t pause_us, not_before_us; /* after failures */
	sd_event_source *timer;           /* looks, while it runs */
	struct niwa_spread spread;
};

/* The app's state has changed: while it runs it is looked at. */
void niwa_scale_moved(struct niwa_engine *e, struct niwa_app *app);
void niwa_scale_free(struct niwa_app *app);
/* It has copies, or one is being made. */
bool niwa_scale_is_grown(const struct niwa_app *app);
/* The instance that the next connection of the relay goes to. */
const struct niwa_instance *niwa_scale_target(const struct niwa_app *app);

/* It is the turn of one more (start.h): it is made, and is *ret, or is not wanted any more. */
int niwa_scale_make(struct niwa_engine *e, struct niwa_app *app, const char *why, struct niwa_instance **ret,
		    struct niwa_error *err);
/* Is this one being made to be a copy? It is ready, or will not be. */
bool niwa_scale_is_growing(const struct niwa_instance *i);
void niwa_scale_ready(struct niwa_engine *e, struct niwa_instance *i);
void niwa_scale_failed(struct niwa_engine *e, struct niwa_app *app, const struct niwa_error *err);
/* An adopted instance that was a copy joins the others. False: its app has no copies any more. */
bool niwa_scale_adopt(struct niwa_engine *e, struct niwa_instance *i);

/* The same of one that was being made to be a copy: it goes on becoming ready. */
bool niwa_scale_adopt_growing(struct niwa_instance *i);

/* A copy has ended, or nothing listens in it: out of the tables, its share is the others' at once. */
void niwa_scale_lost(struct niwa_engine *e, struct niwa_instance *i);
/* The current instance is of no use any more (it has ended, or nothing listens): a copy becomes the app. False: there
 * is none. What becomes of the old one is the caller's business. */
bool niwa_scale_take_over(struct niwa_engine *e, struct niwa_app *app, const char *why);

/* A fresh current instance serves: its record says how many there may be. */
void niwa_scale_follow(struct niwa_engine *e, struct niwa_app *app);
/* All copies are replaced, one after the other. */
void niwa_scale_age(struct niwa_app *app);
/* A copy's lifetime is over. */
void niwa_scale_age_one(struct niwa_instance *i);
/* Copies leave: they get no new connection, and end when they have none. */
void niwa_scale_shrink(struct niwa_engine *e, struct niwa_app *app, const char *why);
/* One that is being made is given up. */
void niwa_scale_cancel(struct niwa_engine *e, struct niwa_app *app, const char *why);

/* Connections with its ports. */
unsigned niwa_scale_connections(const struct niwa_instance *i);

#endif
