/* SPDX-License-Identifier: MIT
 *
 * What the store promises, for both implementations: each test runs once with a file and once in memory.
 */
#include "test_fixture.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmdb_private.h"

#define NET   "10.64.0.0"
#define FIRST UINT32_C(0x0a400010) /* 10.64.0.16 */
#define DAY   NIWA_CMDB_REST_US

static uint64_t pretended_us = 1000 * DAY;

static uint64_t pretended_clock(void)
{
	return pretended_us;
}

static void an_app_gets_an_address_a_number_and_generation_one(struct fixture *f)
{
	const struct kept *k = fixture_put(f, "blog.example.com", "example", "{\"a\":1}");

	assert_non_null(k);
	assert_int_equal(k->kind, NIWA_CMDB_ADDED);
	assert_int_equal(k->addr, FIRST);
	assert_int_equal(k->generation, 1);
	assert_int_equal(k->tenant_id, 1);
	assert_true(k->id > 0);
	assert_string_equal(k->name, "blog.example.com");
	assert_string_equal(k->tenant, "example");
	assert_string_equal(k->json, "{\"a\":1}");
}

static void the_same_record_again_changes_nothing(struct fixture *f)
{
	const struct kept *k;
	uint64_t id = fixture_put(f, "a", "t", "{}")->id;

	k = fixture_put(f, "a", "t", "{}");
	assert_int_equal(k->kind, NIWA_CMDB_UNCHANGED);
	assert_int_equal(k->generation, 1);
	assert_int_equal(k->id, id);
	assert_int_equal(k->addr, FIRST);
	assert_string_equal(k->json, "{}");
}

static void a_changed_record_keeps_number_and_address_and_raises_the_generation(struct fixture *f)
{
	char *json = NULL;
	uint64_t id = fixture_put(f, "a", "t", "{}")->id;
	const struct kept *k = fixture_put(f, "a", "t", "{\"b\":2}");

	assert_int_equal(k->kind, NIWA_CMDB_CHANGED);
	assert_int_equal(k->id, id);
	assert_int_equal(k->addr, FIRST);
	assert_int_equal(k->generation, 2);
	assert_int_equal(niwa_cmdb_get(f->db, id, &json, NULL), 0);
	assert_string_equal(json, "{\"b\":2}");
	free(json);
}

static void an_app_that_moves_to_another_tenant_is_changed(struct fixture *f)
{
	const struct kept *k;

	assert_int_equal(fixture_put(f, "a", "one", "{}")->tenant_id, 1);
	k = fixture_put(f, "a", "two", "{}");
	assert_int_equal(k->kind, NIWA_CMDB_CHANGED);
	assert_int_equal(k->tenant_id, 2);
	assert_string_equal(k->tenant, "two");
}

#define WITH_VOLUME(n) "{\"n\":" #n ",\"volumes\":[{\"from\":\"/srv/]}\\\"\",\"to\":\"/data\"}]}"

static void a_tenant_gets_a_number_for_its_files_with_its_first_volume_and_keeps_it(struct fixture *f)
{
	static const char *const none[] = {
		"{}",
		"{\"env\":{\"v\":\"\\\"volumes\\\":[{\\\"from\\\":1}]\"}}",
		"{\"volumes\":[{\"from\":\"/a}\",\"owner\":\"www\",\"to\":\"/a\"}]}",
		"{\"volumes\":[{\"from\":\"/a\",\"owner\":\"www\"},{\"from\":\"/b\",\"owner\":\"1000\"}]}",
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(none); i++)
		assert_int_equal(fixture_put(f, "a", "one", none[i])->tenant_files, 0);
	assert_int_equal(fixture_put(f, "b", "two", "{}")->tenant_files, 0);
	assert_int_equal(fixture_put(f, "c", "three", WITH_VOLUME(1))->tenant_files, 1);
	assert_int_equal(fixture_put(f, "a", "one", WITH_VOLUME(1))->tenant_files, 2);
	assert_int_equal(fixture_put(f, "d", "three", WITH_VOLUME(2))->tenant_files, 1);
	assert_non_null(fixture_remove(f, "c"));
	assert_non_null(fixture_remove(f, "d"));
	assert_int_equal(fixture_put(f, "e", "four", WITH_VOLUME(1))->tenant_files, 3);
	assert_int_equal(fixture_put(f, "f", "three", WITH_VOLUME(1))->tenant_files, 1);
	assert_int_equal(f->out.kept[0].tenant_id, 3);
	assert_int_equal(fixture_put(f, "f", "two", WITH_VOLUME(1))->tenant_files, 4);
}

