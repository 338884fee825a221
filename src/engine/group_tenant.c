/* SPDX-License-Identifier: MIT
 *
 * Groups of tenants. In v2 there is one tree, so all of an instance is below its tenant; on hybrid hosts only what
 * limits something is, and the freezer's groups stay flat.
 */
#include "engine/group_tenant.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/group.h"
#include "engine/limit_hit.h"

#define WRITING_MAX 4 /* tenants at a time */

static bool is_unified(const struct niwa_engine *e)
{
	return e->host.cgroup_layout == NIWA_CGROUP_UNIFIED;
}

static void below(const char **path, char buf[300], uint32_t tenant)
{
	if (!*path)
		return;
	(void)snprintf(buf, 300, "%s/t%" PRIu32, *path, tenant);
	*path = buf;
}

static const struct niwa_host *host_of(const struct niwa_engine *e, uint32_t tenant, struct niwa_group_host *buf)
{
	buf->host = e->host;
	if (is_unified(e)) {
		below(&buf->host.cgroup_v2, buf->v2, tenant);
		return &buf->host;
	}
	below(&buf->host.cgroup_memory, buf->memory, tenant);
	below(&buf->host.cgroup_cpu, buf->cpu, tenant);
	below(&buf->host.cgroup_pids, buf->pids, tenant);
	return &buf->host;
}

const struct niwa_host *niwa_group_host(const struct niwa_engine *e, const struct niwa_instance *i,
					struct niwa_group_host *buf)
{
	if (!i->group_tenant)
		return &e->host;
	(void)host_of(e, i->group_tenant, buf);
	if (i->tenant && i->tenant->limits)
		buf->host.cpu_centi_max = i->tenant->limits->cpu_centi;
	return &buf->host;
}

/* The folders of a tenant's group, at most three; NULL ends. */
static void folders(const struct niwa_host *h, const char *ret[4])
{
	size_t n = 0;

	if (h->cgroup_layout == NIWA_CGROUP_UNIFIED) {
		ret[n++] = h->cgroup_v2;
	} else {
		const char *const all[] = {h->cgroup_memory, h->cgroup_cpu, h->cgroup_pids};

		for (size_t i = 0; i < NIWA_ARRAY_LEN(all); i++)
			if (all[i])
				ret[n++] = all[i];
	}
	ret[n] = NULL;
}

static int put(const char *folder, const char *file, const char *text)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, file);
	return niwa_file_write(path, text);
}

static int make_folders(const struct niwa_host *h, struct niwa_error *err)
{
	static const char *const controllers[] = {"+memory", "+cpu", "+pids", "+io"};
	const char *all[4];

	folders(h, all);
	for (size_t n = 0; all[n]; n++) {
		if (mkdir(all[n], 0755) < 0) {
			if (errno == EEXIST)
				continue;
			return niwa_fail(err, NIWA_TEMPORARY, errno, "make '%s'", all[n]);
		}
		if (h->cgroup_layout != NIWA_CGROUP_UNIFIED) {
			(void)put(all[n], "memory.use_hierarchy", "1"); /* always so from Linux 5.11 */
			continue;
		}
		for (size_t c = 0; c < NIWA_ARRAY_LEN(controllers); c++)
			(void)put(all[n], "cgroup.subtree_control", controllers[c]); /* niwa doctor tells */
	}
	return 0;
}

/* Everything that writing the limits needs, for a thread. */
struct setting {
	struct niwa_engine *engine; /* both: not for the thread */
	struct niwa_tenant *of;
	struct niwa_limit_place place;
	char pids[300];
	struct niwa_tenant_limits limits;
};

static void fill(struct setting *s, const struct niwa_host *h, const struct niwa_tenant *tenant)
{
	const char *memory = h->cgroup_memory, *cpu = h->cgroup_cpu, *pids = h->cgroup_pids;

	*s = (struct setting){.place.unified = h->cgroup_layout == NIWA_CGROUP_UNIFIED};
	if (s->place.unified)
		memory = cpu = pids = h->cgroup_v2;
	(void)snprintf(s->place.memory, sizeof(s->place.memory), "%s", memory ? memory : "");
	(void)snprintf(s->place.cpu, sizeof(s->place.cpu), "%s", cpu ? cpu : "");
	(void)snprintf(s->pids, sizeof(s->pids), "%s", pids ? pids : "");
	if (tenant->limits)
		s->limits = *tenant->limits;
}

