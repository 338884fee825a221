/* SPDX-License-Identifier: MIT
 *
 * Probes: clock, disk, users, ids.
 */
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/probe_list.h"

#define BUILT_AFTER ((time_t)1735689600) /* 2025-01-01: a clock before that is wrong */
#define SWAP_LEAST  20                   /* a twentieth */
#define DISK_LEAST  (UINT64_C(1) << 30)

static bool clocks_agree(void)
{
	struct timespec boot, mono;

	return clock_gettime(CLOCK_MONOTONIC, &mono) == 0 && clock_gettime(CLOCK_BOOTTIME, &boot) == 0 &&
	       (boot.tv_sec > mono.tv_sec || (boot.tv_sec == mono.tv_sec && boot.tv_nsec >= mono.tv_nsec));
}

void niwa_probe_clock(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct timex t = {0};
	int state = adjtimex(&t);

	if (!clocks_agree()) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "CLOCK_BOOTTIME is behind CLOCK_MONOTONIC");
		niwa_probe_mend(report, "run niwa outside of a time namespace");
	} else if (time(NULL) < BUILT_AFTER) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "the clock shows a time before this program was made");
		niwa_probe_mend(report, "set it: timedatectl set-ntp true");
	} else if (state < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "ask the kernel: %s", strerror(errno));
	} else if (state == TIME_ERROR || (t.status & STA_UNSYNC)) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "nothing synchronises the clock");
		niwa_probe_mend(report, "apt install systemd-timesyncd (or chrony); timedatectl set-ntp true");
	} else {
		niwa_probe_say(report, NIWA_PROBE_OK, "synchronised");
	}
}

/* One folder; worse results replace better ones. */
static void check_room(const char *path, struct niwa_probe_report *report)
{
	struct statvfs fs;
	char existing[256], left[32];
	uint64_t bytes;
	char *slash;

	(void)snprintf(existing, sizeof(existing), "%s", path);
	while (statvfs(existing, &fs) < 0) {
		slash = strrchr(existing, '/');
		if (!slash || slash == existing) {
			niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "look at '%s': %s", path, strerror(errno));
			return;
		}
		*slash = '\0';
	}
	bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	(void)niwa_human_bytes(bytes, left, sizeof(left));
	if (fs.f_flag & ST_RDONLY) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "'%s' is read-only", existing);
		niwa_probe_mend(report, "mount -o remount,rw the file system of %s", existing);
	} else if (bytes < DISK_LEAST / 16) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s left in '%s'", left, existing);
		niwa_probe_mend(report, "make room in %s, or move the folder (niwad.conf(5))", existing);
	} else if (report->result == NIWA_PROBE_OK && (bytes < DISK_LEAST || (fs.f_files && fs.f_favail < 10000))) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "%s and %" PRIu64 " files left in '%s'", left,
			       (uint64_t)fs.f_favail, existing);
		niwa_probe_mend(report, "make room in %s, or move the folder (niwad.conf(5))", existing);
	} else if (report->result == NIWA_PROBE_OK && !*report->found) {
		niwa_probe_say(report, NIWA_PROBE_OK, "%s left in '%s'", left, existing);
	}
}

void niwa_probe_disk(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	report->result = NIWA_PROBE_OK;
	check_room(host->state_dir, report);
	check_room(host->log_dir, report);
}

