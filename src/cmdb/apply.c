/* SPDX-License-Identifier: MIT
 *
 * What a transaction means, once for all implementations: names, generations, tenants, and which address an app
 * gets. Runs in the writer. All or nothing: after a failure the store and the bitmap are as they were.
 */
#include "cmdb_private.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#include "base/fault.h"

struct apply {
	const struct niwa_cmdb_store_ops *ops;
	struct niwa_cmdb_store *store;
	struct niwa_cmdb_addresses *addresses;
	uint64_t now_us;
	struct niwa_cmdb_txn *txn;
	struct niwa_error *err;
};

static int no_address_left(const struct apply *a)
{
	struct in_addr net = {.s_addr = htonl(a->addresses->net)};
	char text[INET_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET, &net, text, sizeof(text));
	(void)niwa_fail(
		a->err, NIWA_PERMANENT, 0,
		"no service address is left: all %zu of %s/%u are in use or belonged to an app that was removed "
		"less than a day ago; widen the service range or remove apps and wait a day",
		a->addresses->count, text, a->addresses->bits);
	return -EADDRNOTAVAIL;
}

/* The same name gets its old address; else one that was never used; else the one that has rested longest. */
static int allocate(const struct apply *a, struct niwa_cmdb_op *op)
{
	uint64_t before_us = a->now_us > NIWA_CMDB_REST_US ? a->now_us - NIWA_CMDB_REST_US : 0;
	int r = a->ops->recall(a->store, op->name, &op->addr, a->err);

	if (r > 0) {
		r = a->ops->forget(a->store, op->addr, a->err);
		if (r < 0 || niwa_cmdb_addresses_usable(a->addresses, op->addr))
			return r;
	}
	if (r < 0)
		return r;
	op->fresh = niwa_cmdb_addresses_next(a->addresses, &op->addr);
	if (op->fresh)
		return 0;
	r = a->ops->oldest(a->store, a->addresses->first, a->addresses->last, before_us, &op->addr, a->err);
	if (r < 0)
		return r;
	if (r == 0)
		return no_address_left(a);
	return a->ops->forget(a->store, op->addr, a->err);
}

static void result(struct niwa_cmdb_op *op, enum niwa_cmdb_change_kind kind, const struct niwa_cmdb_row *row)
{
	op->kind = kind;
	op->id = row->id;
	op->tenant_id = row->tenant_id;
	op->addr = row->addr;
	op->generation = row->generation;
}

int niwa_cmdb_no_files_left(const char *tenant, struct niwa_error *err)
{
	(void)niwa_fail(err, NIWA_PERMANENT, 0,
			"tenant %s cannot have volumes: %d tenants had some on this host, and their ids are not given "
			"again, for files may be left; declare the app as one of an existing tenant, or on another "
			"host",
			tenant, NIWA_CMDB_TENANT_FILES_MAX);
	return -EDQUOT;
}

static const char *string_end(const char *at)
{
	for (at++; *at && *at != '"'; at++)
		if (*at == '\\' && at[1])
			at++;
	return at;
}

/* Does a volume say nothing of its owner, which means the tenant? Records are canonical: no blanks, defaults left out;
 * inside a string the quotes that are looked for would be escaped. */
static bool has_tenant_volume(const char *json)
{
	const char *at = strstr(json, "\"volumes\":[{");
	bool owner = true;

	for (at = at ? strchr(at, '[') : ""; *at && *at != ']'; at++) {
		if (*at == '{')
			owner = false;
		if (*at == '}' && !owner)
			return true;
		if (*at != '"')
			continue;
		owner = owner || strncmp(at, "\"owner\":", strlen("\"owner\":")) == 0;
		at = string_end(at);
		if (!*at)
			return false;
	}
	return false;
}

static int tenant_of(const struct apply *a, struct niwa_cmdb_op *op, uint32_t *ret_id)
{
	int r = a->ops->tenant(a->store, op->tenant, ret_id, a->err);

	if (r == 0 && has_tenant_volume(op->json))
		r = a->ops->files(a->store, op->tenant, &op->tenant_files, a->err);
	return r;
}

static int put_new(const struct apply *a, struct niwa_cmdb_op *op)
{
	struct niwa_cmdb_row row = {
		.name = op->name,
		.tenant = op->tenant,
		.json = op->json,
		.json_len = op->json_len,
		.generation = 1,
	};
	int r = tenant_of(a, op, &row.tenant_id);

	if (r < 0)
		return r;
	r = allocate(a, op);
	if (r < 0)
		return r;
	row.addr = op->addr;
	r = a->ops->insert(a->store, &row, a->err);
	if (r == 0)
		result(op, NIWA_CMDB_ADDED, &row);
	return r;
}

