/* SPDX-License-Identifier: MIT
 *
 * The schema of the SQLite store and its history. Each step was the schema of a released version: never edit
 * one, add another. PRAGMA user_version holds the number of steps done, application_id says the file is ours.
 */
#include "sqlite_private.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"

#define APPLICATION_ID 0x4e495741 /* "NIWA" */

static const char *const steps[NIWA_CMDB_SCHEMA_VERSION] = {
	/* 1: apps and tenants. AUTOINCREMENT: a number is never given twice. Addresses in host order. */
	"CREATE TABLE tenant (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;"
	"CREATE TABLE app (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	"  tenant INTEGER NOT NULL REFERENCES tenant(id), addr INTEGER NOT NULL UNIQUE,"
	"  generation INTEGER NOT NULL, json TEXT NOT NULL) STRICT;",
	/* 2: what removed apps had, so that their names get their addresses back. */
	"CREATE TABLE removed (addr INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, removed_us INTEGER NOT NULL) "
	"STRICT;"
	"CREATE INDEX removed_since ON removed(removed_us);",
	/* 3: whose files on volumes, which was the tenant's id for everybody. Ids have no end, these numbers have:
	 * beyond 45054 they ran into the ids of others, and such files are nobody's. */
	"ALTER TABLE tenant ADD COLUMN files INTEGER;"
	"UPDATE tenant SET files = id WHERE id <= 45054;"
	"CREATE UNIQUE INDEX tenant_files ON tenant(files);",
	/* 4: what is set over the record of an app. */
	"ALTER TABLE app ADD COLUMN override TEXT;",
	/* 5: what holds for all apps of a tenant together. */
	"ALTER TABLE tenant ADD COLUMN limits TEXT;",
	/* 6: what was seen of apps. A table of its own: it is written often, and an app's record is large. */
	"CREATE TABLE past (app INTEGER PRIMARY KEY REFERENCES app(id) ON DELETE CASCADE, seen BLOB NOT NULL) STRICT;",
};

static int refuse_foreign(const char *path, int64_t application, struct niwa_error *err)
{
	(void)niwa_fail(err, NIWA_PERMANENT, 0,
			"store '%s' is an SQLite file of another program (application id %" PRId64
			"); name another file in the configuration",
			path, application);
	return -EMEDIUMTYPE;
}

static int refuse_newer(const char *path, int64_t version, struct niwa_error *err)
{
	(void)niwa_fail(
		err, NIWA_PERMANENT, 0,
		"store '%s' has schema version %" PRId64
		", this niwad knows up to %d; start the newer niwad again, or restore a backup made by this one",
		path, version, NIWA_CMDB_SCHEMA_VERSION);
	return -EPROTONOSUPPORT;
}

static int run_steps(sqlite3 *db, const char *path, int64_t from, struct niwa_error *err)
{
	char pragma[96];
	int r = 0;

	for (int64_t i = from; r == 0 && i < NIWA_CMDB_SCHEMA_VERSION; i++)
		r = niwa_cmdb_sqlite_exec(db, steps[i], path, err);
	if (r < 0)
		return r;
	(void)snprintf(pragma, sizeof(pragma), "PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID,
		       NIWA_CMDB_SCHEMA_VERSION);
	return niwa_cmdb_sqlite_exec(db, pragma, path, err);
}

int niwa_cmdb_schema_migrate(sqlite3 *db, const char *path, struct niwa_error *err)
{
	int64_t application = 0, version = 0, tables = 0;
	int r;

	r = niwa_cmdb_sqlite_number(db, "PRAGMA application_id", path, &application, err);
	if (r == 0)
		r = niwa_cmdb_sqlite_number(db, "PRAGMA user_version", path, &version, err);
	if (r == 0)
		r = niwa_cmdb_sqlite_number(db, "SELECT count(*) FROM sqlite_schema", path, &tables, err);
	if (r < 0)
		return r;
	if (application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0))
		return refuse_foreign(path, application, err);
	if (version < 0 || version > NIWA_CMDB_SCHEMA_VERSION)
		return refuse_newer(path, version, err);
	if (version == NIWA_CMDB_SCHEMA_VERSION)
		return 0;
	r = niwa_cmdb_sqlite_exec(db, "BEGIN IMMEDIATE", path, err);
	if (r < 0)
		return r;
	r = run_steps(db, path, version, err);
	if (r == 0)
		r = niwa_cmdb_sqlite_exec(db, "COMMIT", path, err);
	if (r < 0) {
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* the first error is the one to tell */
		return niwa_fail_in(err, r, "bring the schema from version %" PRId64 " to %d", version,
				    NIWA_CMDB_SCHEMA_VERSION);
	}
	return 0;
}