static void a_tenant_keeps_its_number_when_its_last_app_is_gone(struct fixture *f)
{
	assert_int_equal(fixture_put(f, "a", "one", "{}")->tenant_id, 1);
	assert_int_equal(fixture_put(f, "b", "two", "{}")->tenant_id, 2);
	assert_non_null(fixture_remove(f, "a"));
	assert_int_equal(fixture_put(f, "c", "three", "{}")->tenant_id, 3);
	assert_int_equal(fixture_put(f, "d", "one", "{}")->tenant_id, 1);
}

static void a_removed_app_is_told_as_it_was_and_cannot_be_read(struct fixture *f)
{
	char *json = NULL;
	struct niwa_error err;
	uint64_t id = fixture_put(f, "a", "t", "{}")->id;
	const struct kept *k = fixture_remove(f, "a");

	assert_int_equal(k->kind, NIWA_CMDB_REMOVED);
	assert_int_equal(k->id, id);
	assert_int_equal(k->addr, FIRST);
	assert_int_equal(k->tenant_id, 1);
	assert_string_equal(k->name, "a");
	assert_string_equal(k->tenant, "t");
	assert_false(k->has_json);
	assert_int_equal(niwa_cmdb_get(f->db, id, &json, &err), -ENOENT);
	assert_null(json);
	assert_int_equal(fixture_count(f), 0);
}

static void a_name_that_comes_back_gets_its_old_address_and_a_new_number(struct fixture *f)
{
	uint64_t id = fixture_put(f, "a", "t", "{}")->id;
	const struct kept *k;

	assert_int_equal(fixture_put(f, "b", "t", "{}")->addr, FIRST + 1);
	assert_non_null(fixture_remove(f, "a"));
	assert_int_equal(fixture_put(f, "c", "t", "{}")->addr, FIRST + 2);
	k = fixture_put(f, "a", "t", "{}");
	assert_int_equal(k->kind, NIWA_CMDB_ADDED);
	assert_int_equal(k->addr, FIRST);
	assert_true(k->id > id);
	assert_int_equal(k->generation, 1);
}

static void fill_range(struct fixture *f, size_t count)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	char name[32];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "app%zu", i);
		assert_int_equal(niwa_cmdb_txn_put(txn, name, "t", "{}", 2), 0);
	}
	(void)fixture_commit(f, txn);
}

/* A /26 has 64 addresses, 32 of them usable. */
static void a_full_range_refuses_and_says_what_to_do(struct fixture *f)
{
	fixture_close(f);
	if (strcmp(f->kind, "sqlite") == 0)
		assert_int_equal(unlink(f->path), 0);
	fixture_open(f, NET, 26);
	fill_range(f, 33);
	assert_true(f->out.refused);
	assert_int_equal(f->out.err.kind, NIWA_PERMANENT);
	assert_non_null(strstr(f->out.err.msg, "all 32 of 10.64.0.0/26 are in use"));
	assert_int_equal(fixture_count(f), 0);
	fill_range(f, 32);
	assert_false(f->out.refused);
	assert_int_equal(f->out.kept[0].addr, FIRST);
	assert_int_equal(f->out.kept[31].addr, FIRST + 31);
}

