/* SPDX-License-Identifier: MIT
 *
 * Names that lead to apps: the app's own, and DOMAIN.PROTOCOL of each of its routes, all below the domain of
 * niwad.conf. Who watches them (niwa-api) is told of a change before the transaction that made it is answered. What is
 * told is always what holds at that moment, so the order of changes does not matter.
 */
#ifndef NIWA_ENGINE_NAMES_H
#define NIWA_ENGINE_NAMES_H

#include "engine/engine_private.h"

#define NIWA_RELATIVE_MAX (NIWA_NAME_MAX + 16) /* bytes of DOMAIN.PROTOCOL */

struct niwa_names_watch;

/* DOMAIN.PROTOCOL */
void niwa_names_of_route(const struct niwa_route *route, char name[NIWA_RELATIVE_MAX]);
/* The app that has this name, relative to the domain; NULL: none. */
struct niwa_app *niwa_names_find(struct niwa_engine *e, const char *name);
/* Whether an app's own name may be that of a route as well ("example.com.http"). */
bool niwa_names_is_like_route(const char *name);
/* The i-th route's name of the app, or NULL. */
const char *niwa_names_route(const struct niwa_app *app, size_t i);

/* The app has the routes of its record now, or none (spec NULL). 0 or -ENOMEM, and then nothing has changed. */
int niwa_names_declare(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec);
/* What the name leads to may have changed: told at the latest by the next niwa_names_tell. */
void niwa_names_note(struct niwa_engine *e, const char *name);
enum niwa_names_part { NIWA_NAMES_MORE, NIWA_NAMES_LAST };
/* Tells what was noted. The last part of a transaction, when its route claims are freed: also of names that it has
 * taken from one app without giving them to another; before, these lead to the app that had them. */
void niwa_names_tell(struct niwa_engine *e, enum niwa_names_part part);

/* rpc_names.c: a connection that watches has gone. */
void niwa_names_watch_free(struct niwa_names_watch **watch);
/* Sends a message of names to all that watch. Takes both. */
void niwa_names_send(struct niwa_engine *e, json_t *set, json_t *gone);

#endif
