/* SPDX-License-Identifier: MIT
 *
 * What there is, what it is worth, what has to go.
 */
#include "snapshot/store_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "snapshot/refuse.h"

#define MIB ((double)(1 << 20))

static bool is_leftover(const char *name)
{
	static const char *const prefixes[] = {PREFIX_NEW, PREFIX_USED, PREFIX_OLD};
	uint64_t number;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(prefixes); i++) {
		size_t n = strlen(prefixes[i]);

		if (strncmp(name, prefixes[i], n) == 0 && niwa_parse_u64(name + n, UINT32_MAX, &number) == 0)
			return true;
	}
	return false;
}

/* Calls fn with each name; its result other than 0 ends the walk. Names may come and go meanwhile. */
static int each_name(const struct niwa_store *store, int (*fn)(const char *name, void *arg), void *arg,
		     struct niwa_error *err)
{
	int fd = store_open_folder(store->dir, "."), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		niwa_fd_close(&fd);
		return niwa_fail(err, NIWA_TEMPORARY, fd < -1 ? -fd : ENOMEM, "snapshots: read their folder");
	}
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		r = fn(entry->d_name, arg);
	if (r == 0 && errno)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "snapshots: read their folder");
	(void)closedir(dir);
	return r;
}

/* ---- list ---- */

struct listing {
	const struct niwa_store *store;
	struct niwa_store_list list;
	struct niwa_error *err;
	uint32_t today;
};

/* Milliseconds that a restore saves, times the wakes of a week, a MiB. Without a restore so far: as if it took no time,
 * so that a new one is not the first to go. */
static double value_of(const struct niwa_store_entry *e, uint32_t today)
{
	uint64_t cold = niwa_store_median(e->stats.cold_us), restored = niwa_store_median(e->stats.restored_us);
	double saved_ms;

	if (!cold)
		cold = e->cold_us;
	saved_ms = cold > restored ? (double)(cold - restored) / 1000 : 0;
	return saved_ms * niwa_store_week(&e->stats, today) / ((double)(e->bytes ? e->bytes : 1) / MIB);
}

static uint64_t bytes_of(const struct niwa_manifest *m, const struct stat *manifest)
{
	return m->image_bytes + m->layer_bytes + m->shm_bytes + (uint64_t)manifest->st_blocks * 512;
}

static void fill_entry(const struct listing *l, int dir, struct niwa_store_entry *e)
{
	struct niwa_manifest m = {0};
	struct niwa_error why = {0};
	struct stat st;
	int r = store_read_manifest(dir, &e->key, &m, &why);

	if (r == 0 && (fstatat(dir, "images", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)))
		r = niwa_snapshot_refuse(&why, EBADMSG, "no images");
	store_stats_read(dir, &e->stats);
	if (r < 0) {
		(void)niwa_quote(why.msg, strlen(why.msg), e->damaged, sizeof(e->damaged));
		e->bytes = store_tree_bytes(l->store->dir, e->key.hex);
	} else {
		e->kind = m.kind;
		e->scope = m.scope;
		e->taken_us = m.taken_us;
		e->cold_us = m.cold_us;
		e->still_us = m.still_us;
		memcpy(e->app, m.app, sizeof(e->app));
		e->app_id = m.app_id;
		e->tenant_id = m.tenant_id;
		if (fstatat(dir, "manifest", &st, AT_SYMLINK_NOFOLLOW) == 0)
			e->bytes = bytes_of(&m, &st);
		e->value = value_of(e, l->today);
	}
	niwa_manifest_fini(&m);
}

static int list_key(struct listing *l, const struct niwa_snapshot_key *key)
{
	NIWA_AUTO_FD dir = store_open_folder(l->store->dir, key->hex);
	struct niwa_store_entry *e;

	if (dir < 0)
		return 0; /* it has just gone, or is no folder */
	if (l->list.count % 64 == 0) {
		void *more = reallocarray(l->list.entry, l->list.count + 64, sizeof(*e));

		if (!more)
			return niwa_fail(l->err, NIWA_TEMPORARY, ENOMEM, "list of snapshots");
		l->list.entry = more;
	}
	e = &l->list.entry[l->list.count++];
	*e = (struct niwa_store_entry){.key = *key};
	fill_entry(l, dir, e);
	l->list.bytes += e->bytes;
	return 0;
}

