/* SPDX-License-Identifier: MIT
 *
 * The SQLite store's writer side: the primitives of a transaction. Runs in the writer's thread, on its own
 * connection. Statements are reset before their next use, so what find() returned stays valid until then.
 */
#include "sqlite_private.h"

static const char *const sql[NIWA_CMDB_STATEMENTS] = {
	[NIWA_CMDB_FIND] = "SELECT a.id, a.generation, t.id, a.addr, t.name, a.json FROM app a JOIN tenant t ON t.id = "
			   "a.tenant WHERE a.name = ?",
	[NIWA_CMDB_INSERT] = "INSERT INTO app (name, tenant, addr, generation, json) VALUES (?, ?, ?, ?, ?)",
	[NIWA_CMDB_UPDATE] = "UPDATE app SET tenant = ?, generation = ?, json = ? WHERE id = ?",
	[NIWA_CMDB_DELETE] = "DELETE FROM app WHERE name = ?",
	[NIWA_CMDB_OVERRIDE] = "UPDATE app SET override = ? WHERE name = ?",
	[NIWA_CMDB_SEEN] = "INSERT INTO past (app, seen) SELECT id, ?2 FROM app WHERE id = ?1 "
			   "ON CONFLICT (app) DO UPDATE SET seen = excluded.seen",
	[NIWA_CMDB_TENANT_FIND] = "SELECT id FROM tenant WHERE name = ?",
	[NIWA_CMDB_TENANT_ADD] = "INSERT INTO tenant (name) VALUES (?)",
	[NIWA_CMDB_TENANT_LIMITS] = "UPDATE tenant SET limits = ? WHERE name = ?",
	[NIWA_CMDB_FILES_FIND] = "SELECT files FROM tenant WHERE name = ? AND files IS NOT NULL",
	[NIWA_CMDB_FILES_LAST] = "SELECT coalesce(max(files), 0) FROM tenant",
	[NIWA_CMDB_FILES_GIVE] = "UPDATE tenant SET files = ? WHERE name = ?",
	[NIWA_CMDB_REMEMBER] = "INSERT OR REPLACE INTO removed (addr, name, removed_us) VALUES (?, ?, ?)",
	[NIWA_CMDB_RECALL] = "SELECT addr FROM removed WHERE name = ?",
	[NIWA_CMDB_OLDEST] =
		"SELECT addr FROM removed WHERE removed_us <= ? AND addr BETWEEN ? AND ? ORDER BY removed_us "
		"LIMIT 1",
	[NIWA_CMDB_FORGET] = "DELETE FROM removed WHERE addr = ?",
};

static int fail(struct niwa_cmdb_store *s, int rc, struct niwa_error *err)
{
	return niwa_cmdb_sqlite_fail(err, s->writer, rc, s->path);
}

