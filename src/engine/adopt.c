/* SPDX-License-Identifier: MIT
 *
 * Adoption. In order: keep lists its instances and descriptors; each adopted instance goes on where it was; the
 * kernel's elements are made equal to what is known; leftovers are collected; the relay is taken over. What keep tells
 * of an instance meanwhile, and the ends of those that ended while no niwad was there, is dealt with last, as if it
 * happened now.
 */
#include "engine/adopt.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/criu.h"
#include "engine/engine.h"
#include "engine/farewell.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/leave.h"
#include "engine/leftovers.h"
#include "engine/limit_set.h"
#include "engine/publish.h"
#include "engine/relay_client.h"
#include "engine/relay_peer.h"
#include "engine/resident.h"
#include "engine/resume.h"
#include "engine/schedule.h"
#include "engine/sleep.h"
#include "engine/snapshot_host.h"
#include "engine/snapshot_start.h"

#define GUARD_NAME "net-guard"

struct niwa_deferred {
	STAILQ_ENTRY(niwa_deferred) link;
	struct niwa_keep_msg msg;
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds;
};

void niwa_adopt_defer(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct niwa_deferred *d = niwa_zalloc(sizeof(*d));

	if (!d) { /* the next niwad has the memory, or this host has none */
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory while adopting");
		(void)sd_event_exit(e->event, 1);
		return;
	}
	d->msg = *m;
	for (; d->nfds < nfds; d->nfds++)
		d->fds[d->nfds] = NIWA_TAKE_FD(fds[d->nfds]);
	STAILQ_INSERT_TAIL(&e->deferred, d, link);
}

static void deliver_deferred(struct niwa_engine *e)
{
	struct niwa_deferred *d;

	while ((d = STAILQ_FIRST(&e->deferred))) {
		STAILQ_REMOVE_HEAD(&e->deferred, link);
		niwa_keep_deliver(e, &d->msg, d->fds, d->nfds);
		for (size_t n = 0; n < d->nfds; n++)
			niwa_fd_close(&d->fds[n]);
		free(d);
	}
}

