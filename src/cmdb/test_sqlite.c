/* SPDX-License-Identifier: MIT
 *
 * What the file promises: it keeps what was committed, old versions are brought up to date, files that are not
 * ours or not whole are refused with a clear message, and the loop never waits for the disk.
 */
#include "test_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmdb_private.h"

#define NET   "10.64.0.0"
#define FIRST UINT32_C(0x0a400010) /* 10.64.0.16 */

static int setup(void **state)
{
	struct fixture *f = niwa_zalloc(sizeof(*f));

	fixture_init(f, "sqlite", NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

/* Runs SQL on the file while the store is closed. */
static void with_sql(const struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void what_was_committed_is_there_after_opening_again(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	fixture_open(f, NET, 12);
	id = fixture_put(f, "a", "one", "{}")->id;
	assert_non_null(fixture_put(f, "b", "two", "{}"));
	assert_non_null(fixture_remove(f, "b"));
	fixture_close(f);
	fixture_open(f, NET, 12);
	assert_int_equal(fixture_put(f, "a", "one", "{}")->kind, NIWA_CMDB_UNCHANGED);
	assert_int_equal(f->out.kept[0].id, id);
	assert_int_equal(fixture_put(f, "c", "three", "{}")->addr, FIRST + 2); /* b's address rests */
	assert_int_equal(f->out.kept[0].tenant_id, 3);
	assert_true(f->out.kept[0].id > id + 1); /* and so does its number */
	assert_int_equal(fixture_put(f, "b", "two", "{}")->addr, FIRST + 1);
}

static void a_wider_range_keeps_addresses_and_a_range_without_them_is_refused(void **state)
{
	struct fixture *f = *state;
	struct niwa_error err;

	fixture_open(f, NET, 24);
	assert_int_equal(fixture_put(f, "a", "t", "{}")->addr, FIRST);
	fixture_close(f);
	assert_int_equal(fixture_try_open(f, "10.65.0.0", 24, &err), -ERANGE);
	assert_non_null(strstr(err.msg, "app a has the address 10.64.0.16"));
	assert_non_null(strstr(err.msg, "10.65.0.0/24"));
	fixture_open(f, NET, 12);
	assert_int_equal(fixture_put(f, "b", "t", "{}")->addr, FIRST + 1);
}

static void only_root_can_read_the_file(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct stat st;

	fixture_open(f, NET, 24);
	assert_non_null(fixture_put(f, "a", "t", "{}"));
	for (const char *const *end = (const char *const[]){"", "-wal", "-shm", ".lock", NULL}; *end; end++) {
		(void)snprintf(path, sizeof(path), "%s%s", f->path, *end);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
}

/* ---- versions ---- */

/* As version 1 wrote it. */
static const char version_1[] =
	"PRAGMA journal_mode = WAL;"
	"CREATE TABLE tenant (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;"
	"CREATE TABLE app (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	"  tenant INTEGER NOT NULL REFERENCES tenant(id), addr INTEGER NOT NULL UNIQUE,"
	"  generation INTEGER NOT NULL, json TEXT NOT NULL) STRICT;"
	"INSERT INTO tenant VALUES (3, 'example');"
	"INSERT INTO app VALUES (7, 'blog', 3, 0x0a400010, 5, '{\"v\":1}'), (9, 'shop', 3, 0x0a400012, 1, '{}');"
	"PRAGMA application_id = 0x4e495741; PRAGMA user_version = 1;";

static void a_file_of_version_1_is_brought_up_to_date(void **state)
{
	struct fixture *f = *state;
	const struct kept *k;

	with_sql(f, version_1);
	fixture_open(f, NET, 24);
	assert_int_equal(fixture_count(f), 2);
	k = fixture_put(f, "blog", "example", "{\"v\":2}");
	assert_int_equal(k->kind, NIWA_CMDB_CHANGED);
	assert_int_equal(k->id, 7);
	assert_int_equal(k->generation, 6);
	assert_int_equal(k->addr, FIRST);
	assert_int_equal(k->tenant_id, 3);
	assert_non_null(fixture_remove(f, "shop"));
	k = fixture_put(f, "new", "other", "{}");
	assert_int_equal(k->addr, FIRST + 1);
	assert_int_equal(k->id, 10);
	assert_int_equal(k->tenant_id, 4);
	assert_int_equal(fixture_put(f, "next", "other", "{}")->addr, FIRST + 3);
	assert_int_equal(fixture_put(f, "shop", "example", "{}")->addr, FIRST + 2);
}

/* As version 5 wrote it. */
static const char version_5[] =
	"PRAGMA journal_mode = WAL;"
	"CREATE TABLE tenant (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, files INTEGER,"
	"  limits TEXT) STRICT;"
	"CREATE TABLE app (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	"  tenant INTEGER NOT NULL REFERENCES tenant(id), addr INTEGER NOT NULL UNIQUE,"
	"  generation INTEGER NOT NULL, json TEXT NOT NULL, override TEXT) STRICT;"
	"CREATE TABLE removed (addr INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, removed_us INTEGER NOT NULL) "
	"STRICT;"
	"CREATE INDEX removed_since ON removed(removed_us);"
	"CREATE UNIQUE INDEX tenant_files ON tenant(files);"
	"INSERT INTO tenant VALUES (3, 'example', NULL, NULL);"
	"INSERT INTO app VALUES (7, 'blog', 3, 0x0a400010, 5, '{}', NULL), (9, 'shop', 3, 0x0a400012, 1, '{}', NULL);"
	"PRAGMA application_id = 0x4e495741; PRAGMA user_version = 5;";

static void put_past(struct fixture *f, uint64_t id)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(niwa_cmdb_txn_past(txn, id, "seen", 4), 0);
	assert_false(fixture_commit(f, txn)->refused);
}

static void apps_of_version_5_have_no_past_and_keep_the_one_they_get(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[NIWA_CMDB_PAST_MAX];

	with_sql(f, version_5);
	fixture_open(f, NET, 24);
	assert_int_equal(niwa_cmdb_past(f->db, 7, buf, NULL), 0);
	put_past(f, 7);
	put_past(f, 9);
	fixture_close(f);
	fixture_open(f, NET, 24);
	assert_int_equal(fixture_put(f, "blog", "example", "{}")->generation, 5);
	assert_int_equal(niwa_cmdb_past(f->db, 7, buf, NULL), 4);
	assert_memory_equal(buf, "seen", 4);
	assert_non_null(fixture_remove(f, "shop"));
	fixture_close(f);
	with_sql(f, "CREATE TABLE one (n INTEGER CHECK (n = 1)); INSERT INTO one SELECT count(*) FROM past");
}

static void what_another_program_wrote_of_the_past_is_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[NIWA_CMDB_PAST_MAX];

	with_sql(f, version_5);
	fixture_open(f, NET, 24);
	fixture_close(f);
	with_sql(f, "INSERT INTO past VALUES (7, zeroblob(256)), (9, x'')");
	fixture_open(f, NET, 24);
	assert_int_equal(niwa_cmdb_past(f->db, 7, buf, NULL), 0);
	assert_int_equal(niwa_cmdb_past(f->db, 9, buf, NULL), 0);
}

/* As version 2 wrote it: the id was the number. The last ones ran into the ids of leases and of the host. */
static void files_of_tenants_keep_their_ids_and_what_had_none_of_its_own_gets_none(void **state)
{
	static const char volumes[] = "{\"volumes\":[{\"from\":\"/srv/a\",\"to\":\"/data\"}]}";
	static const char more[] = "INSERT INTO tenant VALUES (45054, 'last'), (45055, 'over'), (70000, 'far');";
	struct fixture *f = *state;
	const struct kept *k;
	char sql[2048];

	(void)snprintf(sql, sizeof(sql), "%s%s", version_1, more);
	with_sql(f, sql);
	fixture_open(f, NET, 24);
	k = fixture_put(f, "a", "example", volumes);
	assert_int_equal(k->tenant_files, 3);
	assert_int_equal(fixture_put(f, "b", "last", volumes)->tenant_files, 45054);
	assert_null(fixture_put(f, "c", "over", volumes));
	assert_non_null(strstr(f->out.err.msg, "tenant over cannot have volumes: 45054 tenants had some"));
	assert_null(fixture_put(f, "c", "new", volumes));
	k = fixture_put(f, "c", "new", "{}"); /* without volumes there is no end */
	assert_int_equal(k->tenant_id, 70001);
	assert_int_equal(k->tenant_files, 0);
	assert_int_equal(fixture_put(f, "d", "example", volumes)->tenant_files, 3);
	fixture_close(f);
	fixture_open(f, NET, 24);
	assert_int_equal(fixture_put(f, "e", "last", volumes)->tenant_files, 45054);
}

static void a_migration_that_fails_leaves_the_old_version_whole(void **state)
{
	struct fixture *f = *state;
	struct niwa_error err;

	with_sql(f, version_1);
	with_sql(f, "CREATE TABLE removed (x)"); /* step 2 will stumble on it */
	assert_true(fixture_try_open(f, NET, 24, &err) < 0);
	assert_non_null(strstr(err.msg, "bring the schema from version 1 to 6"));
	with_sql(f, "DROP TABLE removed");
	fixture_open(f, NET, 24);
	assert_int_equal(fixture_count(f), 2);
}

static void files_that_are_not_for_us_are_refused_with_a_reason(void **state)
{
	static const struct {
		const char *sql, *says;
		int r;
	} cases[] = {
		{"PRAGMA application_id = 0x4e495741; PRAGMA user_version = 99", "has schema version 99",
		 -EPROTONOSUPPORT},
		{"CREATE TABLE songs (x)", "of another program", -EMEDIUMTYPE},
		{"PRAGMA application_id = 5", "of another program", -EMEDIUMTYPE},
	};
	struct fixture *f = *state;
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		(void)unlink(f->path);
		with_sql(f, cases[i].sql);
		assert_int_equal(fixture_try_open(f, NET, 24, &err), cases[i].r);
		assert_non_null(strstr(err.msg, cases[i].says));
		assert_non_null(strstr(err.msg, f->path));
	}
}

static void a_second_niwad_is_refused(void **state)
{
	struct fixture *f = *state;
	struct niwa_cmdb *first;
	struct niwa_error err;

	fixture_open(f, NET, 24);
	first = f->db;
	f->db = NULL;
	assert_int_equal(fixture_try_open(f, NET, 24, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "in use by another niwad"));
	niwa_cmdb_close(&first);
	fixture_open(f, NET, 24);
}

static void places_that_cannot_be_opened_are_named(void **state)
{
	struct fixture *f = *state;
	struct niwa_error err;

	(void)snprintf(f->path, sizeof(f->path), "%s/none/cmdb", f->dir);
	assert_int_equal(fixture_try_open(f, NET, 24, &err), -ENOENT);
	assert_non_null(strstr(err.msg, f->path));
	(void)snprintf(f->path, sizeof(f->path), "%s", f->dir);
	assert_int_equal(fixture_try_open(f, NET, 24, &err), -EISDIR);
}

/* ---- damage ---- */

static void fill(struct fixture *f, size_t count)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	char name[32];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "app%zu", i);
		assert_int_equal(niwa_cmdb_txn_put(txn, name, "t", "{\"k\":\"0123456789012345678901234567890\"}", 37),
				 0);
	}
	assert_false(fixture_commit(f, txn)->refused);
}