static void an_address_goes_to_another_app_only_when_no_other_is_free_and_after_a_day(struct fixture *f)
{
	fixture_close(f);
	if (strcmp(f->kind, "sqlite") == 0)
		assert_int_equal(unlink(f->path), 0);
	fixture_open(f, NET, 26);
	f->db->clock = pretended_clock;
	fill_range(f, 31);
	assert_non_null(fixture_remove(f, "app5"));
	pretended_us += DAY / 2;
	assert_non_null(fixture_remove(f, "app3"));
	pretended_us += DAY; /* both have rested, but one was never used */
	assert_int_equal(fixture_put(f, "new1", "t", "{}")->addr, FIRST + 31);
	assert_int_equal(fixture_put(f, "new2", "t", "{}")->addr, FIRST + 5);
	assert_int_equal(fixture_put(f, "new3", "t", "{}")->addr, FIRST + 3);
	assert_non_null(fixture_remove(f, "app7"));
	pretended_us += DAY - 1;
	assert_null(fixture_put(f, "new4", "t", "{}"));
	assert_int_equal(fixture_put(f, "app7", "t", "{}")->addr, FIRST + 7); /* its own: at once */
	assert_non_null(fixture_remove(f, "app7"));
	pretended_us += DAY;
	assert_int_equal(fixture_put(f, "new4", "t", "{}")->addr, FIRST + 7);
	assert_null(fixture_put(f, "app5", "t", "{}")); /* its old address is another's now */
}

static void a_removal_of_an_unknown_name_refuses_the_whole_transaction(struct fixture *f)
{
	struct niwa_cmdb_txn *txn;

	assert_non_null(fixture_put(f, "a", "t", "{\"v\":1}"));
	txn = niwa_cmdb_txn_new(f->db);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "u", "{\"v\":2}", 7), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "b", "t", "{}", 2), 0);
	assert_int_equal(niwa_cmdb_txn_remove(txn, "a"), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"v\":3}", 7), 0);
	assert_int_equal(niwa_cmdb_txn_remove(txn, "nobody"), 0);
	assert_true(fixture_commit(f, txn)->refused);
	assert_int_equal(f->out.err.kind, NIWA_CALLER);
	assert_string_equal(f->out.err.msg, "remove 'nobody': there is no such app");
	assert_int_equal(f->out.count, 0);
	assert_int_equal(fixture_count(f), 1);
	assert_int_equal(fixture_put(f, "a", "t", "{\"v\":1}")->kind, NIWA_CMDB_UNCHANGED);
	assert_int_equal(f->out.kept[0].generation, 1);
	assert_int_equal(fixture_put(f, "c", "t", "{}")->addr, FIRST + 1); /* what b had was given back */
}

static int note_override(const struct niwa_cmdb_app *app, void *arg)
{
	char *text = arg;

	(void)snprintf(text, 32, "%s", app->override ? app->override : "none");
	return 0;
}

static void expect_override(struct fixture *f, const char *expected)
{
	char text[32] = "";

	assert_int_equal(niwa_cmdb_each(f->db, false, note_override, text, NULL), 0);
	assert_string_equal(text, expected);
}

static const struct outcome *set_over(struct fixture *f, const char *name, const char *text)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(niwa_cmdb_txn_override(txn, name, text), 0);
	return fixture_commit(f, txn);
}

