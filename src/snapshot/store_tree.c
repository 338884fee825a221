/* SPDX-License-Identifier: MIT
 *
 * Walks over the folders of a snapshot, from descriptor to descriptor. A layer holds what a tenant's program wrote:
 * names and shapes are anybody's, so depth and number are bounded and nothing but regular files and folders is opened.
 */
#include "snapshot/store_private.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nettle/sha2.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "snapshot/refuse.h"

#define BLOCK     512
#define CHUNK     (256 * 1024)
#define PAGE      4096
#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

struct walk {
	struct niwa_manifest *manifest;
	struct store_tree *sum;
	struct niwa_error *err;
	unsigned depth;
	size_t len; /* of path */
	char path[PATH_MAX];
};

static bool is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* Pages of zeros are left out; the offset of what follows them is put in instead. So it does not matter which of them
 * the file system keeps as holes. */
static void hash_chunk(struct sha256_ctx *hash, off_t at, const uint8_t *data, size_t len, off_t *hashed)
{
	for (size_t n = 0, step; n < len; n += step) {
		uint64_t offset = htole64((uint64_t)at + n);

		step = len - n < PAGE ? len - n : PAGE;
		if (is_zero(data + n, step))
			continue;
		if (at + (off_t)n != *hashed)
			sha256_update(hash, sizeof(offset), (const uint8_t *)&offset);
		sha256_update(hash, step, data + n);
		*hashed = at + (off_t)(n + step);
	}
}

/* SHA-256 of an open file, and how long it was. Holes are not read: they may be larger than any disk. */
static int hash_file(int fd, uint64_t *ret_size, uint8_t ret[SHA256_DIGEST_SIZE])
{
	NIWA_AUTO(niwa_free_ptr) uint8_t *chunk = malloc(CHUNK);
	off_t at = 0, end = 0, hashed = 0;
	struct sha256_ctx hash;
	struct stat st;

	if (!chunk)
		return -ENOMEM;
	if (fstat(fd, &st) < 0)
		return -errno;
	sha256_init(&hash);
	while (at < st.st_size) {
		ssize_t n;

		if (at >= end) {
			at = lseek(fd, at, SEEK_DATA);
			if (at < 0 && errno == ENXIO)
				break;
			end = at < 0 ? -1 : lseek(fd, at, SEEK_HOLE);
			if (end < 0)
				return -errno;
			at -= at % PAGE;
			end += (PAGE - end % PAGE) % PAGE;
		}
		n = pread(fd, chunk, end - at < CHUNK ? (size_t)(end - at) : CHUNK, at);
		if (n <= 0) /* it became shorter */
			return n < 0 ? -errno : -EIO;
		hash_chunk(&hash, at, chunk, (size_t)n, &hashed);
		at += n;
	}
	sha256_digest(&hash, SHA256_DIGEST_SIZE, ret);
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static int failed(const struct walk *w, int code, const char *what)
{
	char path[256];

	return niwa_fail(w->err, NIWA_TEMPORARY, code, "snapshot: %s %s", what,
			 niwa_quote(w->path, w->len, path, sizeof(path)));
}

static int take_file(struct walk *w, int parent, const char *name)
{
	NIWA_AUTO_FD fd = openat(parent, name, OPEN_FILE);
	struct niwa_manifest_part part = {.path = w->path};
	struct stat st;
	int r;

	if (fd < 0)
		return failed(w, errno, "open");
	r = hash_file(fd, &part.size, part.sha256);
	if (r < 0)
		return failed(w, -r, "read");
	if (fstat(fd, &st) < 0)
		return failed(w, errno, "look at");
	w->sum->bytes += (uint64_t)st.st_blocks * BLOCK;
	return niwa_manifest_add_part(w->manifest, &part, w->err);
}

static int take_folder(struct walk *w, int parent, const char *name);

static int take_entry(struct walk *w, int parent, const char *name)
{
	size_t len = w->len;
	struct stat st;
	int r = 0;

	if (w->sum->entries >= TREE_ENTRIES)
		return niwa_snapshot_refuse(w->err, E2BIG, "snapshot: more than %d files in %.20s", TREE_ENTRIES,
					    w->path);
	if (len + strlen(name) + 2 > sizeof(w->path))
		return failed(w, ENAMETOOLONG, "below");
	(void)snprintf(w->path + len, sizeof(w->path) - len, "/%s", name); /* fits */
	w->len = len + 1 + strlen(name);
	w->sum->entries++;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = failed(w, errno, "look at");
	else if (S_ISREG(st.st_mode))
		r = take_file(w, parent, name);
	else if (S_ISDIR(st.st_mode))
		r = take_folder(w, parent, name);
	w->len = len;
	w->path[len] = '\0';
	return r;
}

static int take_folder(struct walk *w, int parent, const char *name)
{
	int fd = openat(parent, name, OPEN_FILE | O_DIRECTORY), r = 0;
	const struct dirent *entry;
	struct stat st;
	DIR *dir;

	if (fd < 0)
		return failed(w, errno, "open");
	dir = w->depth < TREE_DEPTH ? fdopendir(fd) : NULL;
	if (!dir) {
		niwa_fd_close(&fd);
		return failed(w, w->depth < TREE_DEPTH ? ENOMEM : ELOOP, "read");
	}
	w->depth++;
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = take_entry(w, fd, entry->d_name);
	if (r == 0 && errno)
		r = failed(w, errno, "read");
	w->depth--;
	if (r == 0 && fstat(fd, &st) < 0)
		r = failed(w, errno, "look at");
	if (r == 0)
		w->sum->bytes += (uint64_t)st.st_blocks * BLOCK;
	(void)closedir(dir);
	return r;
}

int store_tree_take(int snapshot, const char *folder, struct niwa_manifest *manifest, struct store_tree *ret,
		    struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) struct walk *w = niwa_zalloc(sizeof(*w));

	*ret = (struct store_tree){0};
	if (!w)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "snapshot: read %s", folder);
	w->manifest = manifest;
	w->sum = ret;
	w->err = err;
	w->len = strlen(folder);
	(void)snprintf(w->path, sizeof(w->path), "%s", folder);
	return take_folder(w, snapshot, folder);
}

