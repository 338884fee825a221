/* SPDX-License-Identifier: MIT
 *
 * Refusals in our own words.
 */
#include "snapshot/refuse.h"

#include <stdarg.h>
#include <stdio.h>

int niwa_snapshot_refuse(struct niwa_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->kind = NIWA_PERMANENT;
		err->code = code;
		va_start(ap, fmt);
		(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return -code;
}