static void what_is_set_over_a_record_outlives_its_changes_and_goes_with_the_app(struct fixture *f)
{
	struct niwa_cmdb_txn *txn;
	const struct outcome *out;
	char long_text[NIWA_CMDB_OVERRIDE_MAX + 2];

	(void)fixture_put(f, "a", "t", "{\"a\":1}");
	expect_override(f, "none");
	out = set_over(f, "a", "cpu=200%");
	assert_null(out->refused);
	assert_int_equal(out->kept[0].kind, NIWA_CMDB_UNCHANGED);
	assert_int_equal(out->kept[0].generation, 1);
	expect_override(f, "cpu=200%");
	assert_int_equal(fixture_put(f, "a", "t", "{\"a\":2}")->kind, NIWA_CMDB_CHANGED);
	expect_override(f, "cpu=200%");
	txn = niwa_cmdb_txn_new(f->db); /* in one transaction with others */
	assert_int_equal(niwa_cmdb_txn_override(txn, "a", "cpu=300%"), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"a\":3}", 7), 0);
	assert_int_equal(niwa_cmdb_txn_override(txn, "a", "cpu=400%"), 0);
	assert_null(fixture_commit(f, txn)->refused);
	expect_override(f, "cpu=400%");
	txn = niwa_cmdb_txn_new(f->db); /* undone with its transaction */
	assert_int_equal(niwa_cmdb_txn_override(txn, "a", NULL), 0);
	assert_int_equal(niwa_cmdb_txn_remove(txn, "nobody"), 0);
	assert_non_null(fixture_commit(f, txn)->refused);
	expect_override(f, "cpu=400%");
	assert_null(set_over(f, "a", NULL)->refused);
	expect_override(f, "none");
	(void)set_over(f, "a", "x");
	assert_non_null(fixture_remove(f, "a"));
	(void)fixture_put(f, "a", "t", "{\"a\":1}");
	expect_override(f, "none");
	assert_non_null(set_over(f, "nobody", "x")->refused);
	assert_int_equal(f->out.err.kind, NIWA_CALLER);
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	txn = niwa_cmdb_txn_new(f->db);
	assert_int_equal(niwa_cmdb_txn_override(txn, "a", long_text), -EINVAL);
	assert_int_equal(niwa_cmdb_txn_override(txn, "a", ""), -EINVAL);
	niwa_cmdb_txn_free(&txn);
}

static int note_tenant(const char *tenant, const char *text, void *arg)
{
	char *all = arg;

	(void)snprintf(all + strlen(all), 64 - strlen(all), "%s=%s;", tenant, text);
	return 0;
}

static void expect_tenants(struct fixture *f, const char *expected)
{
	char all[64] = "";

	assert_int_equal(niwa_cmdb_each_tenant(f->db, note_tenant, all, NULL), 0);
	assert_string_equal(all, expected);
}

static void what_holds_for_a_tenant_is_kept_also_without_an_app(struct fixture *f)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	const struct outcome *out;

	expect_tenants(f, "");
	assert_int_equal(niwa_cmdb_txn_tenant(txn, "", "x"), -EINVAL);
	assert_int_equal(niwa_cmdb_txn_tenant(txn, "t", ""), -EINVAL);
	assert_int_equal(niwa_cmdb_txn_tenant(txn, "t", "{}"), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"a\":1}", 7), 0);
	out = fixture_commit(f, txn);
	assert_null(out->refused);
	assert_int_equal(out->kept[0].kind, NIWA_CMDB_TENANT);
	assert_int_equal(out->kept[1].kind, NIWA_CMDB_ADDED);
	assert_int_equal(out->kept[0].tenant_id, out->kept[1].tenant_id);
	expect_tenants(f, "t={};");
	assert_non_null(fixture_remove(f, "a"));
	expect_tenants(f, "t={};");
	txn = niwa_cmdb_txn_new(f->db);
	assert_int_equal(niwa_cmdb_txn_tenant(txn, "t", "[]"), 0);
	assert_int_equal(niwa_cmdb_txn_tenant(txn, "t", NULL), 0);
	assert_int_equal(niwa_cmdb_txn_tenant(txn, "u", "1"), 0);
	assert_null(fixture_commit(f, txn)->refused);
	expect_tenants(f, "u=1;");
}

static void put_past(struct fixture *f, uint64_t id, const char *data, size_t len)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(niwa_cmdb_txn_past(txn, id, data, len), 0);
	assert_false(fixture_commit(f, txn)->refused);
	assert_int_equal(f->out.kinds[NIWA_CMDB_PAST], 1);
	assert_int_equal(f->out.kept[0].id, id);
	assert_false(f->out.kept[0].has_json);
}

static int past_len(struct fixture *f, uint64_t id)
{
	uint8_t buf[NIWA_CMDB_PAST_MAX];

	return niwa_cmdb_past(f->db, id, buf, NULL);
}

