/* SPDX-License-Identifier: MIT
 *
 * The status line of an HTTP/1 answer, byte by byte against a pattern.
 */
#include "relay/http.h"

#include <stdbool.h>

/* v: a digit of the version, c: one of the code, e: what ends the code; all others stand for themselves. */
static const char pattern[] = "HTTP/1.v ccce";

static bool matches(char want, uint8_t c)
{
	switch (want) {
	case 'v':
	case 'c':
		return c >= '0' && c <= '9';
	case 'e':
		return c == ' ' || c == '\r' || c == '\n';
	default:
		return c == (uint8_t)want;
	}
}

enum niwa_http_said niwa_http_feed(struct niwa_http_status *s, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char want = pattern[s->at];

		if (!matches(want, data[i]))
			return NIWA_HTTP_BAD;
		if (want == 'c')
			s->code = (uint16_t)(s->code * 10 + (data[i] - '0'));
		s->at++;
		if (s->at == sizeof(pattern) - 1)
			return s->code >= 100 && s->code <= 599 ? NIWA_HTTP_DONE : NIWA_HTTP_BAD;
	}
	return NIWA_HTTP_MORE;
}
