/* SPDX-License-Identifier: MIT
 *
 * The functions of the probes. Only their files and the table in doctor_table.c include this.
 */
#ifndef NIWA_CLI_PROBE_LIST_H
#define NIWA_CLI_PROBE_LIST_H

#include "cli/doctor.h"

/* probe_kernel.c */
niwa_probe_fn niwa_probe_kernel, niwa_probe_pidfd, niwa_probe_seccomp;
/* probe_mounts.c */
niwa_probe_fn niwa_probe_userns, niwa_probe_mount_api, niwa_probe_idmap, niwa_probe_overlay;
/* probe_cgroup.c */
niwa_probe_fn niwa_probe_cgroup_layout, niwa_probe_cgroup_controllers, niwa_probe_cgroup_own,
	niwa_probe_cgroup_delegation, niwa_probe_pressure;
/* probe_nft.c */
niwa_probe_fn niwa_probe_nft, niwa_probe_nft_nat_map, niwa_probe_nft_tproxy, niwa_probe_nft_fib, niwa_probe_nft_log;
/* probe_netlink.c */
niwa_probe_fn niwa_probe_veth, niwa_probe_sock_diag, niwa_probe_conntrack;
/* probe_firewall.c */
niwa_probe_fn niwa_probe_firewall, niwa_probe_firewall_legacy;
/* probe_ranges.c */
niwa_probe_fn niwa_probe_ranges;
/* probe_network.c */
niwa_probe_fn niwa_probe_conntrack_fill, niwa_probe_forwarding, niwa_probe_rp_filter, niwa_probe_resolver;
/* probe_ipv6.c */
niwa_probe_fn niwa_probe_ipv6;
/* probe_limits.c */
niwa_probe_fn niwa_probe_open_files, niwa_probe_processes, niwa_probe_inotify, niwa_probe_terminals;
/* probe_host.c */
niwa_probe_fn niwa_probe_clock, niwa_probe_disk, niwa_probe_swap, niwa_probe_users, niwa_probe_id_pool;
/* probe_criu.c */
niwa_probe_fn niwa_probe_criu, niwa_probe_criu_works;
/* probe_niwa.c */
niwa_probe_fn niwa_probe_keep, niwa_probe_niwad, niwa_probe_queues, niwa_probe_leftovers;
/* probe_api.c */
niwa_probe_fn niwa_probe_api;

#endif
