/* SPDX-License-Identifier: MIT
 *
 * A walk through writable volumes. What a write changes is the ctime of a file, or the ctime of a folder; both are
 * summed so that the order of a folder's names does not matter.
 */
#include "engine/volume_print.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"

struct walk {
	unsigned entries, depth; /* left */
	uint64_t sum, other;
	struct niwa_error *err;
};

static uint64_t mix(uint64_t h, uint64_t n)
{
	h = (h ^ n) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static void add(struct walk *w, const struct stat *st)
{
	uint64_t h = mix(0x6e697761, st->st_ino);

	h = mix(h, st->st_dev);
	h = mix(h, (uint64_t)st->st_size);
	h = mix(h, (uint64_t)st->st_mtim.tv_sec);
	h = mix(h, (uint64_t)st->st_mtim.tv_nsec);
	h = mix(h, (uint64_t)st->st_ctim.tv_sec);
	h = mix(h, (uint64_t)st->st_ctim.tv_nsec);
	h = mix(h, st->st_mode);
	w->sum += h;
	w->other += mix(h, 0x646e61);
}

static int walk_folder(struct walk *w, int fd)
{
	DIR *dir = fdopendir(fd); /* takes fd */
	const struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!dir) {
		(void)close(fd);
		return niwa_fail(w->err, NIWA_TEMPORARY, errno, "read a volume");
	}
	if (w->depth-- == 0)
		r = niwa_fail(w->err, NIWA_PERMANENT, E2BIG, "its volumes are too deep to be compared");
	while (r == 0 && (entry = readdir(dir))) {
		int inner;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (w->entries-- == 0) {
			r = niwa_fail(w->err, NIWA_PERMANENT, E2BIG,
				      "its volumes hold more than %d files: too many to be compared",
				      NIWA_PRINT_ENTRIES);
			break;
		}
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* gone: the folder's own times tell */
		add(w, &st);
		if (!S_ISDIR(st.st_mode))
			continue;
		inner = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = inner < 0 ? niwa_fail(w->err, NIWA_TEMPORARY, errno, "read a volume") : walk_folder(w, inner);
	}
	w->depth++;
	(void)closedir(dir);
	return r;
}

int niwa_volume_print(const struct niwa_app_spec *spec, struct niwa_text *out, struct niwa_error *err)
{
	struct walk w = {.entries = NIWA_PRINT_ENTRIES, .depth = NIWA_PRINT_DEPTH, .err = err};
	int r = 0;

	for (size_t n = 0; r == 0 && n < spec->volume_count; n++) {
		struct stat st;
		int fd;

		if (spec->volumes[n].read_only)
			continue;
		if (stat(spec->volumes[n].from, &st) < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "look at '%s'", spec->volumes[n].from);
		add(&w, &st);
		if (!S_ISDIR(st.st_mode))
			continue;
		fd = open(spec->volumes[n].from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? niwa_fail(err, NIWA_TEMPORARY, errno, "open '%s'", spec->volumes[n].from)
			   : walk_folder(&w, fd);
	}
	(void)niwa_fault("niwad.volumes-walked");
	if (r == 0)
		niwa_text_addf(out, "volumes %016" PRIx64 "%016" PRIx64 "\n", w.sum, w.other);
	return r;
}

int niwa_volume_compare(const struct niwa_app_spec *spec, const char *before, struct niwa_error *err)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text now = {0};
	int r = niwa_volume_print(spec, &now, err);

	if (r < 0)
		return r;
	if (!now.data || !before || strcmp(now.data, before) != 0)
		return niwa_fail(err, NIWA_TEMPORARY, 0, "a volume was written while its memory was saved");
	return 0;
}
