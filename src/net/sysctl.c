/* SPDX-License-Identifier: MIT
 *
 * Kernel settings of the host's network. What a network namespace may not write is skipped.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "net/net_private.h"

#define IPV6_CONF    "/proc/sys/net/ipv6/conf/"
#define IPV6_FORWARD IPV6_CONF "all/forwarding"
#define IP_FORWARD   "/proc/sys/net/ipv4/ip_forward"
#define CONNTRACK    "/proc/sys/net/netfilter/nf_conntrack_"

/* With forwarding the kernel takes no router advertisements any more unless accept_ra is 2: the host would lose its
 * address and default route. What interfaces get that come later (conf/default) stays as it is: they are instances'. */
static int keep_advertisements(void)
{
	DIR *dir = opendir(IPV6_CONF);
	struct dirent *entry;
	char path[sizeof(IPV6_CONF) + sizeof(entry->d_name) + 16], now[8];
	int r = 0;

	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir))) {
		(void)snprintf(path, sizeof(path), IPV6_CONF "%s/accept_ra", entry->d_name);
		memset(now, 0, sizeof(now));
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "default") != 0 &&
		    niwa_file_read(path, now, sizeof(now)) > 0 && now[0] == '1')
			r = niwa_file_write(path, "2");
	}
	(void)closedir(dir);
	return r;
}

static int forward6(struct niwa_error *err)
{
	char now[8] = "";
	int r;

	if (niwa_file_read(IPV6_FORWARD, now, sizeof(now)) > 0 && now[0] == '1')
		return 0;
	r = keep_advertisements();
	if (r >= 0)
		r = niwa_file_write(IPV6_FORWARD, "1");
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "turn on IPv6 forwarding (" IPV6_FORWARD ")");
	return 0;
}

int niwa_net_sysctls(const struct niwa_net_config *config, struct niwa_error *err)
{
	char now[8] = "";
	int r = config->ula.on ? forward6(err) : 0;

	if (r < 0)
		return r;
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
