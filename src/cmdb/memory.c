/* SPDX-License-Identifier: MIT
 *
 * The memory store, for tests: one entry a name, for ever; a removed app's entry keeps its address. A transaction
 * writes down how each entry looked before its change, which is what rollback restores.
 */
#include "cmdb_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/memory.h"

struct tenant {
	uint32_t id, files;
	char limits[NIWA_CMDB_OVERRIDE_MAX + 1]; /* "": none */
	char name[];
};

struct state {
	bool live;
	uint64_t id, generation, removed_us;
	uint32_t addr; /* 0: none */
	const struct tenant *tenant;
	char *json;
	char override[NIWA_CMDB_OVERRIDE_MAX + 1]; /* "": none */
	uint8_t past[NIWA_CMDB_PAST_MAX], past_len;
};

struct entry {
	struct state now;
	char name[];
};

struct change {
	struct change *next; /* the one before it */
	struct entry *entry;
	struct state before;
};

struct niwa_cmdb_store {
	struct niwa_map *entries, *by_id, *tenants; /* by_id: also stale ids until commit */
	struct change *changes;                     /* newest first */
	uint64_t last_id;
	uint32_t last_files;
	uint64_t begin_id;
};

static int no_memory(struct niwa_error *err)
{
	return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "memory store");
}

static void *named(size_t offset, const char *name)
{
	char *p = niwa_zalloc(offset + strlen(name) + 1);

	if (p)
		memcpy(p + offset, name, strlen(name) + 1);
	return p;
}

static struct entry *entry_of(struct niwa_cmdb_store *s, const char *name)
{
	struct entry *e = niwa_map_get_str(s->entries, name);

	if (e)
		return e;
	e = named(offsetof(struct entry, name), name);
	if (e && niwa_map_put_str(s->entries, e->name, e) < 0) {
		free(e);
		return NULL;
	}
	return e;
}

/* Before each change of an entry. */
static int write_down(struct niwa_cmdb_store *s, struct entry *e)
{
	struct change *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct change){s->changes, e, e->now};
	s->changes = c;
	return 0;
}

static int memory_begin(struct niwa_cmdb_store *s, struct niwa_error *err)
{
	s->begin_id = s->last_id;
	return 0;
}

static int memory_commit(struct niwa_cmdb_store *s, struct niwa_error *err)
{
	struct change *next;

	for (struct change *c = s->changes; c; c = next) {
		next = c->next;
		if (c->before.live && (!c->entry->now.live || c->entry->now.id != c->before.id))
			(void)niwa_map_del(s->by_id, c->before.id);
		if (c->before.json && c->before.json != c->entry->now.json)
			free(c->before.json);
		free(c);
	}
	s->changes = NULL;
	return 0;
}

static void memory_rollback(struct niwa_cmdb_store *s)
{
	struct change *next;

	for (struct change *c = s->changes; c; c = next) {
		next = c->next;
		if (c->entry->now.json != c->before.json)
			free(c->entry->now.json);
		c->entry->now = c->before;
		free(c);
	}
	s->changes = NULL;
	while (s->last_id > s->begin_id)
		(void)niwa_map_del(s->by_id, s->last_id--);
}

static int memory_find(struct niwa_cmdb_store *s, const char *name, struct niwa_cmdb_row *ret, struct niwa_error *err)
{
	struct entry *e = niwa_map_get_str(s->entries, name);

	if (!e || !e->now.live)
		return 0;
	*ret = (struct niwa_cmdb_row){
		.id = e->now.id,
		.generation = e->now.generation,
		.tenant_id = e->now.tenant->id,
		.addr = e->now.addr,
		.name = e->name,
		.tenant = e->now.tenant->name,
		.json = e->now.json,
		.json_len = strlen(e->now.json),
	};
	return 1;
}

static int set(struct niwa_cmdb_store *s, struct entry *e, const struct niwa_cmdb_row *row)
{
	NIWA_AUTO(niwa_free_ptr) char *json = niwa_strdup(row->json);

	if (!json || write_down(s, e) < 0)
		return -ENOMEM;
	e->now = (struct state){
		.live = true,
		.id = row->id,
		.generation = row->generation,
		.addr = row->addr,
		.tenant = niwa_map_get_str(s->tenants, row->tenant),
		.json = NIWA_TAKE(json),
	};
	if (!s->changes->before.live)
		return 0;
	memcpy(e->now.override, s->changes->before.override, sizeof(e->now.override));
	memcpy(e->now.past, s->changes->before.past, sizeof(e->now.past));
	e->now.past_len = s->changes->before.past_len;
	return 0;
}

static int memory_insert(struct niwa_cmdb_store *s, struct niwa_cmdb_row *row, struct niwa_error *err)
{
	struct entry *e = entry_of(s, row->name);

	if (!e)
		return no_memory(err);
	row->id = s->last_id + 1;
	if (niwa_map_put(s->by_id, row->id, e) < 0)
		return no_memory(err);
	s->last_id = row->id;
	return set(s, e, row) < 0 ? no_memory(err) : 0;
}

