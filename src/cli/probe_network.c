/* SPDX-License-Identifier: MIT
 *
 * Probes: connection table, forwarding, reverse-path filter, name servers.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/niwa_process.h"
#include "cli/probe_list.h"
#include "cli/proc_number.h"

#define CONNTRACK_SMALL 65536

void niwa_probe_conntrack_fill(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t max = niwa_proc_number("/proc/sys/net/netfilter/nf_conntrack_max", 0);
	uint64_t count = niwa_proc_number("/proc/sys/net/netfilter/nf_conntrack_count", 0);

	if (!max) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "connection tracking is not loaded yet; niwad loads it");
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_OK, "%" PRIu64 " of %" PRIu64 " entries", count, max);
	if (count > max / 4 * 3)
		niwa_probe_say(report, NIWA_PROBE_FAIL,
			       "%" PRIu64 " of %" PRIu64 " entries: when it is full the whole host drops packets",
			       count, max);
	else if (max < CONNTRACK_SMALL)
		niwa_probe_say(report, NIWA_PROBE_WARN, "only %" PRIu64 " entries", max);
	if (report->result != NIWA_PROBE_OK)
		niwa_probe_mend(report,
				"conntrack_max = %" PRIu64 " in niwad.conf(5), or sysctl -w "
				"net.netfilter.nf_conntrack_max=%" PRIu64,
				max < CONNTRACK_SMALL ? 4 * (uint64_t)CONNTRACK_SMALL : 2 * max,
				max < CONNTRACK_SMALL ? 4 * (uint64_t)CONNTRACK_SMALL : 2 * max);
}

void niwa_probe_forwarding(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	if (niwa_proc_number("/proc/sys/net/ipv4/ip_forward", 0) == 1)
		niwa_probe_say(report, NIWA_PROBE_OK, "on");
	else if (!niwa_socket_is_listened_on(host->socket))
		niwa_probe_say(report, NIWA_PROBE_OK, "off; niwad turns it on when it starts");
	else
		niwa_probe_say(report, NIWA_PROBE_FAIL,
			       "off although niwad runs: other machines cannot reach apps, apps cannot reach others");
}

void niwa_probe_rp_filter(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t all = niwa_proc_number("/proc/sys/net/ipv4/conf/all/rp_filter", 0);
	uint64_t lo = niwa_proc_number("/proc/sys/net/ipv4/conf/lo/rp_filter", 0);

	niwa_probe_say(report, NIWA_PROBE_OK, "all %" PRIu64 ", lo %" PRIu64 "%s", all, lo,
		       all == 1 ? " (strict: with two uplinks, replies must leave where requests came in)" : "");
}

/* Counts the name servers of a resolv.conf: those that an instance can reach, and loopback ones. -errno. */
static int count_servers(const char *path, unsigned *ret_usable, unsigned *ret_local, char *first, size_t size)
{
	char text[8192], addr[64], *save = NULL;
	ssize_t n = niwa_file_read(path, text, sizeof(text));

	*ret_usable = *ret_local = 0;
	if (n < 0)
		return (int)n;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, " nameserver %63s", addr) != 1)
			continue;
		if (!strncmp(addr, "127.", 4) || !strcmp(addr, "::1")) {
			++*ret_local;
		} else if (!(*ret_usable)++) {
			(void)snprintf(first, size, "%s", addr);
		}
	}
	return 0;
}

void niwa_probe_resolver(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	static const char upstream[] = "/run/systemd/resolve/resolv.conf";
	unsigned usable = 0, local = 0;
	char first[64] = "";
	int r = count_servers("/etc/resolv.conf", &usable, &local, first, sizeof(first));

	if (r == 0 && usable) {
		niwa_probe_say(report, NIWA_PROBE_OK, "%u in /etc/resolv.conf, the first is %s", usable, first);
		return;
	}
	if (r == 0 && local && count_servers(upstream, &usable, &local, first, sizeof(first)) == 0 && usable) {
		niwa_probe_say(report, NIWA_PROBE_OK, "systemd-resolved asks %s; instances use it directly", first);
		return;
	}
	if (r < 0)
		niwa_probe_say(report, NIWA_PROBE_WARN, "read /etc/resolv.conf: %s", strerror(-r));
	else
		niwa_probe_say(report, NIWA_PROBE_WARN,
			       "/etc/resolv.conf names %s: instances cannot resolve names of the internet",
			       local ? "only a resolver on 127.0.0.0/8" : "no server");
	niwa_probe_mend(report,
			"add a line 'nameserver ADDRESS' with a server that is not on loopback to /etc/resolv.conf");
}