static int put(const struct apply *a, struct niwa_cmdb_op *op)
{
	struct niwa_cmdb_row row;
	int r = a->ops->find(a->store, op->name, &row, a->err);

	if (r < 0)
		return r;
	if (r == 0)
		return put_new(a, op);
	if (row.json_len == op->json_len && memcmp(row.json, op->json, op->json_len) == 0 &&
	    strcmp(row.tenant, op->tenant) == 0) {
		result(op, NIWA_CMDB_UNCHANGED, &row);
		return 0;
	}
	row.name = op->name;
	row.tenant = op->tenant;
	row.json = op->json;
	row.json_len = op->json_len;
	row.generation++;
	r = tenant_of(a, op, &row.tenant_id);
	if (r == 0)
		r = a->ops->update(a->store, &row, a->err);
	if (r == 0)
		result(op, NIWA_CMDB_CHANGED, &row);
	return r;
}

static int no_such_app(const struct apply *a, const char *doing, const char *name)
{
	(void)niwa_fail(a->err, NIWA_CALLER, 0, "%s '%s': there is no such app", doing, name);
	return -ENOENT;
}

static int take_away(const struct apply *a, struct niwa_cmdb_op *op)
{
	struct niwa_cmdb_row row;
	int r = a->ops->find(a->store, op->name, &row, a->err);

	if (r < 0)
		return r;
	if (r == 0)
		return no_such_app(a, "remove", op->name);
	op->tenant = niwa_cmdb_txn_copy(a->txn, row.tenant, strlen(row.tenant));
	if (!op->tenant)
		return niwa_fail(a->err, NIWA_TEMPORARY, ENOMEM, "remove '%s'", op->name);
	result(op, NIWA_CMDB_REMOVED, &row);
	r = a->ops->remove(a->store, op->name, a->err);
	if (r < 0)
		return r;
	return a->ops->remember(a->store, op->name, op->addr, a->now_us, a->err);
}

static int set_over(const struct apply *a, struct niwa_cmdb_op *op)
{
	struct niwa_cmdb_row row;
	int r = a->ops->find(a->store, op->name, &row, a->err);

	if (r < 0)
		return r;
	if (r == 0)
		return no_such_app(a, "set limits of", op->name);
	op->tenant = niwa_cmdb_txn_copy(a->txn, row.tenant, strlen(row.tenant));
	if (!op->tenant)
		return niwa_fail(a->err, NIWA_TEMPORARY, ENOMEM, "set limits of '%s'", op->name);
	result(op, NIWA_CMDB_UNCHANGED, &row);
	return a->ops->override(a->store, op->name, op->json, a->err);
}

static int put_tenant(const struct apply *a, struct niwa_cmdb_op *op)
{
	int r = a->ops->tenant(a->store, op->name, &op->tenant_id, a->err);

	op->kind = NIWA_CMDB_TENANT;
	op->tenant = op->name;
	return r < 0 ? r : a->ops->tenant_limits(a->store, op->name, op->json, a->err);
}

static int put_past(const struct apply *a, struct niwa_cmdb_op *op)
{
	op->kind = NIWA_CMDB_PAST;
	return a->ops->past(a->store, op->id, op->json, op->json_len, a->err);
}

static int apply_all(const struct apply *a)
{
	struct niwa_cmdb_op *op;
	int r;

	STAILQ_FOREACH(op, &a->txn->ops, link)
	{
		r = op->of_past     ? put_past(a, op)
		    : op->of_tenant ? put_tenant(a, op)
		    : op->overrides ? set_over(a, op)
		    : op->json      ? put(a, op)
				    : take_away(a, op);
		if (r < 0)
			return r;
	}
	r = niwa_fault("cmdb.commit");
	if (r < 0)
		return niwa_fail(a->err, NIWA_TEMPORARY, -r, "commit to the store");
	return a->ops->commit(a->store, a->err);
}

static void undo(const struct apply *a)
{
	struct niwa_cmdb_op *op;

	a->ops->rollback(a->store);
	STAILQ_FOREACH(op, &a->txn->ops, link)
	if (op->fresh)
		niwa_cmdb_addresses_drop(a->addresses, op->addr);
}

void niwa_cmdb_apply(const struct niwa_cmdb_store_ops *ops, struct niwa_cmdb_store *store,
		     struct niwa_cmdb_addresses *addresses, uint64_t now_us, struct niwa_cmdb_txn *txn)
{
	struct apply a = {ops, store, addresses, now_us, txn, &txn->err};

	txn->r = ops->begin(store, a.err);
	if (txn->r < 0)
		return;
	txn->r = apply_all(&a);
	if (txn->r < 0)
		undo(&a);
	else
		(void)niwa_fault("cmdb.committed"); /* only to be killed at */
}
