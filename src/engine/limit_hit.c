/* SPDX-License-Identifier: MIT
 *
 * Watching and recording. Under v1 the kernel signals an eventfd when memory ran out, just before it kills; v2 marks
 * memory.events when the limit is reached. Both are hints: what counts are the counters. Who is killed has no memory
 * any more when it is looked at, so under v2 a list is also taken when the limit is reached, and the one that shows
 * more is recorded. Of refused forks v1 tells nobody: some instances are looked at each second, and whoever is shown.
 * One that a tenant's limit refused counts where it was tried, but in the tenant's group on v2 from Linux 6.11.
 */
#include "engine/limit_hit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/group.h"
#include "engine/group_tenant.h"
#include "engine/limit_set.h"
#include "engine/past.h"

#define HITS_OF_APP    4
#define HITS_MAX       256
#define LISTED_MAX     16              /* processes of a hit */
#define LOOKED_MAX     128             /* processes that are looked at for it */
#define INSTANCES_MAX  16              /* whose processes are, where several count */
#define AGAIN_US       (10 * NIWA_SEC) /* one that is hit again sooner is counted */
#define NEAR_US        (200 * NIWA_MS) /* between two lists of an instance near its limit */
#define LOOKS_A_SECOND 16
#define REFUSALS_US    (50 * NIWA_MS) /* between two lists for starts that are refused: one takes milliseconds */

#define TENANT_PROCESSES_TEXT "its tenant's apps wanted more processes than limits.processes of the tenant"

struct process {
	pid_t pid;
	uint64_t memory_bytes, cpu_us;
	char command[16], app[48];
};

struct list {
	unsigned count, looked;
	uint64_t memory_bytes; /* of all that were looked at */
	struct process process[LISTED_MAX];
};

struct niwa_limit_hit {
	TAILQ_ENTRY(niwa_limit_hit) of_app, of_all;
	struct niwa_app *app;
	enum niwa_hit_kind kind;
	uint64_t realtime_us, at_us, count;
	char text[200];
	struct list list;
};

struct niwa_limit_watch {
	LIST_ENTRY(niwa_limit_watch) muted_link; /* in engine.limits_muted, if */
	bool muted;
	struct niwa_instance *instance;
	int memory_fd, processes_fd;
	sd_event_source *memory, *processes;
	uint64_t killed, refused, near_us;
	unsigned round;
	struct list near; /* what was seen when memory was nearly used up */
};

/* v2. From Linux 6.11 a fork is counted where the limit is that refused it: a tenant's limit says nothing of whose. */
struct niwa_tenant_watch {
	struct niwa_engine *engine;
	struct niwa_tenant *tenant;
	int fd;
	sd_event_source *source;
	uint64_t refused;
};

static const char *const kinds[] = {
	[NIWA_HIT_MEMORY] = "memory",
	[NIWA_HIT_PROCESSES] = "processes",
	[NIWA_HIT_TENANT_MEMORY] = "tenant memory",
	[NIWA_HIT_TENANT_PROCESSES] = "tenant processes",
	[NIWA_HIT_TENANT_AWAKE] = "tenant awake",
	[NIWA_HIT_HOST_MEMORY] = "host memory",
};

/* ---- lists of processes ---- */

static int read_process(pid_t pid, struct process *ret)
{
	char path[64], text[1024], *open, *close;
	unsigned long long user = 0, system = 0;
	long long pages = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return -ESRCH;
	open = strchr(text, '(');
	close = strrchr(text, ')'); /* a command may hold anything */
	if (!open || !close ||
	    sscanf(close + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %lld", &user,
		   &system, &pages) != 3)
		return -EBADMSG;
	ret->pid = pid;
	(void)snprintf(ret->command, sizeof(ret->command), "%.*s", (int)(close - open - 1), open + 1);
	ret->memory_bytes = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
	ret->cpu_us = (user + system) * NIWA_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
	return 0;
}

