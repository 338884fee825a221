/* SPDX-License-Identifier: MIT
 *
 * For the store's tests: a loop, a temporary folder, a store, and transactions whose result is waited for.
 */
#ifndef NIWA_CMDB_TEST_FIXTURE_H
#define NIWA_CMDB_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "cmdb/cmdb.h"

#define KEPT_MAX 64

struct kept { /* a copy of one change */
	enum niwa_cmdb_change_kind kind;
	char name[256], tenant[256], json[128];
	uint64_t id, generation;
	uint32_t tenant_id, tenant_files, addr; /* host order */
	bool has_json;
};

struct outcome {
	bool last, refused;
	size_t calls, count, largest; /* changes in all, in the largest call */
	size_t kinds[NIWA_CMDB_KINDS];
	struct kept kept[KEPT_MAX]; /* the first ones */
	struct niwa_error err;
};

struct fixture {
	const char *kind; /* "sqlite", "memory" */
	char dir[64], path[96];
	sd_event *event;
	struct niwa_cmdb *db;
	struct outcome out; /* of the last transaction */
};

/* dir NULL: a new temporary one. The file is in it; ":memory:" for kind "memory". */
void fixture_init(struct fixture *f, const char *kind, const char *dir);
void fixture_fini(struct fixture *f); /* removes the folder */
int fixture_try_open(struct fixture *f, const char *net, unsigned bits, struct niwa_error *err);
void fixture_open(struct fixture *f, const char *net, unsigned bits);
void fixture_close(struct fixture *f);

void fixture_outcome(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
		     void *arg); /* arg: struct outcome */
struct outcome *fixture_commit(struct fixture *f, struct niwa_cmdb_txn *txn);
/* One change; the result, or NULL when it was refused. */
const struct kept *fixture_put(struct fixture *f, const char *name, const char *tenant, const char *json);
const struct kept *fixture_remove(struct fixture *f, const char *name);
size_t fixture_count(struct fixture *f);

#endif
