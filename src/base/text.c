/* SPDX-License-Identifier: MIT
 *
 * Text buffers, quoting, units.
 */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static bool reserve(struct niwa_text *t, size_t more)
{
	size_t need = t->len + more + 1, size = t->size ? t->size : 128;
	char *p;

	if (t->failed)
		return false;
	if (need <= t->size)
		return true;
	while (size < need)
		size *= 2;
	p = realloc(t->data, size);
	if (!p) {
		t->failed = true;
		return false;
	}
	t->data = p;
	t->size = size;
	return true;
}

void niwa_text_add_bytes(struct niwa_text *t, const void *data, size_t len)
{
	if (!reserve(t, len))
		return;
	if (len)
		memcpy(t->data + t->len, data, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void niwa_text_add(struct niwa_text *t, const char *s)
{
	niwa_text_add_bytes(t, s, strlen(s));
}

void niwa_text_addf(struct niwa_text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !reserve(t, (size_t)n))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(t->data + t->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	t->len += (size_t)n;
}

void niwa_text_fini(struct niwa_text *t)
{
	free(t->data);
	*t = (struct niwa_text){0};
}

char *niwa_quote(const char *s, size_t len, char *buf, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '\\';
		size_t need = plain ? 1 : 4;

		if (used + need + 4 > size) {
			(void)snprintf(buf + used, size - used, "...");
			return buf;
		}
		if (plain)
			buf[used] = (char)c;
		else
			(void)snprintf(buf + used, 5, "\\x%02x", c);
		used += need;
	}
	buf[used] = '\0';
	return buf;
}

/* Digits with an optional fraction of up to six digits, as a count of millionths. */
static int parse_micro(const char **sp, uint64_t *ret)
{
	const char *s = *sp;
	uint64_t whole = 0, frac = 0, scale = 1000000;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(whole, (uint64_t)10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*s - '0'), &whole))
			return -ERANGE;
	if (*s == '.') {
		s++;
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		for (; isdigit((unsigned char)*s); s++) {
			if (scale == 1)
				return -ERANGE;
			scale /= 10;
			frac += (uint64_t)(*s - '0') * scale;
		}
	}
	if (__builtin_mul_overflow(whole, (uint64_t)1000000, &whole) || __builtin_add_overflow(whole, frac, ret))
		return -ERANGE;
	*sp = s;
	return 0;
}

static const struct {
	const char *unit;
	uint64_t us;
} durations[] = {
	{"d", 86400000000}, {"h", 3600000000}, {"m", 60000000}, {"s", 1000000}, {"ms", 1000}, {"us", 1},
};

int niwa_parse_duration(const char *s, uint64_t *ret_us)
{
	uint64_t total = 0;

	if (strcmp(s, "0") == 0) {
		*ret_us = 0;
		return 0;
	}
	if (*s == '\0')
		return -EINVAL;
	while (*s) {
		uint64_t n, part;
		size_t len, i;
		int r = parse_micro(&s, &n);

		if (r < 0)
			return r;
		len = strspn(s, "dhmsu");
		for (i = 0; i < NIWA_ARRAY_LEN(durations); i++)
			if (strlen(durations[i].unit) == len && strncmp(durations[i].unit, s, len) == 0)
				break;
		if (i == NIWA_ARRAY_LEN(durations))
			return -EINVAL;
		if (n / 1000000 > UINT64_MAX / durations[i].us / 2)
			return -ERANGE;
		part = n / 1000000 * durations[i].us + n % 1000000 * durations[i].us / 1000000;
		if (__builtin_add_overflow(total, part, &total))
			return -ERANGE;
		s += len;
	}
	*ret_us = total;
	return 0;
}

static const struct {
	char unit;
	uint64_t bytes;
} sizes[] = {{'T', UINT64_C(1) << 40}, {'G', UINT64_C(1) << 30}, {'M', UINT64_C(1) << 20}, {'K', UINT64_C(1) << 10}};

int niwa_parse_size(const char *s, uint64_t *ret_bytes)
{
	uint64_t n, unit = 1;
	int r = parse_micro(&s, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; *s && i < NIWA_ARRAY_LEN(sizes); i++)
		if (*s == sizes[i].unit) {
			unit = sizes[i].bytes;
			s++;
			break;
		}
	if (*s)
		return -EINVAL;
	if (n / 1000000 > UINT64_MAX / unit / 2)
		return -ERANGE;
	*ret_bytes = n / 1000000 * unit + (uint64_t)((__uint128_t)(n % 1000000) * unit / 1000000);
	return 0;
}

int niwa_parse_percent(const char *s, uint32_t *ret_centi)
{
	uint64_t n;
	int r = parse_micro(&s, &n);

	if (r < 0)
		return r;
	if (strcmp(s, "%") != 0)
		return -EINVAL;
	if (n > UINT64_C(1000000) * 1000000)
		return -ERANGE;
	*ret_centi = (uint32_t)(n / 10000);
	return 0;
}

int niwa_parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (*s == '\0')
		return -EINVAL;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		if (__builtin_mul_overflow(n, (uint64_t)10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return -ERANGE;
	}
	if (n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

char *niwa_format_duration(uint64_t us, char *buf, size_t size)
{
	size_t used = 0;

	if (us == 0)
		(void)snprintf(buf, size, "0");
	for (size_t i = 0; i < NIWA_ARRAY_LEN(durations) && us; i++) {
		uint64_t n = us / durations[i].us;

		if (n == 0)
			continue;
		us %= durations[i].us;
		used += (size_t)snprintf(buf + used, size - used, "%" PRIu64 "%s", n, durations[i].unit);
		if (used >= size)
			break;
	}
	return buf;
}

char *niwa_format_size(uint64_t bytes, char *buf, size_t size)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(sizes); i++)
		if (bytes && bytes % sizes[i].bytes == 0) {
			(void)snprintf(buf, size, "%" PRIu64 "%c", bytes / sizes[i].bytes, sizes[i].unit);
			return buf;
		}
	(void)snprintf(buf, size, "%" PRIu64, bytes);
	return buf;
}
