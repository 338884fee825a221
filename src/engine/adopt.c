/* SPDX-License-Identifier: MIT
 *
 * Adoption. In order: keep lists its instances and descriptors; the kernel's elements are made equal to what is
 * known; each adopted instance goes on where it was; the table of leftovers is walked.
 */
#include "engine/adopt.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/engine.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/leave.h"
#include "engine/publish.h"
#include "engine/ready.h"
#include "engine/relay_client.h"
#include "engine/rotate.h"
#include "engine/sleep.h"
#include "engine/trash.h"
#include "engine/wake.h"

static void kill_by(int pidfd)
{
	if (pidfd >= 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* -ESRCH: gone already */
}

/* An instance of an app that is not declared (any more), or one whose record cannot be read: it ends. Its groups and
 * layers are found by the table of leftovers. */
static void refuse(struct niwa_engine *e, const struct niwa_keep_msg *m, const int *fds, size_t nfds)
{
	niwa_log(NIWA_LOG_WARN, NULL, "instance %" PRIu64 " belongs to no declared app; it ends", m->id);
	niwa_group_kill(e, m->id);
	if (nfds)
		kill_by(fds[0]);
	if (m->code)
		niwa_keep_forget(e, m->id);
}

static void adopt_app_instance(struct niwa_engine *e, const struct niwa_keep_msg *m, const struct niwa_tag *tag,
			       int *fds, size_t nfds)
{
	struct niwa_app *app = niwa_map_get(e->apps_by_id, tag->app_id);
	struct niwa_app_spec *spec = NULL;
	struct niwa_instance *i;
	struct niwa_error err;

	if (!app || niwa_app_spec_read(e, app, &spec, &err) < 0) {
		refuse(e, m, fds, nfds);
		return;
	}
	i = niwa_instance_adopt(e, app, spec, tag);
	if (!i) {
		niwa_app_spec_free(&spec);
		refuse(e, m, fds, nfds);
		return;
	}
	niwa_instance_take(e, i, m, fds, nfds);
	if (m->id >= e->next_instance)
		e->next_instance = m->id + 1;
	if (m->code) { /* it ended while nobody looked */
		i->life = NIWA_LIFE_STOPPING;
		niwa_instance_exited(e, i, m->code, m->status);
	}
}

void niwa_adopt_instance(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct niwa_tag tag;

	if (niwa_map_get(e->instances, m->id) || niwa_map_get(e->execs, m->id) || m->id == e->relay_instance)
		return; /* known: a list asked for while running */
	if (m->tag_len != sizeof(tag)) {
		refuse(e, m, fds, nfds);
		return;
	}
	memcpy(&tag, m->tag, sizeof(tag));
	if (tag.version == NIWA_TAG_VERSION && tag.kind == NIWA_TAG_INSTANCE) {
		adopt_app_instance(e, m, &tag, fds, nfds);
	} else if (tag.version == NIWA_TAG_VERSION && tag.kind == NIWA_TAG_RELAY && !m->code && !e->relay_instance) {
		e->relay_instance = m->id;
		e->relay_pid = m->pid;
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
	else if (strcmp(m->name, "relay-engine-end") == 0)
		e->relay_engine_end = NIWA_TAKE_FD(fds[0]);
	else if (strncmp(m->name, "publish:", 8) == 0)
		niwa_publish_adopt(e, m->name, NIWA_TAKE_FD(fds[0]));
}

/* Where an adopted instance was. */

static void resume_serving(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;

	app->current = i;
	i->stages.ready_us = i->stages.executed_us;
	niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
	niwa_app_set_state(e, app, NIWA_RUNNING, "adopted");
	niwa_sleep_watch(e, i);
	niwa_rotate_arm(e, i);
	if (niwa_group_freeze_asked(e, i->id) > 0) {
		niwa_app_set_state(e, app, NIWA_FREEZING, "adopted");
		i->in_frozen = true;
		if (niwa_group_is_frozen(e, i->id) > 0) {
			niwa_app_set_state(e, app, NIWA_FROZEN, "adopted");
			niwa_sleep_resume_frozen(e, i);
		} else {
			niwa_sleep_thaw(e, i, "a freeze under way was given up");
		}
	}
}

static void resume(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;

	switch (i->life) {
	case NIWA_LIFE_SERVING:
		if (app->current &&
		    app->current->life == NIWA_LIFE_SERVING) { /* killed between two tags of a rotation */
			struct niwa_instance *old = i->id < app->current->id ? i : app->current;

			app->current = old == i ? app->current : i;
			niwa_rotate_drain(e, old);
		} else {
			resume_serving(e, i);
		}
		break;
	case NIWA_LIFE_CLONING:
	case NIWA_LIFE_STARTED:
		i->life = NIWA_LIFE_STARTED;
		if (app->current) {
			app->fresh = i;
		} else {
			app->current = i;
			niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
		}
		niwa_ready_begin(e, i);
		break;
	case NIWA_LIFE_DRAINING:
		niwa_rotate_drain(e, i);
		break;
	case NIWA_LIFE_STOPPING:
		i->life = NIWA_LIFE_SERVING; /* the signal is sent again: it may not have been */
		if (!app->current) {
			app->current = i;
			niwa_app_set_state(e, app, NIWA_STARTING, "adopted");
		}
		niwa_leave_stop(e, i, "was stopping");
		break;
	case NIWA_LIFE_GONE:
		break;
	}
}

static void resume_all(struct niwa_engine *e)
{
	static const enum niwa_phase_of_life order[] = {NIWA_LIFE_SERVING, NIWA_LIFE_STARTED, NIWA_LIFE_CLONING,
							NIWA_LIFE_DRAINING, NIWA_LIFE_STOPPING};

	for (size_t n = 0; n < NIWA_ARRAY_LEN(order); n++) {
		struct niwa_instance *i = LIST_FIRST(&e->instance_list), *next;

		for (; i; i = next) {
			next = LIST_NEXT(i, link);
			if (i->life == order[n] && i->app->current != i && i->app->fresh != i)
				resume(e, i);
		}
	}
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

/* Leftovers: what an instance may leave behind, and who finds it. */

static bool is_known(struct niwa_engine *e, uint64_t id)
{
	return niwa_map_get(e->instances, id) != NULL;
}

static int collect_group(uint64_t id, void *arg)
{
	struct niwa_engine *e = arg;

	if (is_known(e, id))
		return 0;
	niwa_group_kill(e, id);
	if (niwa_group_remove(e, id) == 0)
		e->counts.leftovers++;
	else
		e->leftover_groups = true; /* its processes are dying; looked at again */
	return 0;
}

static int collect_groups(struct niwa_engine *e)
{
	e->leftover_groups = false;
	return niwa_group_each(e, collect_group, e);
}

static int collect_layers(struct niwa_engine *e)
{
	char base[PATH_MAX], path[PATH_MAX + 300];
	struct dirent *entry;
	uint64_t id;
	DIR *dir;

	(void)snprintf(base, sizeof(base), "%s/layers", e->config.state_dir);
	dir = opendir(base);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || (niwa_parse_u64(entry->d_name, UINT64_MAX, &id) == 0 && is_known(e, id)))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
		niwa_trash_put(e->trash, path);
		e->counts.leftovers++;
	}
	(void)closedir(dir);
	return 0;
}

static int collect_veth(const char *name, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	if (strcmp(i->veth, name) == 0)
		return 0;
	(void)niwa_net_veth_delete(e->net, name); /* -ENODEV: its namespace has just gone */
	e->counts.leftovers++;
	return 0;
}

static int collect_veths(struct niwa_engine *e)
{
	struct niwa_error err;

	return niwa_net_each_veth(e->net, collect_veth, e, &err);
}

static const struct {
	const char *kind;
	int (*collect)(struct niwa_engine *e);
} leftovers[] = {
	{"control groups, and the processes in them", collect_groups},
	{"writable layers", collect_layers},
	{"network interfaces", collect_veths},
};

static int on_collect_again(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;

	(void)usec;
	(void)sd_event_source_disable_unref(s);
	if (collect_groups(e) >= 0 && e->leftover_groups)
		(void)sd_event_add_time_relative(e->event, NULL, CLOCK_MONOTONIC, 100000, NIWA_MS, on_collect_again, e);
	return 0;
}

static void collect_leftovers(struct niwa_engine *e)
{
	uint64_t before = e->counts.leftovers;

	for (size_t n = 0; n < NIWA_ARRAY_LEN(leftovers); n++)
		if (leftovers[n].collect(e) < 0)
			niwa_log(NIWA_LOG_WARN, NULL, "could not look for leftovers: %s", leftovers[n].kind);
	if (e->leftover_groups)
		(void)sd_event_add_time_relative(e->event, NULL, CLOCK_MONOTONIC, 100000, NIWA_MS, on_collect_again, e);
	if (e->counts.leftovers > before)
		niwa_log(NIWA_LOG_INFO, NULL, "collected %" PRIu64 " leftovers", e->counts.leftovers - before);
}

void niwa_adopt_end(struct niwa_engine *e)
{
	struct niwa_error err;
	unsigned count = 0;
	struct niwa_instance *i;

	LIST_FOREACH(i, &e->instance_list, link)
	count++;
	if (e->adopted) { /* a list asked for because of an unknown instance */
		resume_all(e);
		return;
	}
	e->adopted = true;
	resume_all(e);
	niwa_sleep_thaw_unwatched(e);
	if (niwa_adopt_elements(e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		(void)sd_event_exit(e->event, 1);
		return;
	}
	niwa_publish_claim(e);
	niwa_publish_sweep(e);
	collect_leftovers(e);
	if (niwa_relay_begin(e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		(void)sd_event_exit(e->event, 1);
		return;
	}
	niwa_sleep_read_knocked(e);
	niwa_engine_serve(e);
	niwa_log(NIWA_LOG_INFO, NULL, "adopted %u instances, %zu apps declared", count, niwa_map_count(e->apps_by_id));
}
