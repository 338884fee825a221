/* SPDX-License-Identifier: MIT
 *
 * The watch. PSI is polled, not triggered: what counts is how long it lasted, and a second is soon enough where there
 * is a reserve. One app is put away in a turn of the loop; niwa_reclaim counts what is going away already.
 */
#include "engine/pressure.h"

#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/admit.h"
#include "engine/reclaim.h"

#define STEP_US (50 * NIWA_MS)
#define TEXT    8192

static int on_step(sd_event_source *s, uint64_t usec, void *arg);

static bool read_memory(struct niwa_memory *memory)
{
	char text[TEXT];

	if (niwa_file_read("/proc/meminfo", text, sizeof(text)) < 0 || niwa_memory_read_info(text, memory) < 0)
		return false;
	if (niwa_file_read("/proc/pressure/memory", text, sizeof(text)) >= 0)
		(void)niwa_memory_read_stalls(text, memory); /* not every kernel counts stalls */
	return true;
}

static void tell(struct niwa_engine *e, bool was_short)
{
	char there[32], reserve[32];
	bool is_short = e->pressure.wanted_bytes > 0;

	if (is_short == was_short)
		return;
	(void)niwa_format_size(e->memory.available_bytes / 1024 * 1024, there, sizeof(there));
	(void)niwa_format_size(niwa_admit_reserve(e) / 1024 * 1024, reserve, sizeof(reserve));
	if (is_short)
		niwa_log(NIWA_LOG_WARN, NULL,
			 "memory is short: %s available, memory_reserve is %s, %u.%u %% of the last second was spent "
			 "waiting for memory; idle apps are put to sleep",
			 there, reserve, e->pressure.some / 10, e->pressure.some % 10);
	else
		niwa_log(NIWA_LOG_INFO, NULL, "memory is not short any more: %s available", there);
}

static void step_again(struct niwa_engine *e)
{
	e->pressure_step = sd_event_source_disable_unref(e->pressure_step);
	if (sd_event_add_time_relative(e->event, &e->pressure_step, CLOCK_MONOTONIC, STEP_US, STEP_US / 10, on_step,
				       e) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: the pressure is looked at in a second");
}

static int on_step(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_memory now = {0};

	(void)s, (void)usec;
	if (!read_memory(&now))
		return 0;
	e->memory.available_bytes = now.available_bytes;
	if (now.available_bytes >= niwa_admit_reserve(e) + e->pressure.wanted_bytes / 4)
		return 0; /* the next second judges again */
	if (niwa_reclaim(e, e->pressure.wanted_bytes, NULL))
		step_again(e);
	return 0;
}

void niwa_pressure_look(struct niwa_engine *e)
{
	uint64_t now_us = niwa_now_us();
	bool first = !e->memory_sampled_us, was_short = e->pressure.wanted_bytes > 0;
	struct niwa_memory now = {0};

	if (!read_memory(&now))
		return;
	e->memory_total = now.total_bytes;
	niwa_pressure_judge(first ? NULL : &e->memory, &now, now_us - e->memory_sampled_us, niwa_admit_reserve(e),
			    &e->pressure);
	e->memory = now;
	e->memory_sampled_us = now_us;
	tell(e, was_short);
	if (e->pressure.wanted_bytes && e->adopted && niwa_reclaim(e, e->pressure.wanted_bytes, NULL))
		step_again(e);
}

void niwa_pressure_close(struct niwa_engine *e)
{
	e->pressure_step = sd_event_source_disable_unref(e->pressure_step);
}
