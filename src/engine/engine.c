/* SPDX-License-Identifier: MIT
 *
 * Putting the engine together. Order matters: the store (its lock keeps a second niwad out before it disturbs the
 * first one), keep, the control groups, the network, the apps; then, in the loop, adoption; then the socket.
 */
#include "engine/engine.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "container/image.h"
#include "engine/adopt.h"
#include "engine/app.h"
#include "engine/class.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/images.h"
#include "engine/instance.h"
#include "engine/farewell.h"
#include "engine/keep_client.h"
#include "engine/leave.h"
#include "engine/limit_hit.h"
#include "engine/limit_set.h"
#include "engine/past_store.h"
#include "engine/pressure.h"
#include "engine/ready.h"
#include "engine/relay_client.h"
#include "engine/resident.h"
#include "engine/schedule.h"
#include "engine/rpc.h"
#include "engine/sleep.h"
#include "engine/snapshot_host.h"
#include "engine/start.h"
#include "engine/tenant_limit.h"
#include "engine/trash.h"
#include "net/diag.h"

#define CHECK_SECONDS 10 /* routes are not monitored: looked at this often */

/* Hints from the packet path. */

static void on_knocked(const struct niwa_net_knock *knock, void *arg)
{
	niwa_sleep_knocked(arg, knock);
}

static void on_refused(uint32_t private_addr, uint16_t port, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_instance *i = niwa_map_get(e->instances_by_addr, private_addr);
	char why[64];

	if (!i || (i->app->current != i && !i->copy) || i->app->state != NIWA_RUNNING || i->diag_fd < 0 ||
	    niwa_diag_listens(i->diag_fd, private_addr, port) != 0)
		return;
	if (!i->copy && niwa_ready_listens_at_all(i) != 0) { /* it is alive, and serves others by another port */
		niwa_awake_withhold(e, i, port);
		return;
	}
	(void)snprintf(why, sizeof(why), "port %u refuses connections", port);
	niwa_ready_lost(e, i, why);
}

static void on_overflow(void *arg)
{
	struct niwa_engine *e = arg;

	e->counts.overflows++;
	niwa_sleep_read_knocked(e);
}