/* The largest ones stay, in their order. */
static void keep(struct list *list, const struct process *p)
{
	unsigned at = list->count;

	list->memory_bytes += p->memory_bytes;
	while (at > 0 && list->process[at - 1].memory_bytes < p->memory_bytes)
		at--;
	if (at == LISTED_MAX)
		return;
	if (list->count < LISTED_MAX)
		list->count++;
	memmove(&list->process[at + 1], &list->process[at], (list->count - 1 - at) * sizeof(*p));
	list->process[at] = *p;
}

struct visit {
	struct list *list;
	const char *app;
};

static int visit(pid_t pid, void *arg)
{
	const struct visit *v = arg;
	struct process p;

	if (v->list->looked++ >= LOOKED_MAX)
		return -ECANCELED;
	if (read_process(pid, &p) < 0)
		return 0;
	(void)snprintf(p.app, sizeof(p.app), "%s", v->app);
	keep(v->list, &p);
	return 0;
}

static void add_instance(struct niwa_engine *e, const struct niwa_instance *i, struct list *list)
{
	struct visit v = {.list = list, .app = i->app->name};

	(void)niwa_group_each_process(e, i->id, visit, &v); /* what could be seen */
}

/* tenant NULL: of the whole host; the newest instances. */
static void add_instances(struct niwa_engine *e, const struct niwa_tenant *tenant, struct list *list)
{
	const struct niwa_instance *i = tenant ? LIST_FIRST(&tenant->instance_list) : LIST_FIRST(&e->instance_list);

	for (unsigned n = 0; i && n < INSTANCES_MAX && list->looked < LOOKED_MAX; n++) {
		if (i->app)
			add_instance(e, i, list);
		i = tenant ? LIST_NEXT(i, tenant_link) : LIST_NEXT(i, link);
	}
}

/* ---- records ---- */

static void drop(struct niwa_engine *e, struct niwa_limit_hit *hit)
{
	TAILQ_REMOVE(&hit->app->past->hits, hit, of_app);
	hit->app->past->hit_count--;
	TAILQ_REMOVE(&e->hits, hit, of_all);
	e->hit_count--;
	free(hit);
}

void niwa_limit_hits_forget(struct niwa_app *app)
{
	while (app->past && app->past->hit_count)
		drop(app->engine, TAILQ_FIRST(&app->past->hits));
}

/* NULL: it is one of before, once more; or no memory. */
static struct niwa_limit_hit *record(struct niwa_engine *e, struct niwa_app *app, enum niwa_hit_kind kind,
				     const char *text, uint64_t times)
{
	struct niwa_log_ctx ctx = {.app = app->name, .doing = "limit"};
	struct niwa_app_past *past = niwa_app_past(app);
	struct niwa_limit_hit *hit;
	uint64_t now = niwa_now_us();

	e->counts.limit_hits += times;
	if (!past)
		return NULL;
	if (!past->hit_count)
		TAILQ_INIT(&past->hits);
	TAILQ_FOREACH(hit, &past->hits, of_app)
	if (hit->kind == kind && now - hit->at_us < AGAIN_US) {
		hit->count += times;
		return NULL;
	}
	hit = niwa_zalloc(sizeof(*hit));
	if (!hit)
		return NULL;
	hit->app = app;
	hit->kind = kind;
	hit->at_us = now;
	hit->realtime_us = niwa_realtime_us();
	hit->count = times;
	(void)snprintf(hit->text, sizeof(hit->text), "%s", text);
	TAILQ_INSERT_TAIL(&past->hits, hit, of_app);
	TAILQ_INSERT_TAIL(&e->hits, hit, of_all);
	e->hit_count++;
	if (++past->hit_count > HITS_OF_APP)
		drop(e, TAILQ_FIRST(&past->hits));
	if (e->hit_count > HITS_MAX)
		drop(e, TAILQ_FIRST(&e->hits));
	niwa_log(NIWA_LOG_WARN, &ctx, "limit hit: %s", text);
	return hit;
}