static void kill_by(int pidfd)
{
	if (pidfd >= 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* -ESRCH: gone already */
}

/* An instance of which too little is known for anything else: it ends at once. Its groups and layers are found by the
 * table of leftovers. */
static void refuse(struct niwa_engine *e, const struct niwa_keep_msg *m, const int *fds, size_t nfds)
{
	niwa_log(NIWA_LOG_WARN, NULL, "instance %" PRIu64 " belongs to no declared app; it ends", m->id);
	niwa_group_kill(e, m->id);
	if (nfds)
		kill_by(fds[0]);
	if (m->code)
		niwa_keep_forget(e, m->id);
}

/* Its app is not declared any more, or its record cannot be read: it ends in order, with the signal and the grace that
 * its tag knows, and holds its folders until then. */
static struct niwa_instance *adopt_removed(struct niwa_engine *e, const struct niwa_tag *tag,
					   struct niwa_app_spec **ret_spec)
{
	struct niwa_app_spec *spec = niwa_zalloc(sizeof(*spec));
	struct niwa_app *app = niwa_app_new_removed(e, tag);
	struct niwa_instance *i = NULL;

	if (spec && app) {
		spec->egress = NIWA_EGRESS_NONE;
		i = niwa_instance_adopt(e, app, spec, tag);
	}
	*ret_spec = spec;
	if (!i && app)
		niwa_app_free(app);
	return i;
}

static void adopt_app_instance(struct niwa_engine *e, const struct niwa_keep_msg *m, const struct niwa_tag *tag,
			       int *fds, size_t nfds)
{
	struct niwa_app *app = niwa_map_get(e->apps_by_id, tag->app_id);
	struct niwa_app_spec *spec = NULL;
	struct niwa_instance *i = NULL;
	struct niwa_error err;

	if (app && niwa_app_spec_read(e, app, &spec, &err) == 0)
		i = niwa_instance_adopt(e, app, spec, tag);
	else if (tag->stop_signal)
		i = adopt_removed(e, tag, &spec);
	if (!i) {
		niwa_app_spec_free(&spec);
		refuse(e, m, fds, nfds);
		return;
	}
	niwa_instance_take(e, i, m, fds, nfds);
	if (!m->code && i->life != NIWA_LIFE_CLONING)
		niwa_limits_begin(e, i);
	if (m->id >= e->next_instance)
		e->next_instance = m->id + 1;
	if (i->life == NIWA_LIFE_CLONING && m->pid)
		i->life = NIWA_LIFE_STARTED;
	if (m->code) { /* it ended while nobody looked: told when its part is known */
		struct niwa_keep_msg exited = {
			.type = NIWA_KEEP_EXITED, .id = m->id, .code = m->code, .status = m->status};

		niwa_adopt_defer(e, &exited, NULL, 0);
	}
}

/* What an older niwad did not know is 0, what a newer one has added at the end is not ours to read. */
static bool read_tag(const struct niwa_keep_msg *m, struct niwa_tag *tag)
{
	*tag = (struct niwa_tag){0};
	memcpy(tag, m->tag, m->tag_len < sizeof(*tag) ? m->tag_len : sizeof(*tag));
	return tag->version >= 1 && tag->version <= NIWA_TAG_VERSION;
}

void niwa_adopt_instance(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct niwa_tag tag;

	if (niwa_map_get(e->instances, m->id) || niwa_map_get(e->execs, m->id) || niwa_criu_is(e, m->id) ||
	    niwa_relay_peer_find(e, m->id))
		return; /* known: a list asked for while running */
	if (!read_tag(m, &tag)) {
		refuse(e, m, fds, nfds);
		return;
	}
	if (tag.kind == NIWA_TAG_INSTANCE) {
		adopt_app_instance(e, m, &tag, fds, nfds);
	} else if (tag.kind == NIWA_TAG_RELAY && !m->code && !e->adopted) {
		niwa_relay_peer_adopt(e, m, &tag, fds, nfds);
	} else if (tag.kind == NIWA_TAG_CRIU) {
		niwa_criu_adopt(e, m, &tag, fds, nfds);
	} else { /* an exec whose caller is gone, a dead relay */
		if (nfds)
			kill_by(fds[0]);
		if (m->code)
			niwa_keep_forget(e, m->id);
	}
}

void niwa_adopt_stored(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	if (nfds != 1 || e->adopted)
		return;
	if (strcmp(m->name, "relay-listener") == 0)
		e->relay_listener = NIWA_TAKE_FD(fds[0]);
	else if (strcmp(m->name, "relay-listener6") == 0)
		e->relay_listener6 = NIWA_TAKE_FD(fds[0]);
	else if (strcmp(m->name, "relay-engine-end") == 0)
		e->relay_engine_end = NIWA_TAKE_FD(fds[0]);
	else if (strcmp(m->name, GUARD_NAME) == 0)
		e->guarded = true;
	else if (strncmp(m->name, "relay-draining:", 15) == 0)
		niwa_relay_peer_adopt_end(e, m->name, NIWA_TAKE_FD(fds[0]));
	else if (strncmp(m->name, "image:", 6) == 0)
		niwa_snapshot_held(e, m->name);
	else if (strncmp(m->name, "publish:", 8) == 0)
		niwa_publish_adopt(e, m->name, NIWA_TAKE_FD(fds[0]));
	else if (strncmp(m->name, "farewell:", 9) == 0)
		niwa_farewell_adopt(e, m->name, NIWA_TAKE_FD(fds[0]));
}

/* Elements. */

struct undeclare {
	struct niwa_engine *engine;
	struct niwa_net_txn *txn;
};

static int undeclare_unknown(const struct niwa_net_element *el, void *arg)
{
	struct undeclare *u = arg;
	struct niwa_app *app = niwa_map_get(u->engine->apps_by_addr, el->addr);

	if (!app || app->removed || !niwa_app_port(app, el->port))
		niwa_net_declared(u->txn, NIWA_DEL, el->addr, el->port, el->value);
	return 0;
}

int niwa_adopt_elements(struct niwa_engine *e, struct niwa_error *err)
{
	struct undeclare undeclare;
	int r;
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	struct niwa_instance *i;
	struct niwa_app *app;
	size_t pos = 0;

	if (!txn)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "bring the kernel's tables up to date");
	niwa_net_flush_sets(txn); /* and in the same transaction all that is known: no packet sees the tables empty */
	LIST_FOREACH(i, &e->instance_list, link)
	{
		niwa_instance_elements(e, i, txn);
		if (i->app->current == i && niwa_state_is_awake(i->app->state)) {
			niwa_awake_elements(i, txn);
			i->in_awake = true;
		}
		if (i->in_frozen)
			niwa_net_frozen(txn, NIWA_ADD, i->private_addr);
	}
	niwa_farewell_elements(e, txn);
	while ((app = niwa_map_next(e->apps_by_id, &pos)))
		if (!app->removed)
			niwa_app_declare(app, txn, NIWA_ADD);
	undeclare.engine = e;
	undeclare.txn = txn;
	r = niwa_net_each(e->net, NIWA_NET_DECLARED, undeclare_unknown, &undeclare, err);
	if (r < 0) {
		niwa_net_txn_free(&txn);
		return r;
	}
	return niwa_net_commit(&txn, err);
}

/* Open connections survive somebody else's `nft flush ruleset`; niwa-keep holds the table as long as there are
 * instances. */
static void guard(struct niwa_engine *e)
{
	NIWA_AUTO_FD fd = -1;
	struct niwa_error err;

	if (!e->guarded && niwa_net_guard_open(&fd, &err) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "%s; a foreign flush of nftables would end open connections", err.msg);
	if (fd >= 0)
		niwa_keep_store(e, GUARD_NAME, fd);
}

static int take_over(struct niwa_engine *e, struct niwa_error *err)
{
	int r;

	guard(e);
	niwa_sleep_thaw_unwatched(e);
	niwa_leftovers_note(e);
	r = niwa_adopt_elements(e, err);
	(void)niwa_fault("niwad.adopt-elements");
	if (r == 0)
		r = niwa_relay_listen(e, err);
	if (r < 0)
		return r;
	niwa_publish_claim(e);
	niwa_publish_sweep(e);
	niwa_leftovers_collect(e);
	(void)niwa_fault("niwad.adopt-collected");
	return niwa_relay_begin(e, err);
}

void niwa_adopt_end(struct niwa_engine *e)
{
	bool first = !e->adopted;
	struct niwa_error err;
	unsigned count = 0;
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	count++;
	(void)niwa_fault("niwad.adopt-listed");
	e->adopted = true;
	niwa_resume_all(e);
	if (first && take_over(e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		(void)sd_event_exit(e->event, 1);
		return;
	}
	deliver_deferred(e);
	if (!first) /* a list asked for because of an unknown instance */
		return;
	niwa_sleep_read_knocked(e);
	niwa_snapshots_begin(e);
	niwa_schedule_begin(e);
	niwa_resident_begin(e);
	niwa_tenant_refresh(e);
	niwa_engine_serve(e);
	niwa_log(NIWA_LOG_INFO, NULL, "adopted %u instances, %zu apps declared", count, niwa_map_count(e->apps_by_id));
}
