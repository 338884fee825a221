/* SPDX-License-Identifier: MIT
 *
 * A walk through writable volumes, and another through what an app only reads (read-only volumes, a folder that is its
 * image), whose sum is in the manifest. What a write changes is the ctime of a file, or the ctime of a folder; both are
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
#include "snapshot/refuse.h"

struct walk {
	unsigned entries, depth; /* left */
	uint64_t sum, other;
	int64_t newest_ns;              /* ctime */
	const struct niwa_roots *roots; /* or NULL; what is writable of them is passed over */
	struct niwa_error *err;
};

static uint64_t mix(uint64_t h, uint64_t n)
{
	h = (h ^ n) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static void add(struct walk *w, const struct stat *st)
{
	int64_t ctime_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
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
	w->newest_ns = ctime_ns > w->newest_ns ? ctime_ns : w->newest_ns;
}

static bool is_writable(const struct walk *w, const struct stat *st)
{
	struct stat own;

	for (size_t n = 0; w->roots && n < w->roots->count; n++)
		if (w->roots->root[n].writable && fstat(w->roots->root[n].fd, &own) == 0 && own.st_ino == st->st_ino &&
		    own.st_dev == st->st_dev)
			return true;
	return false;
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
		if (is_writable(w, &st))
			continue;
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

static int sync_one(const char *path, const struct stat *st, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = -1;

	if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode))
		return 0; /* keeps nothing */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 || syncfs(fd) < 0 ? niwa_fail(err, NIWA_TEMPORARY, errno, "sync '%s'", path) : 0;
}

int niwa_volume_sync(const struct niwa_app_spec *spec, struct niwa_error *err)
{
	dev_t synced[NIWA_VOLUMES_MAX];
	size_t count = 0;
	int r = 0;

	for (size_t n = 0; r == 0 && n < spec->volume_count; n++) {
		const char *path = spec->volumes[n].from;
		struct stat st;
		size_t k = 0;

		if (spec->volumes[n].read_only)
			continue;
		if (stat(path, &st) < 0)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "look at '%s'", path);
		while (k < count && synced[k] != st.st_dev)
			k++;
		if (k < count)
			continue;
		synced[count++] = st.st_dev;
		r = sync_one(path, &st, err);
	}
	return r;
}

static int print_tree(struct walk *w, int root)
{
	struct stat st;
	int fd;

	if (fstat(root, &st) < 0)
		return niwa_fail(w->err, NIWA_TEMPORARY, errno, "look at a volume");
	add(w, &st);
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? niwa_fail(w->err, NIWA_TEMPORARY, errno, "read a volume") : walk_folder(w, fd);
}

static int64_t print_trees(const struct niwa_roots *roots, uint64_t trees, struct niwa_manifest *manifest)
{
	struct niwa_error err;
	struct walk w = {.entries = NIWA_PRINT_ENTRIES, .depth = NIWA_PRINT_DEPTH, .roots = roots, .err = &err};

	manifest->trees = 0;
	for (size_t n = 0; n < roots->count; n++) {
		struct walk with = w;

		if (!(trees >> n & 1) || print_tree(&with, roots->root[n].fd) < 0)
			continue; /* too large, or it cannot be read: as if it were not there */
		w = with;
		manifest->trees |= UINT64_C(1) << n;
	}
	manifest->print[0] = w.sum;
	manifest->print[1] = w.other;
	return w.newest_ns;
}

/* Times of files are a tick behind (4 ms), which is about what it takes until an app's first instruction. */
int niwa_trees_look(const struct niwa_roots *roots, uint64_t trees, int64_t began_ns, struct niwa_manifest *manifest,
		    struct niwa_error *err)
{
	if (print_trees(roots, trees, manifest) <= began_ns)
		return 0;
	return niwa_snapshot_refuse(err, ESTALE, "what it only reads was written since it started");
}

int niwa_trees_compare(const struct niwa_roots *roots, const struct niwa_manifest *manifest, struct niwa_error *err)
{
	struct niwa_manifest now = {0};

	if (!manifest->trees)
		return 0;
	(void)print_trees(roots, manifest->trees, &now);
	if (now.trees == manifest->trees && now.print[0] == manifest->print[0] && now.print[1] == manifest->print[1])
		return 0;
	return niwa_snapshot_refuse(err, ESTALE, "what it only reads was written (a read-only volume, its image)");
}
