/* SPDX-License-Identifier: MIT
 *
 * The files every instance of a tenant sees at /run/niwa/tenant: hosts (the tenant's apps by name) and
 * resolv.conf. Written when an instance starts and something has changed since, and for running instances when apps
 * are declared or removed, a tenant a turn of the loop.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/visit.h"
#include "engine/volume.h"
#include "spec/source.h"

#define HOSTS_MAX 5000 /* apps; a tenant with more uses DNS */

static void hosts_text(const struct niwa_engine *e, const struct niwa_tenant *tenant, struct niwa_text *out)
{
	const struct niwa_ula *ula = &e->config.ula;
	char addr[INET6_ADDRSTRLEN];
	const struct niwa_app *app;
	unsigned lines = 0;

	niwa_text_add(out, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
	(void)inet_ntop(AF_INET, &e->config.gateway_addr, addr, sizeof(addr));
	niwa_text_addf(out, "%s host.%s\n", addr, e->config.domain);
	if (ula->on)
		niwa_text_addf(out, "%s host.%s\n", niwa_ula_text(ula, NIWA_ULA_PRIVATE, e->config.gateway_addr, addr),
			       e->config.domain);
	LIST_FOREACH(app, &tenant->app_list, tenant_link)
	{
		if (lines == HOSTS_MAX)
			break;
		if (app->removed && !app->template)
			continue;
		(void)inet_ntop(AF_INET, &app->service_addr, addr, sizeof(addr));
		niwa_text_addf(out, "%s %s %s.%s\n", addr, app->name, app->name, e->config.domain);
		if (ula->on)
			niwa_text_addf(out, "%s %s %s.%s\n",
				       niwa_ula_text(ula, NIWA_ULA_SERVICE, app->service_addr, addr), app->name,
				       app->name, e->config.domain);
		lines++;
	}
}

/* An address that an instance can ask: not on loopback, not of a link alone. */
static bool parse_server(const struct niwa_engine *e, const char *word, struct in6_addr *ret)
{
	struct in_addr in;

	if (inet_pton(AF_INET, word, &in) == 1) {
		*ret = niwa_addr_mapped(in.s_addr);
		return ntohl(in.s_addr) >> 24 != IN_LOOPBACKNET;
	}
	return e->config.ula.on && inet_pton(AF_INET6, word, ret) == 1 && !IN6_IS_ADDR_LOOPBACK(ret) &&
	       !IN6_IS_ADDR_LINKLOCAL(ret);
}

static unsigned read_servers(const struct niwa_engine *e, struct in6_addr addrs[3])
{
	static const char *const files[] = {"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"};
	char text[16384], *line, *save;
	unsigned count = 0;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(files) && !count; i++) {
		if (niwa_file_read(files[i], text, sizeof(text)) < 0)
			continue;
		save = NULL;
		for (line = strtok_r(text, "\n", &save); line && count < 3; line = strtok_r(NULL, "\n", &save)) {
			char word[64];

			if (sscanf(line, "nameserver %63s", word) == 1 && parse_server(e, word, &addrs[count]))
				count++;
		}
	}
	return count;
}

/* The host's resolvers as the instances can use them. systemd-resolved, itself on loopback, writes down the real
 * ones. Within a turn of the loop they stay what they are: all of a start, or of an adoption, goes by the same. */
unsigned niwa_tenant_name_servers(struct niwa_engine *e, struct in6_addr addrs[3])
{
	uint64_t turn = 0;

	if (sd_event_get_iteration(e->event, &turn) < 0 || !turn || turn != e->name_servers_turn) {
		e->name_server_count = read_servers(e, e->name_servers);
		e->name_servers_turn = turn;
	}
	memcpy(addrs, e->name_servers, sizeof(e->name_servers));
	return e->name_server_count;
}

/* niwa-api first: it refuses what is not its own, and whoever resolves names asks the next one then. C libraries take
 * three. */
static void resolv_text(const struct niwa_config *c, const struct in6_addr addrs[3], unsigned count,
			struct niwa_text *out)
{
	char text[INET6_ADDRSTRLEN];

	if (c->dns_instances_addr) {
		niwa_text_addf(out, "nameserver %s\n", c->dns_instances);
		count = count < 2 ? count : 2;
	}

	for (unsigned i = 0; i < count; i++)
		niwa_text_addf(out, "nameserver %s\n", niwa_visitor_text(&addrs[i], text));
	niwa_text_add(out, "options timeout:2 attempts:2\n");
}

