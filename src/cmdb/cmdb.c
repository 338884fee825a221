/* SPDX-License-Identifier: MIT
 *
 * The store as its users see it: choosing an implementation, and delivering the results of transactions in the
 * loop in bounded pieces.
 */
#include "cmdb/cmdb.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "cmdb_private.h"

static struct niwa_cmdb_txn *pop_done(struct niwa_cmdb *db)
{
	struct niwa_cmdb_txn *txn;

	(void)pthread_mutex_lock(&db->lock);
	txn = STAILQ_FIRST(&db->done);
	if (txn)
		STAILQ_REMOVE_HEAD(&db->done, link);
	(void)pthread_mutex_unlock(&db->lock);
	return txn;
}

static void fill_change(struct niwa_cmdb_change *change, const struct niwa_cmdb_op *op)
{
	*change = (struct niwa_cmdb_change){
		.kind = op->kind,
		.app =
			{
				.id = op->id,
				.name = op->name,
				.tenant = op->tenant,
				.tenant_id = op->tenant_id,
				.tenant_files = op->tenant_files,
				.service_addr = htonl(op->addr),
				.generation = op->generation,
				.json = op->of_past ? NULL : op->json,
				.json_len = op->of_past ? 0 : op->json_len,
			},
	};
}

/* One call of the callback with at most max changes. Returns how many, sets *ret_last. */
static size_t deliver_piece(struct niwa_cmdb_txn *txn, size_t max, bool *ret_last)
{
	struct niwa_cmdb_change changes[NIWA_CMDB_PIECE_MAX];
	size_t n = 0;

	while (txn->r == 0 && txn->next && n < max) {
		fill_change(&changes[n++], txn->next);
		txn->next = STAILQ_NEXT(txn->next, link);
	}
	*ret_last = txn->r < 0 || !txn->next;
	if (txn->fn)
		txn->fn(n > 0 ? changes : NULL, n, *ret_last, txn->r < 0 ? &txn->err : NULL, txn->arg);
	return n;
}

/* Delivers about max changes, for about so long; returns whether more is waiting. An empty or refused transaction
 * counts as one. */
static bool deliver(struct niwa_cmdb *db, size_t max, uint64_t budget_us)
{
	uint64_t since_us = niwa_now_us();
	size_t sent = 0;
	bool last;

	while (sent < max && niwa_now_us() - since_us < budget_us) {
		if (!db->delivering) {
			db->delivering = pop_done(db);
			if (!db->delivering)
				return false;
			db->delivering->next = STAILQ_FIRST(&db->delivering->ops);
		}
		if (db->delivering->told) {
			niwa_cmdb_txn_free_some(&db->delivering);
			sent += NIWA_CMDB_PIECE_MAX;
			continue;
		}
		db->in_callback = true;
		sent += deliver_piece(db->delivering, NIWA_CMDB_PIECE_MAX, &last);
		db->in_callback = false;
		if (!last)
			continue;
		sent++;
		db->delivering->told = true;
	}
	return true;
}

/* A turn's worth. When more is waiting the loop sleeps before it: an app that was woken on the processor of a loop that
 * never sleeps would wait there until the scheduler's next tick, up to 4 ms. */
static void deliver_turn(struct niwa_cmdb *db)
{
	uint64_t n = 1;

	if (!deliver(db, NIWA_CMDB_TURN_MAX, NIWA_CMDB_TURN_US))
		return;
	if (sd_event_source_set_time_relative(db->pause, NIWA_CMDB_PAUSE_US) < 0 ||
	    sd_event_source_set_enabled(db->pause, SD_EVENT_ONESHOT) < 0)
		(void)!write(db->done_fd, &n, sizeof(n)); /* without a pause then; cannot fill up */
	else
		(void)sd_event_source_set_enabled(db->source, SD_EVENT_OFF);
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n)); /* only to quieten it; EAGAIN is fine */
	deliver_turn(arg);
	return 0;
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *arg)
{
	struct niwa_cmdb *db = arg;

	(void)sd_event_source_set_enabled(db->source, SD_EVENT_ON);
	deliver_turn(db);
	return 0;
}