static int set_processes(const struct setting *s, struct niwa_error *err)
{
	char text[24] = "max";
	int r;

	if (s->limits.processes)
		(void)snprintf(text, sizeof(text), "%u", s->limits.processes);
	else if (!*s->pids)
		return 0;
	r = put(s->pids, "pids.max", text);
	if (r >= 0 || (*s->pids && access(s->pids, F_OK) < 0)) /* nobody is in it any more */
		return 0;
	return niwa_fail(err, NIWA_TEMPORARY, -r, "processes: write the limit into '%s'", s->pids);
}

/* All of them are tried. */
static int set(const struct setting *s, struct niwa_error *err)
{
	int r = 0;

	if ((s->limits.memory_bytes || *s->place.memory) &&
	    niwa_limit_memory(&s->place, s->limits.memory_bytes, err) < 0)
		r = -EBUSY;
	if (s->limits.cpu_centi && *s->place.cpu && !s->place.unified)
		niwa_limit_cpu_below(s->place.cpu, s->limits.cpu_centi);
	if ((s->limits.cpu_centi || *s->place.cpu) && niwa_limit_cpu(&s->place, s->limits.cpu_centi, err) < 0)
		r = -EBUSY;
	if (set_processes(s, err) < 0)
		r = -EBUSY;
	return r;
}

static bool wants_group(const struct niwa_tenant *tenant)
{
	const struct niwa_tenant_limits *l = tenant->limits;

	return l && (l->memory_bytes || l->cpu_centi || l->processes);
}

/* Limits that are to be written off the loop: tenants in a queue, some of them at a time, each by one job, so that what
 * was declared last is written last. */

static void enqueue(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	tenant->limits_written = false;
	tenant->limits_due = true;
	if (tenant->limits_busy)
		return;
	tenant->limits_busy = true;
	tenant->users++; /* it is there until they are written */
	TAILQ_INSERT_TAIL(&e->tenants_unwritten, tenant, unwritten_link);
}

static int write_work(void *arg, struct niwa_error *err)
{
	(void)niwa_fault("niwad.tenant-limits");
	return set(arg, err);
}

static void written(int r, const struct niwa_error *err, void *arg)
{
	NIWA_AUTO(niwa_free_ptr) struct setting *s = arg;
	struct niwa_engine *e = s->engine;
	struct niwa_tenant *tenant = s->of;

	e->tenants_writing--;
	if (r < 0 && !tenant->limits_due)
		niwa_log(NIWA_LOG_WARN, NULL, "limits of tenant %s: %s; tried again when the next of its apps starts",
			 tenant->name, err->msg);
	if (tenant->limits_due) { /* others were declared meanwhile */
		TAILQ_INSERT_TAIL(&e->tenants_unwritten, tenant, unwritten_link);
	} else {
		tenant->limits_busy = false;
		tenant->limits_written = r == 0;
		niwa_app_tenant_unref(e, &tenant);
	}
	niwa_group_tenant_write(e);
}

static int begin_to_write(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	struct setting *s = niwa_zalloc(sizeof(*s));
	struct niwa_group_host buf;
	struct niwa_error err;
	int r = s ? niwa_fault("niwad.tenant-limits-begin") : -ENOMEM;

	if (r == 0) {
		fill(s, host_of(e, tenant->id, &buf), tenant);
		s->engine = e;
		s->of = tenant;
		r = niwa_background_run(e->event, write_work, written, s, &err);
	}
	if (r < 0)
		free(s);
	return r;
}

void niwa_group_tenant_write(struct niwa_engine *e)
{
	struct niwa_tenant *tenant;

	while (e->tenants_writing < WRITING_MAX && (tenant = TAILQ_FIRST(&e->tenants_unwritten))) {
		if (begin_to_write(e, tenant) < 0)
			return; /* too much is being done: next second */
		TAILQ_REMOVE(&e->tenants_unwritten, tenant, unwritten_link);
		tenant->limits_due = false;
		e->tenants_writing++;
	}
}

void niwa_group_tenant_change(struct niwa_engine *e, struct niwa_tenant *tenant)
{
	if (tenant->grouped) /* else they are written when somebody comes into its group */
		enqueue(e, tenant);
	else
		tenant->limits_written = false;
	niwa_group_tenant_write(e);
}

/* Of a group with nobody in it: at once, which is cheap there, and whoever comes in is below them. */
static int write_first(const struct niwa_host *h, struct niwa_tenant *tenant, struct niwa_error *err)
{
	struct niwa_error why;
	struct setting s;

	fill(&s, h, tenant);
	if (set(&s, &why) < 0)
		return niwa_fail(err, NIWA_CALLER, 0, "limits of tenant %s: %s", tenant->name, why.msg);
	tenant->limits_written = !tenant->limits_busy; /* a job may be writing what was declared before */
	return 0;
}

