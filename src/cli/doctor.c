/* SPDX-License-Identifier: MIT
 *
 * Running probes: a child each, with namespaces and a deadline; faked answers for tests.
 */
#include "cli/doctor.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define PROBE_DEADLINE_MS 10000

const char *niwa_probe_result_name(enum niwa_probe_result result)
{
	static const char *const names[NIWA_PROBE_COUNT] = {[NIWA_PROBE_OK] = "ok",
							    [NIWA_PROBE_WARN] = "warn",
							    [NIWA_PROBE_FAIL] = "fail",
							    [NIWA_PROBE_UNKNOWN] = "unknown"};

	return names[result];
}

void niwa_probe_say(struct niwa_probe_report *report, enum niwa_probe_result result, const char *fmt, ...)
{
	va_list ap;

	report->result = result;
	va_start(ap, fmt);
	(void)vsnprintf(report->found, sizeof(report->found), fmt, ap);
	va_end(ap);
}

void niwa_probe_mend(struct niwa_probe_report *report, const char *fmt, ...)
{
	size_t len = strlen(report->mend);
	va_list ap;

	if (len && len + 1 < sizeof(report->mend)) {
		report->mend[len++] = '\n';
		report->mend[len] = '\0';
	}
	va_start(ap, fmt);
	(void)vsnprintf(report->mend + len, sizeof(report->mend) - len, fmt, ap);
	va_end(ap);
}

/* NIWA_DOCTOR_FAKE. True when it answers for the probe. */
static bool faked(const struct niwa_probe *probe, struct niwa_probe_report *report)
{
	const char *env = getenv("NIWA_DOCTOR_FAKE");
	size_t len = strlen(probe->id);

	for (const char *p = env; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		const char *answer = p + len + 1;

		if (strncmp(p, probe->id, len) != 0 || p[len] != ':')
			continue;
		for (int r = 0; r < NIWA_PROBE_COUNT; r++) {
			const char *name = niwa_probe_result_name((enum niwa_probe_result)r);

			if (!strncmp(answer, name, strlen(name))) {
				niwa_probe_say(report, (enum niwa_probe_result)r, "faked by NIWA_DOCTOR_FAKE");
				return true;
			}
		}
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "switched off by NIWA_DOCTOR_FAKE");
		return true;
	}
	return false;
}

static void child(const struct niwa_probe *probe, const struct niwa_probe_host *host, int out)
{
	struct niwa_probe_report report = {.result = NIWA_PROBE_UNKNOWN};

	(void)alarm(PROBE_DEADLINE_MS / 1000); /* should the parent be gone */
	if (probe->namespaces && unshare(probe->namespaces) < 0)
		niwa_probe_say(&report, NIWA_PROBE_FAIL, "make a namespace for the question: %s", strerror(errno));
	else if ((probe->namespaces & CLONE_NEWNS) && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		niwa_probe_say(&report, NIWA_PROBE_UNKNOWN, "make mounts private: %s", strerror(errno));
	else
		probe->run(host, &report);
	_exit(write(out, &report, sizeof(report)) == (ssize_t)sizeof(report) ? 0 : 1);
}

static void collect(int in, pid_t pid, struct niwa_probe_report *report)
{
	struct pollfd p = {.fd = in, .events = POLLIN};
	int n = poll(&p, 1, PROBE_DEADLINE_MS), status;

	if (n > 0 && read(in, report, sizeof(*report)) == (ssize_t)sizeof(*report)) {
		(void)waitpid(pid, &status, 0); /* it exits after that write */
		return;
	}
	if (n <= 0)
		(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	*report = (struct niwa_probe_report){0};
	if (n <= 0)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "no answer in %d s", PROBE_DEADLINE_MS / 1000);
	else
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "the probe ended without an answer (status 0x%x)",
			       (unsigned)status);
}

void niwa_probe_run(const struct niwa_probe *probe, const struct niwa_probe_host *host,
		    struct niwa_probe_report *report)
{
	int ends[2];
	pid_t pid;

	*report = (struct niwa_probe_report){.result = NIWA_PROBE_UNKNOWN};
	if (faked(probe, report))
		return;
	if (probe->needs_root && geteuid() != 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "not checked: needs root");
		return;
	}
	if (pipe2(ends, O_CLOEXEC) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "make a pipe: %s", strerror(errno));
		return;
	}
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(probe, host, ends[1]);
	niwa_fd_close(&ends[1]);
	if (pid < 0)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "fork: %s", strerror(errno));
	else
		collect(ends[0], pid, report);
	niwa_fd_close(&ends[0]);
}
