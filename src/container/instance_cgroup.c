/* SPDX-License-Identifier: MIT
 *
 * Control groups of an instance: its v2 group always (freezer, kill, statistics), and where the limits live in v1
 * hierarchies a group in each of them. A limit that cannot be enforced here refuses the app.
 */
#include "container/instance_private.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/memory.h"

#define PERIOD_US     100000u  /* the kernel's default */
#define PERIOD_MAX_US 1000000u /* for shares below 1 %: the kernel wants at least 1 ms a period */
#define QUOTA_MIN_US  1000u

void niwa_cpu_quota(uint32_t centi, uint64_t *ret_quota_us, uint64_t *ret_period_us)
{
	uint64_t period = PERIOD_US, quota = period * centi / 10000;

	if (quota < QUOTA_MIN_US) {
		period = PERIOD_MAX_US;
		quota = period * centi / 10000;
	}
	*ret_quota_us = quota < QUOTA_MIN_US ? QUOTA_MIN_US : quota;
	*ret_period_us = period;
}

static void write_u64(struct builder *b, const char *group, const char *file, uint64_t value)
{
	char path[PATH_MAX + 64], text[24];

	(void)snprintf(path, sizeof(path), "%s/i%" PRIu64 "/%s", group, b->params->id, file); /* lengths are checked */
	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	plan_pair(b, NIWA_OP_WRITE, 0, path, text);
}

static void write_text(struct builder *b, const char *group, const char *file, int64_t optional, const char *text)
{
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/i%" PRIu64 "/%s", group, b->params->id, file);
	plan_pair(b, NIWA_OP_WRITE, optional, path, text);
}

static void limits_unified(struct builder *b, const struct niwa_limits *l)
{
	const char *group = b->host->cgroup_v2;
	uint64_t quota, period;
	char text[64];

	if (l->memory_bytes) {
		write_u64(b, group, "memory.max", l->memory_bytes);
		if (b->host->cgroup_swap)
			write_u64(b, group, "memory.swap.max", l->memory_bytes);
		/* an app that lost one process to the OOM killer is of no use; all of it goes, and starts afresh */
		write_text(b, group, "memory.oom.group", 0, "1");
	}
	if (l->cpu_centi) {
		niwa_cpu_quota(l->cpu_centi, &quota, &period);
		(void)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, quota, period);
		write_text(b, group, "cpu.max", 0, text);
	}
	if (l->processes)
		write_u64(b, group, "pids.max", l->processes);
	if (l->io_weight) {
		(void)snprintf(text, sizeof(text), "default %u", l->io_weight);
		write_text(b, group, "io.weight", 1,
			   text); /* a weight, not a limit: needs an I/O scheduler that has them */
	}
}

static void limits_hybrid(struct builder *b, const struct niwa_limits *l)
{
	const struct niwa_host *h = b->host;
	uint32_t cpu_centi = l->cpu_centi;
	uint64_t quota, period;

	if (h->cpu_centi_max && cpu_centi > h->cpu_centi_max)
		cpu_centi = h->cpu_centi_max;
	if (l->memory_bytes)
		write_u64(b, h->cgroup_memory, "memory.limit_in_bytes", l->memory_bytes);
	if (l->memory_bytes && h->cgroup_swap) /* of both together */
		write_u64(b, h->cgroup_memory, "memory.memsw.limit_in_bytes", 2 * l->memory_bytes);
	if (l->cpu_centi) {
		niwa_cpu_quota(cpu_centi, &quota, &period);
		if (period != PERIOD_US)
			write_u64(b, h->cgroup_cpu, "cpu.cfs_period_us", period);
		write_u64(b, h->cgroup_cpu, "cpu.cfs_quota_us", quota);
	}
	if (l->processes)
		write_u64(b, h->cgroup_pids, "pids.max", l->processes);
	if (l->io_weight && h->cgroup_blkio) {
		char text[16];
		/* v2's 1 to 10000 with 100 in the middle, v1's 10 to 1000 with 500: what can be kept is the order */
		uint32_t weight = l->io_weight >= 1000 ? 1000 : l->io_weight < 10 ? 10 : l->io_weight;

		(void)snprintf(text, sizeof(text), "%u", weight);
		write_text(b, h->cgroup_blkio, "blkio.weight", 1, text);
	}
}

static int need(struct builder *b, uint64_t wanted, const char *group, const char *key, const char *controller)
{
	if (!wanted || group)
		return 0;
	return niwa_fail(
		b->err, NIWA_CALLER, 0,
		"limits.%s: this host gives niwa no %s controller (see niwa doctor); remove the limit or enable it",
		key, controller);
}

/* The v1 groups of an instance, in the order of entering: memory for its statistics and cpu for a fair share always,
 * the others when they limit something. */
static size_t v1_groups(const struct niwa_host *h, const struct niwa_limits *l, const char *ret[4])
{
	const char *const all[] = {h->cgroup_memory, h->cgroup_cpu, l->processes ? h->cgroup_pids : NULL,
				   l->io_weight ? h->cgroup_blkio : NULL};
	size_t n = 0;

	if (h->cgroup_layout != NIWA_CGROUP_HYBRID)
		return 0;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(all); i++)
		if (all[i])
			ret[n++] = all[i];
	return n;
}

int plan_cgroups(struct builder *b)
{
	const struct niwa_limits *l = &b->params->spec->limits;
	const struct niwa_host *h = b->host;
	const char *groups[4];
	size_t n = v1_groups(h, l, groups);
	int r = 0;

	if (h->cgroup_layout == NIWA_CGROUP_HYBRID) {
		r = need(b, l->memory_bytes, h->cgroup_memory, "memory", "memory");
		if (r == 0)
			r = need(b, l->cpu_centi, h->cgroup_cpu, "cpu", "cpu");
		if (r == 0)
			r = need(b, l->processes, h->cgroup_pids, "processes", "pids");
	}
	if (r < 0)
		return r;
	plan_path(b, NIWA_OP_MKDIR, 0755, "%s/i%" PRIu64, h->cgroup_v2, b->params->id);
	for (size_t i = 0; i < n; i++)
		plan_path(b, NIWA_OP_MKDIR, 0755, "%s/i%" PRIu64, groups[i], b->params->id);
	if (h->cgroup_layout == NIWA_CGROUP_HYBRID)
		limits_hybrid(b, l);
	else
		limits_unified(b, l);
	return 0;
}

void plan_open_cgroup(struct builder *b, const struct niwa_host *host, uint64_t instance, int slot)
{
	const char *path = plan_text(b, "%s/i%" PRIu64, host->cgroup_v2, instance);

	niwa_plan_add(b->plan,
		      &(struct niwa_op_view){
			      .op = NIWA_OP_OPEN, .a = slot, .b = O_PATH | O_DIRECTORY | O_CLOEXEC, .s = path});
}

/* The child moves itself, as a thread: for "0" in `tasks` the kernel need not stop all forks, which costs it an RCU
 * grace period (10 to 20 ms on an idle host) when somebody else writes our pid to cgroup.procs. */
void plan_enter_v1(struct builder *b, const struct niwa_host *host, const struct niwa_limits *limits, uint64_t instance)
{
	const char *groups[4];
	size_t n = v1_groups(host, limits, groups);

	for (size_t i = 0; i < n; i++) {
		const char *path = plan_text(b, "%s/i%" PRIu64 "/tasks", groups[i], instance);

		plan_pair(b, NIWA_OP_PUT, 0, path, "0");
	}
}
