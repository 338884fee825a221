/* SPDX-License-Identifier: MIT
 *
 * Opened images by name, kept as long as they have not changed on disk.
 */
#ifndef NIWA_ENGINE_IMAGES_H
#define NIWA_ENGINE_IMAGES_H

#include "engine/engine_private.h"

/* The image; valid until the next call. */
int niwa_images_get(struct niwa_engine *e, const char *name, const struct niwa_image **ret, struct niwa_error *err);
/* Whom the app runs as, for niwa_image_user: its own, else the image's; NULL: root. */
const char *niwa_images_user(const struct niwa_image *image, const struct niwa_app_spec *spec);
/* Forgets all (an image was imported, removed or rebuilt). */
void niwa_images_forget(struct niwa_engine *e);

#endif
