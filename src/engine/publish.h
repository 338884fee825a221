/* SPDX-License-Identifier: MIT
 *
 * Ports published on the host's own addresses: listening sockets that niwad binds (so that nobody else can take
 * the port and a clash is found), kept by niwa-keep across restarts of niwad, served by the relay. On addresses
 * that are not loopback an awake app is reached through the kernel's map besides. A listener on every address is one of
 * IPv6 that takes both families.
 */
#ifndef NIWA_ENGINE_PUBLISH_H
#define NIWA_ENGINE_PUBLISH_H

#include "engine/engine_private.h"

struct niwa_published {
	struct niwa_publish at;
	char text[NIWA_PUBLISH_TEXT]; /* its key in engine.published */
	int fd;
	struct niwa_app *app; /* NULL: no app claims it (yet): adoption, a transaction under way */
	uint16_t app_port;
	LIST_ENTRY(niwa_published) link; /* in engine.unpublished, while no app claims it */
};

/* Which key of which app was refused. */
struct niwa_refusal {
	char app[NIWA_NAME_MAX + 1]; /* empty: nobody's fault */
	char key[128];
};

/* The entry of this port, or NULL. */
struct niwa_published *niwa_publish_find(const struct niwa_engine *e, const struct niwa_publish *at);
/* Checks that every published port could be bound: the sockets are bound and closed again, unless they are ours
 * already, or in the way is only what the app itself has published so far. Whose they are is checked by
 * publish_claim.h. */
int niwa_publish_try(struct niwa_engine *e, const struct niwa_app_spec *spec, struct niwa_refusal *at,
		     struct niwa_error *err);
/* Opens what is missing; what cannot be bound is logged and shown. */
void niwa_publish_app(struct niwa_engine *e, struct niwa_app *app);
/* The app gives up what it published, or those of its old ports that it does not publish any more. They stay open until
 * niwa_publish_sweep, because another app of the same transaction may take them over. */
void niwa_publish_drop(struct niwa_engine *e, struct niwa_app *app);
void niwa_publish_change(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_port *old, size_t count);
/* Tells a (new) relay of all of them. */
void niwa_publish_tell_relay(struct niwa_engine *e);
/* A stored socket came back from keep; name as niwa_publish_name wrote it. Takes fd. */
void niwa_publish_adopt(struct niwa_engine *e, const char *name, int fd);
/* After adoption: every app takes its sockets, missing ones are opened. */
void niwa_publish_claim(struct niwa_engine *e);
/* Closes sockets that belong to no app: after adoption, after each transaction. */
void niwa_publish_sweep(struct niwa_engine *e);

#endif
