/* SPDX-License-Identifier: MIT
 *
 * The SQLite store: opening and checking the file, the loop's reads, and what SQLite's failures mean for people.
 * Durability: WAL with synchronous=FULL, one fsync a commit. The file holds env values of apps: mode 0600.
 * A file PATH.lock keeps a second niwad out: the writer believes its bitmap of addresses.
 */
#include "sqlite_private.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define READER_BUSY_MS 50 /* in the loop; only while a foreign tool holds the file */
#define WRITER_BUSY_MS 5000

int niwa_cmdb_sqlite_fail(struct niwa_error *err, sqlite3 *db, int rc, const char *path)
{
	int system = db ? sqlite3_system_errno(db) : 0;

	switch (rc & 0xff) {
	case SQLITE_FULL:
		return niwa_fail(err, NIWA_TEMPORARY, ENOSPC, "write store '%s' (make room on its file system)", path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		(void)niwa_fail(err, NIWA_PERMANENT, 0,
				"store '%s' is damaged (%s); restore a backup, or move it away and apply the app files "
				"again (apps then get new addresses)",
				path, sqlite3_errstr(rc));
		return -EBADMSG;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return niwa_fail(err, NIWA_TEMPORARY, EBUSY, "store '%s' is locked by another program", path);
	case SQLITE_NOMEM:
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "store '%s'", path);
	case SQLITE_READONLY:
		return niwa_fail(err, NIWA_PERMANENT, EROFS, "write store '%s'", path);
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return niwa_fail(err, NIWA_TEMPORARY, system ? system : EIO, "store '%s' (%s)", path,
				 sqlite3_errstr(rc));
	default:
		return niwa_fail(err, NIWA_PERMANENT, EIO, "store '%s' (%s)", path,
				 db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
	}
}

int niwa_cmdb_sqlite_exec(sqlite3 *db, const char *sql, const char *path, struct niwa_error *err)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : niwa_cmdb_sqlite_fail(err, db, sqlite3_extended_errcode(db), path);
}

/* First column of the first row as text, in buf. */
static int query_text(sqlite3 *db, const char *sql, const char *path, char buf[256], struct niwa_error *err)
{
	sqlite3_stmt *stmt = NULL;
	const unsigned char *text;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	buf[0] = '\0';
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		text = sqlite3_column_text(stmt, 0);
		(void)snprintf(buf, 256, "%s", text ? (const char *)text : "");
	}
	(void)sqlite3_finalize(stmt); /* repeats the error of the step */
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return niwa_cmdb_sqlite_fail(err, db, rc, path);
	return 0;
}

int niwa_cmdb_sqlite_number(sqlite3 *db, const char *sql, const char *path, int64_t *ret, struct niwa_error *err)
{
	char text[256];
	int r = query_text(db, sql, path, text, err);

	if (r == 0)
		*ret = strtoll(text, NULL, 10);
	return r;
}

/* ---- opening ---- */

static int lock_file(struct niwa_cmdb_store *s, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s.lock", s->path);

	if (!path)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open store '%s'", s->path);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "create '%s'", path);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return niwa_fail(err, NIWA_PERMANENT, errno, "lock '%s'", path);
	(void)niwa_fail(err, NIWA_PERMANENT, 0, "store '%s' is in use by another niwad; stop that one first", s->path);
	return -EBUSY;
}

/* SQLite would create it readable for all; its companions (-wal, -shm) take over the mode. */
static int create_file(const struct niwa_cmdb_store *s, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open store '%s'", s->path);
	return 0;
}

static int connect_file(const struct niwa_cmdb_store *s, int flags, int busy_ms, sqlite3 **ret, struct niwa_error *err)
{
	int rc = sqlite3_open_v2(s->path, ret, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc != SQLITE_OK)
		return niwa_cmdb_sqlite_fail(err, *ret, rc, s->path);
	(void)sqlite3_extended_result_codes(*ret, 1);
	(void)sqlite3_busy_timeout(*ret, busy_ms);
	return 0;
}

static int set_durable(const struct niwa_cmdb_store *s, struct niwa_error *err)
{
	char mode[256];
	int r = query_text(s->writer, "PRAGMA journal_mode = WAL", s->path, mode, err);

	if (r < 0)
		return r;
	if (strcmp(mode, "wal") != 0) {
		(void)niwa_fail(
			err, NIWA_PERMANENT, 0,
			"store '%s': its file system cannot hold a write-ahead log (journal mode stays '%s'); use a "
			"local file system",
			s->path, mode);
		return -EOPNOTSUPP;
	}
	return niwa_cmdb_sqlite_exec(s->writer,
				     "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;"
				     "PRAGMA journal_size_limit = 4194304;",
				     s->path, err);
}

