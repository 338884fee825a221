/* SPDX-License-Identifier: MIT
 *
 * The registry of apps: from stored records to what is kept in memory of each, which is little: names, ports,
 * and the waiters. Everything else is read from the store when an instance is made.
 */
#include "engine/app.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/admit.h"
#include "engine/applog.h"
#include "engine/class.h"
#include "engine/folder.h"
#include "engine/folder_claim.h"
#include "engine/group_tenant.h"
#include "engine/labels.h"
#include "engine/leave.h"
#include "engine/names.h"
#include "engine/past.h"
#include "engine/publish.h"
#include "engine/put_away.h"
#include "engine/rebuild.h"
#include "engine/resident.h"
#include "engine/rotate.h"
#include "engine/scale.h"
#include "engine/schedule.h"
#include "engine/share.h"
#include "engine/snapshot.h"
#include "engine/start.h"
#include "engine/template.h"
#include "engine/tenant_limit.h"
#include "engine/visit.h"
#include "engine/wake.h"
#include "engine/wake_policy.h"

static void count(struct niwa_app *app, bool counted)
{
	uint64_t *apps = &app->engine->metrics.apps[app->state];

	if (app->counted != counted)
		*apps += counted ? 1 : (uint64_t)-1;
	app->counted = counted;
}

void niwa_app_set_state(struct niwa_engine *e, struct niwa_app *app, enum niwa_state to, const char *why)
{
	struct niwa_log_ctx ctx = {.app = app->name, .instance = app->current ? app->current->id : 0};
	enum niwa_state from = app->state;

	if (from == to)
		return;
	assert(niwa_state_may_follow(from, to));
	if ((to == NIWA_STOPPING || to == NIWA_SAVING) && niwa_state_is_awake(from))
		niwa_admit_note(e, app);
	if (from == NIWA_FROZEN || from == NIWA_PAGED)
		e->frozen--;
	if (to == NIWA_FROZEN || to == NIWA_PAGED)
		e->frozen++;
	app->state = (uint8_t)to;
	if (app->counted) {
		e->metrics.apps[from]--;
		e->metrics.apps[to]++;
		e->metrics.moves[to]++;
	}
	if (niwa_state_is_down(to) && !niwa_state_is_down(from))
		niwa_app_note_woke(app, NIWA_WAKE_GIVEN_UP); /* unless its wake has ended before */
	if (from == NIWA_RESTORING && to == NIWA_STARTING) {
		e->counts.failed_restores++;
		niwa_app_note_fell_back(app);
	}
	if (!niwa_state_is_awake(to) && to != NIWA_STARTING) /* what has lost its port only is still to be replaced */
		niwa_start_drop_beside(e, app, NIWA_START_APP);
	niwa_app_note_move(app, from, to, why);
	niwa_log(NIWA_LOG_INFO, &ctx, "%s -> %s (%s)", niwa_state_name(from), niwa_state_name(to), why);
	if (to == NIWA_STOPPED)
		niwa_rebuild_slept(e, app);
	niwa_resident_moved(e, app);
	niwa_scale_moved(e, app);
	niwa_app_notify(app);
}

struct niwa_app_watch {
	LIST_ENTRY(niwa_app_watch) link;
	enum niwa_state goal;
	uint64_t not_instance;
	niwa_app_watch_fn *fn;
	void *arg;
};

int niwa_app_watch(struct niwa_app *app, enum niwa_state goal, uint64_t not_instance, niwa_app_watch_fn *fn, void *arg)
{
	struct niwa_app_watch *w = niwa_zalloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct niwa_app_watch){.goal = goal, .not_instance = not_instance, .fn = fn, .arg = arg};
	LIST_INSERT_HEAD(&app->watches, w, link);
	return 0;
}

static void watch_end(struct niwa_app *app, struct niwa_app_watch *w, bool reached)
{
	LIST_REMOVE(w, link);
	w->fn(app, reached, w->arg);
	free(w);
}

