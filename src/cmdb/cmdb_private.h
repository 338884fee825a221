/* SPDX-License-Identifier: MIT
 *
 * Inside the store: transactions, the allocator of addresses, and what an implementation has to offer.
 * What a transaction means (apply.c) is written once, over the primitives of struct niwa_cmdb_store_ops; so both
 * implementations mean the same. Addresses are in host order in here.
 */
#ifndef NIWA_CMDB_CMDB_PRIVATE_H
#define NIWA_CMDB_CMDB_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cmdb/cmdb.h"

#define NIWA_CMDB_PIECE_MAX 16                          /* changes a call of the callback: some 0.15 ms */
#define NIWA_CMDB_TURN_MAX  64                          /* changes delivered in one turn of the loop, */
#define NIWA_CMDB_TURN_US   150                         /* which begins no further piece after so long, */
#define NIWA_CMDB_PAUSE_US  200                         /* and the time between two turns */
#define NIWA_CMDB_REST_US   (24 * UINT64_C(3600000000)) /* an address rests this long before another app gets it */
#define NIWA_CMDB_RESERVED  16                          /* addresses kept free at each end of the range */

/* ---- implementations ---- */

struct niwa_cmdb_store; /* each implementation has its own */

/* One app as stored. Pointers stay valid until the next call to the store. */
struct niwa_cmdb_row {
	uint64_t id, generation;
	uint32_t tenant_id, addr;
	const char *name, *tenant, *json;
	size_t json_len;
};

typedef int niwa_cmdb_each_fn(const struct niwa_cmdb_app *app, void *arg);
typedef int niwa_cmdb_tenant_fn(const char *tenant, const char *text, void *arg);
typedef int niwa_cmdb_addr_fn(uint32_t addr, const char *live_name, void *arg); /* live_name NULL: only remembered */

/* Lookups return 1 found, 0 not found, -errno. begin to commit/rollback are the writer's calls (another thread
 * when `threaded`), the others are made from the loop's thread, also while the writer works. */
struct niwa_cmdb_store_ops {
	bool threaded;
	int (*open)(const char *path, struct niwa_cmdb_store **ret, struct niwa_error *err);
	void (*close)(struct niwa_cmdb_store **store);

	int (*each)(struct niwa_cmdb_store *s, bool with_json, niwa_cmdb_each_fn *fn, void *arg,
		    struct niwa_error *err);
	int (*get)(struct niwa_cmdb_store *s, uint64_t id, char **ret_json, struct niwa_error *err);
	int (*get_past)(struct niwa_cmdb_store *s, uint64_t id, uint8_t buf[NIWA_CMDB_PAST_MAX],
			struct niwa_error *err); /* its length, 0: none */
	int (*each_tenant)(struct niwa_cmdb_store *s, niwa_cmdb_tenant_fn *fn, void *arg, struct niwa_error *err);
	int (*each_address)(struct niwa_cmdb_store *s, niwa_cmdb_addr_fn *fn, void *arg, struct niwa_error *err);

	int (*begin)(struct niwa_cmdb_store *s, struct niwa_error *err);
	int (*commit)(struct niwa_cmdb_store *s, struct niwa_error *err); /* failed: call rollback */
	void (*rollback)(struct niwa_cmdb_store *s);
	int (*find)(struct niwa_cmdb_store *s, const char *name, struct niwa_cmdb_row *ret, struct niwa_error *err);
	int (*insert)(struct niwa_cmdb_store *s, struct niwa_cmdb_row *row, struct niwa_error *err); /* sets row->id */
	int (*update)(struct niwa_cmdb_store *s, const struct niwa_cmdb_row *row, struct niwa_error *err);
	int (*remove)(struct niwa_cmdb_store *s, const char *name, struct niwa_error *err);
	int (*override)(struct niwa_cmdb_store *s, const char *name, const char *text, struct niwa_error *err);
	int (*past)(struct niwa_cmdb_store *s, uint64_t id, const void *data, size_t len, struct niwa_error *err);
	int (*tenant)(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_id, struct niwa_error *err);
	int (*tenant_limits)(struct niwa_cmdb_store *s, const char *name, const char *text, struct niwa_error *err);
	/* The number of a tenant's files, given with its first volume and never to another. -EDQUOT: none is left. */
	int (*files)(struct niwa_cmdb_store *s, const char *tenant, uint32_t *ret, struct niwa_error *err);
	/* Addresses of removed apps: remember, look up by name, the one that has rested longest, give away. */
	int (*remember)(struct niwa_cmdb_store *s, const char *name, uint32_t addr, uint64_t now_us,
			struct niwa_error *err);
	int (*recall)(struct niwa_cmdb_store *s, const char *name, uint32_t *ret_addr, struct niwa_error *err);
	int (*oldest)(struct niwa_cmdb_store *s, uint32_t first, uint32_t last, uint64_t before_us, uint32_t *ret_addr,
		      struct niwa_error *err);
	int (*forget)(struct niwa_cmdb_store *s, uint32_t addr, struct niwa_error *err);
};