void niwa_limit_refused(struct niwa_engine *e, struct niwa_app *app, enum niwa_hit_kind kind, const char *text)
{
	const struct niwa_limit_hit *before = TAILQ_LAST(&e->hits, niwa_limit_hits);
	uint64_t now = niwa_now_us();
	struct niwa_limit_hit *hit;
	bool same = before && before->kind == kind && now - before->at_us < NIWA_SEC &&
		    (kind != NIWA_HIT_TENANT_AWAKE || before->app->tenant == app->tenant);
	struct list list = {0};

	if (same)
		list = before->list; /* many are refused together */
	hit = record(e, app, kind, text, 1);
	if (hit && same)
		hit->list = list;
	else if (hit && now - e->refusal_listed_us >= REFUSALS_US) {
		e->refusal_listed_us = now;
		add_instances(e, kind == NIWA_HIT_TENANT_AWAKE ? app->tenant : NULL, &hit->list);
	}
}

/* ---- watching ---- */

static uint64_t own_memory(const struct niwa_instance *i)
{
	return i->spec && i->app ? niwa_limits_over(i->app, &i->spec->limits).memory_bytes : 0;
}

static const struct niwa_tenant_limits *tenant_limits(const struct niwa_instance *i)
{
	static const struct niwa_tenant_limits none;

	return i->group_tenant && i->tenant && i->tenant->limits ? i->tenant->limits : &none;
}

static bool is_own_memory(struct niwa_engine *e, const struct niwa_instance *i)
{
	return own_memory(i) && (!tenant_limits(i)->memory_bytes || niwa_group_was_full(e, i->id));
}

static const char *memory_text(struct niwa_engine *e, const struct niwa_instance *i)
{
	if (is_own_memory(e, i))
		return "it wanted more than limits.memory";
	return tenant_limits(i)->memory_bytes ? "its tenant's apps wanted more than limits.memory of the tenant" : "";
}

/* Who works close to its limit, with files that are cached, would be told of many times a second. */
static void mute(struct niwa_engine *e, struct niwa_limit_watch *w)
{
	if (w->muted || !w->memory || sd_event_source_set_enabled(w->memory, SD_EVENT_OFF) < 0)
		return;
	w->muted = true;
	LIST_INSERT_HEAD(&e->limits_muted, w, muted_link);
}

/* Did the kernel kill for lack of memory since it was looked at last? */
static void look_memory(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_limit_watch *w = i->watch;
	uint64_t killed = niwa_group_killed(e, i->id), now = niwa_now_us();
	struct niwa_limit_hit *hit;
	struct list list = {0};

	if (killed <= w->killed) {
		if (now - w->near_us < NEAR_US)
			return;
		w->near_us = now;
		w->near = list;
		add_instance(e, i, &w->near);
		mute(e, w);
		return;
	}
	w->killed = killed;
	hit = record(e, i->app, is_own_memory(e, i) ? NIWA_HIT_MEMORY : NIWA_HIT_TENANT_MEMORY, memory_text(e, i), 1);
	if (!hit)
		return;
	add_instance(e, i, &list);
	hit->list = w->near.memory_bytes > list.memory_bytes ? w->near : list;
}

/* v1 tells just before it kills: what came of it is seen now. */
static void hear_again(struct niwa_engine *e)
{
	struct niwa_limit_watch *w;

	while ((w = LIST_FIRST(&e->limits_muted))) {
		LIST_REMOVE(w, muted_link);
		w->muted = false;
		(void)sd_event_source_set_enabled(w->memory, SD_EVENT_ON); /* what came meanwhile is still there */
		if (niwa_group_killed(e, w->instance->id) > w->killed)
			look_memory(e, w->instance); /* records, and mutes nothing */
	}
}

/* From the start of its pids.events. */
static int read_refused(int fd, char *text, size_t size, uint64_t *ret)
{
	ssize_t len = pread(fd, text, size - 1, 0);

	if (len < 0)
		return -errno;
	text[len] = 0;
	*ret = strncmp(text, "max ", 4) == 0 ? strtoull(text + 4, NULL, 10) : 0;
	return 0;
}

