/* SPDX-License-Identifier: MIT
 *
 * For the store's tests.
 */
#include "test_fixture.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

void fixture_init(struct fixture *f, const char *kind, const char *dir)
{
	*f = (struct fixture){.kind = kind};
	if (dir) {
		(void)snprintf(f->dir, sizeof(f->dir), "%s", dir);
	} else {
		(void)snprintf(f->dir, sizeof(f->dir), "/tmp/niwa-cmdb-XXXXXX");
		assert_non_null(mkdtemp(f->dir));
	}
	if (strcmp(kind, "memory") == 0)
		(void)snprintf(f->path, sizeof(f->path), ":memory:");
	else
		(void)snprintf(f->path, sizeof(f->path), "%s/cmdb", f->dir);
	assert_true(sd_event_new(&f->event) >= 0);
}

void fixture_fini(struct fixture *f)
{
	fixture_close(f);
	(void)sd_event_unref(f->event);
	assert_int_equal(niwa_remove_tree(f->dir, NULL), 0);
}

int fixture_try_open(struct fixture *f, const char *net, unsigned bits, struct niwa_error *err)
{
	return niwa_cmdb_open(f->path, inet_addr(net), bits, f->event, &f->db, err);
}

void fixture_open(struct fixture *f, const char *net, unsigned bits)
{
	struct niwa_error err = {0};

	if (fixture_try_open(f, net, bits, &err) < 0)
		fail_msg("%s", err.msg);
}

void fixture_close(struct fixture *f)
{
	niwa_cmdb_close(&f->db);
}

void fixture_outcome(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
		     void *arg)
{
	struct outcome *o = arg;

	assert_false(o->last);
	for (size_t i = 0; i < count; i++) {
		const struct niwa_cmdb_app *app = &changes[i].app;
		struct kept *k;

		o->kinds[changes[i].kind]++;
		if (o->count++ >= KEPT_MAX)
			continue;
		k = &o->kept[o->count - 1];
		*k = (struct kept){
			.kind = changes[i].kind,
			.id = app->id,
			.generation = app->generation,
			.tenant_id = app->tenant_id,
			.tenant_files = app->tenant_files,
			.addr = ntohl(app->service_addr),
			.has_json = app->json,
		};
		(void)snprintf(k->name, sizeof(k->name), "%s", app->name);
		(void)snprintf(k->tenant, sizeof(k->tenant), "%s", app->tenant);
		(void)snprintf(k->json, sizeof(k->json), "%s", app->json ? app->json : "");
	}
	o->calls++;
	o->largest = count > o->largest ? count : o->largest;
	o->last = last;
	o->refused = err;
	if (err)
		o->err = *err;
}

struct outcome *fixture_commit(struct fixture *f, struct niwa_cmdb_txn *txn)
{
	memset(&f->out, 0, sizeof(f->out));
	niwa_cmdb_txn_commit(txn, fixture_outcome, &f->out);
	assert_int_equal(f->out.calls, 0);
	while (!f->out.last)
		assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
	return &f->out;
}

const struct kept *fixture_put(struct fixture *f, const char *name, const char *tenant, const char *json)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(niwa_cmdb_txn_put(txn, name, tenant, json, strlen(json)), 0);
	return fixture_commit(f, txn)->refused ? NULL : &f->out.kept[0];
}

const struct kept *fixture_remove(struct fixture *f, const char *name)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(niwa_cmdb_txn_remove(txn, name), 0);
	return fixture_commit(f, txn)->refused ? NULL : &f->out.kept[0];
}

static int count_one(const struct niwa_cmdb_app *app, void *arg)
{
	(*(size_t *)arg)++;
	return 0;
}

size_t fixture_count(struct fixture *f)
{
	size_t n = 0;

	assert_int_equal(niwa_cmdb_each(f->db, false, count_one, &n, NULL), 0);
	return n;
}