static void what_was_seen_of_an_app_outlives_its_changes_and_goes_with_it(struct fixture *f)
{
	char most[NIWA_CMDB_PAST_MAX + 1] = "\1\0binary";
	uint8_t buf[NIWA_CMDB_PAST_MAX];
	uint64_t id = fixture_put(f, "a", "t", "{}")->id, other = fixture_put(f, "b", "t", "{}")->id;
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(past_len(f, id), 0);
	put_past(f, id, most, NIWA_CMDB_PAST_MAX);
	put_past(f, id, most, 8);
	put_past(f, other, "x", 1);
	assert_int_equal(fixture_put(f, "a", "t", "{\"v\":2}")->generation, 2);
	assert_int_equal(niwa_cmdb_past(f->db, id, buf, NULL), 8);
	assert_memory_equal(buf, most, 8);
	assert_non_null(fixture_remove(f, "a"));
	assert_int_equal(past_len(f, id), 0);
	put_past(f, id, "late", 4); /* no app, no harm */
	assert_int_equal(past_len(f, id), 0);
	assert_int_equal(past_len(f, fixture_put(f, "a", "t", "{}")->id), 0);
	assert_int_equal(past_len(f, other), 1);
	assert_int_equal(niwa_cmdb_txn_past(txn, id, most, 0), -EINVAL);
	assert_int_equal(niwa_cmdb_txn_past(txn, id, most, sizeof(most)), -EINVAL);
	niwa_cmdb_txn_free(&txn);
}

static void one_name_may_come_several_times_in_a_transaction(struct fixture *f)
{
	static const enum niwa_cmdb_change_kind kinds[] = {NIWA_CMDB_ADDED, NIWA_CMDB_CHANGED, NIWA_CMDB_UNCHANGED,
							   NIWA_CMDB_REMOVED, NIWA_CMDB_ADDED};
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	char *json = NULL;

	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"v\":1}", 7), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"v\":2}", 7), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"v\":2}", 7), 0);
	assert_int_equal(niwa_cmdb_txn_remove(txn, "a"), 0);
	assert_int_equal(niwa_cmdb_txn_put(txn, "a", "t", "{\"v\":4}", 7), 0);
	assert_false(fixture_commit(f, txn)->refused);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(kinds); i++) {
		assert_int_equal(f->out.kept[i].kind, kinds[i]);
		assert_int_equal(f->out.kept[i].addr, FIRST);
	}
	assert_int_equal(niwa_cmdb_get(f->db, f->out.kept[4].id, &json, NULL), 0);
	assert_string_equal(json, "{\"v\":4}");
	free(json);
}

static void an_empty_transaction_is_answered_once(struct fixture *f)
{
	struct outcome *o = fixture_commit(f, niwa_cmdb_txn_new(f->db));

	assert_int_equal(o->calls, 1);
	assert_int_equal(o->count, 0);
	assert_false(o->refused);
}