static void a_damaged_file_is_refused_with_advice(void **state)
{
	static const struct {
		off_t at;
		size_t len;
	} cases[] = {{0, 100}, {0, 4096}, {8192, 4096}, {40000, 8192}};
	struct fixture *f = *state;
	struct niwa_error err;
	char junk[8192];
	int fd;

	memset(junk, 0x5a, sizeof(junk));
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		(void)unlink(f->path);
		fixture_open(f, NET, 12);
		fill(f, 2000);
		fixture_close(f);
		fd = open(f->path, O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, junk, cases[i].len, cases[i].at), (ssize_t)cases[i].len);
		assert_int_equal(close(fd), 0);
		assert_int_equal(fixture_try_open(f, NET, 12, &err), -EBADMSG);
		assert_int_equal(err.kind, NIWA_PERMANENT);
		assert_non_null(strstr(err.msg, "is damaged"));
		assert_non_null(strstr(err.msg, "restore a backup"));
		assert_non_null(strstr(err.msg, f->path));
	}
}

static void a_file_that_was_cut_short_is_refused(void **state)
{
	struct fixture *f = *state;
	struct niwa_error err;

	fixture_open(f, NET, 12);
	fill(f, 2000);
	fixture_close(f);
	assert_int_equal(truncate(f->path, 20480), 0);
	assert_int_equal(fixture_try_open(f, NET, 12, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "is damaged"));
}

