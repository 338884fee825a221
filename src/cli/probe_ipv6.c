/* SPDX-License-Identifier: MIT
 *
 * Probe: can apps have IPv6 on this host, where ula_prefix of niwad.conf asks for it? Forwarding changes what the host
 * itself does with router advertisements, so that is looked at too.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/ula.h"
#include "cli/niwa_process.h"
#include "cli/probe_list.h"
#include "cli/proc_number.h"

#define CONF "/proc/sys/net/ipv6/conf/"

static uint64_t setting(const char *interface, const char *name)
{
	char path[sizeof(CONF) + NAME_MAX + 32];

	(void)snprintf(path, sizeof(path), CONF "%s/%s", interface, name);
	return niwa_proc_number(path, 0);
}

/* Where the kernel does not listen to routers any more because it forwards: addresses and the default route that come
 * from them run out. */
static void look_at_advertisements(struct niwa_probe_report *report)
{
	DIR *dir = opendir(CONF);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (name[0] == '.' || strcmp(name, "all") == 0 || strcmp(name, "default") == 0 ||
		    strcmp(name, "lo") == 0 || strncmp(name, "nw", 2) == 0 || setting(name, "accept_ra") != 1 ||
		    setting(name, "disable_ipv6"))
			continue;
		if (report->result == NIWA_PROBE_OK)
			niwa_probe_say(report, NIWA_PROBE_WARN,
				       "%s ignores routers (accept_ra is 1, and the host forwards): an address or a "
				       "default route that it has from them runs out",
				       name);
		niwa_probe_mend(report, "sysctl -w net.ipv6.conf.%s.accept_ra=2 (for good: in /etc/sysctl.d/niwa.conf)",
				name);
	}
	if (dir)
		(void)closedir(dir);
}

void niwa_probe_ipv6(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct niwa_ula ula = {0};
	bool forwards = setting("all", "forwarding") == 1;

	if (niwa_ula_parse(host->ula_prefix, &ula) < 0 || !ula.on) {
		niwa_probe_say(report, NIWA_PROBE_OK, "off (ula_prefix of niwad.conf is none)");
		return;
	}
	if (access(CONF, F_OK) < 0 || setting("all", "disable_ipv6") || setting("lo", "disable_ipv6")) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "ula_prefix is %s, but this host has no IPv6: apps have none",
			       host->ula_prefix);
		niwa_probe_mend(report,
				"sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0 (after "
				"ipv6.disable=1 was taken from the kernel's command line), and restart niwad; or "
				"ula_prefix = none");
		return;
	}
	if (!forwards && niwa_socket_is_listened_on(host->socket)) {
		niwa_probe_say(report, NIWA_PROBE_FAIL,
			       "forwarding is off although niwad runs: other machines cannot reach apps by IPv6, apps "
			       "cannot reach others");
		niwa_probe_mend(report, "sysctl -w net.ipv6.conf.all.forwarding=1; for good: a line "
					"net.ipv6.conf.all.forwarding=1 in /etc/sysctl.d/niwa.conf");
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_OK, "%s, forwarding is %s", host->ula_prefix,
		       forwards ? "on" : "off; niwad turns it on when it starts");
	if (forwards)
		look_at_advertisements(report);
}
