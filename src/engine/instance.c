/* SPDX-License-Identifier: MIT
 *
 * Making an instance and following it through keep. Everything borrowed for it (ids, address, layer, groups,
 * elements) is given back in collect.c, in one place.
 */
#include "engine/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/app.h"
#include "engine/applog.h"
#include "engine/collect.h"
#include "engine/dumpable.h"
#include "engine/folder.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/images.h"
#include "engine/keep_client.h"
#include "engine/leave.h"
#include "engine/limit_hit.h"
#include "engine/limit_set.h"
#include "engine/past.h"
#include "engine/ready.h"
#include "engine/restore.h"
#include "engine/restore_open.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"
#include "engine/snapshot_start.h"
#include "engine/start.h"
#include "engine/trash.h"
#include "engine/usage.h"
#include "engine/volume.h"
#include "engine/wake.h"

static struct niwa_instance *new_object(struct niwa_engine *e, struct niwa_app *app, uint64_t id)
{
	struct niwa_instance *i = niwa_zalloc(sizeof(*i));

	if (!i)
		return NULL;
	i->engine = e;
	i->app = app;
	i->id = id;
	i->plan_fd = i->pidfd = i->log_fd = i->diag_fd = i->notify_fd = i->layer_fd = i->cgroup_events_fd = -1;
	niwa_instance_veth_name(id, i->veth);
	if (niwa_map_put(e->instances, id, i) < 0) {
		free(i);
		return NULL;
	}
	LIST_INSERT_HEAD(&e->instance_list, i, link);
	if (app) {
		LIST_INSERT_HEAD(&app->instance_list, i, app_link);
		app->instance_count++;
		app->lived = true;
	}
	return i;
}

static void set_tenant(struct niwa_instance *i, struct niwa_tenant *tenant)
{
	i->tenant = tenant;
	if (!tenant)
		return;
	tenant->users++;
	tenant->instances++;
	LIST_INSERT_HEAD(&tenant->instance_list, i, tenant_link);
}

static void free_object(struct niwa_instance *i)
{
	(void)sd_event_source_disable_unref(i->log_source);
	(void)sd_event_source_disable_unref(i->log_pause);
	(void)sd_event_source_disable_unref(i->notify_source);
	(void)sd_event_source_disable_unref(i->notify_pause);
	(void)sd_event_source_disable_unref(i->timer);
	(void)sd_event_source_disable_unref(i->freeze_source);
	(void)sd_event_source_disable_unref(i->life_timer);
	niwa_fd_close(&i->plan_fd);
	niwa_fd_close(&i->pidfd);
	niwa_fd_close(&i->log_fd);
	niwa_fd_close(&i->diag_fd);
	niwa_fd_close(&i->notify_fd);
	niwa_fd_close(&i->layer_fd);
	niwa_fd_close(&i->cgroup_events_fd);
	niwa_app_spec_free(&i->spec);
	free(i);
}

void niwa_instance_bury(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_app *app = i->app;

	niwa_usage_gone(e, i);
	LIST_REMOVE(i, link);
	(void)niwa_map_del(e->instances, i->id);
	if (i->private_addr && niwa_map_get(e->instances_by_addr, i->private_addr) == i)
		(void)niwa_map_del(e->instances_by_addr, i->private_addr);
	i->timer = sd_event_source_disable_unref(i->timer);
	i->freeze_source = sd_event_source_disable_unref(i->freeze_source);
	i->life_timer = sd_event_source_disable_unref(i->life_timer);
	i->log_source = sd_event_source_disable_unref(i->log_source);
	i->log_pause = sd_event_source_disable_unref(i->log_pause);
	i->notify_source = sd_event_source_disable_unref(i->notify_source);
	i->notify_pause = sd_event_source_disable_unref(i->notify_pause);
	niwa_applog_close(i);
	SLIST_INSERT_HEAD(&e->dead, i, dead_link);
	(void)sd_event_source_set_enabled(e->bury_source, SD_EVENT_ON);
	niwa_group_tenant_left(e, i);
	if (i->tenant) {
		LIST_REMOVE(i, tenant_link);
		i->tenant->instances--;
		niwa_app_tenant_unref(e, &i->tenant);
	}
	if (!app)
		return;
	LIST_REMOVE(i, app_link);
	app->instance_count--;
	niwa_app_unlink_if_done(e, app);
}