/* ---- the loop ---- */

struct pace {
	uint64_t last_us, worst_us;
	unsigned turns;
};

static int tick(sd_event_source *source, uint64_t us, void *arg)
{
	struct pace *p = arg;
	uint64_t now = niwa_now_us(), gap = now - p->last_us;

	p->worst_us = gap > p->worst_us ? gap : p->worst_us;
	p->last_us = now;
	p->turns++;
	assert_true(sd_event_source_set_time_relative(source, 1000) >= 0);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* A timer of 1 ms goes on while 50,000 apps are committed. The bound is wide: the machine may be shared. */
static void the_loop_goes_on_while_a_large_transaction_is_committed(void **state)
{
	struct fixture *f = *state;
	struct niwa_cmdb_txn *txn;
	sd_event_source *timer = NULL;
	struct pace pace = {0};
	char name[32];

	fixture_open(f, NET, 12);
	txn = niwa_cmdb_txn_new(f->db);
	for (size_t i = 0; i < 50000; i++) {
		(void)snprintf(name, sizeof(name), "app%zu", i);
		assert_int_equal(niwa_cmdb_txn_put(txn, name, name, "{}", 2), 0);
	}
	assert_true(sd_event_add_time_relative(f->event, &timer, CLOCK_MONOTONIC, 0, 1, tick, &pace) >= 0);
	pace.last_us = niwa_now_us();
	assert_false(fixture_commit(f, txn)->refused);
	print_message("%u turns, longest gap %.2f ms\n", pace.turns, (double)pace.worst_us / 1000);
	assert_true(pace.worst_us < 100000);
	(void)sd_event_source_disable_unref(timer);
}

static void more_transactions_than_the_queue_holds_are_refused(void **state)
{
	static struct outcome o[NIWA_CMDB_QUEUE_MAX * 4];
	struct fixture *f = *state;
	size_t done = 0, refused = 0;

	fixture_open(f, NET, 12);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(o); i++) {
		struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
		char name[32];

		(void)snprintf(name, sizeof(name), "app%zu", i);
		assert_int_equal(niwa_cmdb_txn_put(txn, name, "t", "{}", 2), 0);
		niwa_cmdb_txn_commit(txn, fixture_outcome, &o[i]);
	}
	fixture_close(f);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(o); i++) {
		assert_true(o[i].last);
		done += !o[i].refused;
		if (!o[i].refused)
			continue;
		refused++;
		assert_int_equal(o[i].err.kind, NIWA_TEMPORARY);
		assert_int_equal(o[i].err.code, EAGAIN);
	}
	assert_true(done >= NIWA_CMDB_QUEUE_MAX);
	assert_true(refused > 0);
	fixture_open(f, NET, 12);
	assert_int_equal(fixture_count(f), done);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_committed_is_there_after_opening_again),
		TEST(a_wider_range_keeps_addresses_and_a_range_without_them_is_refused),
		TEST(only_root_can_read_the_file),
		TEST(a_file_of_version_1_is_brought_up_to_date),
		TEST(files_of_tenants_keep_their_ids_and_what_had_none_of_its_own_gets_none),
		TEST(apps_of_version_5_have_no_past_and_keep_the_one_they_get),
		TEST(what_another_program_wrote_of_the_past_is_nothing),
		TEST(a_migration_that_fails_leaves_the_old_version_whole),
		TEST(files_that_are_not_for_us_are_refused_with_a_reason),
		TEST(a_second_niwad_is_refused),
		TEST(places_that_cannot_be_opened_are_named),
		TEST(a_damaged_file_is_refused_with_advice),
		TEST(a_file_that_was_cut_short_is_refused),
		TEST(the_loop_goes_on_while_a_large_transaction_is_committed),
		TEST(more_transactions_than_the_queue_holds_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