/* ---- how large ---- */

static uint64_t bytes_of(int parent, const char *name, unsigned depth)
{
	const struct dirent *entry;
	uint64_t sum;
	struct stat st;
	DIR *dir;
	int fd;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	sum = (uint64_t)st.st_blocks * BLOCK;
	if (!S_ISDIR(st.st_mode) || depth > TREE_DEPTH)
		return sum;
	fd = openat(parent, name, OPEN_FILE | O_DIRECTORY);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		niwa_fd_close(&fd);
		return sum;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			sum += bytes_of(fd, entry->d_name, depth + 1);
	(void)closedir(dir);
	return sum;
}

uint64_t store_tree_bytes(int parent, const char *name)
{
	return bytes_of(parent, name, 0);
}

/* ---- whole? ---- */

/* A part that is not as the manifest says. */
static int spoilt(const struct niwa_manifest_part *part, const char *what, struct niwa_error *err)
{
	char path[256];

	return niwa_snapshot_refuse(err, EBADMSG, "%s %s",
				    niwa_quote(part->path, strlen(part->path), path, sizeof(path)), what);
}

static int check_part(int snapshot, const struct niwa_manifest_part *part, bool hash, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = openat(snapshot, part->path, OPEN_FILE);
	uint8_t found[SHA256_DIGEST_SIZE];
	uint64_t size;
	struct stat st;
	int r;

	if (fd < 0 && errno != ENOENT)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "open an image");
	if (fd < 0)
		return spoilt(part, "is missing", err);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != part->size)
		return spoilt(part, "has another size", err);
	if (!hash)
		return 0;
	r = hash_file(fd, &size, found);
	if (r == -ENOMEM)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read an image");
	if (r < 0) /* a disk that cannot be read any more does not get better */
		return spoilt(part, "cannot be read", err);
	if (size != part->size || memcmp(found, part->sha256, sizeof(found)) != 0)
		return spoilt(part, "is not as it was written", err);
	return 0;
}

int store_tree_check(int snapshot, const struct niwa_manifest *m, enum niwa_store_check check, struct niwa_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->part_count; i++) {
		const struct niwa_manifest_part *part = &m->parts[i];
		bool image = strncmp(part->path, "images/", 7) == 0;

		if (check == NIWA_STORE_WHOLE)
			r = check_part(snapshot, part, true, err);
		else if (image)
			r = check_part(snapshot, part, part->size <= SMALL_BYTES, err);
	}
	return r;
}
