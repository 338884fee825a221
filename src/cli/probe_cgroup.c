/* SPDX-License-Identifier: MIT
 *
 * Probes: control groups. What is tried is tried in a group of its own, which is removed.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <mntent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "cli/probe_list.h"

struct layout {
	char v2[256];      /* mount point, "": none */
	char v1[512];      /* controllers of v1 hierarchies, ",memory,cpu," */
	char v2_list[256]; /* cgroup.controllers of v2 */
	bool mixed;
};

static void read_layout(struct layout *l)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	char path[300];

	*l = (struct layout){.v1 = ","};
	while (f && (m = getmntent(f))) {
		size_t len = strlen(l->v1);

		if (!strcmp(m->mnt_type, "cgroup2") && !*l->v2)
			(void)snprintf(l->v2, sizeof(l->v2), "%s", m->mnt_dir);
		else if (!strcmp(m->mnt_type, "cgroup") && !hasmntopt(m, "name"))
			(void)snprintf(l->v1 + len, sizeof(l->v1) - len, "%s,", m->mnt_opts);
	}
	if (f)
		(void)endmntent(f);
	l->mixed = *l->v2 && strlen(l->v1) > 1;
	(void)snprintf(path, sizeof(path), "%s/cgroup.controllers", l->v2);
	if (!*l->v2 || niwa_file_read(path, l->v2_list, sizeof(l->v2_list)) < 0)
		l->v2_list[0] = '\0';
	l->v2_list[strcspn(l->v2_list, "\n")] = '\0';
}

void niwa_probe_cgroup_layout(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct layout l;

	read_layout(&l);
	if (!*l.v2)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "cgroup v2 is not mounted: nothing can be frozen");
	else if (l.mixed)
		niwa_probe_say(report, NIWA_PROBE_OK, "hybrid: freezing through v2 at '%s', limits through v1", l.v2);
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "unified at '%s'", l.v2);
}

/* A whole word of a list whose separators are given. */
static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t len = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += len)
		if ((p == list || strchr(separators, p[-1])) && (!p[len] || strchr(separators, p[len])))
			return true;
	return false;
}

/* Names of the wanted controllers that a list lacks. */
static void missing_controllers(const char *list, const char *separators, char *buf, size_t size)
{
	static const char *const wanted[] = {"memory", "cpu", "pids"};

	buf[0] = '\0';
	for (size_t i = 0; i < NIWA_ARRAY_LEN(wanted); i++) {
		size_t len = strlen(buf);

		if (!has_word(list, wanted[i], separators))
			(void)snprintf(buf + len, size - len, "%s%s", len ? ", " : "", wanted[i]);
	}
}

void niwa_probe_cgroup_controllers(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char missing[64] = "", all[800];
	struct layout l;

	read_layout(&l);
	(void)snprintf(all, sizeof(all), "%s%s", l.v1, l.v2_list);
	missing_controllers(all, ", ", missing, sizeof(missing));
	if (!*missing) {
		niwa_probe_say(report, NIWA_PROBE_OK, "memory, cpu, pids");
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_FAIL, "limits of %s cannot be enforced", missing);
	niwa_probe_mend(report, "boot with cgroup_enable=memory on the kernel command line if it is memory;");
	niwa_probe_mend(report, "in a container of another manager: have it delegate these controllers");
}

/* --- a group of our own --- */

static pid_t clone_into(int group)
{
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		for (;;)
			(void)pause();
	return pid < 0 ? -errno : (pid_t)pid;
}

static bool is_frozen(const char *group)
{
	char path[400], text[256];

	(void)snprintf(path, sizeof(path), "%s/cgroup.events", group);
	for (int i = 0; i < 200; i++) { /* the kernel needs microseconds; there is no event to wait for in a probe */
		if (niwa_file_read(path, text, sizeof(text)) > 0 && strstr(text, "frozen 1"))
			return true;
		(void)usleep(1000);
	}
	return false;
}

static void write_control(const char *group, const char *name, const char *text, struct niwa_probe_report *report)
{
	char path[400];
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s", group, name);
	r = niwa_file_write(path, text);
	if (r < 0 && report->result == NIWA_PROBE_OK)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "write %s: %s", name, strerror(-r));
}

static void try_group(const char *group, struct niwa_probe_report *report)
{
	NIWA_AUTO_FD fd = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pid = fd < 0 ? -errno : clone_into(fd);

	if (pid < 0) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "clone3 into a control group: %s", strerror(-pid));
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_OK, "made, entered, frozen and killed one");
	write_control(group, "cgroup.freeze", "1", report);
	if (report->result == NIWA_PROBE_OK && !is_frozen(group))
		niwa_probe_say(report, NIWA_PROBE_FAIL, "the group did not freeze");
	write_control(group, "cgroup.kill", "1", report);
	(void)kill(pid, SIGKILL); /* in case cgroup.kill is missing */
	(void)waitpid(pid, NULL, 0);
}

void niwa_probe_cgroup_own(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct layout l;
	char group[300];

	read_layout(&l);
	if (!*l.v2) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "cgroup v2 is not mounted");
		return;
	}
	(void)snprintf(group, sizeof(group), "%s/niwa-doctor-%d", l.v2, (int)getpid());
	if (mkdir(group, 0755) < 0) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "make the group '%s': %s", group, strerror(errno));
		niwa_probe_mend(report, "inside a container: mount the control groups writable and delegate a group");
		return;
	}
	try_group(group, report);
	if (rmdir(group) < 0 && report->result == NIWA_PROBE_OK)
		niwa_probe_say(report, NIWA_PROBE_WARN, "remove the group '%s': %s", group, strerror(errno));
}

void niwa_probe_cgroup_delegation(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char path[512], list[512], missing[64];
	struct layout l;

	read_layout(&l);
	(void)snprintf(path, sizeof(path), "%s/%s/cgroup.controllers", l.v2, host->cgroup);
	if (!*l.v2 || l.mixed) {
		niwa_probe_say(report, NIWA_PROBE_OK, "limits go through v1: nothing has to be handed on");
	} else if (niwa_file_read(path, list, sizeof(list)) < 0) {
		niwa_probe_say(report, NIWA_PROBE_OK, "niwad makes the group '%s' when it starts", host->cgroup);
	} else {
		missing_controllers(list, " \n", missing, sizeof(missing));
		if (*missing)
			niwa_probe_say(report, NIWA_PROBE_FAIL, "the group '%s' lacks %s: limits of apps do not hold",
				       host->cgroup, missing);
		else
			niwa_probe_say(report, NIWA_PROBE_OK, "the group '%s' has memory, cpu, pids", host->cgroup);
	}
}

void niwa_probe_pressure(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char text[512];

	if (niwa_file_read("/proc/pressure/memory", text, sizeof(text)) > 0)
		niwa_probe_say(report, NIWA_PROBE_OK, "there");
	else
		niwa_probe_say(report, NIWA_PROBE_WARN, "not there: niwa judges by free memory instead");
}
