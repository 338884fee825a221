/* SPDX-License-Identifier: MIT
 *
 * KEY/stats: what became of a snapshot, as lines of numbers. Hints: a file that cannot be read counts as empty, and
 * nothing here is synced.
 */
#include "snapshot/store_private.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "snapshot/manifest_private.h"

#define FIRST_LINE "niwa-stats 1"
#define STATS_MAX  4096
#define DAY_US     (UINT64_C(86400) * 1000000)

uint32_t store_today(void)
{
	return (uint32_t)(niwa_realtime_us() / DAY_US);
}

void store_stats_roll(struct niwa_store_stats *s, uint32_t today)
{
	uint32_t days = today - s->day;

	/* backwards, when somebody sets the clock: today's go on being counted */
	if (today > s->day) {
		for (size_t i = NIWA_STORE_DAYS; i-- > 0;)
			s->wakes[i] = i >= days ? s->wakes[i - days] : 0;
	}
	s->day = today;
}

uint32_t niwa_store_week(const struct niwa_store_stats *stats, uint32_t today)
{
	struct niwa_store_stats now = *stats;
	uint32_t sum = 0;

	store_stats_roll(&now, today);
	for (size_t i = 0; i < NIWA_STORE_DAYS; i++)
		if (__builtin_add_overflow(sum, now.wakes[i], &sum))
			return UINT32_MAX;
	return sum;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t niwa_store_median(const uint64_t samples[NIWA_STORE_SAMPLES])
{
	uint64_t sorted[NIWA_STORE_SAMPLES];
	size_t n = 0;

	for (size_t i = 0; i < NIWA_STORE_SAMPLES; i++)
		if (samples[i])
			sorted[n++] = samples[i];
	if (n == 0)
		return 0;
	qsort(sorted, n, sizeof(sorted[0]), by_size);
	return sorted[n / 2];
}

/* ---- the file ---- */

/* "NAME n n n": exactly count numbers. */
static bool read_line(char **text, const char *name, uint64_t *ret, size_t count)
{
	char *line = strsep(text, "\n"), *token;

	token = line ? strsep(&line, " ") : NULL;
	if (!token || strcmp(token, name) != 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		token = line ? strsep(&line, " ") : NULL;
		if (!token || niwa_parse_u64(token, UINT64_MAX, &ret[i]) < 0)
			return false;
	}
	return !line;
}

static bool parse(char *text, struct niwa_store_stats *ret)
{
	struct niwa_store_stats s = {0};
	uint64_t wakes[NIWA_STORE_DAYS], day, sharers;
	const char *first = strsep(&text, "\n");
	char *reason;

	if (strcmp(first, FIRST_LINE) != 0 || !read_line(&text, "restores", &s.restores, 1) ||
	    !read_line(&text, "failures", &s.failures, 1) || !read_line(&text, "day", &day, 1) ||
	    !read_line(&text, "wakes", wakes, NIWA_STORE_DAYS) || !read_line(&text, "sharers", &sharers, 1) ||
	    !read_line(&text, "last-restore-us", &s.last_restore_us, 1) ||
	    !read_line(&text, "restored-us", s.restored_us, NIWA_STORE_SAMPLES) ||
	    !read_line(&text, "cold-us", s.cold_us, NIWA_STORE_SAMPLES) || !text)
		return false;
	s.day = (uint32_t)day;
	s.sharers = (uint32_t)sharers;
	for (size_t i = 0; i < NIWA_STORE_DAYS; i++)
		s.wakes[i] = (uint32_t)wakes[i];
	reason = strsep(&text, "\n");
	if (strncmp(reason, "last-failure ", 13) != 0 ||
	    manifest_unescape(reason + 13, s.last_failure, sizeof(s.last_failure)) < 0)
		return false;
	*ret = s;
	return true;
}

void store_stats_read(int snapshot, struct niwa_store_stats *ret)
{
	NIWA_AUTO_FD fd = openat(snapshot, "stats", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[STATS_MAX];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

	*ret = (struct niwa_store_stats){0};
	if (n <= 0)
		return;
	text[n] = '\0';
	(void)parse(text, ret); /* false: stays empty */
}

static void add_numbers(struct niwa_text *out, const char *name, const uint64_t *numbers, size_t count)
{
	niwa_text_add(out, name);
	for (size_t i = 0; i < count; i++)
		niwa_text_addf(out, " %" PRIu64, numbers[i]);
	niwa_text_add(out, "\n");
}

static void format(const struct niwa_store_stats *s, struct niwa_text *out)
{
	uint64_t wakes[NIWA_STORE_DAYS], day = s->day, sharers = s->sharers;

	for (size_t i = 0; i < NIWA_STORE_DAYS; i++)
		wakes[i] = s->wakes[i];
	niwa_text_add(out, FIRST_LINE "\n");
	add_numbers(out, "restores", &s->restores, 1);
	add_numbers(out, "failures", &s->failures, 1);
	add_numbers(out, "day", &day, 1);
	add_numbers(out, "wakes", wakes, NIWA_STORE_DAYS);
	add_numbers(out, "sharers", &sharers, 1);
	add_numbers(out, "last-restore-us", &s->last_restore_us, 1);
	add_numbers(out, "restored-us", s->restored_us, NIWA_STORE_SAMPLES);
	add_numbers(out, "cold-us", s->cold_us, NIWA_STORE_SAMPLES);
	niwa_text_add(out, "last-failure ");
	manifest_add_escaped(out, s->last_failure);
	niwa_text_add(out, "\n");
}

int store_stats_write(int snapshot, const struct niwa_store_stats *stats, struct niwa_error *err)
{
	struct niwa_text text = {0};
	NIWA_AUTO_FD fd = -1;
	int r = 0;

	format(stats, &text);
	if (text.failed) {
		niwa_text_fini(&text);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "statistics of a snapshot");
	}
	fd = openat(snapshot, "stats.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len ||
	    renameat(snapshot, "stats.new", snapshot, "stats") < 0) {
		r = niwa_fail(err, NIWA_TEMPORARY, errno ? errno : ENOSPC, "write statistics of a snapshot");
		(void)unlinkat(snapshot, "stats.new", 0); /* the next one truncates it */
	}
	niwa_text_fini(&text);
	return r;
}

static void put_sample(uint64_t samples[NIWA_STORE_SAMPLES], uint64_t us)
{
	memmove(samples + 1, samples, (NIWA_STORE_SAMPLES - 1) * sizeof(samples[0]));
	samples[0] = us ? us : 1;
}

static void count(struct niwa_store_stats *s, const struct niwa_store_note *note)
{
	const char *reason = note->reason ? note->reason : "";

	switch (note->event) {
	case NIWA_STORE_RESTORED:
		s->restores++;
		s->wakes[0]++;
		s->last_restore_us = niwa_realtime_us();
		put_sample(s->restored_us, note->us);
		break;
	case NIWA_STORE_COLD:
		s->wakes[0]++;
		put_sample(s->cold_us, note->us);
		break;
	case NIWA_STORE_FAILED:
		s->failures++;
		(void)niwa_quote(reason, strlen(reason), s->last_failure, sizeof(s->last_failure));
		break;
	case NIWA_STORE_SHARED:
		s->sharers = note->count;
		break;
	}
}

int niwa_store_note(const struct niwa_store *store, const struct niwa_snapshot_key *key,
		    const struct niwa_store_note *note, struct niwa_error *err)
{
	NIWA_AUTO_FD dir = store_open_folder(store->dir, key->hex);
	struct niwa_store_stats stats;

	if (dir < 0)
		return niwa_fail(err, NIWA_PERMANENT, -dir, "snapshot %.12s", key->hex);
	(void)niwa_fault("snapshot.noting");
	if (flock(dir, LOCK_EX) < 0) /* against other notes: moments */
		return niwa_fail(err, NIWA_TEMPORARY, errno, "snapshot %.12s: lock", key->hex);
	store_stats_read(dir, &stats);
	store_stats_roll(&stats, store_today());
	count(&stats, note);
	return store_stats_write(dir, &stats, err);
}
