/* SPDX-License-Identifier: MIT
 *
 * niwad: options, capabilities, the loop. Parses no byte of any client.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/capability.h>

#include "base/log.h"
#include "base/priority.h"
#include "base/memory.h"
#include "base/standard.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "net/wake.h"

#define DEFAULT_CONFIG "/etc/niwa/niwad.conf"

static const char usage[] = "usage: niwad [--config FILE] [--print-config | --print-config-man | --remove]\n"
			    "  --config FILE       read FILE instead of " DEFAULT_CONFIG "\n"
			    "  --print-config      print the effective configuration and exit\n"
			    "  --print-config-man  print the key section of niwad.conf(5) and exit\n"
			    "  --remove            remove niwa's rules, routes and addresses from the kernel and exit\n"
			    "  --version, --help\n";

enum action { RUN, PRINT, PRINT_MAN, REMOVE };

/* What the engine needs once everything is open. Everything else is niwa-keep's. */
static int drop_capabilities(void)
{
	static const cap_value_t keep[] = {CAP_NET_ADMIN,       CAP_NET_RAW, CAP_NET_BIND_SERVICE, CAP_KILL,
					   CAP_DAC_OVERRIDE,    CAP_CHOWN,   CAP_FOWNER,           CAP_FSETID,
					   CAP_DAC_READ_SEARCH, CAP_MKNOD,   CAP_SYS_NICE};
	cap_t caps = cap_init();
	int r = -1;

	if (caps && cap_set_flag(caps, CAP_PERMITTED, (int)NIWA_ARRAY_LEN(keep), keep, CAP_SET) == 0 &&
	    cap_set_flag(caps, CAP_EFFECTIVE, (int)NIWA_ARRAY_LEN(keep), keep, CAP_SET) == 0)
		r = cap_set_proc(caps);
	(void)cap_free(caps);
	return r;
}

static int remove_kernel_state(const struct niwa_config *c)
{
	const struct niwa_net_config net = {.service_net = c->service_net,
					    .private_net = c->private_net,
					    .service_bits = c->service_bits,
					    .private_bits = c->private_bits,
					    .gateway_addr = c->gateway_addr,
					    .relay_port = (uint16_t)c->relay_port,
					    .veth_group = (uint32_t)c->veth_group,
					    .nflog_group = (uint16_t)c->nflog_group,
					    .return_mark = (uint32_t)c->return_mark,
					    .return_table = (uint32_t)c->return_table,
					    .return_rule = (uint32_t)c->return_rule,
					    .ula = c->ula,
					    .held_rate = (unsigned)c->held_rate,
					    .held_burst = (unsigned)c->held_burst,
					    .instance_connections = (unsigned)c->instance_connections,
					    .names_addr = c->dns_instances_addr,
					    .names_port = (uint16_t)c->dns_instances_port};
	struct niwa_error err;

	if (niwa_net_remove(&net, &err) == 0)
		return 0;
	(void)fprintf(stderr, "niwad: %s\n", err.msg);
	return 1;
}

static int run(const struct niwa_config *config)
{
	struct niwa_engine *e;
	struct niwa_error err;
	int r;

	niwa_log_init("niwad", (enum niwa_log_level)config->log_level);
	niwa_priority_raise();
	if (niwa_engine_new(config, &e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		return 1;
	}
	if (drop_capabilities() < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "could not give up capabilities: %m");
	r = niwa_engine_run(e);
	niwa_engine_free(&e);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"print-config", no_argument, NULL, 'p'},
						{"print-config-man", no_argument, NULL, 'm'},
						{"remove", no_argument, NULL, 'r'},
						{"version", no_argument, NULL, 'V'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	const char *path = access(DEFAULT_CONFIG, F_OK) == 0 ? DEFAULT_CONFIG : NULL;
	struct niwa_config config;
	enum action action = RUN;
	struct niwa_error err;
	int opt;

	if (niwa_standard_hold() < 0)
		return 1;
	while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1)
		switch (opt) {
		case 'c':
			path = optarg;
			break;
		case 'p':
			action = PRINT;
			break;
		case 'm':
			action = PRINT_MAN;
			break;
		case 'r':
			action = REMOVE;
			break;
		case 'V':
			(void)printf("niwad %s\n", NIWA_VERSION);
			return 0;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		default:
			(void)fputs(usage, stderr);
			return 2;
		}
	if (optind != argc) {
		(void)fputs(usage, stderr);
		return 2;
	}
	if (niwa_config_load(path, &config, &err) < 0) {
		(void)fprintf(stderr, "niwad: %s\n", err.msg);
		return 2;
	}
	if (action == PRINT)
		niwa_config_print(&config, stdout);
	else if (action == PRINT_MAN)
		niwa_config_man(stdout);
	else if (action == REMOVE)
		return remove_kernel_state(&config);
	else
		return run(&config);
	return 0;
}