static void bad_puts_are_refused_and_leave_the_transaction_whole(struct fixture *f)
{
	static const struct {
		const char *name, *tenant, *json;
		size_t json_len;
		int r;
	} cases[] = {
		{"", "t", "{}", 2, -EINVAL},
		{"a", "", "{}", 2, -EINVAL},
		{"a", "t", "", 0, -EINVAL},
		{"a", "t", "{\0}", 3, -EINVAL},
		{"a", "t", "{}", 64 * 1024 + 1, -EINVAL},
		{NULL, "t", "{}", 2, -EINVAL},
		{"a", NULL, "{}", 2, -EINVAL},
	};
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	char long_name[300];

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(niwa_cmdb_txn_put(txn, "good", "t", "{}", 2), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		assert_int_equal(niwa_cmdb_txn_put(txn, cases[i].name ? cases[i].name : long_name,
						   cases[i].tenant ? cases[i].tenant : long_name, cases[i].json,
						   cases[i].json_len),
				 cases[i].r);
	assert_int_equal(niwa_cmdb_txn_remove(txn, ""), -EINVAL);
	assert_false(fixture_commit(f, txn)->refused);
	assert_int_equal(f->out.count, 1);
}

static void a_transaction_has_a_bound_in_changes_and_in_bytes(struct fixture *f)
{
	NIWA_AUTO(niwa_free_ptr) char *json = niwa_zalloc(60000);
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	size_t n = 0;
	int r;

	for (size_t i = 0; i < NIWA_CMDB_TXN_MAX; i++)
		assert_int_equal(niwa_cmdb_txn_remove(txn, "a"), 0);
	assert_int_equal(niwa_cmdb_txn_remove(txn, "a"), -E2BIG);
	niwa_cmdb_txn_free(&txn);
	memset(json, 'x', 60000);
	txn = niwa_cmdb_txn_new(f->db);
	while ((r = niwa_cmdb_txn_put(txn, "a", "t", json, 60000)) == 0)
		n++;
	assert_int_equal(r, -E2BIG);
	assert_in_range(n, 3000, NIWA_CMDB_TXN_BYTES_MAX / 60000);
	niwa_cmdb_txn_free(&txn);
	assert_null(txn);
}

struct walk {
	char names[256];
	int stop_after;
	bool with_json;
};

static int walk_one(const struct niwa_cmdb_app *app, void *arg)
{
	struct walk *w = arg;

	(void)strcat(strcat(w->names, app->name), " ");
	assert_string_equal(app->tenant, "t");
	assert_int_equal(app->tenant_id, 1);
	assert_true(app->id > 0 && ntohl(app->service_addr) >= FIRST);
	if (w->with_json)
		assert_true(app->json_len == 2 && strcmp(app->json, "{}") == 0);
	else
		assert_true(app->json_len == 0 && !app->json);
	return --w->stop_after == 0 ? -ECANCELED : 0;
}

static void a_walk_goes_by_name_and_stops_when_it_is_told(struct fixture *f)
{
	struct walk w = {.with_json = true};

	assert_non_null(fixture_put(f, "c", "t", "{}"));
	assert_non_null(fixture_put(f, "a", "t", "{}"));
	assert_non_null(fixture_put(f, "b", "t", "{}"));
	assert_int_equal(niwa_cmdb_each(f->db, true, walk_one, &w, NULL), 0);
	assert_string_equal(w.names, "a b c ");
	w = (struct walk){.stop_after = 2};
	assert_int_equal(niwa_cmdb_each(f->db, false, walk_one, &w, NULL), -ECANCELED);
	assert_string_equal(w.names, "a b ");
}

struct again {
	struct fixture *f;
	struct outcome second;
};

static void commit_again(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
			 void *arg)
{
	struct again *a = arg;
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(a->f->db);

	assert_int_equal(fixture_count(a->f), 1); /* reads are allowed in here */
	assert_int_equal(niwa_cmdb_txn_put(txn, "second", "t", "{}", 2), 0);
	niwa_cmdb_txn_commit(txn, fixture_outcome, &a->second);
	assert_int_equal(a->second.calls, 0);
}

static struct niwa_cmdb_txn *one_put(struct fixture *f, const char *name)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);

	assert_int_equal(niwa_cmdb_txn_put(txn, name, "t", "{}", 2), 0);
	return txn;
}

static void a_callback_may_read_and_commit(struct fixture *f)
{
	struct again a = {f};

	niwa_cmdb_txn_commit(one_put(f, "first"), commit_again, &a);
	while (!a.second.last)
		assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
	assert_int_equal(fixture_count(f), 2);
}

static void closing_commits_what_is_queued_and_runs_the_callbacks(struct fixture *f)
{
	struct outcome o[3] = {0};
	struct again a = {f};

	niwa_cmdb_txn_commit(one_put(f, "a"), commit_again, &a);
	niwa_cmdb_txn_commit(one_put(f, "a"), fixture_outcome, &o[0]);
	niwa_cmdb_txn_commit(one_put(f, "a"), NULL, NULL);
	fixture_close(f);
	assert_true(o[0].last && !o[0].refused);
	assert_true(a.second.last && !a.second.refused);
}

