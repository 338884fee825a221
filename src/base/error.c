/* SPDX-License-Identifier: MIT
 *
 * Formatting of errors. Allocates nothing.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int niwa_fail(struct niwa_error *err, enum niwa_error_kind kind, int code, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (err) {
		err->kind = kind;
		err->code = code;
		va_start(ap, fmt);
		(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		n = strlen(err->msg);
		if (code)
			(void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror(code));
	}
	return code ? -code : -EINVAL;
}

int niwa_fail_in(struct niwa_error *err, int ret, const char *fmt, ...)
{
	char old[NIWA_ERROR_MAX];
	va_list ap;
	size_t n;

	if (!err)
		return ret;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	(void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", old);
	return ret;
}

const char *niwa_error_kind_name(enum niwa_error_kind kind)
{
	static const char *const names[] = {
		[NIWA_NONE] = "none",
		[NIWA_TEMPORARY] = "temporary",
		[NIWA_PERMANENT] = "permanent",
		[NIWA_CALLER] = "caller",
	};

	return names[kind];
}
