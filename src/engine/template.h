/* SPDX-License-Identifier: MIT
 *
 * What a shared image is taken of: an instance like those of the apps that share it, of no app and no tenant. It has
 * their command, user, image and limits, and nothing that tells them apart: empty read-only folders and files where
 * their volumes are, no environment but that of the image, the name `template`, an address of the documentation range,
 * no way out, no log. Nobody can reach it but niwad's own warm requests.
 *
 * A template is an object of the registry with an id of its own, in apps_by_id only and `removed` from the beginning:
 * whoever lists apps passes over it, and a niwad that finds its instance ends it, as that of any app which is not
 * declared. It is made and freed here.
 */
#ifndef NIWA_ENGINE_TEMPLATE_H
#define NIWA_ENGINE_TEMPLATE_H

#include "engine/engine_private.h"
#include "engine/roots.h"
#include "engine/snapshot.h"

/* An image is to be made, and may be. */
bool niwa_template_is_wanted(const struct niwa_app_snapshot *s);
/* Starts one like this app, which shares its record. ret: the template. */
int niwa_template_start(struct niwa_engine *e, struct niwa_app *like, struct niwa_app **ret, struct niwa_error *err);
/* False: it has ended, and was freed; its record says what became of it. Else it is looked at again soon. */
bool niwa_template_goes_on(struct niwa_engine *e, struct niwa_app *template);

/* Its record, as niwa_app_spec_read gives it. */
int niwa_template_spec(const struct niwa_app *template, struct niwa_app_spec **ret, struct niwa_error *err);
/* What the manifest says it was taken for: the name of the app that it is like. */
const char *niwa_template_like(const struct niwa_app *template);
/* Before the image gets its name: refused when a file of a volume is open or mapped, which is another one for each app.
 * The last so many roots are those of its volumes. */
int niwa_template_check(const struct niwa_manifest *manifest, const struct niwa_roots *roots, size_t volumes,
			struct niwa_error *err);

#endif