static int memory_update(struct niwa_cmdb_store *s, const struct niwa_cmdb_row *row, struct niwa_error *err)
{
	struct entry *e = niwa_map_get_str(s->entries, row->name);

	return set(s, e, row) < 0 ? no_memory(err) : 0;
}

static int memory_remove(struct niwa_cmdb_store *s, const char *name, struct niwa_error *err)
{
	struct entry *e = niwa_map_get_str(s->entries, name);

	if (write_down(s, e) < 0)
		return no_memory(err);
	e->now = (struct state){.id = e->now.id};
	return 0;
}

/* For a change that leaves the record alone: each change has a copy of its own. */
static int write_down_whole(struct niwa_cmdb_store *s, struct entry *e)
{
	NIWA_AUTO(niwa_free_ptr) char *json = niwa_strdup(e->now.json);

	if (!json || write_down(s, e) < 0)
		return -ENOMEM;
	e->now.json = NIWA_TAKE(json);
	return 0;
}

static int memory_override(struct niwa_cmdb_store *s, const char *name, const char *text, struct niwa_error *err)
{
	struct entry *e = niwa_map_get_str(s->entries, name);

	if (write_down_whole(s, e) < 0)
		return no_memory(err);
	(void)snprintf(e->now.override, sizeof(e->now.override), "%s", text ? text : "");
	return 0;
}

static struct entry *live(struct niwa_cmdb_store *s, uint64_t id)
{
	struct entry *e = niwa_map_get(s->by_id, id);

	return e && e->now.live && e->now.id == id ? e : NULL;
}

static int memory_past(struct niwa_cmdb_store *s, uint64_t id, const void *data, size_t len, struct niwa_error *err)
{
	struct entry *e = live(s, id);

	if (!e)
		return 0;
	if (write_down_whole(s, e) < 0)
		return no_memory(err);
	memcpy(e->now.past, data, len);
	e->now.past_len = (uint8_t)len;
	return 0;
}

static int memory_get_past(struct niwa_cmdb_store *s, uint64_t id, uint8_t buf[NIWA_CMDB_PAST_MAX],
			   struct niwa_error *err)
{
	const struct entry *e = live(s, id);

	if (!e)
		return 0;
	memcpy(buf, e->now.past, e->now.past_len);
	return e->now.past_len;
}

static int memory_tenant(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_id, struct niwa_error *err)
{
	struct tenant *t = niwa_map_get_str(s->tenants, name);

	if (!t) {
		t = named(offsetof(struct tenant, name), name);
		if (!t)
			return no_memory(err);
		t->id = (uint32_t)niwa_map_count(s->tenants) + 1;
		if (niwa_map_put_str(s->tenants, t->name, t) < 0) {
			free(t);
			return no_memory(err);
		}
	}
	*ret_id = t->id;
	return 0;
}

/* Not undone with the transaction: the store for tests. */
static int memory_tenant_limits(struct niwa_cmdb_store *s, const char *name, const char *text, struct niwa_error *err)
{
	struct tenant *t = niwa_map_get_str(s->tenants, name);

	(void)snprintf(t->limits, sizeof(t->limits), "%s", text ? text : "");
	return 0;
}

static int memory_each_tenant(struct niwa_cmdb_store *s, niwa_cmdb_tenant_fn *fn, void *arg, struct niwa_error *err)
{
	size_t pos = 0;
	int r = 0;

	for (struct tenant *t; r >= 0 && (t = niwa_map_next(s->tenants, &pos));)
		if (t->limits[0])
			r = fn(t->name, t->limits, arg);
	return r < 0 ? r : 0;
}

/* Like the tenant itself, the number stays when the transaction is undone. */
static int memory_files(struct niwa_cmdb_store *s, const char *tenant, uint32_t *ret, struct niwa_error *err)
{
	struct tenant *t = niwa_map_get_str(s->tenants, tenant);

	if (!t->files && s->last_files == NIWA_CMDB_TENANT_FILES_MAX)
		return niwa_cmdb_no_files_left(tenant, err);
	if (!t->files)
		t->files = ++s->last_files;
	*ret = t->files;
	return 0;
}

static int memory_remember(struct niwa_cmdb_store *s, const char *name, uint32_t addr, uint64_t now_us,
			   struct niwa_error *err)
{
	struct entry *e = entry_of(s, name);

	if (!e || write_down(s, e) < 0)
		return no_memory(err);
	e->now.addr = addr;
	e->now.removed_us = now_us;
	return 0;
}

static int memory_recall(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_addr, struct niwa_error *err)
{
	struct entry *e = niwa_map_get_str(s->entries, name);

	if (!e || e->now.live || !e->now.addr)
		return 0;
	*ret_addr = e->now.addr;
	return 1;
}

