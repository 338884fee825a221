/* SPDX-License-Identifier: MIT
 *
 * The SQLite store: two connections to one file in WAL mode, one for the loop's reads, one for the writer.
 */
#ifndef NIWA_CMDB_SQLITE_PRIVATE_H
#define NIWA_CMDB_SQLITE_PRIVATE_H

#include <stdint.h>

#include <sqlite3.h>

#include "base/error.h"
#include "cmdb_private.h"

/* The writer's statements, prepared at their first use, kept. */
enum niwa_cmdb_statement {
	NIWA_CMDB_FIND,
	NIWA_CMDB_INSERT,
	NIWA_CMDB_UPDATE,
	NIWA_CMDB_DELETE,
	NIWA_CMDB_OVERRIDE,
	NIWA_CMDB_SEEN,
	NIWA_CMDB_TENANT_FIND,
	NIWA_CMDB_TENANT_ADD,
	NIWA_CMDB_TENANT_LIMITS,
	NIWA_CMDB_FILES_FIND,
	NIWA_CMDB_FILES_LAST,
	NIWA_CMDB_FILES_GIVE,
	NIWA_CMDB_REMEMBER,
	NIWA_CMDB_RECALL,
	NIWA_CMDB_OLDEST,
	NIWA_CMDB_FORGET,
	NIWA_CMDB_STATEMENTS,
};

struct niwa_cmdb_store {
	char *path;
	int lock_fd; /* PATH.lock, held while open */
	sqlite3 *reader, *writer;
	sqlite3_stmt *get, *get_past;
	sqlite3_stmt *statements[NIWA_CMDB_STATEMENTS];
};

/* Fills err from the last failure of db; returns -errno. */
int niwa_cmdb_sqlite_fail(struct niwa_error *err, sqlite3 *db, int rc, const char *path);

/* Makes the schema of a new file, or brings an older one up to date, in one transaction. Refuses a newer one and
 * files of other programs. */
int niwa_cmdb_schema_migrate(sqlite3 *db, const char *path, struct niwa_error *err);
#define NIWA_CMDB_SCHEMA_VERSION 6

/* Runs text without a result. */
int niwa_cmdb_sqlite_exec(sqlite3 *db, const char *sql, const char *path, struct niwa_error *err);
/* One number from a query without parameters. */
int niwa_cmdb_sqlite_number(sqlite3 *db, const char *sql, const char *path, int64_t *ret, struct niwa_error *err);

/* sqlite_write.c */
int niwa_cmdb_sqlite_begin(struct niwa_cmdb_store *s, struct niwa_error *err);
int niwa_cmdb_sqlite_commit(struct niwa_cmdb_store *s, struct niwa_error *err);
void niwa_cmdb_sqlite_rollback(struct niwa_cmdb_store *s);
int niwa_cmdb_sqlite_find(struct niwa_cmdb_store *s, const char *name, struct niwa_cmdb_row *ret,
			  struct niwa_error *err);
int niwa_cmdb_sqlite_insert(struct niwa_cmdb_store *s, struct niwa_cmdb_row *row, struct niwa_error *err);
int niwa_cmdb_sqlite_update(struct niwa_cmdb_store *s, const struct niwa_cmdb_row *row, struct niwa_error *err);
int niwa_cmdb_sqlite_remove(struct niwa_cmdb_store *s, const char *name, struct niwa_error *err);
int niwa_cmdb_sqlite_override(struct niwa_cmdb_store *s, const char *name, const char *text, struct niwa_error *err);
int niwa_cmdb_sqlite_past(struct niwa_cmdb_store *s, uint64_t id, const void *data, size_t len, struct niwa_error *err);
int niwa_cmdb_sqlite_tenant(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_id, struct niwa_error *err);
int niwa_cmdb_sqlite_tenant_limits(struct niwa_cmdb_store *s, const char *name, const char *text,
				   struct niwa_error *err);
int niwa_cmdb_sqlite_files(struct niwa_cmdb_store *s, const char *tenant, uint32_t *ret, struct niwa_error *err);
int niwa_cmdb_sqlite_remember(struct niwa_cmdb_store *s, const char *name, uint32_t addr, uint64_t now_us,
			      struct niwa_error *err);
int niwa_cmdb_sqlite_recall(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_addr, struct niwa_error *err);
int niwa_cmdb_sqlite_oldest(struct niwa_cmdb_store *s, uint32_t first, uint32_t last, uint64_t before_us,
			    uint32_t *ret_addr, struct niwa_error *err);
int niwa_cmdb_sqlite_forget(struct niwa_cmdb_store *s, uint32_t addr, struct niwa_error *err);

#endif
