/* SPDX-License-Identifier: MIT
 *
 * Logging: one line an event, fields as key=value. With the journal as standard error
 * (JOURNAL_STREAM) the fields go there natively, else as text on standard error.
 * ERR: somebody must act. WARN: we coped. INFO: state changes. DEBUG: off by default.
 * No secrets; text from peers goes through niwa_quote() first.
 */
#ifndef NIWA_BASE_LOG_H
#define NIWA_BASE_LOG_H

#include <stdint.h>

enum niwa_log_level { NIWA_LOG_ERR = 3, NIWA_LOG_WARN = 4, NIWA_LOG_INFO = 6, NIWA_LOG_DEBUG = 7 };

/* What the line is about; empty members are left out. Borrowed for the call. */
struct niwa_log_ctx {
	const char *app;
	uint64_t instance; /* 0: none */
	const char *doing;
};

void niwa_log_init(const char *program, enum niwa_log_level max);
void niwa_log_set_level(enum niwa_log_level max);
void niwa_log(enum niwa_log_level level, const struct niwa_log_ctx *ctx, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Allows `burst` lines in `interval_us`, then none until the interval is over; the first line after
 * it is told how many were dropped. Returns non-zero when the line may be written. */
struct niwa_log_limit {
	uint64_t since_us;
	unsigned written, dropped;
};
int niwa_log_allow(struct niwa_log_limit *limit, unsigned burst, uint64_t interval_us);

#endif
