/* SPDX-License-Identifier: MIT
 *
 * From an instance and its app into a manifest; no file of the image is looked at.
 */
#include "engine/dump_manifest.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "engine/age.h"
#include "engine/snapshot.h"
#include "engine/snapshot_start.h"
#include "engine/template.h"

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t); /* cannot fail for these */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* What a start of it takes until it answers; where nobody has asked yet, until it has answered the first warm request.
 */
static uint64_t cold_of(const struct niwa_instance *i)
{
	uint64_t measured = i->app->snapshot ? niwa_store_median(i->app->snapshot->cold_us) : 0;

	if (measured || i->stages.ready_us < i->began_us)
		return measured;
	return i->stages.ready_us - i->began_us + i->snapshot->warm_took_us;
}

int niwa_dump_manifest(const struct niwa_instance *i, bool moment, struct niwa_manifest *m, struct niwa_error *err)
{
	struct stat st;

	if (fstat(i->log_fd, &st) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "look at the log pipe");
	m->key = i->snapshot->key;
	m->kind = moment ? NIWA_KIND_MOMENT : NIWA_KIND_READY;
	m->scope = i->app->template ? NIWA_SCOPE_SHARED : NIWA_SCOPE_APP;
	m->log_pipe = st.st_ino;
	/* as the app sees them: the offsets are 0 in an instance that was not restored */
	m->monotonic_ns = clock_ns(CLOCK_MONOTONIC) + i->snapshot->restore.monotonic_ns;
	m->boottime_ns = clock_ns(CLOCK_BOOTTIME) + i->snapshot->restore.boottime_ns;
	m->taken_us = niwa_realtime_us();
	m->cold_us = cold_of(i);
	if (moment)
		niwa_age_note(m, i->aged_us + niwa_now_us() - i->began_us);
	m->app_id = i->app->template ? 0 : i->app->id;
	m->tenant_id = i->app->template ? 0 : i->app->tenant->id;
	(void)snprintf(m->app, sizeof(m->app), "%s", i->app->template ? niwa_template_like(i->app) : i->app->name);
	return 0;
}
