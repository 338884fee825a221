/* SPDX-License-Identifier: MIT
 *
 * Errors: functions return 0 or positive, else -errno, and describe the failure in a
 * struct niwa_error that the caller owns. It has a fixed size: nothing to free, and it
 * works when memory is out. The kind decides what a client of an app is told.
 */
#ifndef NIWA_BASE_ERROR_H
#define NIWA_BASE_ERROR_H

#include <errno.h>

enum niwa_error_kind {
	NIWA_NONE = 0,
	NIWA_TEMPORARY, /* try again later: HTTP 503, SMTP 421/451, IMAP NO */
	NIWA_PERMANENT, /* will not work until somebody mends it: 5xx */
	NIWA_CALLER,    /* the caller asked for something wrong: 4xx, exit status 2 */
};

#define NIWA_ERROR_MAX 512

struct niwa_error {
	enum niwa_error_kind kind;
	int code;                 /* errno value, 0 when the system said nothing */
	char msg[NIWA_ERROR_MAX]; /* one line: what was tried, on what, what the system said */
};

/* Fills err (may be NULL) with the formatted text, adding ": strerror(code)" when code is
 * not 0. Returns -code, or -EINVAL when code is 0. code is a positive errno value. */
int niwa_fail(struct niwa_error *err, enum niwa_error_kind kind, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts the formatted text and ": " before the message err holds, truncating at the end.
 * Returns ret, so that a caller can say: return niwa_fail_in(err, r, "app %s", name); */
int niwa_fail_in(struct niwa_error *err, int ret, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* "temporary", "permanent", "caller", "none" */
const char *niwa_error_kind_name(enum niwa_error_kind kind);

#endif
