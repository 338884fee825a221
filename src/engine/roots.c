/* SPDX-License-Identifier: MIT
 *
 * From the parameters of an instance to folders of the host.
 */
#include "engine/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/memory.h"

static int add_root(struct niwa_roots *roots, const char *at, const char *path, struct niwa_error *err)
{
	int fd = -1;

	if (path) {
		fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "open '%s'", path);
	}
	roots->text[roots->count] = niwa_strdup(at);
	roots->root[roots->count] = (struct niwa_manifest_root){.at = roots->text[roots->count], .fd = fd};
	roots->count++;
	return roots->text[roots->count - 1] ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "look at files");
}

static int add_volume(struct niwa_roots *roots, const struct niwa_volume *volume, struct niwa_error *err)
{
	char at[PATH_MAX];
	int r = niwa_manifest_place(roots->root[0].fd, volume->to, at, sizeof(at), err);

	if (r == 0)
		r = add_root(roots, at, volume->from, err);
	if (r == 0) {
		roots->root[roots->count - 1].writable = !volume->read_only;
		roots->trees |= (uint64_t)volume->read_only << (roots->count - 1);
	}
	return r;
}

int niwa_roots_open(const struct niwa_instance_params *p, struct niwa_roots *ret, struct niwa_error *err)
{
	static const char *const others[] = {"/proc", "/dev", "/sys", "/run/niwa"};
	int r;

	*ret = (struct niwa_roots){0};
	r = add_root(ret, "/", p->image->root, err);
	ret->trees = p->image->folder;
	if (r == 0 && p->image->bind_usr)
		r = add_root(ret, "/usr", "/usr", err);
	for (size_t n = 0; r == 0 && n < NIWA_ARRAY_LEN(others); n++)
		r = add_root(ret, others[n], NULL, err);
	for (size_t n = 0; r == 0 && n < p->spec->volume_count; n++)
		r = add_volume(ret, &p->spec->volumes[n], err);
	if (r < 0)
		niwa_roots_close(ret);
	return r;
}

void niwa_roots_close(struct niwa_roots *roots)
{
	for (size_t n = 0; n < roots->count; n++) {
		int fd = roots->root[n].fd;

		niwa_fd_close(&fd);
		free(roots->text[n]);
	}
	roots->count = 0;
}
