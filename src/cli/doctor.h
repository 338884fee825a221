/* SPDX-License-Identifier: MIT
 *
 * Probes of the host: one table row each (id, what it asks, how to mend it, function). A probe runs in a child of
 * its own, in fresh namespaces when it says so, with a deadline: it cannot change the host or hang the caller.
 * NIWA_DOCTOR_FAKE=ID:ok|warn|fail|skip[,...] answers in place of probes, for tests.
 */
#ifndef NIWA_CLI_DOCTOR_H
#define NIWA_CLI_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum niwa_probe_result {
	NIWA_PROBE_OK,
	NIWA_PROBE_WARN,    /* niwa works, less well, or will stop working */
	NIWA_PROBE_FAIL,    /* niwa or a part of it does not work */
	NIWA_PROBE_UNKNOWN, /* could not be checked */
	NIWA_PROBE_COUNT,
};
const char *niwa_probe_result_name(enum niwa_probe_result result); /* "ok", "warn", "fail", "unknown" */

/* The host as niwad is configured for it. */
struct niwa_probe_host {
	char run_dir[256], state_dir[256], log_dir[256], libexec_dir[256], criu[256], cgroup[128], relay_user[64],
		socket[256], domain[128], dns_listen[32], metrics_listen[32], ula_prefix[64];
	uint32_t service_net, private_net; /* network order */
	unsigned service_bits, private_bits;
	uint64_t veth_group, lease_base, lease_count;
	bool from_niwad; /* else these are the defaults */
};
void niwa_probe_host_defaults(struct niwa_probe_host *host);
/* One "key = value" line of `niwad --print-config`. Unknown keys are ignored. -EINVAL for a bad value of a known one.
 */
int niwa_probe_host_set(struct niwa_probe_host *host, const char *line);
/* Asks the engine that answers at the socket. -errno: the defaults stay. */
int niwa_probe_host_ask_engine(struct niwa_probe_host *host, const char *socket);
/* Asks niwad (found beside this program or along PATH), config_path may be NULL. -errno: the defaults stay. */
int niwa_probe_host_ask(struct niwa_probe_host *host, const char *config_path);
/* The defaults, then: what config_path says (NULL: not given), else the engine at the socket, else niwad's own
 * configuration. Fills host->socket. -errno: nobody answered, the defaults stay. */
int niwa_probe_host_find(struct niwa_probe_host *host, const char *socket, const char *config_path);

struct niwa_probe_report {
	enum niwa_probe_result result;
	char found[512]; /* one line */
	char mend[1536]; /* lines; "": the table's */
};
void niwa_probe_say(struct niwa_probe_report *report, enum niwa_probe_result result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds a line. */
void niwa_probe_mend(struct niwa_probe_report *report, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

typedef void niwa_probe_fn(const struct niwa_probe_host *host, struct niwa_probe_report *report);

struct niwa_probe {
	const char *id, *section, *what, *mend;
	niwa_probe_fn *run;
	int namespaces; /* CLONE_NEW* to unshare first; mounts are made private */
	bool needs_root;
};
extern const struct niwa_probe niwa_probes[]; /* ends with id NULL */

/* Runs one probe; always fills the report. */
void niwa_probe_run(const struct niwa_probe *probe, const struct niwa_probe_host *host,
		    struct niwa_probe_report *report);

#endif