void niwa_app_unwatch(struct niwa_app *app)
{
	struct niwa_app_watch *w;

	while ((w = LIST_FIRST(&app->watches)))
		watch_end(app, w, false);
}

/* The states a watch for a goal gives up in. */
static bool gives_up(enum niwa_state goal, enum niwa_state now)
{
	return niwa_state_is_down(now) || (goal == NIWA_FROZEN && (now == NIWA_RUNNING || now == NIWA_STOPPING));
}

void niwa_app_notify(struct niwa_app *app)
{
	struct niwa_app_watch *w = LIST_FIRST(&app->watches), *next;

	for (; w; w = next) {
		bool other = !app->current || app->current->id != w->not_instance;
		bool ended = w->goal == NIWA_STOPPED && (w->not_instance || niwa_state_is_down(app->state));
		bool reached = other && (w->goal == app->state || ended);

		next = LIST_NEXT(w, link);
		if (reached || gives_up(w->goal, app->state))
			watch_end(app, w, reached);
	}
}

struct niwa_app *niwa_app_by_name(struct niwa_engine *e, const char *name)
{
	struct niwa_app *app = niwa_map_get_str(e->apps_by_name, name);

	return app && !app->removed ? app : NULL;
}

struct niwa_tenant *niwa_app_tenant(struct niwa_engine *e, const struct niwa_app *app, uint32_t id)
{
	struct niwa_tenant *t = app->tenant;
	size_t pos = 0;

	if (t->id == id)
		return t;
	while ((t = niwa_map_next(e->tenants, &pos)))
		if (t->id == id)
			return t;
	return NULL;
}

struct niwa_app_port *niwa_app_port(struct niwa_app *app, uint16_t number)
{
	for (unsigned i = 0; i < app->port_count; i++)
		if (app->ports[i].number == number)
			return &app->ports[i];
	return NULL;
}

static struct niwa_tenant *tenant_get(struct niwa_engine *e, const char *name, uint32_t id)
{
	struct niwa_tenant *t = niwa_map_get_str(e->tenants, name);
	size_t len = strlen(name);

	if (t)
		return t;
	t = niwa_zalloc(sizeof(*t) + len + 1);
	if (!t)
		return NULL;
	t->id = id;
	t->hosts_dirty = true;
	memcpy(t->name, name, len + 1);
	if (niwa_map_put_str(e->tenants, t->name, t) < 0) {
		free(t);
		return NULL;
	}
	niwa_tenant_limits_find(e, t);
	return t;
}

void niwa_app_tenant_unref(struct niwa_engine *e, struct niwa_tenant **tenant)
{
	struct niwa_tenant *t = *tenant;

	*tenant = NULL;
	if (!t || --t->users)
		return;
	niwa_tenant_forget(e, t);
	niwa_group_tenant_drop(e, t->id);
	(void)niwa_map_del_str(e->tenants, t->name);
	free(t);
}

/* Classes of ports that others than the tenant may reach, in the kernel. */

struct permitting {
	struct niwa_engine *engine;
	struct niwa_net_txn *txn;
	enum niwa_change change;
};

static void permit_instance(const struct permitting *p, const struct niwa_instance *i, uint32_t id)
{
	if (i->tenant && i->net_ready)
		niwa_net_may(p->txn, p->change, i->private_addr, id);
}

/* A class permits a tenant from now on, or no longer: its instances that run. */
static void permit(uint32_t id, const char *name, void *arg)
{
	const struct permitting *p = arg;
	const struct niwa_tenant *tenant = name ? niwa_map_get_str(p->engine->tenants, name) : NULL;
	const struct niwa_instance *i;

	if (!name) {
		LIST_FOREACH(i, &p->engine->instance_list, link)
		{
			permit_instance(p, i, id);
		}
	} else if (tenant) {
		LIST_FOREACH(i, &tenant->instance_list, tenant_link)
		{
			permit_instance(p, i, id);
		}
	}
}

