/* SPDX-License-Identifier: MIT
 *
 * niwad.conf(5): "key = value" lines, '#' begins a comment. One table gives parsing, defaults, the
 * listing of `niwad --print-config` and the manual's section. Parsed whole, checked whole.
 */
#ifndef NIWA_ENGINE_CONFIG_H
#define NIWA_ENGINE_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/ula.h"

/* On disk the ids of tenants begin here and go up to the end; lease_base and lease_count end before. */
#define NIWA_TENANT_IDS_FIRST UINT32_C(0x50000000)

struct niwa_config {
	char run_dir[108], state_dir[256], log_dir[256], cgroup[128], libexec_dir[256], domain[128], relay_user[64];
	char criu[256], api_user[64], dns_listen[32], metrics_listen[32], dns_instances[32];
	char ula_prefix[64];
	struct niwa_ula ula;                             /* of ula_prefix, off where the host has no IPv6 */
	uint32_t service_net, private_net, gateway_addr; /* network order */
	unsigned service_bits, private_bits;
	uint64_t relay_port, nflog_group, veth_group, return_mark, return_table, return_rule;
	uint64_t lease_base, lease_count;
	uint64_t concurrent_starts, wake_queue, start_hold_us, start_wait_us, start_memory, memory_reserve,
		log_max_bytes, drain_us, linger_us, linger_instances, keep_wait_us;
	uint64_t relay_connections, relay_waiting, relay_waiting_per_source, relay_held_bytes, relay_first_byte_us,
		relay_idle_us, relay_linger_us, relay_linger_bytes;
	uint64_t held_rate, held_burst, instance_connections;
	uint64_t conntrack_time_wait_us, conntrack_established_us, conntrack_max;
	uint64_t rpc_connections;
	uint32_t dns_addr; /* of dns_listen, network order */
	uint16_t dns_port;
	uint32_t metrics_addr; /* of metrics_listen, the same; port 0: off */
	uint16_t metrics_port;
	uint32_t dns_instances_addr; /* of dns_instances; 0: off */
	uint64_t dns_instances_port, dns_instance_rate;
	uint64_t dns_ttl_us, dns_negative_ttl_us, dns_connections, dns_idle_us;
	uint64_t snapshot_bytes, snapshot_image_bytes, snapshot_free_bytes, images_wait_us, dump_us, restore_us,
		template_us;
	uint64_t lease_max_us;
	uint64_t wait_worth_us, history_write_us, page_budget_bytes, page_deadline_us;
	uint64_t log_level;
};

/* path NULL: defaults only. Messages: "niwad.conf:3: ...". */
int niwa_config_load(const char *path, struct niwa_config *ret, struct niwa_error *err);
void niwa_config_print(const struct niwa_config *config, FILE *out);
/* The key section of niwad.conf(5), in mdoc. */
void niwa_config_man(FILE *out);

#endif
