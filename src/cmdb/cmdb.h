/* SPDX-License-Identifier: MIT
 *
 * The store of declared apps, their service addresses and tenants. Two implementations: SQLite (what was
 * acknowledged survives kill -9 and power loss) and memory (tests). All calls are made from the loop's
 * thread. Writes are queued and committed elsewhere; their callback runs in the loop, after the commit is
 * durable. Reads answer at once from what is committed (tens of microseconds).
 */
#ifndef NIWA_CMDB_CMDB_H
#define NIWA_CMDB_CMDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/error.h"

struct niwa_cmdb; /* opaque */

/* Ranges of 65536 ids from 0x50000000 up to the last whole one below 2^32 - 1. */
#define NIWA_CMDB_TENANT_FILES_MAX 0xaffe

/* What the engine keeps of each app comes from here at start. Strings are borrowed for the call. */
struct niwa_cmdb_app {
	uint64_t id; /* for ever this app's; never reused */
	const char *name, *tenant;
	uint32_t tenant_id;    /* 1..; fixed */
	uint32_t tenant_files; /* 1..NIWA_CMDB_TENANT_FILES_MAX; fixed: whose files on volumes; 0: it has none yet */
	uint32_t service_addr; /* IPv4, network order */
	uint64_t generation;   /* grows with every change of the record */
	const char *json;      /* canonical record; NULL in niwa_cmdb_each when not asked for */
	size_t json_len;
	const char *override; /* in niwa_cmdb_each: what was set over the record; NULL: nothing */
};

/* Opens (creates, migrates) the store at path, ":memory:" for the memory store. service_net/bits is the
 * range that addresses are allocated from (IPv4, network order / prefix length, 8 to 26 bits); the first and last
 * 16 addresses of it stay free. Refused, with a message that says what to do: a newer schema than ours, a damaged
 * file, a file of another program, a store that another process has open, a range that does not hold the
 * address of every app. event: where callbacks run (a reference is taken). */
int niwa_cmdb_open(const char *path, uint32_t service_net, unsigned bits, sd_event *event, struct niwa_cmdb **ret,
		   struct niwa_error *err);
/* Commits what is queued (callbacks run), closes. Not from inside a callback. NULL is fine. */
void niwa_cmdb_close(struct niwa_cmdb **db);

/* Every app, ordered by name. Stops and returns what the callback returns when that is negative. */
int niwa_cmdb_each(struct niwa_cmdb *db, bool with_json, int (*fn)(const struct niwa_cmdb_app *app, void *arg),
		   void *arg, struct niwa_error *err);
/* One app's canonical record as text; to be freed. -ENOENT. */
int niwa_cmdb_get(struct niwa_cmdb *db, uint64_t id, char **ret_json, struct niwa_error *err);

/* A transaction: a list of puts and removals, committed together or not at all. Built in memory at once
 * (bounded by NIWA_CMDB_TXN_MAX changes); commit queues it. */
struct niwa_cmdb_txn;
#define NIWA_CMDB_TXN_MAX       200000
#define NIWA_CMDB_TXN_BYTES_MAX (256 * 1024 * 1024) /* memory of one transaction */
#define NIWA_CMDB_QUEUE_MAX     256                 /* transactions that wait for the disk; more are refused */
struct niwa_cmdb_txn *niwa_cmdb_txn_new(struct niwa_cmdb *db); /* NULL: out of memory */
void niwa_cmdb_txn_free(struct niwa_cmdb_txn **txn);           /* one that was not committed */
/* Strings are copied. 0; -EINVAL: an empty or too long name or tenant, JSON empty or over NIWA_APP_JSON_MAX;
 * -E2BIG: the transaction is full; -ENOMEM. After an error the transaction is as it was before the call.
 * Changes take effect in their order, so a name may come twice. */
int niwa_cmdb_txn_put(struct niwa_cmdb_txn *txn, const char *name, const char *tenant, const char *json,
		      size_t json_len);
/* A name that is not there when the transaction is committed refuses the whole transaction (NIWA_CALLER). */
int niwa_cmdb_txn_remove(struct niwa_cmdb_txn *txn, const char *name);
/* What holds for the app over its record until it is taken back (text NULL), whatever is put meanwhile; it goes with
 * the app. The store does not read it. Delivered as NIWA_CMDB_UNCHANGED: the record is what it was. -EINVAL: too long.
 * As with a removal the name must be there. */
#define NIWA_CMDB_OVERRIDE_MAX 255
int niwa_cmdb_txn_override(struct niwa_cmdb_txn *txn, const char *name, const char *text);

/* What holds for a tenant, which may have no app (yet); text NULL: nothing. The store does not read it. Delivered as
 * NIWA_CMDB_TENANT. -EINVAL: no name, or too long. */
int niwa_cmdb_txn_tenant(struct niwa_cmdb_txn *txn, const char *tenant, const char *text);
/* Every tenant of which something was put, and that. As niwa_cmdb_each. */
int niwa_cmdb_each_tenant(struct niwa_cmdb *db, int (*fn)(const char *tenant, const char *text, void *arg), void *arg,
			  struct niwa_error *err);

/* What the engine has seen of an app and would like to know again after a restart: a record of its own, which goes with
 * the app and does not change the generation. The store does not read it. An app that is not there (any more) is
 * nothing that refuses the transaction. Delivered as NIWA_CMDB_PAST. -EINVAL: empty or too long. */
#define NIWA_CMDB_PAST_MAX 255
int niwa_cmdb_txn_past(struct niwa_cmdb_txn *txn, uint64_t id, const void *data, size_t len);
/* Bytes written to buf; 0: nothing was put, or there is no such app. */
int niwa_cmdb_past(struct niwa_cmdb *db, uint64_t id, uint8_t buf[NIWA_CMDB_PAST_MAX], struct niwa_error *err);

enum niwa_cmdb_change_kind {
	NIWA_CMDB_ADDED,
	NIWA_CMDB_CHANGED,
	NIWA_CMDB_UNCHANGED,
	NIWA_CMDB_REMOVED,
	NIWA_CMDB_TENANT, /* app: only tenant, and json, which may be NULL */
	NIWA_CMDB_PAST,   /* app: only id */
};
#define NIWA_CMDB_KINDS (NIWA_CMDB_PAST + 1)

struct niwa_cmdb_change {
	enum niwa_cmdb_change_kind kind;
	struct niwa_cmdb_app app; /* as it is now (REMOVED: as it was); json always set except for REMOVED */
};

/* Runs in the loop once the transaction is durable (err NULL) or refused (err set; nothing changed).
 * `changes` live until the callback returns. For large transactions `fn` is called several times, with at most
 * 16 changes a call and 64 a turn of the loop, which sleeps in between; `last` tells the final call. May call
 * everything here but niwa_cmdb_close. Reads may already see later transactions. */
typedef void niwa_cmdb_done_fn(const struct niwa_cmdb_change *changes, size_t count, bool last,
			       const struct niwa_error *err, void *arg);
/* Takes the transaction in every case; fn (may be NULL) never runs inside this call. A put whose JSON and tenant
 * equal the stored ones is UNCHANGED and writes nothing. An app that was removed and comes back gets a new id.
 * Addresses are allocated here: once, kept for ever; an address of a removed app is given to another app only
 * when nothing else is free and at least a day has passed; the same name gets its old address back. */
void niwa_cmdb_txn_commit(struct niwa_cmdb_txn *txn, niwa_cmdb_done_fn *fn, void *arg);

#endif
