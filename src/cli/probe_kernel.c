/* SPDX-License-Identifier: MIT
 *
 * Probes: kernel version, descriptors of processes, system call filters.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/probe_list.h"

#define VERSION_LEAST 5019u /* overlay on idmapped layers by path */
#define VERSION_GOOD  6001u /* the oldest that is tested: Debian 12 */

void niwa_probe_kernel(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	unsigned major = 0, minor = 0, version;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "uname tells no version");
		return;
	}
	version = major * 1000 + minor;
	if (version < VERSION_LEAST)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "Linux %s is too old", u.release);
	else if (version < VERSION_GOOD)
		niwa_probe_say(report, NIWA_PROBE_WARN, "Linux %s is older than what niwa is tested with (6.1)",
			       u.release);
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "Linux %s", u.release);
}

void niwa_probe_pidfd(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	long fd = syscall(SYS_pidfd_open, getpid(), 0);

	if (fd < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "pidfd_open: %s", strerror(errno));
	else if (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "pidfd_send_signal: %s", strerror(errno));
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "pidfd_open, pidfd_send_signal");
}

void niwa_probe_seccomp(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
		niwa_probe_say(report, NIWA_PROBE_FAIL, "filters that answer an error are not there: %s",
			       strerror(errno));
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "filters can answer errors");
}
