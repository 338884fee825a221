/* SPDX-License-Identifier: MIT
 *
 * What an app printed, made safe for a terminal: text in UTF-8, newlines and tabs pass, all else is shown as \xNN.
 */
#ifndef NIWA_CLI_LOG_FILTER_H
#define NIWA_CLI_LOG_FILTER_H

#include <stddef.h>

/* Where in a character the stream is; all zero at its start. */
struct niwa_log_filter {
	unsigned more; /* bytes that belong to the character */
	unsigned char lowest;
};

/* Takes of *len bytes of in what fits into out, and sets *len to that; returns how many bytes were written to out. */
size_t niwa_log_filter(struct niwa_log_filter *filter, const char *in, size_t *len, char *out, size_t size);

#endif
