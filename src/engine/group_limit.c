/* SPDX-License-Identifier: MIT
 *
 * The files of cgroup v2 and v1. In v2 a memory.max below what is used has the kernel kill at once; so what can be had
 * back is taken before, and the limit is only set when what is left is below it. v1 refuses by itself. With the memory
 * goes the swap (adr/013).
 */
#include "engine/group_limit.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

void niwa_limit_place(const struct niwa_host *host, uint64_t id, struct niwa_limit_place *ret)
{
	const char *cpu = host->cgroup_cpu, *memory = host->cgroup_memory;

	*ret = (struct niwa_limit_place){.unified = host->cgroup_layout == NIWA_CGROUP_UNIFIED, .whole = true};
	if (ret->unified)
		cpu = memory = host->cgroup_v2;
	else
		ret->cpu_max_centi = host->cpu_centi_max;
	if (cpu)
		(void)snprintf(ret->cpu, sizeof(ret->cpu), "%s/i%" PRIu64, cpu, id);
	if (memory)
		(void)snprintf(ret->memory, sizeof(ret->memory), "%s/i%" PRIu64, memory, id);
}

static int put(const char *folder, const char *file, const char *text)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, file);
	return niwa_file_write(path, text);
}

static uint64_t number(const char *folder, const char *file)
{
	char path[PATH_MAX], text[64];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, file);
	return niwa_file_read(path, text, sizeof(text)) < 0 ? 0 : strtoull(text, NULL, 10);
}

/* What became of a write. */
static int judge(int r, const char *folder, const char *what, struct niwa_error *err)
{
	if (r >= 0)
		return 0;
	if (*folder && access(folder, F_OK) < 0) /* it has ended meanwhile */
		return 0;
	if (!*folder || r == -ENOENT)
		return niwa_fail(err, NIWA_CALLER, EOPNOTSUPP,
				 "%s: this host gives niwa no %s controller (see niwa doctor)", what, what);
	return niwa_fail(err, NIWA_TEMPORARY, -r, "%s: write the limit into '%s'", what, folder);
}

static int too_small(const struct niwa_limit_place *place, uint64_t bytes, struct niwa_error *err)
{
	uint64_t used = number(place->memory, place->unified ? "memory.current" : "memory.usage_in_bytes");
	char a[32], b[32];

	return niwa_fail(err, NIWA_CALLER, EBUSY,
			 "memory: its processes use %s and nothing of it can be had back now; allowed: more than "
			 "that, found %s",
			 niwa_format_size(used / 1024 * 1024, a, sizeof(a)), niwa_format_size(bytes, b, sizeof(b)));
}

static int memory_unified(const struct niwa_limit_place *place, uint64_t bytes, struct niwa_error *err)
{
	uint64_t used = number(place->memory, "memory.current");
	char text[24];
	int r;

	(void)snprintf(text, sizeof(text), "%" PRIu64, used > bytes ? used - bytes : 0);
	if (bytes && used > bytes)
		(void)put(place->memory, "memory.reclaim", text); /* what it can; Linux 5.19 */
	if (bytes && number(place->memory, "memory.current") > bytes)
		return too_small(place, bytes, err);
	(void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
	r = put(place->memory, "memory.max", bytes ? text : "max");
	if (r >= 0) /* -ENOENT: swap is not counted. Less than what is there already is fine */
		(void)put(place->memory, "memory.swap.max", bytes ? text : "max");
	if (r >= 0 && bytes && place->whole)
		r = put(place->memory, "memory.oom.group", "1"); /* as in its plan */
	return judge(r, place->memory, "memory", err);
}

/* The limit of memory may not be above that of memory and swap together; widening this one first is always allowed.
 * What is in swap cannot be had back: who has more there than the new limit lets him keeps the old one of both
 * together. */
static int memory_v1(const struct niwa_limit_place *place, uint64_t bytes)
{
	char text[24], both[24];
	int r;

	(void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
	(void)snprintf(both, sizeof(both), "%" PRIu64, 2 * bytes);
	r = put(place->memory, "memory.limit_in_bytes", bytes ? text : "-1");
	if (r == -EINVAL && put(place->memory, "memory.memsw.limit_in_bytes", "-1") >= 0)
		r = put(place->memory, "memory.limit_in_bytes", bytes ? text : "-1");
	if (r >= 0 && bytes) /* -ENOENT: swap is not counted */
		(void)put(place->memory, "memory.memsw.limit_in_bytes", both);
	return r;
}

int niwa_limit_memory(const struct niwa_limit_place *place, uint64_t bytes, struct niwa_error *err)
{
	int r;

	if (place->unified)
		return memory_unified(place, bytes, err);
	r = *place->memory ? memory_v1(place, bytes) : -ENOENT;
	return r == -EBUSY ? too_small(place, bytes, err) : judge(r, place->memory, "memory", err);
}

static int cpu_v1(const char *folder, uint64_t quota, uint64_t period)
{
	char text[24];
	int r;

	if (!quota)
		return put(folder, "cpu.cfs_quota_us", "-1");
	(void)put(folder, "cpu.cfs_quota_us", "-1"); /* else a new period has to suit the old quota */
	(void)snprintf(text, sizeof(text), "%" PRIu64, period);
	r = put(folder, "cpu.cfs_period_us", text);
	(void)snprintf(text, sizeof(text), "%" PRIu64, quota);
	return r < 0 ? r : put(folder, "cpu.cfs_quota_us", text);
}

void niwa_limit_cpu_below(const char *folder, uint32_t centi)
{
	uint64_t id, quota, period, has, of;
	char path[340];
	struct dirent *entry;
	DIR *dir = opendir(folder);

	niwa_cpu_quota(centi, &quota, &period);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != 'i' || niwa_parse_u64(entry->d_name + 1, UINT64_MAX, &id) < 0)
			continue;
		(void)snprintf(path, sizeof(path), "%.300s/i%" PRIu64, folder, id);
		has = number(path, "cpu.cfs_quota_us");
		of = number(path, "cpu.cfs_period_us");
		if (has <= INT64_MAX && has * period > quota * of) /* -1: as much as the group above */
			(void)cpu_v1(path, quota, period);         /* else the kernel says what is wrong */
	}
	if (dir)
		(void)closedir(dir);
}

int niwa_limit_cpu(const struct niwa_limit_place *place, uint32_t centi, struct niwa_error *err)
{
	uint64_t quota = 0, period = 0;
	char text[64] = "max";
	int r = -ENOENT;

	if (place->cpu_max_centi && centi > place->cpu_max_centi)
		centi = place->cpu_max_centi;
	if (centi)
		niwa_cpu_quota(centi, &quota, &period);
	if (centi)
		(void)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, quota, period);
	if (place->unified)
		r = put(place->cpu, "cpu.max", text);
	else if (*place->cpu)
		r = cpu_v1(place->cpu, quota, period);
	return judge(r, place->cpu, "cpu", err);
}

int niwa_limit_both(const struct niwa_limit_place *place, const struct niwa_limits *limits, struct niwa_error *err)
{
	int r = niwa_limit_memory(place, limits->memory_bytes, err);

	return r < 0 ? r : niwa_limit_cpu(place, limits->cpu_centi, err);
}