struct permitted {
	struct niwa_net_txn *txn;
	enum niwa_change change;
	uint32_t private_addr;
};

static void permit_one(uint32_t id, const char *name, void *arg)
{
	const struct permitted *p = arg;

	(void)name;
	niwa_net_may(p->txn, p->change, p->private_addr, id);
}

void niwa_app_permit(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_net_txn *txn,
		     enum niwa_change change)
{
	struct permitted p = {.txn = txn, .change = change, .private_addr = i->private_addr};

	niwa_net_may(txn, change, i->private_addr, i->tenant->id);
	niwa_classes_of(e->classes, i->tenant->name, permit_one, &p);
}

/* Ports. */

static void ports_free(struct niwa_app_port *ports, size_t count)
{
	for (size_t i = 0; ports && i < count; i++)
		free(ports[i].wake);
	free(ports);
}

/* Nobody is permitted to reach them any more. */
static void classes_give_back(struct niwa_engine *e, struct niwa_app_port *ports, size_t count,
			      struct niwa_net_txn *txn)
{
	struct permitting p = {.engine = e, .txn = txn, .change = NIWA_DEL};
	const struct niwa_class_told told = {.fn = txn ? permit : NULL, .arg = &p};

	for (size_t i = 0; i < count; i++) {
		niwa_class_give_back(e->classes, ports[i].class_id, &told);
		ports[i].class_id = 0;
	}
}

static int class_take(struct niwa_engine *e, const struct niwa_tenant *tenant, const struct niwa_port *port,
		      struct niwa_net_txn *txn, uint32_t *ret_id)
{
	struct permitting p = {.engine = e, .txn = txn, .change = NIWA_ADD};
	const struct niwa_class_told told = {.fn = txn ? permit : NULL, .arg = &p};

	if (port->allow_any || port->allow_count)
		return niwa_class_take(e->classes, tenant->name, port, &told, ret_id);
	*ret_id = tenant->id;
	return 0;
}

static int ports_make(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec,
		      struct niwa_net_txn *txn, struct niwa_app_port **ret)
{
	struct niwa_app_port *ports = niwa_zalloc((spec->port_count ? spec->port_count : 1) * sizeof(*ports));

	if (!ports)
		return -ENOMEM;
	for (size_t i = 0; i < spec->port_count; i++) {
		const struct niwa_port *p = &spec->ports[i];
		const struct niwa_app_port *before = niwa_app_port(app, p->number);

		ports[i] = (struct niwa_app_port){.number = p->number,
						  .protocol = (uint8_t)p->protocol,
						  .speaks = (uint8_t)p->speaks,
						  .proxy = (uint8_t)p->proxy,
						  .publish = p->publish};
		if (class_take(e, app->tenant, p, txn, &ports[i].class_id) < 0 ||
		    niwa_wake_policy_make(p, before ? before->wake : NULL, &ports[i].wake) < 0) {
			classes_give_back(e, ports, i + 1, txn);
			ports_free(ports, i);
			return -ENOMEM;
		}
	}
	*ret = ports;
	return 0;
}

void niwa_app_declare(struct niwa_app *app, struct niwa_net_txn *txn, enum niwa_change change)
{
	for (unsigned i = 0; i < app->port_count; i++)
		niwa_net_declared(txn, change, app->service_addr, app->ports[i].number, app->ports[i].class_id);
	for (unsigned i = 0; i < app->port_count; i++) {
		const struct niwa_publish *p = &app->ports[i].publish;

		struct niwa_net_host_port at = {.port = p->port};

		memcpy(at.addr, &p->addr, sizeof(at.addr));
		if (p->port && !niwa_publish_is_loopback(p))
			niwa_net_published(txn, change, &at, app->service_addr, app->ports[i].number);
	}
	app->declared = change == NIWA_ADD;
}