static int check_whole(const struct niwa_cmdb_store *s, struct niwa_error *err)
{
	char found[256];
	int r = query_text(s->writer, "PRAGMA quick_check(1)", s->path, found, err);

	if (r < 0 || strcmp(found, "ok") == 0)
		return r;
	r = niwa_cmdb_sqlite_fail(err, s->writer, SQLITE_CORRUPT, s->path);
	return niwa_fail_in(err, r, "%s", found);
}

static void sqlite_close(struct niwa_cmdb_store **sp)
{
	struct niwa_cmdb_store *s = *sp;

	if (!s)
		return;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(s->statements); i++)
		(void)sqlite3_finalize(s->statements[i]);
	(void)sqlite3_finalize(s->get);
	(void)sqlite3_finalize(s->get_past);
	(void)sqlite3_close(s->reader);
	(void)sqlite3_close(
		s->writer); /* the last one: moves the log into the file; if it cannot, the next start does */
	niwa_fd_close(&s->lock_fd);
	free(s->path);
	free(s);
	*sp = NULL;
}

static int sqlite_open(const char *path, struct niwa_cmdb_store **ret, struct niwa_error *err)
{
	NIWA_AUTO(sqlite_close) struct niwa_cmdb_store *s = niwa_zalloc(sizeof(*s));
	int r;

	if (!s)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open store '%s'", path);
	s->lock_fd = -1;
	s->path = niwa_strdup(path);
	if (!s->path)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open store '%s'", path);
	r = lock_file(s, err);
	if (r == 0)
		r = create_file(s, err);
	if (r == 0)
		r = connect_file(s, SQLITE_OPEN_READWRITE, WRITER_BUSY_MS, &s->writer, err);
	if (r == 0)
		r = niwa_cmdb_schema_migrate(s->writer, path, err);
	if (r == 0)
		r = set_durable(s, err);
	if (r == 0)
		r = check_whole(s, err);
	if (r == 0)
		r = connect_file(s, SQLITE_OPEN_READONLY, READER_BUSY_MS, &s->reader, err);
	if (r == 0)
		r = niwa_cmdb_sqlite_exec(s->reader, "PRAGMA cache_size = -256", path, err);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(s);
	return 0;
}

/* ---- the loop's reads ---- */

static int sqlite_each(struct niwa_cmdb_store *s, bool with_json, niwa_cmdb_each_fn *fn, void *arg,
		       struct niwa_error *err)
{
	const char *sql = with_json ? "SELECT a.id, a.name, t.name, t.id, a.addr, a.generation, a.json, t.files, "
				      "a.override FROM app a JOIN "
				      "tenant t ON t.id = a.tenant ORDER BY a.name"
				    : "SELECT a.id, a.name, t.name, t.id, a.addr, a.generation, NULL, t.files, "
				      "a.override FROM app a JOIN "
				      "tenant t ON t.id = a.tenant ORDER BY a.name";
	sqlite3_stmt *stmt = NULL;
	int r = 0, rc = sqlite3_prepare_v2(s->reader, sql, -1, &stmt, NULL);

	while (rc == SQLITE_OK && r >= 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct niwa_cmdb_app app = {
			.id = (uint64_t)sqlite3_column_int64(stmt, 0),
			.name = (const char *)sqlite3_column_text(stmt, 1),
			.tenant = (const char *)sqlite3_column_text(stmt, 2),
			.tenant_id = (uint32_t)sqlite3_column_int64(stmt, 3),
			.tenant_files = (uint32_t)sqlite3_column_int64(stmt, 7), /* NULL: 0 */
			.service_addr = htonl((uint32_t)sqlite3_column_int64(stmt, 4)),
			.generation = (uint64_t)sqlite3_column_int64(stmt, 5),
			.json = (const char *)sqlite3_column_text(stmt, 6),
			.json_len = (size_t)sqlite3_column_bytes(stmt, 6),
			.override = (const char *)sqlite3_column_text(stmt, 8),
		};

		rc = app.name && app.tenant && (app.json || !with_json) ? SQLITE_OK : SQLITE_NOMEM;
		if (rc == SQLITE_OK)
			r = fn(&app, arg);
	}
	(void)sqlite3_finalize(stmt); /* repeats the error of the step */
	if (r < 0)
		return r;
	return rc == SQLITE_DONE ? 0 : niwa_cmdb_sqlite_fail(err, s->reader, rc, s->path);
}

