/* SPDX-License-Identifier: MIT
 *
 * Probes: limits of the kernel and of niwad's own process when it runs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <jansson.h>

#include "cli/answer.h"
#include "cli/client.h"
#include "cli/niwa_process.h"
#include "cli/probe_list.h"
#include "cli/proc_number.h"

#define FILES_GOOD     16384
#define PROCESSES_GOOD 32768
#define INOTIFY_GOOD   128
#define TERMINALS_GOOD 1024

/* The hard limit of open files of niwad, or of us when it does not run. *ret_of: whose. */
static uint64_t open_files_limit(const struct niwa_probe_host *host, const char **ret_of)
{
	struct niwa_client *client = NULL;
	struct rlimit limit = {0};
	json_t *pong = NULL;
	pid_t pid = 0;

	*ret_of = "of this shell";
	if (niwa_client_open(host->socket, &client, NULL) == 0 &&
	    niwa_client_call(client, "ping", NULL, 2000, &pong, NULL) == 0)
		pid = (pid_t)niwa_answer_number(pong, "pid");
	json_decref(pong);
	niwa_client_free(&client);
	if (pid > 0 && prlimit(pid, RLIMIT_NOFILE, NULL, &limit) == 0)
		*ret_of = "of niwad";
	else if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	return limit.rlim_max;
}

void niwa_probe_open_files(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	const char *of;
	uint64_t limit = open_files_limit(host, &of);
	uint64_t all = niwa_proc_number("/proc/sys/fs/file-max", UINT64_MAX);

	if (limit >= FILES_GOOD && all >= 4 * FILES_GOOD) {
		niwa_probe_say(report, NIWA_PROBE_OK, "at most %" PRIu64 " %s", limit, of);
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_WARN,
		       "at most %" PRIu64 " %s: about half as many relayed connections, and six an awake instance",
		       limit, of);
	niwa_probe_mend(report,
			"LimitNOFILE=524288 in the units of niwad and niwa-keep; sysctl -w fs.file-max=2097152");
}

/* The smallest pids.max of the groups from `group` up. */
static uint64_t group_limit(const char *mount, char *group)
{
	uint64_t least = UINT64_MAX, max;
	char path[800], *slash;

	do {
		(void)snprintf(path, sizeof(path), "%s%s/pids.max", mount, group);
		max = niwa_proc_number(path, UINT64_MAX); /* the root has none */
		least = max < least ? max : least;
		slash = strrchr(group, '/');
		if (slash)
			*slash = '\0';
	} while (slash);
	return least;
}

/* What niwa-keep and the instances may have together: by their groups and by RLIMIT_NPROC. */
static uint64_t keep_limit(const struct niwa_probe_host *host)
{
	pid_t keep = niwa_process_find("niwa-keep");
	uint64_t least = UINT64_MAX, max;
	struct rlimit limit;
	char group[512];

	if (!keep)
		return UINT64_MAX;
	if (prlimit(keep, RLIMIT_NPROC, NULL, &limit) == 0 && limit.rlim_max != RLIM_INFINITY)
		least = limit.rlim_max;
	(void)snprintf(group, sizeof(group), "/%s", host->cgroup);
	max = group_limit("/sys/fs/cgroup", group); /* unified; elsewhere there is no such file */
	least = max < least ? max : least;
	if (niwa_process_group(keep, "pids", group, sizeof(group)))
		max = group_limit("/sys/fs/cgroup/pids", group);
	else if (niwa_process_group(keep, "", group, sizeof(group)))
		max = group_limit("/sys/fs/cgroup", group);
	return max < least ? max : least;
}

void niwa_probe_processes(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t pids = niwa_proc_number("/proc/sys/kernel/pid_max", UINT64_MAX);
	uint64_t threads = niwa_proc_number("/proc/sys/kernel/threads-max", UINT64_MAX);
	uint64_t keep = keep_limit(host);

	niwa_probe_say(report, NIWA_PROBE_OK, "%" PRIu64 " ids, %" PRIu64 " threads", pids, threads);
	if (pids < PROCESSES_GOOD || threads < PROCESSES_GOOD) {
		report->result = NIWA_PROBE_WARN;
		niwa_probe_mend(report, "sysctl -w kernel.pid_max=4194304 kernel.threads-max=262144");
	}
	if (keep < PROCESSES_GOOD / 2) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "niwa-keep and all instances may have %" PRIu64 " processes",
			       keep);
		niwa_probe_mend(report, "TasksMax=infinity and LimitNPROC=infinity in the unit of niwa-keep, and in "
					"niwa.slice; systemctl daemon-reload");
	}
}

void niwa_probe_inotify(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t max = niwa_proc_number("/proc/sys/fs/inotify/max_user_instances", 0);

	niwa_probe_say(report, max >= INOTIFY_GOOD ? NIWA_PROBE_OK : NIWA_PROBE_WARN,
		       "%" PRIu64 " a user; 'niwa logs -f' and many programs in apps take one each", max);
}

void niwa_probe_terminals(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t max = niwa_proc_number("/proc/sys/kernel/pty/max", 0),
		 used = niwa_proc_number("/proc/sys/kernel/pty/nr", 0);

	niwa_probe_say(report, max >= TERMINALS_GOOD && used < max / 4 * 3 ? NIWA_PROBE_OK : NIWA_PROBE_WARN,
		       "%" PRIu64 " of %" PRIu64 " in use", used, max);
}