/* For the kernel the app is what it was: most changes are of other keys. */
static bool same_ports(const struct niwa_app_port *a, size_t a_count, const struct niwa_app_port *b, size_t b_count)
{
	size_t i = 0;

	for (; i < a_count && a_count == b_count; i++)
		if (a[i].number != b[i].number || a[i].class_id != b[i].class_id ||
		    !niwa_publish_same(&a[i].publish, &b[i].publish))
			break;
	return a_count == b_count && i == a_count;
}

static int spec_take(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_spec *spec,
		     struct niwa_net_txn *txn)
{
	struct niwa_app_port *ports, *old = app->ports;
	size_t old_count = app->port_count;
	bool declare = txn;
	char *labels;
	int r;

	r = niwa_labels_pack(spec->labels, &labels);
	if (r == 0)
		r = niwa_folder_declare(e, app, spec);
	if (r < 0) {
		free(labels);
		return r;
	}
	free(app->labels);
	app->labels = labels;
	r = ports_make(e, app, spec, txn, &ports);
	if (r < 0)
		return r;
	if (app->declared && !e->redeclare && same_ports(old, old_count, ports, spec->port_count))
		declare = false;
	if (declare && app->declared)
		niwa_app_declare(app, txn, NIWA_DEL);
	app->ports = ports;
	app->port_count = (uint8_t)spec->port_count;
	niwa_publish_change(e, app, old, old_count);
	classes_give_back(e, old, old_count, txn); /* those it still has are taken */
	ports_free(old, old_count);
	app->wake_deadline_ms = (uint32_t)(spec->wake_deadline_us / 1000);
	app->max_waiting = spec->max_waiting;
	if (declare)
		niwa_app_declare(app, txn, NIWA_ADD);
	if (app->current)
		niwa_visit_guard(e, app->current, txn);
	return 0;
}

/* The two where apps are found by name hold the same ones. */
static void name_drop(struct niwa_engine *e, struct niwa_app *app)
{
	if (niwa_map_get_str(e->apps_by_name, app->name) != app)
		return;
	(void)niwa_map_del_str(e->apps_by_name, app->name);
	(void)niwa_order_take(e->apps_in_order, app->name);
}

static int name_put(struct niwa_engine *e, struct niwa_app *app)
{
	int r = niwa_map_put_str(e->apps_by_name, app->name, app);

	if (r < 0)
		return r;
	r = niwa_order_put(e->apps_in_order, app);
	if (r < 0)
		(void)niwa_map_del_str(e->apps_by_name, app->name);
	return r;
}

static struct niwa_app *app_new(struct niwa_engine *e, const struct niwa_cmdb_app *stored)
{
	size_t len = strlen(stored->name);
	struct niwa_app *app = niwa_zalloc(sizeof(*app) + len + 1);

	if (!app)
		return NULL;
	memcpy(app->name, stored->name, len + 1);
	app->engine = e;
	app->id = stored->id;
	app->service_addr = stored->service_addr;
	TAILQ_INIT(&app->waiters);
	app->tenant = tenant_get(e, stored->tenant, stored->tenant_id);
	if (app->tenant)
		app->tenant->users++;
	if (!app->tenant || niwa_map_put(e->apps_by_id, app->id, app) < 0) {
		niwa_app_tenant_unref(e, &app->tenant);
		free(app);
		return NULL;
	}
	if (name_put(e, app) < 0 || niwa_map_put(e->apps_by_addr, app->service_addr, app) < 0) {
		(void)niwa_map_del(e->apps_by_id, app->id);
		name_drop(e, app);
		niwa_app_tenant_unref(e, &app->tenant);
		free(app);
		return NULL;
	}
	app->tenant->apps++;
	LIST_INSERT_HEAD(&app->tenant->app_list, app, tenant_link);
	return app;
}