extern const struct niwa_cmdb_store_ops niwa_cmdb_sqlite_ops, niwa_cmdb_memory_ops;

/* ---- addresses ---- */

/* Which addresses of the range were ever given out: a bit each. An address whose app was removed keeps its bit;
 * the store remembers it. */
struct niwa_cmdb_addresses {
	uint32_t net, first, last; /* usable: first..last */
	unsigned bits;
	uint64_t *used;
	size_t words, hint; /* no word before hint has a free bit */
	size_t count;       /* bits set */
};

int niwa_cmdb_addresses_init(struct niwa_cmdb_addresses *a, uint32_t service_net, unsigned bits,
			     struct niwa_error *err);
void niwa_cmdb_addresses_fini(struct niwa_cmdb_addresses *a);
bool niwa_cmdb_addresses_usable(const struct niwa_cmdb_addresses *a, uint32_t addr);
void niwa_cmdb_addresses_take(struct niwa_cmdb_addresses *a, uint32_t addr);
void niwa_cmdb_addresses_drop(struct niwa_cmdb_addresses *a, uint32_t addr);
bool niwa_cmdb_addresses_next(struct niwa_cmdb_addresses *a, uint32_t *ret); /* takes one; false: none */

/* Fills err; returns -EDQUOT. */
int niwa_cmdb_no_files_left(const char *tenant, struct niwa_error *err);

/* ---- transactions ---- */

struct niwa_cmdb_op {
	STAILQ_ENTRY(niwa_cmdb_op) link;
	const char *name, *tenant, *json; /* json NULL: a removal */
	size_t json_len;
	bool overrides; /* json: what is set over the record, NULL: taken back */
	bool of_tenant; /* name: a tenant; json: what holds for it, NULL: nothing */
	bool of_past;   /* id: an app; json: bytes, json_len of them */
	/* result */
	enum niwa_cmdb_change_kind kind;
	bool fresh; /* addr came from the range, not from what is remembered */
	uint32_t tenant_id, tenant_files, addr;
	uint64_t id, generation;
};

struct niwa_cmdb_txn {
	STAILQ_ENTRY(niwa_cmdb_txn) link;
	struct niwa_cmdb *db;
	STAILQ_HEAD(, niwa_cmdb_op) ops;
	size_t count, bytes;
	struct niwa_cmdb_chunk *chunks; /* the memory of ops and strings, freed whole */
	niwa_cmdb_done_fn *fn;
	void *arg;
	int r;
	struct niwa_error err;
	struct niwa_cmdb_op *next; /* delivery has come to here */
	bool told;                 /* all of it: it is being freed */
};
STAILQ_HEAD(niwa_cmdb_txns, niwa_cmdb_txn);

const char *niwa_cmdb_txn_copy(struct niwa_cmdb_txn *txn, const char *data, size_t len); /* terminated */

/* A part of its memory, which is 25 MB with 50,000 apps; *txn is NULL when it is gone. */
void niwa_cmdb_txn_free_some(struct niwa_cmdb_txn **txn);

/* Does what the transaction says, commits or rolls back, leaves the result in it. */
void niwa_cmdb_apply(const struct niwa_cmdb_store_ops *ops, struct niwa_cmdb_store *store,
		     struct niwa_cmdb_addresses *addresses, uint64_t now_us, struct niwa_cmdb_txn *txn);

/* ---- the whole ---- */

struct niwa_cmdb {
	const struct niwa_cmdb_store_ops *ops;
	struct niwa_cmdb_store *store;
	struct niwa_cmdb_addresses addresses; /* the writer's */
	uint64_t (*clock)(void);              /* wall time; tests replace it */

	sd_event_source *source, *pause; /* pause: until the rest of a large transaction goes on */
	int done_fd;                     /* eventfd: something is in `done` */
	struct niwa_cmdb_txn *delivering;
	bool in_callback;

	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work;
	struct niwa_cmdb_txns queue, done;
	size_t queued;
	bool stopping;
};

int niwa_cmdb_writer_start(struct niwa_cmdb *db, struct niwa_error *err);
void niwa_cmdb_writer_stop(struct niwa_cmdb *db); /* after the queue is empty */
void niwa_cmdb_writer_queue(struct niwa_cmdb *db, struct niwa_cmdb_txn *txn);
void niwa_cmdb_writer_done(struct niwa_cmdb *db, struct niwa_cmdb_txn *txn);

#endif
