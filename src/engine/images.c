/* SPDX-License-Identifier: MIT
 *
 * The cache of opened images. A look-up costs one stat of the root.
 */
#include "engine/images.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

struct cached {
	struct niwa_image *image;
	struct timespec changed;
	ino_t inode;
};

static void drop(struct niwa_engine *e, struct cached *c)
{
	(void)niwa_map_del_str(e->images, c->image->name);
	niwa_image_free(&c->image);
	free(c);
}

static bool is_fresh(const struct cached *c)
{
	struct stat st;

	return stat(c->image->root, &st) == 0 && st.st_ino == c->inode && st.st_ctim.tv_sec == c->changed.tv_sec &&
	       st.st_ctim.tv_nsec == c->changed.tv_nsec;
}

int niwa_images_get(struct niwa_engine *e, const char *name, const struct niwa_image **ret, struct niwa_error *err)
{
	struct cached *c = niwa_map_get_str(e->images, name);
	struct stat st;
	int r;

	if (c && is_fresh(c)) {
		*ret = c->image;
		return 0;
	}
	if (c)
		drop(e, c);
	c = niwa_zalloc(sizeof(*c));
	if (!c)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open image '%s'", name);
	r = niwa_image_open(e->config.state_dir, name, &c->image, err);
	if (r == 0 && stat(c->image->root, &st) < 0)
		r = niwa_fail(err, NIWA_PERMANENT, errno, "open image '%s'", name);
	if (r == 0 && niwa_map_put_str(e->images, c->image->name, c) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open image '%s'", name);
	if (r < 0) {
		niwa_image_free(&c->image);
		free(c);
		return r;
	}
	c->inode = st.st_ino;
	c->changed = st.st_ctim;
	*ret = c->image;
	return 0;
}

const char *niwa_images_user(const struct niwa_image *image, const struct niwa_app_spec *spec)
{
	return spec->user ? spec->user : image->user;
}

void niwa_images_forget(struct niwa_engine *e)
{
	struct cached *c;
	size_t pos = 0;

	while ((c = niwa_map_next(e->images, &pos)))
		drop(e, c);
}
