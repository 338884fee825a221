/* SPDX-License-Identifier: MIT
 *
 * A walk through a writable layer, from descriptor to descriptor.
 */
#include "engine/outside.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct walk {
	unsigned entries, depth; /* left */
	struct niwa_outside *sum;
};

static void walk_folder(struct walk *w, int parent, const char *name);

static void walk_entry(struct walk *w, int folder, const char *name)
{
	struct stat st;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return; /* it has just gone */
	if (S_ISREG(st.st_mode))
		w->sum->bytes += (uint64_t)st.st_blocks * 512;
	else if (S_ISDIR(st.st_mode))
		walk_folder(w, folder, name);
}

static void walk_folder(struct walk *w, int parent, const char *name)
{
	const struct dirent *entry;
	int fd;
	DIR *dir;

	if (w->depth == 0) {
		w->sum->cut = true;
		return;
	}
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	w->depth--;
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (w->entries == 0) {
			w->sum->cut = true;
			break;
		}
		w->entries--;
		walk_entry(w, fd, entry->d_name);
	}
	w->depth++;
	(void)closedir(dir);
}

void niwa_outside_add(const char *path, unsigned entries, struct niwa_outside *ret)
{
	struct walk w = {.entries = entries, .depth = NIWA_OUTSIDE_DEPTH, .sum = ret};

	walk_folder(&w, AT_FDCWD, path);
}