static void on_ruleset_lost(void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_error err;

	if (!e->adopted)
		return;
	niwa_log(NIWA_LOG_WARN, NULL, "the nftables table was changed by somebody else; it is put back");
	e->counts.repairs++;
	if (niwa_net_repair(e->net, &err) < 0 || niwa_adopt_elements(e, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
	niwa_sleep_compare_frozen(e); /* in between nobody could knock */
}

/* What must not depend on hints alone is looked at each second. */
static int on_second(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_error err;

	if (e->frozen)
		niwa_sleep_read_knocked(e);
	niwa_pressure_look(e);
	niwa_limit_look_round(e);
	niwa_group_tenant_write(e);
	if (e->adopted && ++e->seconds % CHECK_SECONDS == 0 && niwa_net_check(e->net, &err) == 0)
		on_ruleset_lost(e);
	(void)sd_notify(0, "WATCHDOG=1");
	(void)sd_event_source_set_time(s, usec + NIWA_SEC);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int make_maps(struct niwa_engine *e, struct niwa_error *err)
{
	struct niwa_map **numbers[] = {&e->apps_by_id,
				       &e->apps_by_addr,
				       &e->instances,
				       &e->instances_by_addr,
				       &e->waiters_by_ticket,
				       &e->silent,
				       &e->checks,
				       &e->execs,
				       &e->criu};
	struct niwa_map **names[] = {&e->apps_by_name, &e->tenants,   &e->tenant_limits, &e->images,
				     &e->shares,       &e->whys,      &e->routes,        &e->route_claims,
				     &e->folders,      &e->published, &e->claims};

	e->apps_in_order = niwa_order_new(offsetof(struct niwa_app, name));
	e->classes = niwa_classes_new();
	if (!e->apps_in_order || !e->classes)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	for (size_t i = 0; i < NIWA_ARRAY_LEN(numbers); i++)
		if (!(*numbers[i] = niwa_map_new(NIWA_MAP_U64)))
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++)
		if (!(*names[i] = niwa_map_new(NIWA_MAP_STRING)))
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	return 0;
}

/* What apps print is for those who may command them. */
static int make_log_folder(struct niwa_engine *e, struct niwa_error *err)
{
	const struct group *group = getgrnam("niwa");
	int r = niwa_mkdir_p(e->config.log_dir, 0750, err);

	if (r < 0 || !group)
		return r;
	e->log_group = group->gr_gid;
	if (chown(e->config.log_dir, (uid_t)-1, group->gr_gid) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "give '%s' to group niwa", e->config.log_dir);
	return 0;
}

static int make_folders(struct niwa_engine *e, struct niwa_error *err)
{
	const struct niwa_config *c = &e->config;
	char layers[300], tenants[200];
	int r = niwa_mkdir_p(c->run_dir, 0755, err);

	(void)snprintf(layers, sizeof(layers), "%s/layers", c->state_dir);
	(void)snprintf(tenants, sizeof(tenants), "%s/tenants", c->run_dir);
	if (r == 0)
		r = niwa_mkdir_p(layers, 0711, err);
	if (r == 0)
		r = make_log_folder(e, err);
	if (r == 0)
		r = niwa_mkdir_p(tenants, 0755, err);
	return r;
}

static bool is_one(const char *path)
{
	char text[8] = "";

	return niwa_file_read(path, text, sizeof(text)) > 0 && text[0] == '1';
}

static void fill_host(struct niwa_engine *e)
{
	static const uint8_t mac[6] = {0x02, 'n', 'i', 'w', 'a', 0x00};

	(void)snprintf(e->host_paths[5], sizeof(e->host_paths[5]), "%.240s/dev", e->config.state_dir);
	(void)snprintf(e->init_path, sizeof(e->init_path), "%s/niwa-init", e->config.libexec_dir);
	e->host.run_dir = e->config.run_dir;
	e->host.state_dir = e->config.state_dir;
	e->host.dev_dir = e->host_paths[5];
	e->host.init_path = e->init_path;
	e->host.gateway_addr = e->config.gateway_addr;
	e->host.veth_group = (uint32_t)e->config.veth_group;
	e->host.domain = e->config.domain;
	e->host.no_ipv6 = access("/proc/sys/net/ipv6", F_OK) < 0;
	if (e->config.ula.on && (e->host.no_ipv6 || is_one("/proc/sys/net/ipv6/conf/all/disable_ipv6") ||
				 is_one("/proc/sys/net/ipv6/conf/lo/disable_ipv6"))) {
		niwa_log(NIWA_LOG_WARN, NULL, "this host has no IPv6: ula_prefix of niwad.conf is left alone");
		e->config.ula.on = false;
	}
	e->host.ula = e->config.ula;
	memcpy(e->host.host_mac, mac, sizeof(mac));
}

static int open_net(struct niwa_engine *e, struct niwa_error *err)
{
	const struct niwa_config *c = &e->config;
	const struct niwa_net_config net = {.service_net = c->service_net,
					    .private_net = c->private_net,
					    .service_bits = c->service_bits,
					    .private_bits = c->private_bits,
					    .gateway_addr = c->gateway_addr,
					    .relay_port = (uint16_t)c->relay_port,
					    .veth_group = (uint32_t)c->veth_group,
					    .nflog_group = (uint16_t)c->nflog_group,
					    .return_mark = (uint32_t)c->return_mark,
					    .return_table = (uint32_t)c->return_table,
					    .return_rule = (uint32_t)c->return_rule,
					    .ula = c->ula,
					    .held_rate = (unsigned)c->held_rate,
					    .held_burst = (unsigned)c->held_burst,
					    .instance_connections = (unsigned)c->instance_connections,
					    .names_addr = c->dns_instances_addr,
					    .names_port = (uint16_t)c->dns_instances_port};
	const struct niwa_net_events events = {.knocked = on_knocked,
					       .refused = on_refused,
					       .overflow = on_overflow,
					       .ruleset_lost = on_ruleset_lost,
					       .arg = e};
	int r;

	r = niwa_net_open(&net, &events, e->event, &e->net, err);
	if (r == 0) /* the settings appear with the first rule that needs conntrack */
		niwa_net_tune_conntrack((unsigned)(c->conntrack_time_wait_us / NIWA_SEC),
					(unsigned)(c->conntrack_established_us / NIWA_SEC), (unsigned)c->conntrack_max);
	return r;
}

static int load_one(const struct niwa_cmdb_app *stored, void *arg)
{
	struct niwa_error err;

	/* one bad record must not keep the others from waking */
	if (niwa_app_load(arg, stored, NULL, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s; the app is left out", err.msg);
	else if (stored->override)
		niwa_limits_load(niwa_app_by_name(arg, stored->name), stored->override);
	return 0;
}

static int open_store(struct niwa_engine *e, struct niwa_error *err)
{
	const struct niwa_config *c = &e->config;
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/niwa.db", c->state_dir);
	return niwa_cmdb_open(path, c->service_net, c->service_bits, e->event, &e->cmdb, err);
}

static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* the hard limit is what it is; `niwa doctor` tells */
	}
}

static int open_loop(struct niwa_engine *e, struct niwa_error *err)
{
	int r = niwa_loop_new(&e->event, err);

	if (r < 0)
		return r;
	r = sd_event_add_post(e->event, &e->bury_source, niwa_instance_on_post, e);
	if (r >= 0)
		r = sd_event_source_set_enabled(e->bury_source, SD_EVENT_OFF);
	if (r >= 0)
		r = niwa_resident_open(e);
	if (r >= 0)
		r = sd_event_add_time_relative(e->event, &e->second, CLOCK_MONOTONIC, NIWA_SEC, 50 * NIWA_MS, on_second,
					       e);
	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "make the loop") : 0;
}

static int open_all(struct niwa_engine *e, struct niwa_error *err)
{
	int r = open_loop(e, err);

	if (r == 0)
		r = niwa_start_open(e, err);
	if (r == 0)
		r = make_maps(e, err);
	if (r == 0)
		r = make_folders(e, err);
	if (r == 0)
		r = open_store(e, err);
	if (r == 0)
		r = niwa_keep_open(e, err);
	if (r == 0)
		r = niwa_group_detect(e, err);
	if (r == 0)
		r = niwa_lease_pool_new((uint32_t)e->config.lease_base, (uint32_t)e->config.lease_count, &e->leases,
					err);
	if (r == 0)
		r = niwa_addr_pool_new(e->config.private_net, e->config.private_bits, NIWA_ADDR_REST_US, &e->addresses,
				       err);
	if (r == 0)
		niwa_addr_pool_resume(e->addresses, niwa_now_us());
	if (r == 0)
		r = niwa_image_prepare_host(e->config.state_dir, err);
	if (r == 0)
		r = open_net(e, err);
	if (r == 0)
		r = niwa_schedule_open(e, err);
	if (r == 0)
		niwa_snapshots_open(e);
	if (r == 0)
		r = niwa_trash_new(&e->trash, err);
	if (r == 0)
		r = niwa_tenant_limits_load(e, err);
	if (r == 0)
		r = niwa_cmdb_each(e->cmdb, true, load_one, e, err);
	return r;
}

int niwa_engine_new(const struct niwa_config *config, struct niwa_engine **ret, struct niwa_error *err)
{
	struct niwa_engine *e = niwa_zalloc(sizeof(*e));
	int r;

	if (!e)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	e->config = *config;
	e->relay_listener = e->relay_listener6 = e->relay_engine_end = -1;
	e->next_instance =
		niwa_realtime_us() / 1000; /* never repeats: instances are made more slowly than one a millisecond */
	e->started_us = niwa_now_us();
	niwa_metrics_init(&e->metrics);
	LIST_INIT(&e->instance_list);
	LIST_INIT(&e->farewells);
	LIST_INIT(&e->names_watches);
	LIST_INIT(&e->unpublished);
	TAILQ_INIT(&e->tenants_dirty);
	TAILQ_INIT(&e->tenants_unwritten);
	SLIST_INIT(&e->folder_claims);
	SLIST_INIT(&e->dead);
	STAILQ_INIT(&e->deferred);
	niwa_past_open(e);
	TAILQ_INIT(&e->hits);
	raise_limits();
	fill_host(e);
	niwa_pressure_look(e);
	r = open_all(e, err);
	if (r < 0) {
		niwa_engine_free(&e);
		return r;
	}
	*ret = e;
	return 0;
}

void niwa_engine_serve(struct niwa_engine *e)
{
	struct niwa_error err;

	if (niwa_rpc_open(e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		(void)sd_event_exit(e->event, 1);
		return;
	}
	(void)sd_notify(0, "READY=1");
}

static void on_turned(uint64_t us, void *arg)
{
	struct niwa_engine *e = arg;

	niwa_histogram_add(&e->metrics.turn, us);
}

int niwa_engine_run(struct niwa_engine *e)
{
	return niwa_loop_run(e->event, on_turned, e);
}

/* At the end of the program instances are left as they are; only what this process holds is released. */
void niwa_engine_free(struct niwa_engine **ep)
{
	struct niwa_engine *e = *ep;

	if (!e)
		return;
	*ep = NULL;
	niwa_rpc_close(e);
	niwa_past_close(e);
	niwa_cmdb_close(&e->cmdb);
	niwa_trash_free(&e->trash);
	niwa_snapshots_close(e);
	(void)sd_event_source_disable_unref(e->rebuild);
	(void)sd_event_source_disable_unref(e->sharing);
	niwa_start_close(e);
	niwa_pressure_close(e);
	niwa_farewells_close(e);
	niwa_relay_close(e);
	niwa_channel_free(&e->keep);
	niwa_net_close(&e->net);
	(void)sd_event_source_disable_unref(e->second);
	(void)sd_event_source_disable_unref(e->bury_source);
	niwa_schedule_close(e);
	(void)sd_event_source_disable_unref(e->resident_source);
	(void)sd_event_source_disable_unref(e->resident_pause);
	(void)sd_event_source_disable_unref(e->tenant_source);
	(void)sd_event_unref(e->event);
	/* apps and instances go with the process */
	free(e);
}