static void transactions_are_answered_in_their_order(struct fixture *f)
{
	struct outcome o[20] = {0};
	char name[16];

	for (size_t i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "app%zu", i);
		niwa_cmdb_txn_commit(one_put(f, name), fixture_outcome, &o[i]);
	}
	while (!o[19].last)
		assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
	for (size_t i = 0; i < 20; i++) {
		assert_true(o[i].last && !o[i].refused);
		assert_int_equal(o[i].kept[0].addr, FIRST + i);
	}
}

static struct niwa_cmdb_txn *many(struct fixture *f, size_t count, const char *extra)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(f->db);
	char name[64], tenant[64], json[512];

	for (size_t i = 0; i < count; i++) {
		int n;

		(void)snprintf(name, sizeof(name), "blog-%zu.example.com", i);
		(void)snprintf(tenant, sizeof(tenant), "tenant-%zu", i / 3);
		n = snprintf(
			json, sizeof(json),
			"{\"command\":[\"apache2\",\"-DFOREGROUND\",\"-f\",\"/srv/blog/apache.conf\"],\"image\":"
			"\"host\",\"limits\":{\"cpu\":\"50%%\",\"memory\":\"256M\",\"processes\":64},\"name\":\"%s\","
			"\"ports\":[{\"port\":80,\"protocol\":\"http\"}],\"tenant\":\"%s\",\"volumes\":[{\"from\":"
			"\"/srv/blog\",\"owner\":\"www-example\",\"to\":\"/srv/blog\"}]%s}",
			name, tenant, extra);
		assert_int_equal(niwa_cmdb_txn_put(txn, name, tenant, json, (size_t)n), 0);
	}
	return txn;
}

/* Times are printed, not asserted: the machine may be shared. */
static void fifty_thousand_puts_come_in_pieces_of_at_most_64(struct fixture *f)
{
	uint64_t start = niwa_now_us();
	struct niwa_cmdb_txn *txn = many(f, 50000, "");
	uint64_t built = niwa_now_us();

	memset(&f->out, 0, sizeof(f->out));
	niwa_cmdb_txn_commit(txn, fixture_outcome, &f->out);
	while (!f->out.last) {
		size_t before = f->out.count;

		assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
		assert_true(f->out.count - before <= NIWA_CMDB_TURN_MAX);
	}
	assert_false(f->out.refused);
	assert_int_equal(f->out.largest, NIWA_CMDB_PIECE_MAX);
	assert_int_equal(f->out.kinds[NIWA_CMDB_ADDED], 50000);
	print_message("50,000 puts: built in %.1f ms, all in %.1f ms\n", (double)(built - start) / 1e3,
		      (double)(niwa_now_us() - start) / 1e3);
	start = niwa_now_us();
	(void)fixture_commit(f, many(f, 50000, ""));
	assert_int_equal(f->out.kinds[NIWA_CMDB_UNCHANGED], 50000);
	print_message("the same again: %.1f ms\n", (double)(niwa_now_us() - start) / 1e3);
	start = niwa_now_us();
	(void)fixture_commit(f, many(f, 50000, ",\"x\":1"));
	assert_int_equal(f->out.kinds[NIWA_CMDB_CHANGED], 50000);
	print_message("all changed: %.1f ms\n", (double)(niwa_now_us() - start) / 1e3);
	start = niwa_now_us();
	assert_int_equal(fixture_count(f), 50000);
	print_message("a walk: %.1f ms\n", (double)(niwa_now_us() - start) / 1e3);
}

/* Who is woken on the loop's processor would else wait until the scheduler interrupts it. */
static void the_loop_sleeps_between_the_turns_of_a_large_transaction(struct fixture *f)
{
	unsigned slept = 0;

	memset(&f->out, 0, sizeof(f->out));
	niwa_cmdb_txn_commit(many(f, 2000, ""), fixture_outcome, &f->out);
	while (!f->out.last) {
		size_t before = f->out.count;
		int r = sd_event_run(f->event, 0);

		assert_true(r >= 0);
		slept += r == 0 && f->out.count > 0;
		assert_true(f->out.count - before <= NIWA_CMDB_TURN_MAX);
	}
	assert_false(f->out.refused);
	assert_int_equal(f->out.kinds[NIWA_CMDB_ADDED], 2000);
	assert_true(slept > 0);
}