static int memory_oldest(struct niwa_cmdb_store *s, uint32_t first, uint32_t last, uint64_t before_us,
			 uint32_t *ret_addr, struct niwa_error *err)
{
	struct entry *best = NULL;
	size_t pos = 0;

	for (struct entry *e; (e = niwa_map_next(s->entries, &pos));) {
		if (e->now.live || e->now.addr < first || e->now.addr > last || e->now.removed_us > before_us)
			continue;
		if (!best || e->now.removed_us < best->now.removed_us)
			best = e;
	}
	if (best)
		*ret_addr = best->now.addr;
	return best ? 1 : 0;
}

static int memory_forget(struct niwa_cmdb_store *s, uint32_t addr, struct niwa_error *err)
{
	size_t pos = 0;

	for (struct entry *e; (e = niwa_map_next(s->entries, &pos));) {
		if (e->now.live || e->now.addr != addr)
			continue;
		if (write_down(s, e) < 0)
			return no_memory(err);
		e->now.addr = 0;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct entry *const *)a)->name, (*(struct entry *const *)b)->name);
}

static int memory_each(struct niwa_cmdb_store *s, bool with_json, niwa_cmdb_each_fn *fn, void *arg,
		       struct niwa_error *err)
{
	size_t pos = 0, n = 0;
	NIWA_AUTO(niwa_free_ptr) struct entry **all = niwa_zalloc(niwa_map_count(s->entries) * sizeof(*all));
	int r = 0;

	if (!all)
		return no_memory(err);
	for (struct entry *e; (e = niwa_map_next(s->entries, &pos));)
		if (e->now.live)
			all[n++] = e;
	qsort(all, n, sizeof(*all), by_name);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		const struct state *now = &all[i]->now;
		struct niwa_cmdb_app app = {
			.id = now->id,
			.name = all[i]->name,
			.tenant = now->tenant->name,
			.tenant_id = now->tenant->id,
			.tenant_files = now->tenant->files,
			.service_addr = htonl(now->addr),
			.generation = now->generation,
			.json = with_json ? now->json : NULL,
			.json_len = with_json ? strlen(now->json) : 0,
			.override = now->override[0] ? now->override : NULL,
		};

		r = fn(&app, arg);
	}
	return r < 0 ? r : 0;
}

static int memory_get(struct niwa_cmdb_store *s, uint64_t id, char **ret_json, struct niwa_error *err)
{
	struct entry *e = niwa_map_get(s->by_id, id);
	char *json;

	if (!e)
		return niwa_fail(err, NIWA_CALLER, ENOENT, "app number %llu", (unsigned long long)id);
	json = niwa_strdup(e->now.json);
	if (!json)
		return no_memory(err);
	*ret_json = json;
	return 0;
}

static int memory_each_address(struct niwa_cmdb_store *s, niwa_cmdb_addr_fn *fn, void *arg, struct niwa_error *err)
{
	return 0; /* it is always new when it is opened */
}

static void free_all(struct niwa_map **map, void (*fini)(void *value))
{
	size_t pos = 0;

	if (*map)
		for (void *value; (value = niwa_map_next(*map, &pos));)
			fini(value);
	niwa_map_free(map);
}

static void entry_fini(void *value)
{
	struct entry *e = value;

	free(e->now.json);
	free(e);
}

static void memory_close(struct niwa_cmdb_store **sp)
{
	struct niwa_cmdb_store *s = *sp;

	if (!s)
		return;
	niwa_map_free(&s->by_id);
	free_all(&s->entries, entry_fini);
	free_all(&s->tenants, free);
	free(s);
	*sp = NULL;
}

static int memory_open(const char *path, struct niwa_cmdb_store **ret, struct niwa_error *err)
{
	NIWA_AUTO(memory_close) struct niwa_cmdb_store *s = niwa_zalloc(sizeof(*s));

	if (!s)
		return no_memory(err);
	s->entries = niwa_map_new(NIWA_MAP_STRING);
	s->tenants = niwa_map_new(NIWA_MAP_STRING);
	s->by_id = niwa_map_new(NIWA_MAP_U64);
	if (!s->entries || !s->tenants || !s->by_id)
		return no_memory(err);
	*ret = NIWA_TAKE(s);
	return 0;
}

const struct niwa_cmdb_store_ops niwa_cmdb_memory_ops = {
	.threaded = false,
	.open = memory_open,
	.close = memory_close,
	.each = memory_each,
	.get = memory_get,
	.get_past = memory_get_past,
	.each_address = memory_each_address,
	.begin = memory_begin,
	.commit = memory_commit,
	.rollback = memory_rollback,
	.find = memory_find,
	.insert = memory_insert,
	.update = memory_update,
	.remove = memory_remove,
	.override = memory_override,
	.past = memory_past,
	.tenant_limits = memory_tenant_limits,
	.each_tenant = memory_each_tenant,
	.tenant = memory_tenant,
	.files = memory_files,
	.remember = memory_remember,
	.recall = memory_recall,
	.oldest = memory_oldest,
	.forget = memory_forget,
};
