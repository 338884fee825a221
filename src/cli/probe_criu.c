/* SPDX-License-Identifier: MIT
 *
 * Probes: the CRIU that snapshots need. The second one dumps and restores a process, in namespaces of its own whose
 * end takes everything along; its images are on a tmpfs there. Without CRIU apps start cold, so nothing here fails.
 */
#include <arpa/inet.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "cli/probe_list.h"

#define LEAST_MAJOR 4
#define LEAST_MINOR 2 /* before: no restore of TCP sockets on Linux 6.16 and later */
#define IMAGES      "/run/niwa-doctor"
#define PORT        7
#define NO_CRIU     "apps are started, never restored from a snapshot"

/* The one that niwad uses, or would use if there were one. */
static void used_path(const struct niwa_probe_host *host, char *path, size_t size)
{
	if (strcmp(host->criu, "auto") == 0)
		(void)snprintf(path, size, "%s/criu", host->libexec_dir);
	else
		(void)snprintf(path, size, "%s", host->criu);
}

/* One that a distribution has put somewhere; PATH of an ordinary user lacks sbin. */
static bool find_other(char *path, size_t size)
{
	const char *const env = getenv("PATH"), *dirs[] = {env ? env : "", "/usr/local/sbin:/usr/sbin"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(dirs); i++)
		for (const char *p = dirs[i]; p && *p; p += strcspn(p, ":"), p += *p == ':') {
			(void)snprintf(path, size, "%.*s/criu", (int)strcspn(p, ":"), p);
			if (path[0] == '/' && access(path, X_OK) == 0)
				return true;
		}
	*path = '\0';
	return false;
}

/* A program that has others loaded: inside an instance they would be the tenant's. */
static bool is_dynamic(const char *path)
{
	NIWA_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	ElfW(Phdr) segment;
	ElfW(Ehdr) head;

	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
		return false;
	for (unsigned i = 0; i < head.e_phnum; i++)
		if (pread(fd, &segment, sizeof(segment), (off_t)(head.e_phoff + i * sizeof(segment))) ==
			    (ssize_t)sizeof(segment) &&
		    segment.p_type == PT_INTERP)
			return true;
	return false;
}

static _Noreturn void become(const char *const *argv, int out)
{
	int null = open("/dev/null", O_RDWR);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the probe's deadline is ours */
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(127);
	(void)close_range(3, ~0u, 0);
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* Runs a program; what it prints, as far as it fits. Its exit status, or -errno. */
static int run(const char *const *argv, char *said, size_t size)
{
	size_t used = 0;
	char rest[512];
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		become(argv, ends[1]);
	niwa_fd_close(&ends[1]);
	while (pid > 0 && (n = used + 1 < size ? read(ends[0], said + used, size - used - 1)
					       : read(ends[0], rest, sizeof(rest))) > 0)
		used += used + 1 < size ? (size_t)n : 0;
	said[used] = '\0';
	niwa_fd_close(&ends[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* What went wrong, in CRIU's words: its first error that means something. */
static void first_error(const char *said, char *ret, size_t size)
{
	const char *found = said;

	for (const char *line = said; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n");
		bool error = memmem(line, len, "Error", 5) != NULL;

		if (error && !memmem(line, len, "rlimit", 6)) { /* that one is harmless */
			found = line;
			break;
		}
	}
	(void)snprintf(ret, size, "%.*s", (int)strcspn(found, "\n"), *found ? found : "it says nothing");
}

/* "4.2.1" of "Version: 4.2.1"; false: not CRIU. */
static bool read_version(const char *path, char *ret, size_t size, bool *ret_new_enough)
{
	const char *const argv[] = {path, "--version", NULL};
	unsigned major = 0, minor = 0;
	char said[1024];

	if (run(argv, said, sizeof(said)) != 0 || sscanf(said, "Version: %u.%u", &major, &minor) != 2)
		return false;
	(void)snprintf(ret, size, "%.*s", (int)strcspn(said + 9, " \n"), said + 9);
	*ret_new_enough = major > LEAST_MAJOR || (major == LEAST_MAJOR && minor >= LEAST_MINOR);
	return true;
}

/* " (without clone3_set_tid, ...)", or nothing. */
static void missing_features(const char *path, char *ret, size_t size)
{
	static const char *const features[] = {"clone3_set_tid", "seccomp_suspend", "timens"};
	char said[1024];
	size_t used = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < NIWA_ARRAY_LEN(features); i++) {
		const char *const argv[] = {path, "check", "--feature", features[i], NULL};

		if (run(argv, said, sizeof(said)) != 0 && used < size)
			used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? ", " : " (without ",
						 features[i]);
	}
	if (used && used < size)
		(void)snprintf(ret + used, size - used, ")");
}

void niwa_probe_criu(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char path[PATH_MAX], other[PATH_MAX], version[32], without[128];
	bool new_enough;

	used_path(host, path, sizeof(path));
	if (access(path, X_OK) < 0) {
		bool found = find_other(other, sizeof(other));

		niwa_probe_say(report, NIWA_PROBE_WARN, "there is no %s%s%s%s: " NO_CRIU, path, found ? " (" : "",
			       other, found ? " is not used)" : "");
		return;
	}
	if (!read_version(path, version, sizeof(version), &new_enough)) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "'%s --version' does not tell one: " NO_CRIU, path);
		return;
	}
	if (!new_enough) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "%s is %s, at least %d.%d is needed: " NO_CRIU, path, version,
			       LEAST_MAJOR, LEAST_MINOR);
		return;
	}
	if (is_dynamic(path)) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "%s is dynamically linked, and niwad refuses it: " NO_CRIU,
			       path);
		return;
	}
	missing_features(path, without, sizeof(without));
	niwa_probe_say(report, *without ? NIWA_PROBE_WARN : NIWA_PROBE_OK, "%s%s, %s", version, without, path);
}