/* The statement, ready for binding; NULL: err is filled. */
static sqlite3_stmt *ready(struct niwa_cmdb_store *s, enum niwa_cmdb_statement which, struct niwa_error *err)
{
	sqlite3_stmt **stmt = &s->statements[which];
	int rc;

	if (*stmt) {
		(void)sqlite3_reset(*stmt); /* repeats the error of the last step, which was told */
		return *stmt;
	}
	rc = sqlite3_prepare_v3(s->writer, sql[which], -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
	if (rc != SQLITE_OK)
		(void)fail(s, rc, err);
	return *stmt;
}

static int bind_text(sqlite3_stmt *stmt, int at, const char *text, int len)
{
	return sqlite3_bind_text(stmt, at, text, len, SQLITE_STATIC);
}

/* rc: of the binding. 1: a row; 0: done. A statement that does not return a row is reset at once, so that it
 * holds neither the strings nor a part of the file. */
static int step(struct niwa_cmdb_store *s, sqlite3_stmt *stmt, int rc, struct niwa_error *err)
{
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		return 1;
	(void)sqlite3_reset(stmt);
	(void)sqlite3_clear_bindings(stmt);
	return rc == SQLITE_DONE ? 0 : fail(s, rc, err);
}

static void reset_all(struct niwa_cmdb_store *s)
{
	for (size_t i = 0; i < NIWA_CMDB_STATEMENTS; i++) {
		if (!s->statements[i])
			continue;
		(void)sqlite3_reset(s->statements[i]);
		(void)sqlite3_clear_bindings(s->statements[i]);
	}
}

int niwa_cmdb_sqlite_begin(struct niwa_cmdb_store *s, struct niwa_error *err)
{
	return niwa_cmdb_sqlite_exec(s->writer, "BEGIN IMMEDIATE", s->path, err);
}

int niwa_cmdb_sqlite_commit(struct niwa_cmdb_store *s, struct niwa_error *err)
{
	reset_all(s);
	return niwa_cmdb_sqlite_exec(s->writer, "COMMIT", s->path, err);
}

void niwa_cmdb_sqlite_rollback(struct niwa_cmdb_store *s)
{
	reset_all(s);
	/* After some failures (disk full) SQLite has done it already. */
	if (!sqlite3_get_autocommit(s->writer))
		(void)sqlite3_exec(s->writer, "ROLLBACK", NULL, NULL,
				   NULL); /* cannot fail but for want of a transaction */
}

int niwa_cmdb_sqlite_find(struct niwa_cmdb_store *s, const char *name, struct niwa_cmdb_row *ret,
			  struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_FIND, err);
	int r;

	if (!stmt)
		return -EIO;
	r = step(s, stmt, bind_text(stmt, 1, name, -1), err);
	if (r <= 0)
		return r;
	*ret = (struct niwa_cmdb_row){
		.id = (uint64_t)sqlite3_column_int64(stmt, 0),
		.generation = (uint64_t)sqlite3_column_int64(stmt, 1),
		.tenant_id = (uint32_t)sqlite3_column_int64(stmt, 2),
		.addr = (uint32_t)sqlite3_column_int64(stmt, 3),
		.name = name,
		.tenant = (const char *)sqlite3_column_text(stmt, 4),
		.json = (const char *)sqlite3_column_text(stmt, 5),
		.json_len = (size_t)sqlite3_column_bytes(stmt, 5),
	};
	return ret->tenant && ret->json ? 1 : fail(s, SQLITE_NOMEM, err);
}

int niwa_cmdb_sqlite_insert(struct niwa_cmdb_store *s, struct niwa_cmdb_row *row, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_INSERT, err);
	int r, rc;

	if (!stmt)
		return -EIO;
	rc = bind_text(stmt, 1, row->name, -1);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 2, row->tenant_id);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 3, row->addr);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 4, (sqlite3_int64)row->generation);
	if (rc == SQLITE_OK)
		rc = bind_text(stmt, 5, row->json, (int)row->json_len);
	r = step(s, stmt, rc, err);
	if (r == 0)
		row->id = (uint64_t)sqlite3_last_insert_rowid(s->writer);
	return r;
}

int niwa_cmdb_sqlite_update(struct niwa_cmdb_store *s, const struct niwa_cmdb_row *row, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_UPDATE, err);
	int rc;

	if (!stmt)
		return -EIO;
	rc = sqlite3_bind_int64(stmt, 1, row->tenant_id);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 2, (sqlite3_int64)row->generation);
	if (rc == SQLITE_OK)
		rc = bind_text(stmt, 3, row->json, (int)row->json_len);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 4, (sqlite3_int64)row->id);
	return step(s, stmt, rc, err);
}

int niwa_cmdb_sqlite_remove(struct niwa_cmdb_store *s, const char *name, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_DELETE, err);

	return stmt ? step(s, stmt, bind_text(stmt, 1, name, -1), err) : -EIO;
}

static int set_text(struct niwa_cmdb_store *s, enum niwa_cmdb_statement which, const char *name, const char *text,
		    struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, which, err);
	int rc;

	if (!stmt)
		return -EIO;
	rc = bind_text(stmt, 1, text, -1); /* NULL: NULL */
	if (rc == SQLITE_OK)
		rc = bind_text(stmt, 2, name, -1);
	return step(s, stmt, rc, err);
}

int niwa_cmdb_sqlite_override(struct niwa_cmdb_store *s, const char *name, const char *text, struct niwa_error *err)
{
	return set_text(s, NIWA_CMDB_OVERRIDE, name, text, err);
}

int niwa_cmdb_sqlite_tenant_limits(struct niwa_cmdb_store *s, const char *name, const char *text,
				   struct niwa_error *err)
{
	return set_text(s, NIWA_CMDB_TENANT_LIMITS, name, text, err);
}

