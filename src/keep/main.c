/* SPDX-License-Identifier: MIT
 *
 * niwa-keep: set-up, the loop, signals, reaping.
 */
#include "keep/keep.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/standard.h"
#include "base/text.h"

#define EVENTS_A_TURN 64
#define NICE          (-10)

static int epoll_fd = -1, signal_fd = -1;

int keep_epoll(int epoll, int how, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};

	return epoll_ctl(epoll, how, fd, &ev) < 0 ? -errno : 0;
}

/* All that have ended: instances, children of starts under way, and orphans of theirs that fell to us as subreaper. */
static void reap(void)
{
	siginfo_t si = {0};

	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG) == 0 && si.si_pid > 0) {
		int index = keep_pid_find(si.si_pid);
		struct keep_instance *in;

		if (index < 0)
			continue;
		keep_pid_set(si.si_pid, -1);
		in = keep_instance_at((unsigned)index);
		in->code = si.si_code;
		in->status = si.si_status;
		if (in->state == KEEP_LIVE) {
			in->state = KEEP_EXITED;
			keep_tell((unsigned)index, KEEP_TELL_EXITED);
		} else {
			keep_start_reaped((unsigned)index);
		}
		si = (siginfo_t){0};
	}
}

static unsigned live_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < keep_table_end(); i++) {
		enum keep_state state = keep_instance_id(i) ? keep_instance_at(i)->state : KEEP_FREE;

		n += state == KEEP_LIVE || state == KEEP_STARTING;
	}
	return n;
}

/* True: keep may end. Instances would lose their parent, so it takes two signals in a row to leave them behind. */
static bool may_end(void)
{
	static uint64_t last_us;
	uint64_t now = niwa_now_us();
	unsigned n = live_count();

	if (n == 0)
		return true;
	if (last_us && now - last_us < KEEP_TERM_AGAIN_US) {
		niwa_log(NIWA_LOG_WARN, NULL, "ending, and leaving %u instances without a parent", n);
		return true;
	}
	last_us = now;
	niwa_log(NIWA_LOG_WARN, NULL,
		 "asked to end, but %u instances live: going on (a second signal within 5 s ends it all the same)", n);
	return false;
}

static bool read_signals(void)
{
	struct signalfd_siginfo si;
	bool end = false;

	while (read(signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		if (si.ssi_signo != SIGCHLD && may_end())
			end = true;
	reap();
	return end;
}

static bool turn(void)
{
	int start_ms = keep_start_timeout(), serve_ms = keep_serve_timeout();
	bool serve_first = serve_ms >= 0 && (start_ms < 0 || serve_ms < start_ms);
	struct epoll_event events[EVENTS_A_TURN];
	int n = epoll_wait(epoll_fd, events, EVENTS_A_TURN, serve_first ? serve_ms : start_ms);
	bool end = false;

	for (int i = 0; i < n; i++) {
		uint64_t data = events[i].data.u64;

		switch ((enum keep_event)(data >> 32)) {
		case KEEP_EVENT_LISTEN:
			keep_serve_accept();
			break;
		case KEEP_EVENT_NIWAD:
			keep_serve_event(events[i].events);
			break;
		case KEEP_EVENT_SIGNAL:
			end = read_signals();
			break;
		case KEEP_EVENT_START:
			keep_start_event((unsigned)(data & UINT32_MAX));
			break;
		}
	}
	keep_serve_flush();
	return !end;
}

static int set_up_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return -errno;
	return keep_epoll(epoll_fd, EPOLL_CTL_ADD, signal_fd, EPOLLIN, KEEP_EVENT(KEEP_EVENT_SIGNAL, 0u));
}

/* Each instance costs up to five descriptors: as many as the system allows. */
static int set_up_limits(void)
{
	struct rlimit lim, all = {.rlim_cur = 1048576, .rlim_max = 1048576};

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return -errno;
	keep_child_init(&lim);
	if (lim.rlim_max < all.rlim_max && setrlimit(RLIMIT_NOFILE, &all) == 0)
		return 0;
	lim.rlim_cur = lim.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &lim) < 0 ? -errno : 0;
}

/* What we were started with besides standard streams and sockets of the service manager is nobody's. */
static int set_up_process(void)
{
	int given = sd_listen_fds(0);

	if (close_range(3 + (unsigned)(given > 0 ? given : 0), ~0u, 0) < 0)
		return -errno;
	/* Woken by the exec of a child that it shares a processor with, keep should not wait for it. Children fall back
	 * to the usual priority. Without the right to it, it is only slower. */
	if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &(struct sched_param){0}) == 0)
		(void)setpriority(PRIO_PROCESS, 0, NICE);
	(void)umask(0); /* modes are as plans say them */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return -errno;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_fd < 0 ? -errno : 0;
}

static int set_up(const char *run_dir, struct niwa_error *err)
{
	int r = set_up_process();

	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "become a subreaper with an epoll");
	r = set_up_limits();
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "set the limit of open files");
	r = set_up_signals();
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "receive signals");
	r = keep_table_init();
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "map the table of instances");
	r = keep_start_init(epoll_fd);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "map the table of starts");
	r = keep_host_init();
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "open an rtnetlink socket");
	r = niwa_mkdir_p(run_dir, 0755, err);
	if (r < 0)
		return r;
	r = keep_serve_init(epoll_fd, run_dir);
	return r < 0 ? niwa_fail(err, NIWA_PERMANENT, -r, "listen on '%s/keep.sock'", run_dir) : 0;
}

static void usage(FILE *out)
{
	(void)fputs("usage: niwa-keep [--run-dir DIR] [--start-timeout TIME]\n"
		    "Starts instances as niwad asks and stays their parent. See niwa-keep(8).\n"
		    "  --run-dir DIR         where keep.sock is (default /run/niwa)\n"
		    "  --start-timeout TIME  a start that has not reached its exec by then is killed (default 30s)\n"
		    "  --help, --version\n",
		    out);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"run-dir", required_argument, NULL, 'r'},
						{"start-timeout", required_argument, NULL, 't'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'v'},
						{0}};
	const char *run_dir = "/run/niwa";
	uint64_t timeout_us;
	struct niwa_error err;
	int opt;

	if (niwa_standard_hold() < 0)
		return 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'r':
			run_dir = optarg;
			break;
		case 't':
			if (niwa_parse_duration(optarg, &timeout_us) < 0 || timeout_us == 0) {
				(void)fprintf(stderr, "niwa-keep: --start-timeout '%s': not a time, such as 30s\n",
					      optarg);
				return 2;
			}
			keep_start_set_timeout(timeout_us);
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'v':
			(void)puts("niwa-keep " NIWA_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	niwa_log_init("niwa-keep", NIWA_LOG_INFO);
	if (set_up(run_dir, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		return 1;
	}
	(void)sd_notify(1, "READY=1"); /* nobody may be listening */
	while (turn())
		;
	return 0;
}