int niwa_group_tenant_join(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err)
{
	struct niwa_tenant *tenant = i->tenant;
	struct niwa_group_host buf;
	const struct niwa_host *h;
	int r;

	if (!tenant || !wants_group(tenant))
		return 0;
	h = host_of(e, tenant->id, &buf);
	r = make_folders(h, err);
	if (r >= 0 && !tenant->grouped)
		r = write_first(h, tenant, err);
	if (r < 0) {
		if (!tenant->grouped)
			niwa_group_tenant_drop(e, tenant->id);
		return r;
	}
	i->group_tenant = tenant->id;
	tenant->grouped++;
	/* those who run may use more than a limit that was lowered: it is tried again, and the others hold */
	if (!tenant->limits_written)
		niwa_group_tenant_change(e, tenant);
	return 0;
}

void niwa_group_tenant_adopt(struct niwa_engine *e, struct niwa_instance *i, uint32_t group_tenant)
{
	i->group_tenant = group_tenant;
	if (!group_tenant || !i->tenant)
		return;
	i->tenant->grouped++;
	/* the niwad before this one may not have come to it */
	if (!i->tenant->limits_busy)
		niwa_group_tenant_change(e, i->tenant);
}

void niwa_group_tenant_left(struct niwa_engine *e, struct niwa_instance *i)
{
	if (!i->group_tenant || (i->tenant && --i->tenant->grouped))
		return;
	if (i->tenant)
		niwa_limit_unwatch_tenant(i->tenant);
	niwa_group_tenant_drop(e, i->group_tenant);
	if (i->tenant)
		i->tenant->limits_written = false;
}

void niwa_group_tenant_drop(struct niwa_engine *e, uint32_t tenant)
{
	struct niwa_group_host buf;
	const char *all[4];

	if (!tenant)
		return;
	folders(host_of(e, tenant, &buf), all);
	for (size_t n = 0; all[n]; n++)
		(void)rmdir(all[n]); /* an instance is in it still, or it never was */
}

int niwa_group_tenant_collect(struct niwa_engine *e)
{
	const char *all[4];
	struct dirent *entry;
	uint64_t id;
	DIR *dir;

	folders(&e->host, all);
	for (size_t n = 0; all[n]; n++) {
		dir = opendir(all[n]);
		if (!dir)
			return -errno;
		while ((entry = readdir(dir)))
			if (entry->d_name[0] == 't' && niwa_parse_u64(entry->d_name + 1, UINT32_MAX, &id) == 0)
				niwa_group_tenant_drop(e, (uint32_t)id); /* one with instances stays */
		(void)closedir(dir);
	}
	return 0;
}

static uint64_t number(const char *folder, const char *file)
{
	char path[PATH_MAX], text[64];

	(void)snprintf(path, sizeof(path), "%s/%s", folder ? folder : "", file);
	return niwa_file_read(path, text, sizeof(text)) < 0 ? 0 : strtoull(text, NULL, 10);
}

int niwa_group_tenant_watch_processes(const struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	struct niwa_group_host buf;
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/pids.events", host_of(e, tenant->id, &buf)->cgroup_v2);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void niwa_group_tenant_usage(const struct niwa_engine *e, const struct niwa_tenant *tenant,
			     struct niwa_group_usage *ret)
{
	struct niwa_group_host buf;
	const struct niwa_host *h = host_of(e, tenant->id, &buf);

	if (is_unified(e)) {
		ret->memory_bytes = number(h->cgroup_v2, "memory.current");
		ret->processes = number(h->cgroup_v2, "pids.current");
	} else {
		ret->memory_bytes = number(h->cgroup_memory, "memory.usage_in_bytes");
		ret->processes = number(h->cgroup_pids, "pids.current");
	}
}

uint64_t niwa_group_tenant_needs(const struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	struct niwa_group_host buf;
	const struct niwa_host *h = host_of(e, tenant->id, &buf);
	const char *folder = is_unified(e) ? h->cgroup_v2 : h->cgroup_memory;
	uint64_t bytes;

	return !folder || niwa_group_needs_in(e, folder, &bytes) < 0 ? 0 : bytes;
}

bool niwa_group_tenant_has_swap(const struct niwa_engine *e, const struct niwa_instance *i, uint64_t bytes)
{
	const struct niwa_tenant_limits *limits = i->tenant ? i->tenant->limits : NULL;
	struct niwa_group_host buf;

	if (!i->group_tenant || !limits || !limits->memory_bytes || !is_unified(e))
		return true; /* in v1 both are counted together, and paging changes nothing of it */
	return number(host_of(e, i->group_tenant, &buf)->cgroup_v2, "memory.swap.current") + bytes <=
	       limits->memory_bytes;
}
