/* SPDX-License-Identifier: MIT
 *
 * Why an app is awake, when it is woken next and whom it was not woken by: lines of niwa show. Pure: JSON to text.
 */
#ifndef NIWA_CLI_SHOW_AWAKE_H
#define NIWA_CLI_SHOW_AWAKE_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* Each fills buf with the text of one line, "" where there is nothing to say, and returns it. */
char *niwa_show_awake(const json_t *app, uint64_t now_us, char *buf, size_t size);
char *niwa_show_next_wake(const json_t *app, uint64_t now_us, char *buf, size_t size);
char *niwa_show_refused(const json_t *app, char *buf, size_t size);

#endif