static uint32_t sum_of(const struct in6_addr addrs[3], unsigned count)
{
	uint32_t sum = 2166136261u;

	for (unsigned i = 0; i < count; i++)
		for (unsigned n = 0; n < 4; n++)
			sum = (sum ^ addrs[i].s6_addr32[n]) * 16777619u;
	return sum;
}

int niwa_tenant_files(struct niwa_engine *e, struct niwa_tenant *tenant, struct niwa_error *err)
{
	struct niwa_text hosts = {0}, resolv = {0};
	char dir[PATH_MAX], path[PATH_MAX + 16];
	struct in6_addr addrs[3];
	unsigned count = niwa_tenant_name_servers(e, addrs);
	uint32_t sum;
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/tenants/%s", e->config.run_dir, tenant->name);
	sum = sum_of(addrs, count);
	if (!tenant->hosts_dirty && tenant->resolvers == sum && access(dir, F_OK) == 0)
		return 0;
	hosts_text(e, tenant, &hosts);
	resolv_text(&e->config, addrs, count, &resolv);
	r = niwa_mkdir_p(dir, 0755, err);
	(void)snprintf(path, sizeof(path), "%s/hosts", dir);
	if (r == 0)
		r = hosts.failed ? niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "write '%s'", path)
				 : niwa_file_replace_volatile(path, hosts.data, hosts.len, 0644, err);
	(void)snprintf(path, sizeof(path), "%s/resolv.conf", dir);
	if (r == 0)
		r = resolv.failed ? niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "write '%s'", path)
				  : niwa_file_replace_volatile(path, resolv.data, resolv.len, 0644, err);
	niwa_text_fini(&hosts);
	niwa_text_fini(&resolv);
	if (r == 0) {
		tenant->hosts_dirty = false;
		if (tenant->resolvers && tenant->resolvers != sum)
			niwa_volume_name_servers(e, tenant);
		tenant->resolvers = sum;
	}
	return r;
}

static void remove_folder(struct niwa_engine *e, const char *name)
{
	char dir[PATH_MAX];
	struct niwa_error err;

	(void)snprintf(dir, sizeof(dir), "%s/tenants/%s", e->config.run_dir, name);
	if (niwa_remove_tree(dir, &err) < 0) /* two files, or none when no instance ever started */
		niwa_log(NIWA_LOG_WARN, NULL, "%s; the next start tries again", err.msg);
}

static void unqueue(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	if (tenant->hosts_queued)
		TAILQ_REMOVE(&e->tenants_dirty, tenant, dirty_link);
	tenant->hosts_queued = false;
}

void niwa_tenant_names_changed(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	tenant->hosts_dirty = true;
	if (!tenant->hosts_queued && tenant->instances) /* others when one starts */
		TAILQ_INSERT_TAIL(&e->tenants_dirty, tenant, dirty_link);
	tenant->hosts_queued = tenant->hosts_queued || tenant->instances;
}

void niwa_tenant_forget(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	unqueue(e, tenant);
	remove_folder(e, tenant->name);
}

int niwa_tenant_collect(struct niwa_engine *e)
{
	char base[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(base, sizeof(base), "%s/tenants", e->config.run_dir);
	dir = opendir(base);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || niwa_map_get_str(e->tenants, entry->d_name))
			continue;
		remove_folder(e, entry->d_name);
		e->counts.leftovers++;
	}
	(void)closedir(dir);
	return 0;
}

/* One whose names are written already, by a start, costs nothing. */
static int on_refresh(sd_event_source *s, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_tenant *tenant = TAILQ_FIRST(&e->tenants_dirty);
	struct niwa_error err;

	if (!tenant)
		return sd_event_source_set_enabled(s, SD_EVENT_OFF);
	unqueue(e, tenant);
	if (tenant->hosts_dirty && tenant->instances && niwa_tenant_files(e, tenant, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "hosts of tenant %s: %s; the next start tries again", tenant->name,
			 err.msg);
	return 0; /* the next one in the next turn */
}

void niwa_tenant_refresh(struct niwa_engine *e)
{
	if (!e->tenant_source && (sd_event_add_defer(e->event, &e->tenant_source, on_refresh, e) < 0 ||
				  sd_event_source_set_priority(e->tenant_source, SD_EVENT_PRIORITY_IDLE) < 0))
		return; /* out of memory: written when an instance starts */
	(void)sd_event_source_set_enabled(e->tenant_source, SD_EVENT_ON);
}
