/* SPDX-License-Identifier: MIT
 *
 * Control groups through their files.
 */
#include "engine/group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#define V2_UNIFIED "/sys/fs/cgroup"
#define V2_HYBRID  "/sys/fs/cgroup/unified"

static bool is_v2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* The group that a manager delegated to niwa-keep, e.g. "niwa.slice/niwa-keep.service". */
static int delegated_group(pid_t keep, char *buf, size_t size)
{
	char path[64], text[8192], *line, *save = NULL;

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)keep);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return -ENOENT;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strncmp(line, "0::/", 4) == 0) {
			(void)snprintf(buf, size, "%s", line + 4);
			return 0;
		}
	return -ENOENT;
}

/* A group with processes of its own cannot hand controllers on (v2): keep moves to a leaf beside the instances. */
static int split_delegated(pid_t keep, const char *mount, char *group, size_t size, struct niwa_error *err)
{
	char path[PATH_MAX], pid[24], *tail;
	int r = delegated_group(keep, group, size);

	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "cgroup = auto: look up niwa-keep's group");
	tail = strrchr(group, '/');
	if (tail && strcmp(tail, "/keep") == 0) /* moved by an earlier niwad */
		*tail = '\0';
	(void)snprintf(path, sizeof(path), "%s/%s/keep", mount, group);
	r = niwa_mkdir_p(path, 0755, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/%s/keep/cgroup.procs", mount, group);
	(void)snprintf(pid, sizeof(pid), "%d", (int)keep);
	r = niwa_file_write(path, pid);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "cgroup = auto: move niwa-keep into '%s'", path);
	(void)snprintf(group + strlen(group), size - strlen(group), "/instances");
	return 0;
}

static int make(char *buf, size_t size, const char *mount, const char *group, struct niwa_error *err)
{
	if ((size_t)snprintf(buf, size, "%s/%s", mount, group) >= size)
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "cgroup '%s'", group);
	return niwa_mkdir_p(buf, 0755, err);
}

/* Every folder from the mount down to ours hands the controllers on. What is missing is told by `niwa doctor`. */
static void enable_controllers(const char *mount, const char *group)
{
	static const char *const controllers[] = {"+memory", "+cpu", "+pids", "+io"};
	char path[PATH_MAX], file[PATH_MAX + 32];
	size_t len = (size_t)snprintf(path, sizeof(path), "%s", mount);

	for (;;) {
		size_t n;

		(void)snprintf(file, sizeof(file), "%s/cgroup.subtree_control", path);
		for (size_t i = 0; i < NIWA_ARRAY_LEN(controllers); i++)
			(void)niwa_file_write(file, controllers[i]);
		group += strspn(group, "/");
		n = strcspn(group, "/");
		if (!n || len + n + 2 > sizeof(path))
			return;
		len += (size_t)snprintf(path + len, sizeof(path) - len, "/%.*s", (int)n, group);
		group += n;
	}
}

static int detect_hybrid(struct niwa_engine *e, const char *group, struct niwa_error *err)
{
	static const char *const names[] = {"memory", "cpu", "pids", "blkio"};
	const char **paths[] = {&e->host.cgroup_memory, &e->host.cgroup_cpu, &e->host.cgroup_pids,
				&e->host.cgroup_blkio};
	char mount[64];
	int r = make(e->host_paths[0], sizeof(e->host_paths[0]), V2_HYBRID, group, err);

	if (r < 0)
		return r;
	e->host.cgroup_layout = NIWA_CGROUP_HYBRID;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		(void)snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%s", names[i]);
		if (access(mount, F_OK) < 0)
			continue;
		r = make(e->host_paths[i + 1], sizeof(e->host_paths[0]), mount, group, err);
		if (r < 0)
			return r;
		*paths[i] = e->host_paths[i + 1];
	}
	return 0;
}

/* Not with swapaccount=0 on the kernel's command line, nor with an old kernel's v1 without swapaccount=1. */
static void detect_swap(struct niwa_engine *e)
{
	bool unified = e->host.cgroup_layout == NIWA_CGROUP_UNIFIED;
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", unified ? e->host.cgroup_v2 : e->host.cgroup_memory,
		       unified ? "memory.swap.max" : "memory.memsw.limit_in_bytes");
	e->host.cgroup_swap = (unified || e->host.cgroup_memory) && access(path, F_OK) == 0;
	if (!e->host.cgroup_swap && e->memory.swap_bytes)
		niwa_log(NIWA_LOG_WARN, NULL,
			 "this kernel does not count swap by control group: limits.memory does not bound what an app "
			 "has there (boot with swapaccount=1)");
}

