/* SPDX-License-Identifier: MIT
 *
 * Allocation with a switch for tests.
 */
#include "base/memory.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fails_now(void)
{
	static long left = -2; /* -2: environment not read, -1: never fail */

	if (left == -2) {
		const char *n = getenv("NIWA_FAIL_ALLOC");
		left = n ? atol(n) : -1;
	}
	if (left < 0)
		return false;
	if (left == 0)
		return true;
	left--;
	return left == 0;
}

void *niwa_zalloc(size_t size)
{
	return fails_now() ? NULL : calloc(1, size ? size : 1);
}

char *niwa_strdup(const char *text)
{
	return !text || fails_now() ? NULL : strdup(text);
}

char *niwa_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *ret = NULL;
	int r;

	if (fails_now())
		return NULL;
	va_start(ap, fmt);
	r = vasprintf(&ret, fmt, ap);
	va_end(ap);
	return r < 0 ? NULL : ret;
}

void niwa_free_ptr(void *pp)
{
	void **p = pp;

	free(*p);
	*p = NULL;
}
