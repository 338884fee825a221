/* SPDX-License-Identifier: MIT
 *
 * Reading the engine's answers: a missing or odd member is an empty value, never a crash. Printing JSON.
 */
#ifndef NIWA_CLI_ANSWER_H
#define NIWA_CLI_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

const char *niwa_answer_text(const json_t *object, const char *key); /* "" when it is not a string */
/* The same made safe for a terminal (control and non-ASCII bytes as \\xNN, cut to fit); returns buf. */
char *niwa_answer_safe(const json_t *object, const char *key, char *buf, size_t size);
uint64_t niwa_answer_number(const json_t *object, const char *key); /* 0 when it is not a number, or negative */
/* "80/http 443/tcp>0.0.0.0:8443" of a row's ports; cut to fit; returns buf. */
char *niwa_answer_ports(const json_t *row, char *buf, size_t size);
/* One JSON text and a newline on standard output. 0 or -ENOMEM. */
int niwa_answer_print(const json_t *value);

#endif
