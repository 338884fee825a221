/* SPDX-License-Identifier: MIT
 *
 * The thread that waits for the disk, and the way back into the loop. One transaction at a time, in the order
 * they came. The thread owns the writer's side of the store and the bitmap of addresses from start to stop; a
 * transaction belongs to whoever holds it: loop, queue, thread, list `done`, loop.
 */
#include "cmdb_private.h"

#include <assert.h>
#include <signal.h>
#include <unistd.h>

#include "base/priority.h"

#define STACK_BYTES (512 * 1024)

void niwa_cmdb_writer_done(struct niwa_cmdb *db, struct niwa_cmdb_txn *txn)
{
	uint64_t one = 1;
	ssize_t n;

	(void)pthread_mutex_lock(&db->lock);
	STAILQ_INSERT_TAIL(&db->done, txn, link);
	(void)pthread_mutex_unlock(&db->lock);
	n = write(db->done_fd, &one, sizeof(one));
	assert(n == sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
}

static struct niwa_cmdb_txn *next(struct niwa_cmdb *db)
{
	struct niwa_cmdb_txn *txn;

	(void)pthread_mutex_lock(&db->lock);
	while (STAILQ_EMPTY(&db->queue) && !db->stopping)
		(void)pthread_cond_wait(&db->work, &db->lock);
	txn = STAILQ_FIRST(&db->queue);
	if (txn) {
		STAILQ_REMOVE_HEAD(&db->queue, link);
		db->queued--;
	}
	(void)pthread_mutex_unlock(&db->lock);
	return txn;
}

static void *work(void *arg)
{
	struct niwa_cmdb *db = arg;
	struct niwa_cmdb_txn *txn;

	(void)pthread_setname_np(pthread_self(), "cmdb");
	niwa_priority_lower();
	while ((txn = next(db))) {
		niwa_cmdb_apply(db->ops, db->store, &db->addresses, db->clock(), txn);
		niwa_cmdb_writer_done(db, txn);
	}
	return NULL;
}

int niwa_cmdb_writer_start(struct niwa_cmdb *db, struct niwa_error *err)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (!db->ops->threaded)
		return 0;
	r = pthread_attr_init(&attr);
	if (r != 0)
		return niwa_fail(err, NIWA_TEMPORARY, r, "start the store's thread");
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&db->thread, &attr, work, db);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r != 0)
		return niwa_fail(err, NIWA_TEMPORARY, r, "start the store's thread");
	db->has_thread = true;
	return 0;
}

void niwa_cmdb_writer_stop(struct niwa_cmdb *db)
{
	if (!db->has_thread)
		return;
	(void)pthread_mutex_lock(&db->lock);
	db->stopping = true;
	(void)pthread_cond_signal(&db->work);
	(void)pthread_mutex_unlock(&db->lock);
	(void)pthread_join(db->thread, NULL);
	db->has_thread = false;
}

void niwa_cmdb_writer_queue(struct niwa_cmdb *db, struct niwa_cmdb_txn *txn)
{
	bool full;

	if (!db->has_thread) {
		niwa_cmdb_apply(db->ops, db->store, &db->addresses, db->clock(), txn);
		niwa_cmdb_writer_done(db, txn);
		return;
	}
	(void)pthread_mutex_lock(&db->lock);
	full = db->queued >= NIWA_CMDB_QUEUE_MAX;
	if (!full) {
		STAILQ_INSERT_TAIL(&db->queue, txn, link);
		db->queued++;
		(void)pthread_cond_signal(&db->work);
	}
	(void)pthread_mutex_unlock(&db->lock);
	if (!full)
		return;
	txn->r = niwa_fail(&txn->err, NIWA_TEMPORARY, EAGAIN, "the store has %d transactions waiting for the disk",
			   NIWA_CMDB_QUEUE_MAX);
	niwa_cmdb_writer_done(db, txn);
}