int niwa_cmdb_sqlite_past(struct niwa_cmdb_store *s, uint64_t id, const void *data, size_t len, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_SEEN, err);
	int rc;

	if (!stmt)
		return -EIO;
	rc = sqlite3_bind_int64(stmt, 1, (sqlite3_int64)id);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_blob(stmt, 2, data, (int)len, SQLITE_STATIC);
	return step(s, stmt, rc, err);
}

int niwa_cmdb_sqlite_tenant(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_id, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_TENANT_FIND, err);
	int r;

	if (!stmt)
		return -EIO;
	r = step(s, stmt, bind_text(stmt, 1, name, -1), err);
	if (r < 0)
		return r;
	if (r > 0) {
		*ret_id = (uint32_t)sqlite3_column_int64(stmt, 0);
		return 0;
	}
	stmt = ready(s, NIWA_CMDB_TENANT_ADD, err);
	if (!stmt)
		return -EIO;
	r = step(s, stmt, bind_text(stmt, 1, name, -1), err);
	if (r == 0)
		*ret_id = (uint32_t)sqlite3_last_insert_rowid(s->writer);
	return r;
}

int niwa_cmdb_sqlite_files(struct niwa_cmdb_store *s, const char *tenant, uint32_t *ret, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_FILES_FIND, err);
	uint32_t number;
	int r, rc;

	if (!stmt)
		return -EIO;
	r = step(s, stmt, bind_text(stmt, 1, tenant, -1), err);
	if (r < 0)
		return r;
	if (r > 0) {
		*ret = (uint32_t)sqlite3_column_int64(stmt, 0);
		return 0;
	}
	stmt = ready(s, NIWA_CMDB_FILES_LAST, err);
	r = stmt ? step(s, stmt, SQLITE_OK, err) : -EIO;
	if (r < 0)
		return r;
	number = (uint32_t)sqlite3_column_int64(stmt, 0) + 1;
	if (number > NIWA_CMDB_TENANT_FILES_MAX)
		return niwa_cmdb_no_files_left(tenant, err);
	stmt = ready(s, NIWA_CMDB_FILES_GIVE, err);
	if (!stmt)
		return -EIO;
	rc = sqlite3_bind_int64(stmt, 1, number);
	if (rc == SQLITE_OK)
		rc = bind_text(stmt, 2, tenant, -1);
	r = step(s, stmt, rc, err);
	if (r == 0)
		*ret = number;
	return r;
}

int niwa_cmdb_sqlite_remember(struct niwa_cmdb_store *s, const char *name, uint32_t addr, uint64_t now_us,
			      struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_REMEMBER, err);
	int rc;

	if (!stmt)
		return -EIO;
	rc = sqlite3_bind_int64(stmt, 1, addr);
	if (rc == SQLITE_OK)
		rc = bind_text(stmt, 2, name, -1);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 3, (sqlite3_int64)now_us);
	return step(s, stmt, rc, err);
}

int niwa_cmdb_sqlite_recall(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_addr, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_RECALL, err);
	int r;

	if (!stmt)
		return -EIO;
	r = step(s, stmt, bind_text(stmt, 1, name, -1), err);
	if (r > 0)
		*ret_addr = (uint32_t)sqlite3_column_int64(stmt, 0);
	return r;
}

int niwa_cmdb_sqlite_oldest(struct niwa_cmdb_store *s, uint32_t first, uint32_t last, uint64_t before_us,
			    uint32_t *ret_addr, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_OLDEST, err);
	int r, rc;

	if (!stmt)
		return -EIO;
	rc = sqlite3_bind_int64(stmt, 1, (sqlite3_int64)before_us);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 2, first);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 3, last);
	r = step(s, stmt, rc, err);
	if (r > 0)
		*ret_addr = (uint32_t)sqlite3_column_int64(stmt, 0);
	return r;
}

int niwa_cmdb_sqlite_forget(struct niwa_cmdb_store *s, uint32_t addr, struct niwa_error *err)
{
	sqlite3_stmt *stmt = ready(s, NIWA_CMDB_FORGET, err);

	return stmt ? step(s, stmt, sqlite3_bind_int64(stmt, 1, addr), err) : -EIO;
}