static int list_name(const char *name, void *arg)
{
	struct listing *l = arg;
	struct niwa_snapshot_key key;

	if (is_leftover(name))
		l->list.bytes += store_tree_bytes(l->store->dir, name);
	return niwa_snapshot_key_parse(name, &key, NULL) < 0 ? 0 : list_key(l, &key);
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct niwa_store_entry *)a)->key.hex, ((const struct niwa_store_entry *)b)->key.hex);
}

int niwa_store_list(const struct niwa_store *store, struct niwa_store_list *ret, struct niwa_error *err)
{
	struct listing l = {.store = store, .err = err, .today = store_today()};
	int r = each_name(store, list_name, &l, err);

	if (r < 0) {
		niwa_store_list_fini(&l.list);
		return r;
	}
	if (l.list.count)
		qsort(l.list.entry, l.list.count, sizeof(*l.list.entry), by_key);
	*ret = l.list;
	return 0;
}

struct keys {
	const char *after;
	struct niwa_snapshot_key *key;
	size_t count;
	struct niwa_error *err;
};

static int note_key(const char *name, void *arg)
{
	struct keys *k = arg;
	struct niwa_snapshot_key key;

	if (niwa_snapshot_key_parse(name, &key, NULL) < 0 || strcmp(name, k->after) <= 0)
		return 0;
	if (k->count % 64 == 0) {
		void *more = reallocarray(k->key, k->count + 64, sizeof(key));

		if (!more)
			return niwa_fail(k->err, NIWA_TEMPORARY, ENOMEM, "list of snapshots");
		k->key = more;
	}
	k->key[k->count++] = key;
	return 0;
}

static int by_hex(const void *a, const void *b)
{
	return strcmp(((const struct niwa_snapshot_key *)a)->hex, ((const struct niwa_snapshot_key *)b)->hex);
}

int niwa_store_list_after(const struct niwa_store *store, const char *after, size_t limit, struct niwa_store_list *ret,
			  struct niwa_error *err)
{
	struct listing l = {.store = store, .err = err, .today = store_today()};
	struct keys keys = {.after = after, .err = err};
	int r = each_name(store, note_key, &keys, err);

	if (r == 0 && keys.count)
		qsort(keys.key, keys.count, sizeof(*keys.key), by_hex);
	for (size_t n = 0; r == 0 && n < keys.count && l.list.count < limit; n++)
		r = list_key(&l, &keys.key[n]);
	free(keys.key);
	if (r < 0)
		niwa_store_list_fini(&l.list);
	else
		*ret = l.list;
	return r;
}

void niwa_store_list_fini(struct niwa_store_list *list)
{
	free(list->entry);
	*list = (struct niwa_store_list){0};
}

/* ---- room ---- */

/* What stays free on the file system, were `gain` given back. */
static bool is_free(const struct niwa_store *store, const struct niwa_store_limits *limits, uint64_t bytes,
		    uint64_t gain)
{
	struct statvfs fs;
	uint64_t wanted;

	if (!limits->free_bytes)
		return true;
	if (__builtin_add_overflow(limits->free_bytes, bytes, &wanted) || fstatvfs(store->dir, &fs) < 0)
		return false;
	return (uint64_t)fs.f_bavail * fs.f_frsize + gain >= wanted;
}

static bool has_room(const struct niwa_store *store, const struct niwa_store_limits *limits, uint64_t used,
		     uint64_t bytes)
{
	uint64_t limit = limits->bytes ? limits->bytes : NIWA_STORE_BYTES;

	return bytes <= limit && used <= limit - bytes && is_free(store, limits, bytes, 0);
}

static int by_value(const void *a, const void *b)
{
	const struct niwa_store_entry *x = a, *y = b;

	if (!*x->damaged != !*y->damaged)
		return *x->damaged ? -1 : 1;
	if (x->value < y->value || x->value > y->value)
		return x->value < y->value ? -1 : 1;
	return x->taken_us < y->taken_us ? -1 : x->taken_us > y->taken_us;
}