static void look_processes(struct niwa_engine *e, struct niwa_instance *i)
{
	uint64_t refused = niwa_group_forks_refused(e, i->id), now = niwa_group_processes(e, i->id);
	const struct niwa_tenant_limits *limits = tenant_limits(i);
	struct niwa_limit_hit *hit;
	uint64_t times;
	bool own;

	if (refused <= i->watch->refused)
		return;
	times = refused - i->watch->refused;
	i->watch->refused = refused;
	own = !limits->processes || (i->spec->limits.processes && now + 1 >= i->spec->limits.processes);
	hit = record(e, i->app, own ? NIWA_HIT_PROCESSES : NIWA_HIT_TENANT_PROCESSES,
		     own ? "it wanted more processes than limits.processes" : TENANT_PROCESSES_TEXT, times);
	if (hit)
		add_instance(e, i, &hit->list);
}

/* Whose processes are the most, among some. */
static struct niwa_instance *largest(struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	struct niwa_instance *i, *r = NULL;
	uint64_t most = 0;
	unsigned n = 0;

	LIST_FOREACH(i, &tenant->instance_list, tenant_link)
	{
		uint64_t has = i->app && i->group_tenant ? niwa_group_processes(e, i->id) : 0;

		if (has > most) {
			most = has;
			r = i;
		}
		if (++n == INSTANCES_MAX)
			break;
	}
	return r;
}

/* The kernel tells at most each 10 ms. */
static int on_tenant(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_tenant_watch *w = arg;
	struct niwa_limit_hit *hit;
	struct niwa_instance *i;
	uint64_t refused, times;
	char text[256];

	(void)s, (void)revents;
	if (read_refused(fd, text, sizeof(text), &refused) < 0) {
		niwa_limit_unwatch_tenant(w->tenant); /* the group has gone */
		return 0;
	}
	i = refused > w->refused ? largest(w->engine, w->tenant) : NULL;
	if (!i)
		return 0;
	times = refused - w->refused;
	w->refused = refused;
	hit = record(w->engine, i->app, NIWA_HIT_TENANT_PROCESSES, TENANT_PROCESSES_TEXT, times);
	if (hit)
		add_instances(w->engine, w->tenant, &hit->list);
	return 0;
}

static int on_memory(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_instance *i = arg;
	char drain[1024];

	(void)s, (void)revents;
	(void)!pread(fd, drain, sizeof(drain), 0); /* either way it is quiet then */
	(void)!read(fd, drain, 8);
	look_memory(i->engine, i);
	return 0;
}

static int on_processes(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_instance *i = arg;
	char drain[256];

	(void)s, (void)revents;
	(void)!pread(fd, drain, sizeof(drain), 0);
	look_processes(i->engine, i);
	return 0;
}

static void watch_fd(struct niwa_engine *e, struct niwa_instance *i, int fd, uint32_t events, sd_event_source **ret,
		     sd_event_io_handler_t fn)
{
	if (fd >= 0 && sd_event_add_io(e->event, ret, fd, events, fn, i) >= 0)
		(void)sd_event_source_set_priority(*ret, SD_EVENT_PRIORITY_NORMAL - 5); /* before the end is told */
}

static void watch_tenant(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_tenant_watch *w;
	char text[256];

	if (i->tenant->watch || e->host.cgroup_layout != NIWA_CGROUP_UNIFIED)
		return;
	w = niwa_zalloc(sizeof(*w));
	if (!w)
		return;
	i->tenant->watch = w;
	w->engine = e;
	w->tenant = i->tenant;
	w->fd = niwa_group_tenant_watch_processes(e, i->tenant);
	if (w->fd >= 0 && i->adopting)
		(void)read_refused(w->fd, text, sizeof(text), &w->refused);
	if (w->fd >= 0)
		(void)sd_event_add_io(e->event, &w->source, w->fd, EPOLLPRI, on_tenant, w);
}

void niwa_limit_unwatch_tenant(struct niwa_tenant *tenant)
{
	struct niwa_tenant_watch *w = tenant->watch;

	if (!w)
		return;
	tenant->watch = NULL;
	(void)sd_event_source_disable_unref(w->source);
	niwa_fd_close(&w->fd);
	free(w);
}