/* Wakes go before both. */
static int watch(struct niwa_cmdb *db, sd_event *event)
{
	int r = sd_event_add_io(event, &db->source, db->done_fd, EPOLLIN, on_done, db);

	if (r >= 0)
		r = sd_event_add_time_relative(event, &db->pause, CLOCK_MONOTONIC, 0, 1, on_pause_over, db);
	if (r >= 0)
		r = sd_event_source_set_enabled(db->pause, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_priority(db->source, SD_EVENT_PRIORITY_NORMAL + 10);
	if (r >= 0)
		r = sd_event_source_set_priority(db->pause, SD_EVENT_PRIORITY_NORMAL + 10);
	return r;
}

struct check {
	struct niwa_cmdb *db;
	struct niwa_error *err;
	const char *path;
};

static int note_address(uint32_t addr, const char *live_name, void *arg)
{
	struct check *c = arg;
	struct niwa_cmdb_addresses *a = &c->db->addresses;
	struct in_addr in = {.s_addr = htonl(addr)}, net = {.s_addr = htonl(a->net)};
	char text[INET_ADDRSTRLEN] = "", range[INET_ADDRSTRLEN] = "";

	niwa_cmdb_addresses_take(a, addr);
	if (!live_name || niwa_cmdb_addresses_usable(a, addr))
		return 0;
	(void)inet_ntop(AF_INET, &in, text, sizeof(text));
	(void)inet_ntop(AF_INET, &net, range, sizeof(range));
	(void)niwa_fail(
		c->err, NIWA_PERMANENT, 0,
		"store '%s': app %s has the address %s, which is not usable in the service range %s/%u; addresses "
		"are for ever, so set the range to one that holds it",
		c->path, live_name, text, range, a->bits);
	return -ERANGE;
}

static int open_parts(struct niwa_cmdb *db, const char *path, sd_event *event, struct niwa_error *err)
{
	struct check check = {db, err, path};
	int r;

	r = niwa_fault("cmdb.open");
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "open store '%s'", path);
	r = db->ops->open(path, &db->store, err);
	if (r < 0)
		return r;
	r = db->ops->each_address(db->store, note_address, &check, err);
	if (r < 0)
		return r;
	db->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (db->done_fd < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "eventfd of store '%s'", path);
	r = watch(db, event);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "watch store '%s'", path);
	return niwa_cmdb_writer_start(db, err);
}

int niwa_cmdb_open(const char *path, uint32_t service_net, unsigned bits, sd_event *event, struct niwa_cmdb **ret,
		   struct niwa_error *err)
{
	NIWA_AUTO(niwa_cmdb_close) struct niwa_cmdb *db = niwa_zalloc(sizeof(*db));
	int r;

	if (!db)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open store '%s'", path);
	db->ops = strcmp(path, ":memory:") == 0 ? &niwa_cmdb_memory_ops : &niwa_cmdb_sqlite_ops;
	db->clock = niwa_realtime_us;
	db->done_fd = -1;
	STAILQ_INIT(&db->queue);
	STAILQ_INIT(&db->done);
	(void)pthread_mutex_init(&db->lock, NULL); /* default attributes: cannot fail */
	(void)pthread_cond_init(&db->work, NULL);
	r = niwa_cmdb_addresses_init(&db->addresses, service_net, bits, err);
	if (r < 0)
		return r;
	r = open_parts(db, path, event, err);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(db);
	return 0;
}

void niwa_cmdb_close(struct niwa_cmdb **dbp)
{
	struct niwa_cmdb *db = *dbp;

	if (!db)
		return;
	assert(!db->in_callback);
	niwa_cmdb_writer_stop(db);
	/* A callback may commit once more: without the thread that is done at once, and delivered here too. */
	while (deliver(db, NIWA_CMDB_TURN_MAX, UINT64_MAX))
		;
	sd_event_source_disable_unref(db->source);
	sd_event_source_disable_unref(db->pause);
	if (db->store)
		db->ops->close(&db->store);
	niwa_cmdb_addresses_fini(&db->addresses);
	niwa_fd_close(&db->done_fd);
	(void)pthread_cond_destroy(&db->work);
	(void)pthread_mutex_destroy(&db->lock);
	free(db);
	*dbp = NULL;
}

int niwa_cmdb_each(struct niwa_cmdb *db, bool with_json, int (*fn)(const struct niwa_cmdb_app *app, void *arg),
		   void *arg, struct niwa_error *err)
{
	return db->ops->each(db->store, with_json, fn, arg, err);
}

int niwa_cmdb_each_tenant(struct niwa_cmdb *db, int (*fn)(const char *tenant, const char *text, void *arg), void *arg,
			  struct niwa_error *err)
{
	return db->ops->each_tenant(db->store, fn, arg, err);
}

int niwa_cmdb_get(struct niwa_cmdb *db, uint64_t id, char **ret_json, struct niwa_error *err)
{
	return db->ops->get(db->store, id, ret_json, err);
}

int niwa_cmdb_past(struct niwa_cmdb *db, uint64_t id, uint8_t buf[NIWA_CMDB_PAST_MAX], struct niwa_error *err)
{
	return db->ops->get_past(db->store, id, buf, err);
}

void niwa_cmdb_txn_commit(struct niwa_cmdb_txn *txn, niwa_cmdb_done_fn *fn, void *arg)
{
	txn->fn = fn;
	txn->arg = arg;
	niwa_cmdb_writer_queue(txn->db, txn);
}