/* 0: gone; 1: somebody holds it. It is locked first, so that one in use stays where it is. */
static int evict(const struct niwa_store *store, const struct niwa_snapshot_key *key, struct niwa_error *err)
{
	NIWA_AUTO_FD dir = -1, images = -1;
	char name[STORE_NAME];
	int r = store_lock(store, key->hex, &dir, &images);

	if (r == -ENOENT)
		return 0;
	if (r != 0)
		return r > 0 ? r : niwa_fail(err, NIWA_TEMPORARY, -r, "snapshot %.12s: evict", key->hex);
	r = store_new_name(store, PREFIX_OLD, key->hex, name, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	niwa_fd_close(&dir);
	niwa_fd_close(&images);
	return store_delete(store, name, err);
}

void niwa_store_evicted_fini(struct niwa_store_evicted *evicted)
{
	free(evicted->image);
	*evicted = (struct niwa_store_evicted){0};
}

/* Without memory its app learns of it at its next wake. */
static void add_evicted(struct niwa_store_evicted *evicted, const struct niwa_store_entry *e)
{
	void *more = evicted ? reallocarray(evicted->image, evicted->count + 1, sizeof(*evicted->image)) : NULL;

	if (!more)
		return;
	evicted->image = more;
	evicted->image[evicted->count++] = (struct niwa_store_gone){
		.key = e->key, .app_id = *e->damaged || e->scope == NIWA_SCOPE_SHARED ? 0 : e->app_id};
}

/* ---- how much is used ---- */

/* Of images that were looked at before: a manifest is never changed, so who has seen one by its inode and ctime need
 * not read it again. Reading all of ten thousand takes more than a second. */
struct size {
	uint64_t tag, bytes;
};

static pthread_mutex_t sizes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct size *sizes; /* sorted */
static size_t size_count;

struct used {
	const struct niwa_store *store;
	struct niwa_error *err;
	uint64_t bytes;
	struct size *size; /* those to be known next time */
	size_t count;
};

static int by_tag(const void *a, const void *b)
{
	uint64_t x = ((const struct size *)a)->tag, y = ((const struct size *)b)->tag;

	return x < y ? -1 : x > y;
}

static uint64_t mix(uint64_t h, uint64_t n)
{
	h = (h ^ n) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static uint64_t tag_of(const struct niwa_snapshot_key *key, const struct stat *st)
{
	uint64_t h = 0;

	for (const char *at = key->hex; *at; at++)
		h = mix(h, (uint64_t)*at);
	h = mix(mix(h, st->st_dev), st->st_ino);
	return mix(mix(h, (uint64_t)st->st_ctim.tv_sec), (uint64_t)st->st_ctim.tv_nsec);
}

static int add_size(struct used *u, struct size size)
{
	if (u->count % 64 == 0) {
		void *more = reallocarray(u->size, u->count + 64, sizeof(size));

		if (!more)
			return niwa_fail(u->err, NIWA_TEMPORARY, ENOMEM, "list of snapshots");
		u->size = more;
	}
	u->size[u->count++] = size;
	u->bytes += size.bytes;
	return 0;
}

static int use_name(const char *name, void *arg)
{
	struct used *u = arg;
	NIWA_AUTO_FD dir = -1;
	struct niwa_manifest m = {0};
	struct niwa_snapshot_key key;
	const struct size *known;
	struct size size;
	char path[NIWA_KEY_HEX + 16];
	struct stat st;

	if (is_leftover(name))
		u->bytes += store_tree_bytes(u->store->dir, name);
	if (niwa_snapshot_key_parse(name, &key, NULL) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/manifest", name);
	if (fstatat(u->store->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		size.tag = tag_of(&key, &st);
		known = size_count ? bsearch(&size, sizes, size_count, sizeof(size), by_tag) : NULL;
		if (known)
			return add_size(u, *known);
		dir = store_open_folder(u->store->dir, name);
		if (dir >= 0 && store_read_manifest(dir, &key, &m, NULL) == 0) {
			size.bytes = bytes_of(&m, &st);
			niwa_manifest_fini(&m);
			return add_size(u, size);
		}
	}
	u->bytes += store_tree_bytes(u->store->dir, name); /* damaged, or just gone */
	return 0;
}

static int count_used(const struct niwa_store *store, uint64_t *ret, struct niwa_error *err)
{
	struct used u = {.store = store, .err = err};
	int r;

	(void)pthread_mutex_lock(&sizes_lock); /* of this kind it does not fail */
	r = each_name(store, use_name, &u, err);
	if (r == 0) {
		if (u.count)
			qsort(u.size, u.count, sizeof(*u.size), by_tag);
		free(sizes);
		sizes = u.size;
		size_count = u.count;
		*ret = u.bytes;
	} else {
		free(u.size);
	}
	(void)pthread_mutex_unlock(&sizes_lock);
	return r;
}

int niwa_store_make_room(const struct niwa_store *store, const struct niwa_store_limits *limits, uint64_t bytes,
			 const struct niwa_snapshot_key *keep, struct niwa_store_evicted *evicted,
			 struct niwa_error *err)
{
	struct niwa_store_list list;
	uint64_t used = 0;
	bool possible;
	int r = count_used(store, &used, err);

	if (r < 0 || has_room(store, limits, used, bytes))
		return r;
	r = niwa_store_list(store, &list, err); /* for what each is worth */
	if (r < 0)
		return r;
	if (list.count)
		qsort(list.entry, list.count, sizeof(*list.entry), by_value);
	possible = is_free(store, limits, bytes, list.bytes);
	for (size_t i = 0; r >= 0 && possible && i < list.count && !has_room(store, limits, list.bytes, bytes); i++) {
		const struct niwa_store_entry *e = &list.entry[i];

		if (keep && strcmp(e->key.hex, keep->hex) == 0)
			continue;
		r = evict(store, &e->key, err);
		if (r == 0) {
			list.bytes -= e->bytes;
			add_evicted(evicted, e);
		}
	}
	if (r >= 0 && !has_room(store, limits, list.bytes, bytes))
		r = niwa_fail(err, NIWA_TEMPORARY, ENOSPC, "no room for a snapshot of %llu MiB",
			      (unsigned long long)bytes >> 20);
	niwa_store_list_fini(&list);
	return r < 0 ? r : 0;
}

/* ---- leftovers ---- */

struct collection {
	const struct niwa_store *store;
	struct niwa_error *err;
	unsigned count;
	bool sweep;
};

static bool is_damaged(const struct niwa_store *store, const struct niwa_snapshot_key *key)
{
	NIWA_AUTO_FD dir = store_open_folder(store->dir, key->hex);
	struct niwa_manifest m = {0};
	struct stat st;
	bool damaged;

	if (dir < 0)
		return false;
	damaged = store_read_manifest(dir, key, &m, NULL) == -EBADMSG ||
		  (fstatat(dir, "images", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT);
	niwa_manifest_fini(&m);
	return damaged;
}

static int collect_name(const char *name, void *arg)
{
	struct collection *c = arg;
	struct niwa_snapshot_key key;
	int r = 1;

	if (is_leftover(name))
		r = store_delete(c->store, name, c->err);
	else if (!c->sweep && niwa_snapshot_key_parse(name, &key, NULL) == 0 && is_damaged(c->store, &key))
		r = evict(c->store, &key, c->err);
	if (r == 0)
		c->count++;
	return r < 0 ? r : 0;
}

int niwa_store_collect(const struct niwa_store *store, unsigned *ret_count, struct niwa_error *err)
{
	struct collection c = {.store = store, .err = err};
	int r = each_name(store, collect_name, &c, err);

	if (ret_count)
		*ret_count = c.count;
	return r;
}

int niwa_store_sweep(const struct niwa_store *store, struct niwa_error *err)
{
	struct collection c = {.store = store, .err = err, .sweep = true};

	return each_name(store, collect_name, &c, err);
}
