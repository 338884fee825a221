/* SPDX-License-Identifier: MIT
 *
 * Kernel settings of the host's network. What a network namespace may not write is skipped.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "net/net_private.h"

#define IP_FORWARD "/proc/sys/net/ipv4/ip_forward"
#define CONNTRACK  "/proc/sys/net/netfilter/nf_conntrack_"

int niwa_net_sysctls(struct niwa_error *err)
{
	char now[8] = "";
	int r;

	if (niwa_file_read(IP_FORWARD, now, sizeof(now)) > 0 && now[0] == '1')
		return 0;
	r = niwa_file_write(IP_FORWARD, "1");
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r,
				 "turn on IPv4 forwarding (" IP_FORWARD "), without which no instance can be reached");
	return 0;
}

static void tune(const char *name, unsigned value)
{
	char path[128], text[16];

	if (value == 0)
		return;
	(void)snprintf(path, sizeof(path), CONNTRACK "%s", name);
	(void)snprintf(text, sizeof(text), "%u", value);
	(void)niwa_file_write(path, text); /* not ours to write in a child namespace: skipped, doctor shows it */
}

void niwa_net_tune_conntrack(unsigned time_wait_s, unsigned established_s, unsigned max)
{
	tune("tcp_timeout_time_wait", time_wait_s);
	tune("tcp_timeout_established", established_s);
	tune("max", max);
}
