/* SPDX-License-Identifier: MIT
 *
 * Text: growing buffers, quoting of foreign text, and the units that people write.
 */
#ifndef NIWA_BASE_TEXT_H
#define NIWA_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing string. Zero-initialise; niwa_text_fini frees. After a failed append `failed` is set,
 * further appends do nothing, and the owner answers -ENOMEM once at the end. */
struct niwa_text {
	char *data; /* NULL while empty, else terminated */
	size_t len, size;
	bool failed;
};
void niwa_text_add(struct niwa_text *t, const char *s);
void niwa_text_add_bytes(struct niwa_text *t, const void *data, size_t len);
void niwa_text_addf(struct niwa_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void niwa_text_fini(struct niwa_text *t);

/* Foreign text made safe for a log line: control and non-ASCII bytes as \xNN, cut to fit with "...".
 * Returns buf. */
char *niwa_quote(const char *s, size_t len, char *buf, size_t size);

/* "300ms", "2s", "30s", "5m", "1h", "7d", "1h30m", "0"; result in microseconds. 0 or -EINVAL / -ERANGE. */
int niwa_parse_duration(const char *s, uint64_t *ret_us);
/* "256M", "1G", "64K", "4096", "1.5G" (powers of 1024); bytes. 0 or -EINVAL / -ERANGE. */
int niwa_parse_size(const char *s, uint64_t *ret_bytes);
/* "50%", "200%", "12.5%"; in hundredths of a percent of one CPU. 0 or -EINVAL / -ERANGE. */
int niwa_parse_percent(const char *s, uint32_t *ret_centi);
/* Decimal, whole string, at most max. 0 or -EINVAL / -ERANGE. */
int niwa_parse_u64(const char *s, uint64_t max, uint64_t *ret);

/* The shortest exact form that niwa_parse_duration/size reads back ("90m" as "1h30m"). Returns buf. */
char *niwa_format_duration(uint64_t us, char *buf, size_t size);
char *niwa_format_size(uint64_t bytes, char *buf, size_t size);

#endif
