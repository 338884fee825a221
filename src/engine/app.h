/* SPDX-License-Identifier: MIT
 *
 * The registry of apps, tenants and port classes, and the one setter of an app's sleep state.
 */
#ifndef NIWA_ENGINE_APP_H
#define NIWA_ENGINE_APP_H

#include "engine/engine_private.h"

/* The only line of code that assigns an app's state: checks the move, logs it, notes it in the history.
 * `why` is a short text ("connection from 10.0.0.7"). */
void niwa_app_set_state(struct niwa_engine *e, struct niwa_app *app, enum niwa_state to, const char *why);

/* Takes one stored app into the registry, or changes the one that is there. Adds its `declared` elements to txn
 * (may be NULL: the caller reconciles later). */
int niwa_app_load(struct niwa_engine *e, const struct niwa_cmdb_app *stored, struct niwa_net_txn *txn,
		  struct niwa_error *err);
/* The app is no longer declared: its elements go, its instances stop, it is freed when nothing of it lives. */
void niwa_app_forget(struct niwa_engine *e, struct niwa_app *app, struct niwa_net_txn *txn);
/* A removed app that a niwad before this one has left to its instance's grace: in no map, without a tenant, freed with
 * that instance. NULL: out of memory. */
struct niwa_app *niwa_app_new_removed(struct niwa_engine *e, const struct niwa_tag *tag);
/* What is no app at all: in apps_by_id only, removed, with a tenant that has no other. NULL: out of memory. */
struct niwa_app *niwa_app_new_template(struct niwa_engine *e, uint64_t id, const char *name, const char *tenant);
/* Frees the app if it is removed and nothing of it lives; not a template, which has an owner. */
void niwa_app_unlink_if_done(struct niwa_engine *e, struct niwa_app *app);
void niwa_app_free(struct niwa_app *app);

/* Calls fn once: reached when the app gets to the state (with an instance other than not_instance; for NIWA_STOPPED the
 * end of that instance is enough); not reached when it ends up in a state from which it will not (stopped, or running
 * where frozen was wanted), when a rotation fails, or when it is removed. */
typedef void niwa_app_watch_fn(struct niwa_app *app, bool reached, void *arg);
int niwa_app_watch(struct niwa_app *app, enum niwa_state goal, uint64_t not_instance, niwa_app_watch_fn *fn, void *arg);
void niwa_app_unwatch(struct niwa_app *app); /* all of them: not reached */
/* Looks whether a watch is fulfilled, after a change that was not one of state. */
void niwa_app_notify(struct niwa_app *app);

struct niwa_app *niwa_app_by_name(struct niwa_engine *e, const char *name);
/* The tenant with this id: the app's, or another one that has apps; NULL: none has. */
struct niwa_tenant *niwa_app_tenant(struct niwa_engine *e, const struct niwa_app *app, uint32_t id);
/* Gives up one of tenant->users, which apps and instances count; with the last one the tenant's folder goes too. */
void niwa_app_tenant_unref(struct niwa_engine *e, struct niwa_tenant **tenant);
struct niwa_app_port *niwa_app_port(struct niwa_app *app, uint16_t number);
/* The checked record, read from the store. To be freed with niwa_app_spec_free. */
int niwa_app_spec_read(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_spec **ret, struct niwa_error *err);

/* Adds (or deletes) what makes an app's ports known to the kernel. */
void niwa_app_declare(struct niwa_app *app, struct niwa_net_txn *txn, enum niwa_change change);

/* Adds to txn (or deletes) what an instance of a tenant may connect to. */
void niwa_app_permit(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_net_txn *txn,
		     enum niwa_change change);

/* The name servers that instances use: fills addrs (IPv4 is mapped), returns how many. */
unsigned niwa_tenant_name_servers(struct niwa_engine *e, struct in6_addr addrs[3]);
/* Writes RUN_DIR/tenants/TENANT/{hosts,resolv.conf} if they are not up to date. */
int niwa_tenant_files(struct niwa_engine *e, struct niwa_tenant *tenant, struct niwa_error *err);
/* They are to be written again: before an instance starts, or by niwa_tenant_refresh. */
void niwa_tenant_names_changed(struct niwa_engine *e, struct niwa_tenant *tenant);
/* The tenant has no app: removes that folder. An instance that still has it mounted keeps what it sees. */
void niwa_tenant_forget(struct niwa_engine *e, struct niwa_tenant *tenant);
/* Removes folders of tenants that have no app; fewer than 0: could not look. */
int niwa_tenant_collect(struct niwa_engine *e);
/* niwa_tenant_files soon, for tenants that have instances: apps were declared or removed. */
void niwa_tenant_refresh(struct niwa_engine *e);

#endif