void niwa_limit_watch(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_limit_watch *w;

	if (i->watch || !i->spec || !i->app || i->app->template)
		return;
	w = niwa_zalloc(sizeof(*w));
	if (!w)
		return;
	w->memory_fd = w->processes_fd = -1;
	i->watch = w;
	w->instance = i;
	if (i->adopting) { /* what was told under another niwad */
		w->killed = niwa_group_killed(e, i->id);
		w->refused = niwa_group_forks_refused(e, i->id);
	}
	if (own_memory(i) || tenant_limits(i)->memory_bytes)
		w->memory_fd = niwa_group_watch_memory(e, i->id);
	if (i->group_tenant && i->tenant)
		watch_tenant(e, i);
	if ((i->spec->limits.processes || tenant_limits(i)->processes) && e->host.cgroup_layout == NIWA_CGROUP_UNIFIED)
		w->processes_fd = niwa_group_watch_processes(e, i->id);
	watch_fd(e, i, w->memory_fd, e->host.cgroup_layout == NIWA_CGROUP_UNIFIED ? EPOLLPRI : EPOLLIN, &w->memory,
		 on_memory);
	watch_fd(e, i, w->processes_fd, EPOLLPRI, &w->processes, on_processes);
}

void niwa_limit_look_round(struct niwa_engine *e)
{
	struct niwa_instance *i;
	unsigned looks = 0;

	hear_again(e);
	if (e->host.cgroup_layout == NIWA_CGROUP_UNIFIED)
		return;
	LIST_FOREACH(i, &e->instance_list, link)
	{
		if (!i->watch || i->watch->round == e->limit_round)
			continue;
		i->watch->round = e->limit_round;
		look_processes(e, i);
		if (++looks == LOOKS_A_SECOND)
			return;
	}
	e->limit_round++;
}

void niwa_limit_unwatch(struct niwa_instance *i)
{
	struct niwa_limit_watch *w = i->watch;

	if (!w)
		return;
	i->watch = NULL;
	if (w->muted)
		LIST_REMOVE(w, muted_link);
	(void)sd_event_source_disable_unref(w->memory);
	(void)sd_event_source_disable_unref(w->processes);
	niwa_fd_close(&w->memory_fd);
	niwa_fd_close(&w->processes_fd);
	free(w);
}

const char *niwa_limit_ended(struct niwa_engine *e, struct niwa_instance *i)
{
	const char *text = "";

	if (i->watch) {
		look_memory(e, i);
		look_processes(e, i);
		if (i->watch->killed)
			text = memory_text(e, i);
	}
	niwa_limit_unwatch(i);
	return text;
}

/* ---- showing ---- */

static json_t *show_list(const struct list *list)
{
	json_t *all = json_array();

	for (unsigned n = 0; n < list->count; n++) {
		const struct process *p = &list->process[n];
		char command[64];

		(void)json_array_append_new(
			all, json_pack("{s:i, s:s, s:s, s:I, s:I}", "pid", (int)p->pid, "app", p->app, "command",
				       niwa_quote(p->command, strlen(p->command), command, sizeof(command)),
				       "memory_bytes", (json_int_t)p->memory_bytes, "cpu_us", (json_int_t)p->cpu_us));
	}
	return all;
}

json_t *niwa_limit_hits_show(const struct niwa_app *app)
{
	const struct niwa_limit_hit *hit;
	json_t *all = json_array();

	if (app->current && app->current->watch)
		look_processes(app->engine, app->current);

	if (!app->past || !app->past->hit_count)
		return all;
	TAILQ_FOREACH(hit, &app->past->hits, of_app)
	(void)json_array_append_new(all, json_pack("{s:I, s:s, s:s, s:I, s:o}", "at", (json_int_t)hit->realtime_us,
						   "limit", kinds[hit->kind], "text", hit->text, "count",
						   (json_int_t)hit->count, "processes", show_list(&hit->list)));
	return all;
}