static void ranges_that_cannot_be_are_refused(struct fixture *f)
{
	static const struct {
		const char *net;
		unsigned bits;
		const char *says;
	} cases[] = {
		{NET, 27, "must be 8 to 26"},
		{NET, 7, "must be 8 to 26"},
		{"10.64.0.1", 24, "bits set beyond the prefix"},
	};
	struct niwa_error err;

	fixture_close(f);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		assert_true(fixture_try_open(f, cases[i].net, cases[i].bits, &err) < 0);
		assert_non_null(strstr(err.msg, cases[i].says));
		assert_null(f->db);
	}
}

#define TEST(fn)                                                                                                       \
	{                                                                                                              \
#fn, fn                                                                                                \
	}
static const struct {
	const char *name;
	void (*run)(struct fixture *f);
} tests[] = {
	TEST(an_app_gets_an_address_a_number_and_generation_one),
	TEST(the_same_record_again_changes_nothing),
	TEST(a_changed_record_keeps_number_and_address_and_raises_the_generation),
	TEST(an_app_that_moves_to_another_tenant_is_changed),
	TEST(a_tenant_keeps_its_number_when_its_last_app_is_gone),
	TEST(a_tenant_gets_a_number_for_its_files_with_its_first_volume_and_keeps_it),
	TEST(a_removed_app_is_told_as_it_was_and_cannot_be_read),
	TEST(a_name_that_comes_back_gets_its_old_address_and_a_new_number),
	TEST(a_full_range_refuses_and_says_what_to_do),
	TEST(an_address_goes_to_another_app_only_when_no_other_is_free_and_after_a_day),
	TEST(a_removal_of_an_unknown_name_refuses_the_whole_transaction),
	TEST(what_is_set_over_a_record_outlives_its_changes_and_goes_with_the_app),
	TEST(what_holds_for_a_tenant_is_kept_also_without_an_app),
	TEST(what_was_seen_of_an_app_outlives_its_changes_and_goes_with_it),
	TEST(one_name_may_come_several_times_in_a_transaction),
	TEST(an_empty_transaction_is_answered_once),
	TEST(bad_puts_are_refused_and_leave_the_transaction_whole),
	TEST(a_transaction_has_a_bound_in_changes_and_in_bytes),
	TEST(a_walk_goes_by_name_and_stops_when_it_is_told),
	TEST(a_callback_may_read_and_commit),
	TEST(closing_commits_what_is_queued_and_runs_the_callbacks),
	TEST(transactions_are_answered_in_their_order),
	TEST(fifty_thousand_puts_come_in_pieces_of_at_most_64),
	TEST(the_loop_sleeps_between_the_turns_of_a_large_transaction),
	TEST(ranges_that_cannot_be_are_refused),
};

static const char *const kinds[] = {"sqlite", "memory"};

struct run {
	size_t test;
	const char *kind;
	char name[160];
};

static void run_one(void **state)
{
	const struct run *run = *state;
	struct fixture f;

	fixture_init(&f, run->kind, NULL);
	fixture_open(&f, NET, 12);
	tests[run->test].run(&f);
	fixture_fini(&f);
}

int main(void)
{
	static struct run runs[NIWA_ARRAY_LEN(tests) * NIWA_ARRAY_LEN(kinds)];
	static struct CMUnitTest unit[NIWA_ARRAY_LEN(runs)];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(runs); i++) {
		struct run *r = &runs[i];

		r->test = i % NIWA_ARRAY_LEN(tests);
		r->kind = kinds[i / NIWA_ARRAY_LEN(tests)];
		(void)snprintf(r->name, sizeof(r->name), "%s: %s", r->kind, tests[r->test].name);
		unit[i] = (struct CMUnitTest){.name = r->name, .test_func = run_one, .initial_state = r};
	}
	return cmocka_run_group_tests(unit, NULL, NULL);
}
