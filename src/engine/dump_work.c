/* SPDX-License-Identifier: MIT
 *
 * What threads do for a dump, in order: look at what the app only reads, and at its volumes; copy what it has written;
 * make CRIU's files an image; remove it again.
 */
#include "engine/dump_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "engine/dump_size.h"
#include "engine/layer_copy.h"
#include "engine/template.h"
#include "engine/volume_print.h"
#include "snapshot/image.h"

int niwa_dump_begin_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;
	uint64_t trees = d->roots.trees & (d->shared ? 1 : UINT64_MAX), size = niwa_dump_size(d->procs);
	int r = niwa_trees_look(&d->roots, trees, d->moment ? INT64_MAX : d->began_ns, &d->manifest, err);

	d->expected = size > d->expected ? size : d->expected;
	if (r == 0)
		r = niwa_store_begin(&d->store, &d->limits, d->expected, &d->files, err);
	return r == 0 && d->moment ? niwa_volume_print(d->spec, &d->volumes, err) : r;
}

/* What lies below what it has written since it was restored. */
static int copy_saved(const struct niwa_dump *d, struct niwa_layer_copy copy, struct niwa_error *err)
{
	NIWA_AUTO_FD saved = *d->saved ? open(d->saved, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (!*d->saved)
		return 0;
	if (saved < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the saved layer");
	copy.from = saved;
	copy.id_base = 0;
	return niwa_layer_copy(&copy, err);
}

int niwa_dump_copy_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;
	uint64_t left = d->limits.image_bytes ? d->limits.image_bytes : NIWA_STORE_IMAGE_BYTES;
	struct niwa_layer_copy copy = {.from = -1,
				       .id_base = d->id_base,
				       .bytes = &left,
				       .deadline_us = d->stopped_us + d->engine->config.dump_us};
	NIWA_AUTO_FD upper = d->layer_fd >= 0 ? openat(d->layer_fd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
					      : open(d->layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD layer = openat(d->files.dir, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD shm = openat(d->files.dir, "shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD from_shm = -1;
	char path[64];
	int r;

	if (d->moment) {
		r = niwa_volume_compare(d->spec, d->volumes.data, err);
		if (r < 0)
			return r;
	}
	if (upper < 0 || layer < 0 || shm < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the writable layer");
	copy.to = layer;
	copy.overlay = true;
	r = copy_saved(d, copy, err);
	copy.from = upper;
	copy.over = *d->saved;
	copy.image = d->roots.root[0].fd;
	if (r == 0)
		r = niwa_layer_copy(&copy, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/root/dev/shm", (int)d->pid);
	from_shm = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from_shm < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open the instance's /dev/shm");
	copy.from = from_shm;
	copy.to = shm;
	copy.overlay = false;
	return niwa_layer_copy(&copy, err);
}

int niwa_dump_commit_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;
	struct niwa_criu_files files = {0};
	struct niwa_criu_tasks tasks;
	int r = niwa_criu_look(d->files.images, &files, &tasks, err);

	if (r < 0)
		return r;
	d->manifest.root_pid = tasks.root_pid;
	d->manifest.free_pid = tasks.free_pid;
	r = niwa_criu_edit(d->files.images, tasks.root_pid, err);
	if (r == 0)
		r = niwa_manifest_look(&d->manifest, d->roots.root, d->roots.count, &files, err);
	niwa_criu_files_fini(&files);
	if (r == 0 && d->shared)
		r = niwa_template_check(&d->manifest, &d->roots, d->volume_count, err);
	if (r == 0 && d->moment)
		r = niwa_volume_sync(d->spec, err);
	return r < 0 ? r : niwa_store_commit(&d->store, &d->limits, &d->files, &d->manifest, err);
}

int niwa_dump_remove_work(void *arg, struct niwa_error *err)
{
	struct niwa_dump *d = arg;

	return niwa_store_remove(&d->store, &d->manifest.key, err);
}