int niwa_instance_on_post(sd_event_source *s, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_instance *i;

	while ((i = SLIST_FIRST(&e->dead))) {
		SLIST_REMOVE_HEAD(&e->dead, dead_link);
		free_object(i);
	}
	(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	if (e->folders_changed) {
		e->folders_changed = false;
		niwa_start_folders_changed(e);
	}
	return 0;
}

static int borrow(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	int r = niwa_lease_take(e->leases, &i->lease, err);

	if (r < 0)
		return r;
	r = niwa_addr_take(e->addresses, niwa_now_us(), &i->private_addr, err);
	if (r < 0)
		return r;
	i->mark = (uint32_t)i->id ? (uint32_t)i->id : 1;
	if (niwa_map_put(e->instances_by_addr, i->private_addr, i) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start %s", i->app->name);
	return 0;
}

void niwa_instance_layer_path(const struct niwa_engine *e, uint64_t id, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s/layers/%llu", e->config.state_dir, (unsigned long long)id);
}

static void client_first(const struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change)
{
	for (size_t n = 0; i->spec && n < i->spec->port_count; n++)
		if (i->spec->ports[n].speaks == NIWA_SPEAKS_CLIENT)
			niwa_net_client_first(txn, change, i->private_addr, i->spec->ports[n].number);
}

/* The elements that an instance needs before its first instruction: its mark, where it may go. */
static int enter_kernel(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);

	if (!txn)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start %s", i->app->name);
	niwa_instance_elements(e, i, txn);
	i->net_ready = true;
	return niwa_net_commit(&txn, err);
}

void niwa_instance_elements(struct niwa_engine *e, struct niwa_instance *i, struct niwa_net_txn *txn)
{
	niwa_net_mark(txn, NIWA_ADD, i->private_addr, i->mark);
	client_first(i, txn, NIWA_ADD);
	if (i->tenant)
		niwa_app_permit(e, i, txn, NIWA_ADD);
	niwa_volume_egress(i, txn, NIWA_ADD);
}

void niwa_instance_elements_gone(struct niwa_engine *e, struct niwa_instance *i, struct niwa_net_txn *txn)
{
	client_first(i, txn, NIWA_DEL);
	if (i->tenant)
		niwa_app_permit(e, i, txn, NIWA_DEL);
	if (i->in_frozen)
		niwa_net_frozen(txn, NIWA_DEL, i->private_addr);
	if (i->spec)
		niwa_volume_egress(i, txn, NIWA_DEL);
}

/* 64 hexadecimal digits. */
static int draw(char *buf, size_t size, struct niwa_error *err)
{
	uint8_t bytes[32];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return niwa_fail(err, NIWA_TEMPORARY, errno, "draw random numbers");
	for (size_t n = 0; n < sizeof(bytes); n++)
		(void)snprintf(buf + 2 * n, size - 2 * n, "%02x", bytes[n]);
	return 0;
}

int niwa_instance_prepare(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_prepared *ret,
			  struct niwa_error *err)
{
	struct niwa_instance_params *p = &ret->params;
	int r;

	*ret = (struct niwa_prepared){.params = {.id = i->id,
						 .app_id = i->app->id,
						 .spec = i->spec,
						 .id_base = i->lease,
						 .private_addr = i->private_addr,
						 .service_addr = i->app->service_addr}};
	r = niwa_images_get(e, i->spec->image, &p->image, err);
	if (r == 0)
		r = niwa_image_user(p->image, niwa_images_user(p->image, i->spec), &p->uid, &p->gid, p->groups,
				    &p->group_count, err);
	if (r == 0)
		r = niwa_volume_params(i, p, err);
	if (r == 0)
		r = draw(p->random, sizeof(p->random), err);
	if (r < 0)
		return r;
	p->home = ret->home = niwa_image_home(p->image, p->uid);
	(void)snprintf(ret->tenant_dir, sizeof(ret->tenant_dir), "%s/tenants/%s", e->config.run_dir,
		       i->app->tenant->name);
	niwa_instance_layer_path(e, i->id, ret->layer,
				 sizeof(ret->layer)); /* keep makes it, where there is one on disk */
	p->layer_dir = ret->layer;
	p->tenant_dir = ret->tenant_dir;
	memcpy(p->veth, i->veth, sizeof(p->veth));
	return 0;
}

void niwa_prepared_fini(struct niwa_prepared *prepared)
{
	free(prepared->home);
	prepared->home = NULL;
}

static int build_plan(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	NIWA_AUTO(niwa_prepared_fini) struct niwa_prepared p = {0};
	struct niwa_group_host host;
	struct niwa_plan plan = {0};
	int r = niwa_tenant_files(e, i->app->tenant, err);

	if (r == 0)
		r = niwa_instance_prepare(e, i, &p, err);
	if (r == 0)
		r = niwa_snapshot_prepare(e, i, &p.params, err);
	if (r == 0)
		r = niwa_instance_plan(niwa_group_host(e, i, &host), &p.params, &plan, err);
	if (r == 0)
		r = niwa_plan_to_memfd(&plan, err);
	niwa_plan_fini(&plan);
	if (r < 0)
		return r;
	i->plan_fd = r;
	return 0;
}

static void fill_tag(const struct niwa_instance *i, struct niwa_tag *tag)
{
	*tag = (struct niwa_tag){.version = NIWA_TAG_VERSION,
				 .kind = NIWA_TAG_INSTANCE,
				 .app_id = i->app ? i->app->id : 0,
				 .generation = i->generation,
				 .instance = i->id,
				 .private_addr = i->private_addr,
				 .lease = i->lease,
				 .mark = i->mark,
				 .life = (uint32_t)i->life,
				 .tenant = i->tenant ? i->tenant->id : 0,
				 .restored = i->restored || niwa_restore_is_under_way(i),
				 .follow = i->app && i->app->current == i && i->app->rotate_wanted,
				 .began_realtime_us = niwa_realtime_us() - (niwa_now_us() - i->began_us),
				 .began_us = i->began_us,
				 .aged_us = i->aged_us,
				 .busy_until_us = i->busy.told_until_us,
				 .stop_deadline_us = i->stop_deadline_us,
				 .stop_grace_us = i->spec ? i->spec->stop.grace_us : 0,
				 .stop_signal = i->spec ? (uint32_t)i->spec->stop.signal : 0,
				 .group_tenant = i->group_tenant,
				 .record = i->record,
				 .limits_changed = i->limits_changed,
				 .copy = i->copy         ? NIWA_TAG_COPY
					 : i->copy_to_be ? NIWA_TAG_COPY_TO_BE
							 : NIWA_TAG_NO_COPY};
	niwa_folder_tag(i, tag);
	niwa_dumpable_tag(i, tag);
	if (i->app)
		(void)snprintf(tag->name, sizeof(tag->name), "%s", i->app->name);
}

void niwa_instance_write_tag(struct niwa_engine *e, const struct niwa_instance *i)
{
	struct niwa_tag tag;

	fill_tag(i, &tag);
	niwa_keep_tag(e, i->id, &tag);
}

/* Whoever lives from now on goes on from another moment than the memory that was kept, wherever it was left. */
static void forget_moment(struct niwa_engine *e, const struct niwa_instance *i)
{
	const struct niwa_app_snapshot *s = i->app->snapshot;

	if (s && s->usable && s->moment && !niwa_restore_is_under_way(i))
		niwa_snapshot_drop(e, i->app, "the app was started without it");
}

/* Everything is there that its plan is made from: keep's turn. */
static int hand_over(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_tag tag;
	int r = build_plan(e, i, err);

	if (r == 0)
		r = enter_kernel(e, i, err);
	if (r < 0)
		return r;
	forget_moment(e, i);
	r = niwa_fault("niwad.start");
	fill_tag(i, &tag);
	if (r == 0)
		r = niwa_keep_start(e, i->id, &tag, &i->plan_fd, 1);
	(void)niwa_fault("niwad.start-sent");
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "ask niwa-keep to start %s", i->app->name);
	/* while keep works: a new file may take a disk a millisecond */
	if (niwa_applog_open(e, i, err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s; what it prints is lost", err->msg);
	return 0;
}

static int make(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	int r = niwa_app_spec_read(e, i->app, &i->spec, err);

	if (r == 0)
		i->record = NIWA_TAG_RECORD_KNOWN | (niwa_rotate_declared(i->spec) ? NIWA_TAG_RECORD_OVERLAPS : 0);
	if (r == 0)
		r = niwa_group_tenant_join(e, i, err);
	if (r == 0)
		r = niwa_folder_take(e, i, err);
	if (r == 0)
		r = borrow(e, i, err);
	if (r < 0)
		return r;
	return i->app->state == NIWA_RESTORING ? niwa_restore_open(e, i, err) : hand_over(e, i, err);
}

int niwa_instance_make(struct niwa_engine *e, struct niwa_app *app, struct niwa_instance **ret, struct niwa_error *err)
{
	struct niwa_instance *i = new_object(e, app, e->next_instance++);
	int r;

	if (!i)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start %s", app->name);
	i->generation = app->generation;
	i->copy_to_be = app->scale && ret == &app->scale->growing;
	if (!app->template)
		set_tenant(i, app->tenant);
	i->began_us = niwa_now_us();
	i->life = NIWA_LIFE_CLONING;
	r = make(e, i, err);
	if (r < 0) {
		*ret = NULL;
		niwa_instance_end(e, i);
		return r;
	}
	*ret = i;
	return 0;
}

/* The record of its app may be another one by now. */
static void adopt_record(struct niwa_instance *i, const struct niwa_tag *tag)
{
	i->record = tag->record;
	i->stop_deadline_us = tag->stop_deadline_us;
	if (tag->stop_signal) {
		i->spec->stop.signal = (int)tag->stop_signal;
		i->spec->stop.grace_us = tag->stop_grace_us;
	}
	if (niwa_folder_adopt(i, tag) < 0) { /* another one could write to its folders */
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory while adopting");
		(void)sd_event_exit(i->engine->event, 1);
	}
}

struct niwa_instance *niwa_instance_adopt(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_spec *spec,
					  const struct niwa_tag *tag)
{
	struct niwa_instance *i = new_object(e, app, tag->instance);
	struct niwa_error err;

	if (!i)
		return NULL;
	i->spec = spec;
	i->generation = tag->generation;
	i->private_addr = tag->private_addr;
	i->lease = tag->lease;
	i->mark = tag->mark;
	i->life = (enum niwa_phase_of_life)tag->life;
	set_tenant(i, app->tenant ? niwa_app_tenant(e, app, tag->tenant) : NULL);
	if (i->tenant) /* the niwad before this one may not have come to it */
		niwa_tenant_names_changed(e, i->tenant);
	niwa_group_tenant_adopt(e, i, tag->group_tenant);
	i->adopting = true;
	i->restored = tag->restored;
	i->follow = tag->follow;
	i->limits_changed = tag->limits_changed;
	i->copy = tag->copy == NIWA_TAG_COPY;
	i->copy_to_be = tag->copy == NIWA_TAG_COPY_TO_BE;
	i->began_us = tag->began_us ? tag->began_us : niwa_now_us() - (niwa_realtime_us() - tag->began_realtime_us);
	i->aged_us = tag->aged_us;
	i->busy.told_until_us = i->busy.tagged_until_us = tag->busy_until_us;
	adopt_record(i, tag);
	niwa_dumpable_adopt(i, tag);
	i->net_ready = true;
	(void)niwa_lease_mark(e->leases, i->lease);
	(void)niwa_addr_mark(e->addresses, i->private_addr);
	(void)niwa_map_put(e->instances_by_addr, i->private_addr, i);
	if (app->tenant && niwa_applog_open(e, i, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
	return i;
}

void niwa_instance_take(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_keep_msg *m, int *fds,
			size_t nfds)
{
	size_t n = 0;

	i->pid = m->pid;
	i->stages.cloned_us = m->cloned_us;
	i->stages.executed_us = m->started_us;
	if (nfds > 0) {
		i->pidfd = NIWA_TAKE_FD(fds[0]);
		n = 1;
	}
	for (unsigned slot = 0; slot < NIWA_SLOTS && n < nfds; slot++) {
		if (!(m->sent & (1u << slot)))
			continue;
		if (slot == NIWA_SLOT_LOG)
			i->log_fd = NIWA_TAKE_FD(fds[n]);
		else if (slot == NIWA_SLOT_DIAG)
			i->diag_fd = NIWA_TAKE_FD(fds[n]);
		else if (slot == NIWA_SLOT_NOTIFY)
			i->notify_fd = NIWA_TAKE_FD(fds[n]);
		else if (slot == NIWA_SLOT_LAYER)
			i->layer_fd = NIWA_TAKE_FD(fds[n]);
		n++;
	}
	niwa_applog_watch(e, i);
	niwa_limit_watch(e, i);
	niwa_ready_watch_notify(e, i);
}

void niwa_instance_started(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_keep_msg *m, int *fds,
			   size_t nfds)
{
	if (i->life != NIWA_LIFE_CLONING)
		return;
	niwa_fd_close(&i->plan_fd);
	niwa_instance_take(e, i, m, fds, nfds);
	if (!i->stages.executed_us)
		i->stages.executed_us = niwa_now_us();
	i->life = NIWA_LIFE_STARTED;
	(void)niwa_fault("niwad.started");
	niwa_limits_begin(e, i);
	if (i->killed) { /* no longer wanted since it was asked for */
		i->life = NIWA_LIFE_STOPPING;
		niwa_instance_kill(e, i);
	} else if (niwa_restore_is_under_way(i)) {
		niwa_restore_begin(e, i);
	} else {
		niwa_ready_begin(e, i);
	}
}

/* The operation that keep names, in words: "mount /srv/blog". */
static void name_operation(const struct niwa_instance *i, int index, char *buf, size_t size)
{
	struct niwa_op_view op;
	struct stat st;
	size_t pos = 0;
	void *data;

	(void)snprintf(buf, size, index < 0 ? "niwa-keep" : "operation %d", index);
	if (i->plan_fd < 0 || fstat(i->plan_fd, &st) < 0)
		return;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, i->plan_fd, 0);
	if (data == MAP_FAILED)
		return;
	while (index >= 0 && niwa_plan_next(data, (size_t)st.st_size, &pos, &op)) {
		if (op.index != (uint32_t)index)
			continue;
		if (op.op == NIWA_OP_EXEC && i->spec->command && i->spec->command[0])
			(void)snprintf(buf, size, "execute '%s'", i->spec->command[0]);
		else
			(void)snprintf(buf, size, "%s%s%s%s%s", niwa_op_name(op.op), *op.s ? " " : "", op.s,
				       *op.t ? " " : "", op.t);
	}
	(void)munmap(data, (size_t)st.st_size);
}

/* What the kernel says when a folder is mounted over a file (move-mount: EINVAL), or a file over a folder (EISDIR). */
static bool explain_mount(const struct niwa_instance *i, const char *what, int error, struct niwa_error *err)
{
	const char *target = strchr(what, ' ');

	if (!target || (error != EISDIR && (error != EINVAL || strncmp(what, niwa_op_name(NIWA_OP_MOVE_MOUNT),
								       (size_t)(target - what)) != 0)))
		return false;
	for (size_t n = 0; n < i->spec->volume_count; n++) {
		const struct niwa_volume *v = &i->spec->volumes[n];
		struct stat st;
		bool folder = stat(v->from, &st) == 0 && S_ISDIR(st.st_mode);

		if (strcmp(v->to, target + 1) != 0)
			continue;
		(void)niwa_fail(err, NIWA_PERMANENT, 0,
				"%s: volumes[%zu].to: '%s' is a %s in the image, and volumes[%zu].from: '%s' is a %s: "
				"mount a folder over a folder, a file over a file",
				i->app->name, n, v->to, folder ? "file" : "folder", n, v->from,
				folder ? "folder" : "file");
		return true;
	}
	return false;
}

static void explain_failure(const struct niwa_instance *i, const struct niwa_keep_msg *m, struct niwa_error *err)
{
	char what[300];

	name_operation(i, m->op, what, sizeof(what));
	if (explain_mount(i, what, m->error, err))
		return;
	if (m->error == ECHILD) {
		(void)niwa_fail(err, NIWA_TEMPORARY, 0, "%s: killed while it was being started: %s", i->app->name,
				what);
		return;
	}
	(void)niwa_fail(
		err, m->error == EAGAIN || m->error == ENOMEM || m->error == ENOSPC ? NIWA_TEMPORARY : NIWA_PERMANENT,
		m->error, "%s: %s", i->app->name, what);
}

/* Nothing of the process exists any more: tells whoever waited for it. */
/* Its successor is on its way already: whoever waits, waits for that one. */
static bool successor_takes_over(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	if (!app->fresh)
		return false;
	app->current = app->fresh;
	app->fresh = NULL;
	if (app->state != NIWA_STARTING)
		niwa_app_set_state(e, app, NIWA_STARTING, why);
	return true;
}

/* The others take its share. */
static void copy_ended(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_error *err)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "scale"};

	if (i->life == NIWA_LIFE_SERVING) {
		niwa_log(NIWA_LOG_WARN, &ctx, "%s; the others go on", err->msg);
		e->counts.crashes++;
		niwa_app_note_error(i->app, err->msg);
	}
	niwa_scale_lost(e, i);
}

static void report_end(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_error *err)
{
	struct niwa_app *app = i->app;
	bool down, saved;

	if (app->fresh == i) {
		niwa_rotate_failed(e, app, err);
		return;
	}
	if (niwa_scale_is_growing(i)) {
		niwa_scale_failed(e, app, err);
		return;
	}
	if (i->copy && !i->adopting)
		copy_ended(e, i, err);
	if (app->current != i)
		return; /* a drained one: nobody waits */
	if (niwa_restore_is_under_way(i) && app->state == NIWA_RESTORING) {
		i->life = NIWA_LIFE_GONE;
		niwa_restore_failed(e, i, err->msg);
		return;
	}
	if (i->restored)
		niwa_snapshot_ended(e, i, err->msg);
	if (app->state == NIWA_STOPPING || app->state == NIWA_SAVING) {
		niwa_wake_healthy(i);
		app->current = NULL;
		if (niwa_scale_take_over(e, app, "it has ended") ||
		    successor_takes_over(e, app, "its successor starts"))
			return;
		down = app->removed || (TAILQ_EMPTY(&app->waiters) && !app->rotate_wanted);
		saved = niwa_snapshot_is_wanted(app) && !app->rotate_wanted;
		if (down || saved || app->state == NIWA_SAVING)
			niwa_app_set_state(e, app, saved ? NIWA_SAVED : NIWA_STOPPED, "ended");
		if (!down)
			niwa_wake_start(e, app, app->rotate_wanted ? "a fresh instance" : "connections are waiting");
		return;
	}
	if (i->in_awake)
		niwa_awake_leave(e, i);
	if (app->state != NIWA_STARTING)
		e->counts.crashes++;
	if (app->state == NIWA_RUNNING && niwa_scale_take_over(e, app, err->msg)) {
		niwa_app_note_error(app, err->msg);
		return;
	}
	if (!successor_takes_over(e, app, err->msg))
		niwa_wake_failed(e, app, err);
}

void niwa_instance_failed(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_keep_msg *m)
{
	struct niwa_error err;

	if (i->life != NIWA_LIFE_CLONING)
		return;
	niwa_folder_release(i); /* who comes next may be told of this end */
	explain_failure(i, m, &err);
	report_end(e, i, &err);
	niwa_instance_end(e, i);
}

/* Keep never heard of it. */
static void unmake(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_error *err)
{
	struct niwa_app *app = i->app;

	i->life = NIWA_LIFE_GONE;
	niwa_folder_release(i);
	if (app->current == i && app->state == NIWA_RESTORING) {
		app->current = NULL;
		niwa_wake_start_cold(e, app, "its image cannot be used");
	} else {
		report_end(e, i, err);
	}
	niwa_instance_end(e, i);
}

void niwa_instance_opened(struct niwa_engine *e, struct niwa_instance *i, int r, const struct niwa_error *err)
{
	struct niwa_error why;

	if (r == 0) {
		r = i->killed ? niwa_fail(&why, NIWA_TEMPORARY, 0, "%s is not wanted any more", i->app->name)
			      : hand_over(e, i, &why);
		err = &why;
	}
	if (r < 0)
		unmake(e, i, err);
}

char *niwa_exit_text(int code, int status, char *buf, size_t size)
{
	if (code == CLD_EXITED)
		(void)snprintf(buf, size, "exited with status %d", status);
	else
		(void)snprintf(buf, size, "killed by SIG%s%s", sigabbrev_np(status) ? sigabbrev_np(status) : "?",
			       code == CLD_DUMPED ? " (core dumped)" : "");
	return buf;
}

void niwa_instance_exited(struct niwa_engine *e, struct niwa_instance *i, int code, int status)
{
	bool early = i->life == NIWA_LIFE_STARTED && !i->stages.ready_us;
	const char *limit;
	bool memory;
	char text[64], last[200];
	struct niwa_error err;

	if (i->life == NIWA_LIFE_GONE)
		return;
	(void)niwa_fault("niwad.exited");
	niwa_folder_release(i); /* with its first process all others of its pid namespace are gone */
	niwa_applog_drain(e, i);
	niwa_applog_last_line(e, i, last, sizeof(last));
	(void)niwa_exit_text(code, status, text, sizeof(text));
	limit = niwa_limit_ended(e, i);
	memory = code != CLD_EXITED && status == SIGKILL && *limit;
	(void)niwa_fail(&err, NIWA_TEMPORARY, 0, "%s %s%s%s%s%s%s", i->app->name, text, memory ? ": " : "",
			memory ? limit : "", early ? " before it was ready" : "",
			early && code == CLD_EXITED && status == 0 ? " (a command must stay in the foreground)" : "",
			last[0] ? last : "");
	report_end(e, i, &err);
	(void)niwa_fault("niwad.end-told");
	niwa_instance_end(e, i);
}

int niwa_instance_signal(struct niwa_instance *i, int signal)
{
	if (i->pidfd < 0)
		return -ESRCH;
	return pidfd_send_signal(i->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

void niwa_instance_kill(struct niwa_engine *e, struct niwa_instance *i)
{
	niwa_group_kill(e, i->id);
	(void)niwa_instance_signal(i, SIGKILL); /* -ESRCH: it is ending already */
}
