/* SPDX-License-Identifier: MIT
 *
 * The table of probes. The order is the order of the listing.
 */
#include <sched.h>

#include "cli/probe_list.h"

#define BUILD_CRIU     "in niwa's sources, as root: make criu (scripts/build-criu); only snapshots need it"
#define KERNEL_PACKAGE "install a stock kernel of Debian 12 or newer: its configuration has it"

const struct niwa_probe niwa_probes[] = {
	{"kernel", "kernel", "kernel version", "install a kernel of at least 5.19; Debian 12 has 6.1",
	 niwa_probe_kernel, 0, false},
	{"pidfd", "kernel", "processes by descriptor", KERNEL_PACKAGE, niwa_probe_pidfd, 0, false},
	{"seccomp", "kernel", "system call filters", KERNEL_PACKAGE, niwa_probe_seccomp, 0, false},
	{"user-namespaces", "kernel", "user namespaces can be made", "", niwa_probe_userns, 0, true},
	{"mount-api", "kernel", "open_tree, move_mount, mount_setattr", KERNEL_PACKAGE, niwa_probe_mount_api,
	 CLONE_NEWNS, true},
	{"idmapped-mounts", "kernel", "idmapped mounts where the state is kept",
	 "put state_dir on ext4, xfs or btrfs (niwad.conf(5)); tmpfs needs Linux 6.3", niwa_probe_idmap, CLONE_NEWNS,
	 true},
	{"overlay", "kernel", "overlay in a user namespace", "modprobe overlay; Linux 5.11 or newer",
	 niwa_probe_overlay, CLONE_NEWNS, true},

	{"cgroup-layout", "control groups", "cgroup v2 is mounted",
	 "boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line", niwa_probe_cgroup_layout, 0, false},
	{"cgroup-controllers", "control groups", "memory, cpu and pids can be limited", "",
	 niwa_probe_cgroup_controllers, 0, false},
	{"cgroup-own", "control groups", "groups can be made, entered at birth, frozen, killed", "",
	 niwa_probe_cgroup_own, 0, true},
	{"cgroup-delegation", "control groups", "controllers are handed on to the instances",
	 "Delegate=yes in the unit of niwa-keep (systemd), in the same slice; systemctl daemon-reload; restart "
	 "niwa-keep",
	 niwa_probe_cgroup_delegation, 0, false},
	{"pressure", "control groups", "pressure stall information", "boot with psi=1 on the kernel command line",
	 niwa_probe_pressure, 0, false},

	{"nftables", "network", "nftables rules can be set", "modprobe nf_tables; apt install libnftables1",
	 niwa_probe_nft, CLONE_NEWNET, true},
	{"nft-nat-map", "network", "nftables: destination from a map", "modprobe nft_nat nft_chain_nat",
	 niwa_probe_nft_nat_map, CLONE_NEWNET, true},
	{"nft-tproxy", "network", "nftables: transparent proxy", "modprobe nft_tproxy nf_tproxy_ipv4",
	 niwa_probe_nft_tproxy, CLONE_NEWNET, true},
	{"nft-fib", "network", "nftables: route look-ups", "modprobe nft_fib_inet", niwa_probe_nft_fib, CLONE_NEWNET,
	 true},
	{"nft-log", "network", "wake events by NFLOG", "modprobe nfnetlink_log nft_log", niwa_probe_nft_log,
	 CLONE_NEWNET, true},
	{"veth", "network", "virtual Ethernet pairs", "modprobe veth", niwa_probe_veth, CLONE_NEWNET, true},
	{"sock-diag", "network", "sockets can be listed", "modprobe inet_diag tcp_diag", niwa_probe_sock_diag,
	 CLONE_NEWNET, true},
	{"conntrack", "network", "connection tracking by netlink", "modprobe nf_conntrack_netlink",
	 niwa_probe_conntrack, CLONE_NEWNET, true},
	{"conntrack-fill", "network", "room in the connection table", "", niwa_probe_conntrack_fill, 0, false},
	{"firewall", "network", "no other firewall stops forwarding", "", niwa_probe_firewall, 0, true},
	{"firewall-legacy", "network", "nor iptables-legacy", "", niwa_probe_firewall_legacy, 0, true},
	{"ranges", "network", "the ranges of addresses are free",
	 "choose other ranges in niwad.conf(5), before the first app is declared", niwa_probe_ranges, 0, false},
	{"forwarding", "network", "IPv4 forwarding",
	 "sysctl -w net.ipv4.ip_forward=1; for good: a line net.ipv4.ip_forward=1 in /etc/sysctl.d/niwa.conf",
	 niwa_probe_forwarding, 0, false},
	{"ipv6", "network", "IPv6 of apps", "", niwa_probe_ipv6, 0, false},
	{"rp-filter", "network", "reverse-path filter", "", niwa_probe_rp_filter, 0, false},
	{"resolver", "network", "name servers that instances can use", "", niwa_probe_resolver, 0, false},

	{"open-files", "limits", "open files", "", niwa_probe_open_files, 0, false},
	{"processes", "limits", "processes", "", niwa_probe_processes, 0, false},
	{"inotify", "limits", "inotify instances",
	 "sysctl -w fs.inotify.max_user_instances=1024; for good: the same in /etc/sysctl.d/niwa.conf",
	 niwa_probe_inotify, 0, false},
	{"terminals", "limits", "pseudo terminals", "sysctl -w kernel.pty.max=4096", niwa_probe_terminals, 0, false},

	{"clock", "host", "the clock is right", "", niwa_probe_clock, 0, false},
	{"disk", "host", "room for the state", "", niwa_probe_disk, 0, false},
	{"swap", "host", "swap, for the memory of frozen apps", "", niwa_probe_swap, 0, false},
	{"users", "host", "group and user of niwa", "", niwa_probe_users, 0, false},
	{"id-pool", "host", "the pool of user ids is free",
	 "choose another lease_base in niwad.conf(5), or move the other user of these ids", niwa_probe_id_pool, 0,
	 false},

	{"criu", "snapshots", "CRIU", BUILD_CRIU, niwa_probe_criu, 0, true},
	{"criu-works", "snapshots", "CRIU dumps and restores on this kernel", BUILD_CRIU, niwa_probe_criu_works,
	 CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS, true},

	{"keep", "niwa", "niwa-keep runs", "systemctl start niwa-keep (without systemd: niwa-keep as root)",
	 niwa_probe_keep, 0, false},
	{"niwad", "niwa", "niwad runs and answers", "systemctl start niwad (without systemd: niwad as root)",
	 niwa_probe_niwad, 0, false},
	{"queues", "niwa", "nobody waits long", "", niwa_probe_queues, 0, false},
	{"api", "niwa", "niwa-api answers for names, and with metrics",
	 "systemctl enable --now niwa-api; journalctl -u niwa-api says what is wrong", niwa_probe_api, 0, false},
	{"leftovers", "niwa", "nothing is left over", "start niwad: it collects what a crash left",
	 niwa_probe_leftovers, 0, true},
	{0},
};