static int detect(struct niwa_engine *e, struct niwa_error *err)
{
	bool unified = is_v2(V2_UNIFIED);
	char group[256];
	int r = 0;

	if (!unified && !is_v2(V2_HYBRID))
		return niwa_fail(err, NIWA_PERMANENT, 0,
				 "no cgroup v2 hierarchy at " V2_UNIFIED " or " V2_HYBRID
				 "; boot with systemd.unified_cgroup_hierarchy=1");
	(void)snprintf(group, sizeof(group), "%s", e->config.cgroup);
	if (strcmp(group, "auto") == 0)
		r = split_delegated(e->keep_pid, unified ? V2_UNIFIED : V2_HYBRID, group, sizeof(group), err);
	if (r < 0)
		return r;
	e->host.cgroup_v2 = e->host_paths[0];
	if (!unified)
		return detect_hybrid(e, group, err);
	e->host.cgroup_layout = NIWA_CGROUP_UNIFIED;
	r = make(e->host_paths[0], sizeof(e->host_paths[0]), V2_UNIFIED, group, err);
	enable_controllers(V2_UNIFIED, group);
	return r;
}

int niwa_group_detect(struct niwa_engine *e, struct niwa_error *err)
{
	int r = detect(e, err);

	if (r >= 0)
		detect_swap(e);
	return r;
}