static int sqlite_get(struct niwa_cmdb_store *s, uint64_t id, char **ret_json, struct niwa_error *err)
{
	const char *text;
	char *json;
	int r = 0, rc = SQLITE_OK;

	if (!s->get)
		rc = sqlite3_prepare_v2(s->reader, "SELECT json FROM app WHERE id = ?", -1, &s->get, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(s->get, 1, (sqlite3_int64)id);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(s->get);
	if (rc == SQLITE_DONE) {
		r = niwa_fail(err, NIWA_CALLER, ENOENT, "app number %llu", (unsigned long long)id);
	} else if (rc != SQLITE_ROW) {
		r = niwa_cmdb_sqlite_fail(err, s->reader, rc, s->path);
	} else {
		text = (const char *)sqlite3_column_text(s->get, 0);
		json = niwa_strdup(text);
		if (json)
			*ret_json = json;
		else
			r = niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "app number %llu", (unsigned long long)id);
	}
	(void)sqlite3_reset(s->get); /* repeats the error of the step */
	return r;
}

static int sqlite_get_past(struct niwa_cmdb_store *s, uint64_t id, uint8_t buf[NIWA_CMDB_PAST_MAX],
			   struct niwa_error *err)
{
	const void *data;
	int r = 0, rc = SQLITE_OK;

	if (!s->get_past)
		rc = sqlite3_prepare_v2(s->reader, "SELECT seen FROM past WHERE app = ?", -1, &s->get_past, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(s->get_past, 1, (sqlite3_int64)id);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(s->get_past);
	if (rc == SQLITE_ROW) {
		data = sqlite3_column_blob(s->get_past, 0);
		r = sqlite3_column_bytes(s->get_past, 0);
		if (data && r <= NIWA_CMDB_PAST_MAX)
			memcpy(buf, data, (size_t)r);
		else
			r = 0; /* not of ours */
	} else if (rc != SQLITE_DONE) {
		r = niwa_cmdb_sqlite_fail(err, s->reader, rc, s->path);
	}
	(void)sqlite3_reset(s->get_past); /* repeats the error of the step; NULL is fine */
	return r;
}

static int sqlite_each_address(struct niwa_cmdb_store *s, niwa_cmdb_addr_fn *fn, void *arg, struct niwa_error *err)
{
	static const char sql[] = "SELECT addr, name FROM app UNION ALL SELECT addr, NULL FROM removed";
	sqlite3_stmt *stmt = NULL;
	int r = 0, rc = sqlite3_prepare_v2(s->reader, sql, -1, &stmt, NULL);

	while (rc == SQLITE_OK && r >= 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		r = fn((uint32_t)sqlite3_column_int64(stmt, 0), (const char *)sqlite3_column_text(stmt, 1), arg);
		rc = SQLITE_OK;
	}
	(void)sqlite3_finalize(stmt); /* repeats the error of the step */
	if (r < 0)
		return r;
	return rc == SQLITE_DONE ? 0 : niwa_cmdb_sqlite_fail(err, s->reader, rc, s->path);
}

static int sqlite_each_tenant(struct niwa_cmdb_store *s, niwa_cmdb_tenant_fn *fn, void *arg, struct niwa_error *err)
{
	sqlite3_stmt *stmt = NULL;
	int r = 0, rc = sqlite3_prepare_v2(s->reader, "SELECT name, limits FROM tenant WHERE limits IS NOT NULL", -1,
					   &stmt, NULL);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		const char *name, *text;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		name = (const char *)sqlite3_column_text(stmt, 0);
		text = (const char *)sqlite3_column_text(stmt, 1);
		if (!name || !text) {
			rc = SQLITE_NOMEM;
			break;
		}
		r = fn(name, text, arg);
		if (r < 0)
			break;
	}
	(void)sqlite3_finalize(stmt); /* repeats the error of the step */
	if (r < 0)
		return r;
	return rc == SQLITE_DONE ? 0 : niwa_cmdb_sqlite_fail(err, s->reader, rc, s->path);
}

const struct niwa_cmdb_store_ops niwa_cmdb_sqlite_ops = {
	.threaded = true,
	.open = sqlite_open,
	.close = sqlite_close,
	.each = sqlite_each,
	.get = sqlite_get,
	.get_past = sqlite_get_past,
	.each_address = sqlite_each_address,
	.begin = niwa_cmdb_sqlite_begin,
	.commit = niwa_cmdb_sqlite_commit,
	.rollback = niwa_cmdb_sqlite_rollback,
	.find = niwa_cmdb_sqlite_find,
	.insert = niwa_cmdb_sqlite_insert,
	.update = niwa_cmdb_sqlite_update,
	.remove = niwa_cmdb_sqlite_remove,
	.override = niwa_cmdb_sqlite_override,
	.past = niwa_cmdb_sqlite_past,
	.tenant_limits = niwa_cmdb_sqlite_tenant_limits,
	.each_tenant = sqlite_each_tenant,
	.tenant = niwa_cmdb_sqlite_tenant,
	.files = niwa_cmdb_sqlite_files,
	.remember = niwa_cmdb_sqlite_remember,
	.recall = niwa_cmdb_sqlite_recall,
	.oldest = niwa_cmdb_sqlite_oldest,
	.forget = niwa_cmdb_sqlite_forget,
};
