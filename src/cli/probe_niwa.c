/* SPDX-License-Identifier: MIT
 *
 * Probes: niwa's own programs, and what is left when they are gone.
 */
#include <dirent.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "cli/answer.h"
#include "cli/client.h"
#include "cli/niwa_process.h"
#include "cli/nft_run.h"
#include "cli/probe_list.h"

void niwa_probe_keep(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/keep.sock", host->run_dir);
	if (niwa_socket_is_listened_on(path))
		niwa_probe_say(report, NIWA_PROBE_OK, "listens at '%s'", path);
	else
		niwa_probe_say(report, NIWA_PROBE_WARN, "nobody listens at '%s'", path);
}

void niwa_probe_niwad(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *pong = NULL;
	const char *version;
	int r = niwa_client_open(host->socket, &client, &err);

	if (r == -EACCES)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "only root and group niwa may ask it");
	else if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_WARN, "nobody listens at '%s'", host->socket);
	if (r == 0 && niwa_client_call(client, "ping", NULL, 5000, &pong, &err) < 0) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s", err.msg);
	} else if (r == 0) {
		version = niwa_answer_text(pong, "version");
		niwa_probe_say(report, NIWA_PROBE_OK, "version %s", version);
		if (strcmp(version, NIWA_VERSION) != 0) {
			niwa_probe_say(report, NIWA_PROBE_WARN, "version %s, this program is %s", version,
				       NIWA_VERSION);
			niwa_probe_mend(report, "systemctl restart niwad (instances go on)");
		}
	}
	json_decref(pong);
	niwa_client_free(&client);
}

#define QUEUE_LONG 10 /* times what may be under way */

/* Waiting is what a storm of visitors is; a queue this long means that they come faster than apps can start. */
static void judge_queues(const json_t *status, struct niwa_probe_report *report)
{
	const json_t *starts = json_object_get(status, "starts"), *relay = json_object_get(status, "relay");
	uint64_t waiting = niwa_answer_number(starts, "waiting"), limit = niwa_answer_number(starts, "limit");
	uint64_t held = niwa_answer_number(relay, "waiting"), over = niwa_answer_number(relay, "over_limit");

	niwa_probe_say(report, waiting > limit * QUEUE_LONG ? NIWA_PROBE_WARN : NIWA_PROBE_OK,
		       "%" PRIu64 " of %" PRIu64 " starts under way, %" PRIu64 " wait, %" PRIu64
		       " for a folder; %" PRIu64 " connections are held, %" PRIu64 " were too many",
		       niwa_answer_number(starts, "under_way"), limit, waiting,
		       niwa_answer_number(starts, "waiting_for_folders"), held, over);
	if (waiting > limit * QUEUE_LONG)
		niwa_probe_mend(
			report,
			"'niwa top --sort state' says which; more CPUs, 'snapshot: ready', or concurrent_starts in "
			"niwad.conf(5)");
}

void niwa_probe_queues(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct niwa_client *client = NULL;
	struct niwa_error err = {0};
	json_t *status = NULL;

	if (niwa_client_open(host->socket, &client, &err) < 0)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "niwad cannot be asked");
	else if (niwa_client_call(client, "host.status", NULL, 5000, &status, &err) < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s", err.msg);
	else if (!json_object_get(status, "starts"))
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "this niwad does not tell");
	else
		judge_queues(status, report);
	json_decref(status);
	niwa_client_free(&client);
}

static unsigned count_entries(const char *path, const char *prefix)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.' && !strncmp(e->d_name, prefix, strlen(prefix));
	if (d)
		(void)closedir(d); /* read only */
	return n;
}

/* Instances' groups ("i<id>") in niwa's own group, wherever cgroup v2 is mounted. */
static unsigned count_groups(const struct niwa_probe_host *host)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	char path[512];
	unsigned n = 0;

	while (f && (m = getmntent(f))) {
		if (strcmp(m->mnt_type, "cgroup2") != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", m->mnt_dir, host->cgroup);
		n += count_entries(path, "i");
		break;
	}
	if (f)
		(void)endmntent(f);
	return n;
}

void niwa_probe_leftovers(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char keep[300], layers[300];
	unsigned groups, writable;
	bool table;

	(void)snprintf(keep, sizeof(keep), "%s/keep.sock", host->run_dir);
	(void)snprintf(layers, sizeof(layers), "%s/layers", host->state_dir);
	if (niwa_socket_is_listened_on(keep) || niwa_socket_is_listened_on(host->socket)) {
		niwa_probe_say(report, NIWA_PROBE_OK, "niwa runs and collects what is left ('niwa status' counts it)");
		return;
	}
	groups = count_groups(host);
	writable = count_entries(layers, "");
	table = niwa_nft_run("list chains inet niwa", NIWA_NFT_TEXT, NULL, NULL) == 0;
	if (!groups && !writable && !table)
		niwa_probe_say(report, NIWA_PROBE_OK, "no control groups, writable layers, nftables table");
	else
		niwa_probe_say(report, NIWA_PROBE_WARN,
			       "niwa does not run; there are %u control groups, %u writable layers%s", groups, writable,
			       table ? ", its nftables table" : "");
}
