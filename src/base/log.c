/* SPDX-License-Identifier: MIT
 *
 * Log lines to the journal or to standard error.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "base/clock.h"

static struct {
	const char *program;
	enum niwa_log_level max;
	bool journal;
} state = {.program = "niwa", .max = NIWA_LOG_INFO};

/* The variable names the stream that systemd made; a program started by hand from a service inherits the variable but
 * may have another standard error (sd-daemon(3)). */
static bool is_journal(const char *stream)
{
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

void niwa_log_init(const char *program, enum niwa_log_level max)
{
	state.program = program;
	state.max = max;
	state.journal = is_journal(getenv("JOURNAL_STREAM"));
}

void niwa_log_set_level(enum niwa_log_level max)
{
	state.max = max;
}

static void to_stderr(enum niwa_log_level level, const struct niwa_log_ctx *ctx, const char *text)
{
	static const char *const names[] = {
		[NIWA_LOG_ERR] = "ERR", [NIWA_LOG_WARN] = "WARN", [NIWA_LOG_INFO] = "INFO", [NIWA_LOG_DEBUG] = "DEBUG"};
	char line[2048], when[32];
	int n;

	n = snprintf(line, sizeof(line), "%s %s %s: ", niwa_time_format(niwa_realtime_us(), when, sizeof(when)),
		     names[level], state.program);
	if (ctx && ctx->app)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "app=%.255s ", ctx->app);
	if (ctx && ctx->instance)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "instance=%llu ", (unsigned long long)ctx->instance);
	if (ctx && ctx->doing)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "doing=%.100s ", ctx->doing);
	n += snprintf(line + n, sizeof(line) - (size_t)n, "%s", text);
	if (n >= (int)sizeof(line) - 1)
		n = (int)sizeof(line) - 2;
	line[n] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
		return; /* nobody to tell */
}

void niwa_log(enum niwa_log_level level, const struct niwa_log_ctx *ctx, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (level > state.max)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!state.journal) {
		to_stderr(level, ctx, text);
		return;
	}
	(void)sd_journal_send("MESSAGE=%s%s%s", ctx && ctx->app ? ctx->app : "", ctx && ctx->app ? ": " : "", text,
			      "PRIORITY=%d", (int)level, "NIWA_APP=%s", ctx && ctx->app ? ctx->app : "",
			      "NIWA_INSTANCE=%llu", (unsigned long long)(ctx ? ctx->instance : 0), "NIWA_DOING=%s",
			      ctx && ctx->doing ? ctx->doing : "", NULL);
}

int niwa_log_allow(struct niwa_log_limit *limit, unsigned burst, uint64_t interval_us)
{
	uint64_t now = niwa_now_us();

	if (now - limit->since_us >= interval_us || limit->since_us == 0) {
		if (limit->dropped)
			niwa_log(NIWA_LOG_WARN, NULL, "%u lines like the next one were not written", limit->dropped);
		limit->since_us = now;
		limit->written = limit->dropped = 0;
	}
	if (limit->written >= burst) {
		limit->dropped++;
		return 0;
	}
	limit->written++;
	return 1;
}