struct niwa_app *niwa_app_new_removed(struct niwa_engine *e, const struct niwa_tag *tag)
{
	size_t len = strnlen(tag->name, sizeof(tag->name) - 1);
	struct niwa_app *app = niwa_zalloc(sizeof(*app) + len + 1);

	if (!app)
		return NULL;
	memcpy(app->name, tag->name, len);
	app->engine = e;
	app->id = tag->app_id;
	app->removed = true;
	TAILQ_INIT(&app->waiters);
	return app;
}

struct niwa_app *niwa_app_new_template(struct niwa_engine *e, uint64_t id, const char *name, const char *tenant)
{
	size_t len = strlen(name);
	struct niwa_app *app = niwa_zalloc(sizeof(*app) + len + 1);

	if (!app)
		return NULL;
	memcpy(app->name, name, len);
	app->engine = e;
	app->id = id;
	app->removed = true;
	TAILQ_INIT(&app->waiters);
	app->tenant = tenant_get(e, tenant, 0);
	if (app->tenant)
		app->tenant->users++;
	if (!app->tenant || niwa_map_put(e->apps_by_id, id, app) < 0) {
		niwa_app_tenant_unref(e, &app->tenant);
		free(app);
		return NULL;
	}
	LIST_INSERT_HEAD(&app->tenant->app_list, app, tenant_link);
	return app;
}

/* A removed app whose last instance is still stopping keeps its address in the maps; one that comes back under the
 * same name takes its place. */
static void displace_removed(struct niwa_engine *e, const struct niwa_cmdb_app *stored)
{
	struct niwa_app *old = niwa_map_get_str(e->apps_by_name, stored->name);

	if (old && old->removed && old->id != stored->id)
		name_drop(e, old);
	old = niwa_map_get(e->apps_by_addr, stored->service_addr);
	if (old && old->removed && old->id != stored->id)
		(void)niwa_map_del(e->apps_by_addr, stored->service_addr);
}

static int tenant_change(struct niwa_engine *e, struct niwa_app *app, const struct niwa_cmdb_app *stored)
{
	struct niwa_tenant *t, *old;

	if (strcmp(app->tenant->name, stored->tenant) == 0)
		return 0;
	t = tenant_get(e, stored->tenant, stored->tenant_id);
	if (!t)
		return -ENOMEM;
	niwa_applog_forget(e, app);
	niwa_snapshot_owner_gone(e, app);
	app->tenant->apps--;
	niwa_tenant_names_changed(e, app->tenant);
	niwa_tenant_names_changed(e, t);
	t->users++;
	old = app->tenant;
	app->tenant = t;
	LIST_REMOVE(app, tenant_link);
	LIST_INSERT_HEAD(&t->app_list, app, tenant_link);
	niwa_start_moved(e, app);
	niwa_app_tenant_unref(e, &old);
	t->apps++;
	return 0;
}

int niwa_app_load(struct niwa_engine *e, const struct niwa_cmdb_app *stored, struct niwa_net_txn *txn,
		  struct niwa_error *err)
{
	struct niwa_app *app = niwa_map_get(e->apps_by_id, stored->id);
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	json_error_t jerr;
	json_t *json = json_loadb(stored->json, stored->json_len, 0, &jerr);
	bool fresh = !app, named = app && !app->removed;
	uint64_t before;
	int r;

