/* SPDX-License-Identifier: MIT
 *
 * niwa-api: the program. Parses what anybody sends, so it is nobody: a user of its own, and without the one capability
 * that port 53 needs as soon as it has the port. See niwa-api(8).
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <sys/capability.h>

#include "api/api_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/standard.h"

#define DEFAULT_SOCKET "/run/niwa/api.sock"

static const char usage[] = "usage: niwa-api [--socket PATH] [--debug]\n"
			    "  --socket PATH  niwad's socket for it instead of " DEFAULT_SOCKET "\n"
			    "  --debug        tell more\n"
			    "  --version, --help\n"
			    "Where it listens is in niwad.conf(5). See niwa-api(8).\n";

static void drop_capabilities(void)
{
	cap_t none = cap_init();

	if (!none || cap_set_proc(none) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "could not give up capabilities: %m");
	(void)cap_free(none);
}

void niwa_api_count(struct niwa_api *api, const uint8_t *answer)
{
	unsigned code = answer[3] & 15; /* RFC 1035 section 4.1.1 */

	api->counts.codes[code < NIWA_API_CODES - 1 ? code : NIWA_API_CODES - 1]++;
}

int niwa_door_priority(enum niwa_door door)
{
	return SD_EVENT_PRIORITY_NORMAL + (door == NIWA_DOOR_HOST ? 0 : 5);
}

/* The host's names are what this program is for first: it goes on without. */
static void open_for_instances(struct niwa_api *api)
{
	const struct sockaddr_in *at = &api->settings.listen[NIWA_DOOR_INSTANCES];
	char address[INET_ADDRSTRLEN];
	struct niwa_error err;

	if (!at->sin_port ||
	    (niwa_udp_open(api, NIWA_DOOR_INSTANCES, &err) == 0 && niwa_tcp_open(api, NIWA_DOOR_INSTANCES, &err) == 0))
		return;
	(void)inet_ntop(AF_INET, &at->sin_addr, address, sizeof(address));
	niwa_log(NIWA_LOG_ERR, NULL, "no names for instances on %s:%u (dns_instances_port of niwad.conf): %s", address,
		 ntohs(at->sin_port), err.msg);
	niwa_udp_close(api, NIWA_DOOR_INSTANCES);
	niwa_tcp_close(api, NIWA_DOOR_INSTANCES);
}

/* And without these. */
static void open_metrics(struct niwa_api *api)
{
	const struct sockaddr_in *at = &api->settings.metrics;
	char address[INET_ADDRSTRLEN];
	struct niwa_error err;

	if (niwa_http_open(api, &err) == 0)
		return;
	(void)inet_ntop(AF_INET, &at->sin_addr, address, sizeof(address));
	niwa_log(NIWA_LOG_ERR, NULL, "no metrics on %s:%u (metrics_listen of niwad.conf): %s", address,
		 ntohs(at->sin_port), err.msg);
	niwa_http_close(api);
}

int niwa_api_settle(struct niwa_api *api, const struct niwa_settings *settings, struct niwa_error *err)
{
	char address[INET_ADDRSTRLEN];
	int r;

	api->settings = *settings;
	(void)inet_ntop(AF_INET, &settings->listen[NIWA_DOOR_HOST].sin_addr, address, sizeof(address));
	if (niwa_dns_set_domain(&api->dns, settings->domain) < 0)
		return niwa_fail(err, NIWA_CALLER, 0, "domain = %s of niwad.conf is no DNS name in lower case",
				 settings->domain);
	api->dns.server_addr = settings->listen[NIWA_DOOR_HOST].sin_addr.s_addr;
	api->dns.ula = settings->ula;
	api->dns.ttl = settings->ttl;
	api->dns.negative_ttl = settings->negative_ttl;
	api->dns.serial = (uint32_t)(niwa_realtime_us() / NIWA_SEC);
	api->dns.names = niwa_zone_new(api->dns.apex_len);
	if (!api->dns.names)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	r = niwa_udp_open(api, NIWA_DOOR_HOST, err);
	if (r == 0)
		r = niwa_tcp_open(api, NIWA_DOOR_HOST, err);
	if (r < 0)
		return niwa_fail_in(err, r, "listen on %s:%u (dns_listen of niwad.conf)", address,
				    ntohs(settings->listen[NIWA_DOOR_HOST].sin_port));
	open_for_instances(api);
	open_metrics(api);
	drop_capabilities();
	niwa_log(NIWA_LOG_INFO, NULL, "answering for %s on %s:%u", settings->domain, address,
		 ntohs(settings->listen[NIWA_DOOR_HOST].sin_port));
	return 0;
}

static int run(const char *socket_path)
{
	struct niwa_api api = {.socket_path = socket_path};
	struct niwa_error err;
	int r = 0;

	if (geteuid() == 0) {
		niwa_log(NIWA_LOG_ERR, NULL,
			 "what comes from the network is not for root to read: run niwa-api as its own "
			 "user, niwa-api");
		return 1;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || niwa_loop_new(&api.event, &err) < 0 ||
	    niwa_watch_open(&api, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		r = 1;
	} else {
		r = niwa_loop_run(api.event, NULL, NULL);
	}
	niwa_http_close(&api);
	niwa_watch_close(&api);
	for (enum niwa_door d = 0; d < NIWA_DOORS; d++) {
		niwa_tcp_close(&api, d);
		niwa_udp_close(&api, d);
	}
	niwa_zone_free(&api.dns.names);
	(void)sd_event_unref(api.event);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, 's'},
						{"debug", no_argument, NULL, 'd'},
						{"version", no_argument, NULL, 'V'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	enum niwa_log_level level = NIWA_LOG_INFO;
	const char *socket_path = DEFAULT_SOCKET;
	int opt;

	if (niwa_standard_hold() < 0)
		return 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (opt) {
		case 's':
			socket_path = optarg;
			break;
		case 'd':
			level = NIWA_LOG_DEBUG;
			break;
		case 'V':
			(void)puts("niwa-api " NIWA_VERSION);
			return 0;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		default:
			(void)fputs(usage, stderr);
			return 2;
		}
	if (optind != argc) {
		(void)fprintf(stderr, "niwa-api: '%s' is not expected\n%s", argv[optind], usage);
		return 2;
	}
	niwa_log_init("niwa-api", level);
	return run(socket_path);
}
