/* SPDX-License-Identifier: MIT
 *
 * What instances that nobody knows have left behind: one table of kinds, a detector each.
 */
#include "engine/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/applog.h"
#include "engine/farewell.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/trash.h"

#define AGAIN_US (100 * NIWA_MS)

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
	uint64_t id;

	if ((niwa_instance_of_veth(name, &id) && is_known(e, id)) || niwa_farewell_has_veth(e, name))
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

/* Connections that the kernel goes on to translate to an address whose instance is gone: its next owner would get
 * them. Their marks were noted before the elements were brought up to date. */
static int collect_connections(struct niwa_engine *e)
{
	uint32_t *marks = (uint32_t *)(void *)e->stale_marks.data;
	size_t count = e->stale_marks.len / sizeof(*marks);
	struct niwa_error err;
	int r = count ? niwa_net_flush_many(marks, count, &err) : 0;

	e->counts.leftovers += r < 0 ? 0 : count;
	niwa_text_fini(&e->stale_marks);
	return r;
}

static const struct {
	const char *kind;
	int (*collect)(struct niwa_engine *e);
} leftovers[] = {
	{"control groups, and the processes in them", collect_groups},
	{"control groups of tenants", niwa_group_tenant_collect},
	{"writable layers", collect_layers},
	{"network interfaces", collect_veths},
	{"connections of the kernel's table", collect_connections},
	{"logs of removed apps", niwa_applog_collect},
	{"folders of tenants", niwa_tenant_collect},
};

static int on_collect_again(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;

	(void)usec;
	(void)sd_event_source_disable_unref(s);
	if (collect_groups(e) >= 0 && e->leftover_groups)
		(void)sd_event_add_time_relative(e->event, NULL, CLOCK_MONOTONIC, AGAIN_US, NIWA_MS, on_collect_again,
						 e);
	return 0;
}

static int note_mark(const struct niwa_net_element *el, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_instance *i = niwa_map_get(e->instances_by_addr, el->addr);

	if (!el->value || (i && i->mark == el->value) || niwa_farewell_has_mark(e, el->value))
		return 0;
	niwa_text_add_bytes(&e->stale_marks, (const char *)&el->value, sizeof(el->value));
	if (niwa_addr_mark(e->addresses, el->addr) == 0) /* it rests, as it would have */
		(void)niwa_addr_return(e->addresses, niwa_now_us(), el->addr);
	return 0;
}

void niwa_leftovers_note(struct niwa_engine *e)
{
	struct niwa_error err;

	if (niwa_net_each(e->net, NIWA_NET_MARK, note_mark, e, &err) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "read the marks of instances: %s", err.msg);
}

void niwa_leftovers_collect(struct niwa_engine *e)
{
	uint64_t before = e->counts.leftovers;

	for (size_t n = 0; n < NIWA_ARRAY_LEN(leftovers); n++)
		if (leftovers[n].collect(e) < 0)
			niwa_log(NIWA_LOG_WARN, NULL, "could not look for leftovers: %s", leftovers[n].kind);
	if (e->leftover_groups)
		(void)sd_event_add_time_relative(e->event, NULL, CLOCK_MONOTONIC, AGAIN_US, NIWA_MS, on_collect_again,
						 e);
	if (e->counts.leftovers > before)
		niwa_log(NIWA_LOG_INFO, NULL, "collected %" PRIu64 " leftovers", e->counts.leftovers - before);
}
