/* SPDX-License-Identifier: MIT
 *
 * Escape sequences begin with a control byte (ESC, or 0x80 to 0x9f, also when written as a character of UTF-8). Without
 * it the rest is text.
 */
#include "cli/log_filter.h"

#include <stdbool.h>
#include <stdlib.h>

/* A byte that begins a character: how many follow, and the lowest value of the next one that is neither a detour (an
 * overlong form) nor a control character of two bytes. */
static bool begins_character(struct niwa_log_filter *f, unsigned char c)
{
	if (c < 0xc2 || c > 0xf4)
		return false;
	f->more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	f->lowest = c == 0xc2 || c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	return true;
}

static bool passes(struct niwa_log_filter *f, unsigned char c)
{
	if (MB_CUR_MAX == 1) /* a terminal of eight bits a character */
		return c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f) || c >= 0xa0;
	if (f->more && c >= f->lowest && c < 0xc0) {
		f->more--;
		f->lowest = 0x80;
		return true;
	}
	f->more = 0;
	if (c < 0x80)
		return c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f);
	return begins_character(f, c);
}

size_t niwa_log_filter(struct niwa_log_filter *filter, const char *in, size_t *len, char *out, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	size_t taken = 0, used = 0;

	for (; taken < *len && used + 4 <= size; taken++) {
		unsigned char c = (unsigned char)in[taken];

		if (passes(filter, c)) {
			out[used++] = (char)c;
			continue;
		}
		out[used++] = '\\';
		out[used++] = 'x';
		out[used++] = digits[c >> 4];
		out[used++] = digits[c & 15];
	}
	*len = taken;
	return used;
}