	if (!json)
		return niwa_fail(err, NIWA_PERMANENT, 0, "app %s: stored record: %s", stored->name, jerr.text);
	r = niwa_app_from_json(json, &spec, NULL, err);
	json_decref(json);
	if (r < 0)
		return niwa_fail_in(err, r, "app %s: stored record", stored->name);
	if (!app) {
		displace_removed(e, stored);
		app = app_new(e, stored);
		if (app && txn) /* not at the start of niwad: whatever is there was another app's */
			niwa_applog_forget(e, app);
	}
	if (!app || tenant_change(e, app, stored) < 0 || spec_take(e, app, spec, txn) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "app %s", stored->name);
	if (!named) /* a name and its address never change */
		niwa_tenant_names_changed(e, app->tenant);
	app->removed = false;
	count(app, true);
	if (niwa_names_declare(e, app, spec) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "routes of app %s", stored->name);
	if (fresh)
		niwa_names_note(e, app->name);
	before = app->generation;
	app->generation = stored->generation;
	if (stored->tenant_files)
		app->tenant->files = stored->tenant_files;
	if (e->adopted) /* before, sockets that keep holds are waited for */
		niwa_publish_app(e, app);
	niwa_share_declared(e, app, spec);
	if (!fresh)
		niwa_rotate_changed(e, app, spec, before);
	app->resident = spec->resident;
	if (niwa_schedule_declare(e, app, spec) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "schedule of app %s", stored->name);
	niwa_resident_declare(e, app, spec->resident);
	niwa_folder_look_again(e);
	return 0;
}

int niwa_app_spec_read(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_spec **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	json_error_t jerr;
	json_t *json;
	int r;

	if (app->template)
		return niwa_template_spec(app, ret, err);
	r = niwa_cmdb_get(e->cmdb, app->id, &text, err);
	if (r < 0)
		return r;
	json = json_loads(text, 0, &jerr);
	if (!json)
		return niwa_fail(err, NIWA_PERMANENT, 0, "app %s: stored record: %s", app->name, jerr.text);
	r = niwa_app_from_json(json, ret, NULL, err);
	json_decref(json);
	return r;
}

void niwa_app_forget(struct niwa_engine *e, struct niwa_app *app, struct niwa_net_txn *txn)
{
	struct niwa_error err;

	app->removed = true;
	count(app, false);
	app->tenant->apps--;
	niwa_tenant_names_changed(e, app->tenant);
	if (txn)
		niwa_app_declare(app, txn, NIWA_DEL);
	niwa_publish_drop(e, app);
	niwa_resident_forget(e, app);
	(void)niwa_schedule_declare(e, app, NULL); /* takes no memory */
	(void)niwa_folder_declare(e, app, NULL);   /* takes no memory */
	(void)niwa_names_declare(e, app, NULL);    /* the same */
	niwa_names_note(e, app->name);
	classes_give_back(e, app->ports, app->port_count, txn);
	(void)niwa_fail(&err, NIWA_PERMANENT, 0, "app %s was removed", app->name);
	niwa_wake_fail_all(e, app, &err);
	niwa_app_unwatch(app);
	niwa_applog_forget(e, app);
	niwa_leave_all(e, app, "removed");
	niwa_snapshot_owner_gone(e, app);
	niwa_app_unlink_if_done(e, app);
}

void niwa_app_unlink_if_done(struct niwa_engine *e, struct niwa_app *app)
{
	if (!app->removed || app->template || app->instance_count)
		return;
	(void)niwa_start_drop(e, app);
	niwa_start_drop_beside(e, app, NIWA_START_APP);
	niwa_wake_forget(e, app);
	if (app->tenant)
		LIST_REMOVE(app, tenant_link);
	name_drop(e, app);
	if (niwa_map_get(e->apps_by_addr, app->service_addr) == app)
		(void)niwa_map_del(e->apps_by_addr, app->service_addr);
	if (niwa_map_get(e->apps_by_id, app->id) == app)
		(void)niwa_map_del(e->apps_by_id, app->id);
	niwa_app_tenant_unref(e, &app->tenant);
	niwa_app_free(app);
}

void niwa_app_free(struct niwa_app *app)
{
	niwa_app_unwatch(app);
	(void)sd_event_source_disable_unref(app->retry);
	ports_free(app->ports, app->port_count);
	free(app->labels);
	niwa_app_past_free(app);
	free(app->set);
	niwa_scale_free(app);
	niwa_app_snapshot_free(app);
	free(app);
}
