/* SPDX-License-Identifier: MIT
 *
 * niwa-relay: started by niwad as its own user, with descriptor 3 the transparent listener and descriptor 4 the
 * socket to the engine. See niwa-relay(8).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/standard.h"
#include "relay/confine.h"
#include "relay/relay.h"

#define LISTENER 3
#define ENGINE   4

static const char usage[] = "usage: niwa-relay [--debug]\n"
			    "Started by niwad, with descriptors 3 (listener) and 4 (engine). See niwa-relay(8).\n";

/* The soft limit is there for select(2), which is not used here. */
static void raise_nofile(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "raise RLIMIT_NOFILE: %s", strerror(errno));
}

static void confine(void)
{
	int r = niwa_confine();

	if (r < 0)
		niwa_log(NIWA_LOG_WARN, NULL, "no system call filter: %s; capabilities are given up", strerror(-r));
}

static int run(enum niwa_log_level level)
{
	struct niwa_relay *relay = NULL;
	struct niwa_error err = {0};
	sigset_t blocked;
	int ret;

	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	(void)signal(SIGPIPE, SIG_IGN); /* splice(2) raises it */
	raise_nofile();
	confine();
	ret = niwa_relay_new(LISTENER, ENGINE, &relay, &err);
	if (ret >= 0 && level == NIWA_LOG_DEBUG)
		niwa_relay_log_moves(relay);
	if (ret >= 0)
		ret = niwa_relay_run(relay, &err);
	niwa_relay_free(&relay);
	if (ret < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
	return ret < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"debug", no_argument, NULL, 'd'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{0}};
	enum niwa_log_level level = NIWA_LOG_INFO;
	int opt;

	if (niwa_standard_hold() < 0)
		return 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (opt) {
		case 'd':
			level = NIWA_LOG_DEBUG;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		case 'V':
			(void)puts("niwa-relay " NIWA_VERSION);
			return 0;
		default:
			(void)fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "niwa-relay: '%s' is not expected\n%s", argv[optind], usage);
		return 2;
	}
	niwa_log_init("niwa-relay", level);
	return run(level);
}