/* The tenant's group that an instance nobody knows is in; 0: none. */
static uint32_t search(const char *base, uint64_t id)
{
	DIR *dir = opendir(base);
	struct dirent *entry;
	char path[PATH_MAX];
	uint64_t tenant, found = 0;

	if (!dir)
		return 0;
	while (!found && (entry = readdir(dir))) {
		if (entry->d_name[0] != 't' || niwa_parse_u64(entry->d_name + 1, UINT32_MAX, &tenant) < 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/t%" PRIu64 "/i%" PRIu64, base, tenant, id);
		if (access(path, F_OK) == 0)
			found = tenant;
	}
	(void)closedir(dir);
	return (uint32_t)found;
}

/* The folder of an instance in the hierarchy of `base`, "" for one that this host has not: group_tenant.h. */
static void folder_of(struct niwa_engine *e, uint64_t id, const char *base, char *buf, size_t size)
{
	const struct niwa_instance *i = niwa_map_get(e->instances, id);
	bool hybrid = e->host.cgroup_layout == NIWA_CGROUP_HYBRID;
	uint32_t tenant = i ? i->group_tenant : 0;

	(void)snprintf(buf, size, "%s/i%" PRIu64, base ? base : "", id);
	if (!base || base == e->host.cgroup_blkio || (hybrid && base == e->host.cgroup_v2) || (i && !tenant))
		return;
	if (!i && access(buf, F_OK) < 0)
		tenant = search(base, id);
	if (tenant)
		(void)snprintf(buf, size, "%s/t%" PRIu32 "/i%" PRIu64, base, tenant, id);
}

static void file_in(struct niwa_engine *e, uint64_t id, const char *base, const char *file, char *buf, size_t size)
{
	char folder[PATH_MAX / 2];

	folder_of(e, id, base, folder, sizeof(folder));
	(void)snprintf(buf, size, "%s/%s", folder, file);
}

static void file_of(struct niwa_engine *e, uint64_t id, const char *file, char *buf, size_t size)
{
	file_in(e, id, e->host.cgroup_v2, file, buf, size);
}

int niwa_group_freeze(struct niwa_engine *e, uint64_t id, bool frozen)
{
	char path[PATH_MAX];

	file_of(e, id, "cgroup.freeze", path, sizeof(path));
	return niwa_file_write(path, frozen ? "1" : "0");
}

int niwa_group_freeze_asked(struct niwa_engine *e, uint64_t id)
{
	char path[PATH_MAX], text[16];
	ssize_t n;

	file_of(e, id, "cgroup.freeze", path, sizeof(path));
	n = niwa_file_read(path, text, sizeof(text));
	return n < 0 ? (int)n : text[0] == '1';
}

int niwa_group_open_events(struct niwa_engine *e, uint64_t id)
{
	char path[PATH_MAX];
	int fd;

	file_of(e, id, "cgroup.events", path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int niwa_group_events_frozen(int fd)
{
	char text[256];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return strstr(text, "frozen 1") != NULL;
}

int niwa_group_is_frozen(struct niwa_engine *e, uint64_t id)
{
	NIWA_AUTO_FD fd = niwa_group_open_events(e, id);

	return fd < 0 ? fd : niwa_group_events_frozen(fd);
}

void niwa_group_kill(struct niwa_engine *e, uint64_t id)
{
	char path[PATH_MAX];

	file_of(e, id, "cgroup.kill", path, sizeof(path));
	(void)niwa_file_write(path, "1"); /* no group: nothing to kill */
}

int niwa_group_remove(struct niwa_engine *e, uint64_t id)
{
	const char *bases[] = {e->host.cgroup_v2, e->host.cgroup_memory, e->host.cgroup_cpu, e->host.cgroup_pids,
			       e->host.cgroup_blkio};
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(bases); i++) {
		if (!bases[i])
			continue;
		folder_of(e, id, bases[i], path, sizeof(path));
		if (rmdir(path) < 0 && errno == EBUSY)
			r = -EBUSY;
	}
	return r;
}

void niwa_group_procs(struct niwa_engine *e, uint64_t id, char *buf, size_t size)
{
	file_of(e, id, "cgroup.procs", buf, size);
}

int niwa_group_each_process(struct niwa_engine *e, uint64_t id, int (*fn)(pid_t pid, void *arg), void *arg)
{
	char path[PATH_MAX];
	FILE *f;
	int pid, r = 0;

	niwa_group_procs(e, id, path, sizeof(path));
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (r >= 0 && fscanf(f, "%d", &pid) == 1)
		r = fn(pid, arg);
	(void)fclose(f); /* read only */
	return r;
}

int niwa_group_cpu_us(struct niwa_engine *e, uint64_t id, uint64_t *ret)
{
	char path[PATH_MAX], text[1024], *at;
	ssize_t n;

	file_of(e, id, "cpu.stat", path, sizeof(path));
	n = niwa_file_read(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	at = strstr(text, "usage_usec ");
	if (!at)
		return -EBADMSG;
	*ret = strtoull(at + 11, NULL, 10);
	return 0;
}

int niwa_group_memory(struct niwa_engine *e, uint64_t id, uint64_t *ret_bytes)
{
	char path[PATH_MAX], text[64];
	ssize_t n;

	if (e->host.cgroup_layout == NIWA_CGROUP_UNIFIED)
		file_of(e, id, "memory.current", path, sizeof(path));
	else
		file_in(e, id, e->host.cgroup_memory, "memory.usage_in_bytes", path, sizeof(path));
	n = niwa_file_read(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	*ret_bytes = strtoull(text, NULL, 10);
	return 0;
}

/* A line of memory.stat, 0 without. */
static uint64_t stat_line(const char *text, const char *key)
{
	size_t len = strlen(key);
	const char *at = text;

	for (; at && strncmp(at, key, len) != 0; at = at ? at + 1 : NULL)
		at = strchr(at, '\n');
	return at ? strtoull(at + len, NULL, 10) : 0;
}

int niwa_group_needs_in(const struct niwa_engine *e, const char *folder, uint64_t *ret_bytes)
{
	bool unified = e->host.cgroup_layout == NIWA_CGROUP_UNIFIED;
	char path[PATH_MAX], text[8192];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/memory.stat", folder);
	n = niwa_file_read(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	*ret_bytes = stat_line(text, unified ? "anon " : "total_rss ") +
		     stat_line(text, unified ? "shmem " : "total_shmem ") + stat_line(text, "kernel ");
	(void)snprintf(path, sizeof(path), "%s/memory.kmem.usage_in_bytes", folder);
	if (!unified && niwa_file_read(path, text, sizeof(text)) > 0) /* v1 has it in a file of its own */
		*ret_bytes += strtoull(text, NULL, 10);
	return 0;
}

/* What of it is in swap: 0 where that is not counted. */
static uint64_t swapped_in(const struct niwa_engine *e, const char *folder)
{
	bool unified = e->host.cgroup_layout == NIWA_CGROUP_UNIFIED;
	char path[PATH_MAX], text[8192];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, unified ? "memory.swap.current" : "memory.stat");
	return niwa_file_read(path, text, sizeof(text)) < 0 ? 0 : stat_line(text, unified ? "" : "total_swap ");
}

int niwa_group_needs(struct niwa_engine *e, uint64_t id, uint64_t *ret_bytes)
{
	bool unified = e->host.cgroup_layout == NIWA_CGROUP_UNIFIED;
	char folder[PATH_MAX / 2];
	int r;

	folder_of(e, id, unified ? e->host.cgroup_v2 : e->host.cgroup_memory, folder, sizeof(folder));
	r = niwa_group_needs_in(e, folder, ret_bytes);
	if (r == 0)
		*ret_bytes += swapped_in(e, folder);
	return r;
}

/* The number of `key` in a file of the instance. */
static uint64_t number_in(struct niwa_engine *e, uint64_t id, const char *base, const char *file, const char *key)
{
	char path[PATH_MAX], text[1024];

	if (!base)
		return 0;
	file_in(e, id, base, file, path, sizeof(path));
	return niwa_file_read(path, text, sizeof(text)) < 0 ? 0 : stat_line(text, key);
}

uint64_t niwa_group_killed(struct niwa_engine *e, uint64_t id)
{
	if (e->host.cgroup_layout == NIWA_CGROUP_UNIFIED)
		return number_in(e, id, e->host.cgroup_v2, "memory.events", "oom_kill ");
	return number_in(e, id, e->host.cgroup_memory, "memory.oom_control", "oom_kill ");
}

static const char *processes_base(const struct niwa_engine *e)
{
	return e->host.cgroup_layout == NIWA_CGROUP_UNIFIED ? e->host.cgroup_v2 : e->host.cgroup_pids;
}

uint64_t niwa_group_forks_refused(struct niwa_engine *e, uint64_t id)
{
	return number_in(e, id, processes_base(e), "pids.events", "max ");
}

uint64_t niwa_group_processes(struct niwa_engine *e, uint64_t id)
{
	return number_in(e, id, processes_base(e), "pids.current", "");
}

bool niwa_group_was_full(struct niwa_engine *e, uint64_t id)
{
	if (e->host.cgroup_layout == NIWA_CGROUP_UNIFIED) /* of itself alone: Linux 5.2 */
		return number_in(e, id, e->host.cgroup_v2, "memory.events.local", "max ") > 0;
	return number_in(e, id, e->host.cgroup_memory, "memory.failcnt", "") > 0;
}

/* v1: "EVENTFD FILE" into cgroup.event_control; the file need not stay open. Not for thresholds of usage: each such
 * registration waits for an RCU grace period, 10 to 20 ms in which the loop would stand still. */
static int notify(struct niwa_engine *e, uint64_t id, int event, const char *file)
{
	char path[PATH_MAX], text[64];
	NIWA_AUTO_FD fd = -1;

	file_in(e, id, e->host.cgroup_memory, file, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)snprintf(text, sizeof(text), "%d %d", event, fd);
	file_in(e, id, e->host.cgroup_memory, "cgroup.event_control", path, sizeof(path));
	return niwa_file_write(path, text);
}

int niwa_group_watch_memory(struct niwa_engine *e, uint64_t id)
{
	char path[PATH_MAX];
	int fd;

	if (e->host.cgroup_layout == NIWA_CGROUP_UNIFIED) {
		file_of(e, id, "memory.events", path, sizeof(path));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	if (!e->host.cgroup_memory)
		return -ENOENT;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	(void)notify(e, id, fd, "memory.oom_control"); /* without it the counters are looked at in the end */
	return fd;
}

int niwa_group_watch_processes(struct niwa_engine *e, uint64_t id)
{
	char path[PATH_MAX];
	int fd;

	if (!processes_base(e))
		return -ENOENT;
	file_in(e, id, processes_base(e), "pids.events", path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int each_in(const char *base, bool top, int (*fn)(uint64_t id, void *arg), void *arg)
{
	char path[PATH_MAX];
	DIR *dir = opendir(base);
	struct dirent *entry;
	uint64_t id;
	int r = 0;

	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir))) {
		if (niwa_parse_u64(entry->d_name + 1, UINT64_MAX, &id) < 0)
			continue;
		if (entry->d_name[0] == 'i')
			r = fn(id, arg);
		if (entry->d_name[0] != 't' || !top)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
		r = each_in(path, false, fn, arg);
	}
	(void)closedir(dir);
	return r;
}

int niwa_group_each(struct niwa_engine *e, int (*fn)(uint64_t id, void *arg), void *arg)
{
	const char *bases[] = {e->host.cgroup_v2, e->host.cgroup_memory, e->host.cgroup_cpu, e->host.cgroup_pids,
			       e->host.cgroup_blkio};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < NIWA_ARRAY_LEN(bases); i++)
		if (bases[i])
			r = each_in(bases[i], true, fn, arg);
	return r;
}