static uint64_t kib_of(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* The kernel's own choice of a compressor: a name that it does not have would be refused. */
static void mend_swap(struct niwa_probe_report *report, uint64_t memory)
{
	uint64_t half = memory >> 31; /* in GiB */
	unsigned long long size = half ? half : 1;

	niwa_probe_mend(report, "in memory, compressed (zram), half of it but at most 4G, for good:");
	niwa_probe_mend(report, "apt install systemd-zram-generator && systemctl daemon-reload && "
				"systemctl start systemd-zram-setup@zram0");
	niwa_probe_mend(report,
			"or until the next boot: modprobe zram && d=$(zramctl -f -s %lluG) && mkswap $d && "
			"swapon -p 100 $d",
			size);
	niwa_probe_mend(report,
			"or on a fast disk: fallocate -l %lluG /swapfile && chmod 600 /swapfile && "
			"mkswap /swapfile && swapon /swapfile && echo '/swapfile none swap sw 0 0' >>/etc/fstab",
			size);
	niwa_probe_mend(report, "(on btrfs `btrfs filesystem mkswapfile -s %lluG /swapfile` makes the file)", size);
}

void niwa_probe_swap(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	char text[8192], size[32], left[32];
	uint64_t total, unused;

	(void)host;
	if (niwa_file_read("/proc/meminfo", text, sizeof(text)) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "read /proc/meminfo: %s", strerror(errno));
		return;
	}
	total = kib_of(text, "\nSwapTotal:") * 1024;
	unused = kib_of(text, "\nSwapFree:") * 1024;
	if (!total) {
		niwa_probe_say(report, NIWA_PROBE_WARN,
			       "there is none: the state paged is skipped, frozen apps hold all their memory");
		mend_swap(report, kib_of(text, "MemTotal:") * 1024);
		return;
	}
	(void)niwa_format_size(total / 1048576 * 1048576, size, sizeof(size));
	(void)niwa_format_size(unused / 1048576 * 1048576, left, sizeof(left));
	if (unused < total / SWAP_LEAST) {
		niwa_probe_say(report, NIWA_PROBE_WARN, "%s left of %s: frozen apps keep what does not fit", left,
			       size);
		niwa_probe_mend(report, "add swap, or shorten sleep.save of apps that are seldom visited");
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_OK, "%s left of %s", left, size);
}

void niwa_probe_users(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	const struct group *group = getgrnam("niwa");
	const struct passwd *relay = getpwnam(host->relay_user);

	if (group && relay && relay->pw_uid != 0) {
		niwa_probe_say(report, NIWA_PROBE_OK, "group niwa, user %s", host->relay_user);
		return;
	}
	if (relay && relay->pw_uid == 0) {
		niwa_probe_say(report, NIWA_PROBE_FAIL, "the relay's user %s is root", host->relay_user);
		niwa_probe_mend(report, "relay_user = niwa-relay in niwad.conf(5)");
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_FAIL, "%s%s%s is missing", group ? "" : "group niwa",
		       group || relay ? "" : " and ", relay ? "" : host->relay_user);
	if (!group)
		niwa_probe_mend(report, "groupadd --system niwa");
	if (!relay)
		niwa_probe_mend(report, "useradd --system --no-create-home --shell /usr/sbin/nologin %s",
				host->relay_user);
}

/* Reads "name:first:count" lines of /etc/subuid and its kin. True when one meets the pool; it is described. */
static bool subids_meet(const char *path, uint64_t first, uint64_t end, char *who, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[512], name[128];
	uint64_t begin, count;
	bool met = false;

	while (f && !met && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%127[^:]:%" SCNu64 ":%" SCNu64, name, &begin, &count) != 3)
			continue;
		met = begin < end && first < begin + count;
		if (met)
			(void)snprintf(who, size, "%s gives %" PRIu64 "+%" PRIu64 " to %s", path, begin, count, name);
	}
	if (f)
		(void)fclose(f); /* read only */
	return met;
}

static bool users_meet(uint64_t first, uint64_t end, char *who, size_t size)
{
	const struct passwd *user;
	bool met = false;

	setpwent();
	while (!met && (user = getpwent())) {
		met = user->pw_uid >= first && user->pw_uid < end;
		if (met)
			(void)snprintf(who, size, "the user %s has the id %u", user->pw_name, user->pw_uid);
	}
	endpwent();
	return met;
}

void niwa_probe_id_pool(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	uint64_t first = host->lease_base, end = first + host->lease_count * 65536;
	char who[400] = "";

	if (subids_meet("/etc/subuid", first, end, who, sizeof(who)) ||
	    subids_meet("/etc/subgid", first, end, who, sizeof(who)) || users_meet(first, end, who, sizeof(who)))
		niwa_probe_say(report, NIWA_PROBE_FAIL, "%s, inside the pool %" PRIu64 " to %" PRIu64, who, first,
			       end - 1);
	else
		niwa_probe_say(report, NIWA_PROBE_OK, "%" PRIu64 " to %" PRIu64, first, end - 1);
}