/* What is dumped: a session of one process with a listening socket and a system call filter, as an app is. It execs, so
 * that its program lies on a mount of this namespace. */
static _Noreturn void target(int executed)
{
	struct sock_filter allow = {.code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW};
	struct sock_fprog filter = {.len = 1, .filter = &allow};
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int null = open("/dev/null", O_RDWR), s;

	(void)setsid();
	for (int i = 0; i < 3; i++)
		if (dup2(null, i) < 0)
			_exit(1);
	if (dup2(executed, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0 || close_range(4, ~0u, 0) < 0)
		_exit(1);
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(s, 8) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		_exit(1);
	(void)execlp("sleep", "sleep", "600", NULL);
	_exit(1);
}

/* -1: it did not come to its exec. */
static pid_t start_target(void)
{
	int ends[2], status;
	char byte;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		target(ends[1]);
	niwa_fd_close(&ends[1]);
	if (pid > 0 && (read(ends[0], &byte, 1) != 0 || waitpid(pid, &status, WNOHANG) != 0))
		pid = -1;
	niwa_fd_close(&ends[0]);
	return pid;
}

static bool is_listening(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	NIWA_AUTO_FD s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return s >= 0 && connect(s, (struct sockaddr *)&sa, sizeof(sa)) == 0;
}

/* A /proc of this pid namespace, a tmpfs for images and for what CRIU learns of the kernel, a loopback that is up. */
static int furnish(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	NIWA_AUTO_FD s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	    mount("niwa-doctor", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=64m") < 0 ||
	    mkdir(IMAGES, 0700) < 0 || s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) < 0)
		return -errno;
	return 0;
}

static bool dump_and_restore(const char *path, pid_t pid, char *why, size_t size)
{
	char number[16], said[8192];
	const char *const dump[] = {
		path, "dump", "-t", number, "-D", IMAGES, "--network-lock", "skip", "--manage-cgroups=ignore", NULL};
	const char *const restore[] = {path, "restore", "-d", "-D", IMAGES, "--manage-cgroups=ignore", NULL};
	uint64_t begun = niwa_now_us(), dumped;

	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	if (run(dump, said, sizeof(said)) != 0 || waitpid(pid, NULL, 0) != pid) {
		size_t used = (size_t)snprintf(why, size, "it cannot dump a process: ");

		first_error(said, why + used, size - used);
		return false;
	}
	dumped = niwa_now_us();
	if (run(restore, said, sizeof(said)) != 0) {
		size_t used = (size_t)snprintf(why, size, "it cannot restore a process: ");

		first_error(said, why + used, size - used);
		return false;
	}
	(void)snprintf(why, size, "a small process is dumped in %llu ms and restored in %llu ms",
		       (unsigned long long)(dumped - begun) / 1000,
		       (unsigned long long)(niwa_now_us() - dumped) / 1000);
	return true;
}

/* As pid 1 of a new pid namespace (its parent cannot fork twice): its end is the end of what is restored in it. */
static void try_here(const char *path, struct niwa_probe_report *report)
{
	char why[384], version[32];
	bool new_enough;
	int r = furnish();
	pid_t pid;

	if (!read_version(path, version, sizeof(version), &new_enough) || !new_enough) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "not tried: it is not new enough");
		return;
	}
	if (r < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "make a place to try it: %s", strerror(-r));
		return;
	}
	pid = start_target();
	if (pid < 0)
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "the process to be dumped did not start");
	else if (!dump_and_restore(path, pid, why, sizeof(why)))
		niwa_probe_say(report, NIWA_PROBE_WARN, "%s: " NO_CRIU, why);
	else if (!is_listening())
		niwa_probe_say(report, NIWA_PROBE_WARN, "a process said to be restored does not listen: " NO_CRIU);
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "%s", why);
}

void niwa_probe_criu_works(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char path[PATH_MAX];
	int ends[2];
	pid_t pid;

	used_path(host, path, sizeof(path));
	if (access(path, X_OK) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "there is none");
		return;
	}
	if (pipe2(ends, O_CLOEXEC) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "make a pipe: %s", strerror(errno));
		return;
	}
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		try_here(path, report);
		_exit(write(ends[1], report, sizeof(*report)) == (ssize_t)sizeof(*report) ? 0 : 1);
	}
	niwa_fd_close(&ends[1]);
	if (pid < 0 || read(ends[0], report, sizeof(*report)) != (ssize_t)sizeof(*report))
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "the test ended without an answer");
	niwa_fd_close(&ends[0]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}
