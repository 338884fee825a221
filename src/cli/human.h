/* SPDX-License-Identifier: MIT
 *
 * Times and sizes as people read them. Every function writes to buf and returns it; 16 bytes are enough.
 */
#ifndef NIWA_CLI_HUMAN_H
#define NIWA_CLI_HUMAN_H

#include <stddef.h>
#include <stdint.h>

char *niwa_human_took(uint64_t us, char *buf, size_t size); /* "850 us", "12.4 ms", "1.24 s", "3 min" */
char *niwa_human_ago(uint64_t at_us, uint64_t now_us, char *buf, size_t size); /* "now", "3 s ago", "-" for 0 */
char *niwa_human_bytes(uint64_t bytes, char *buf, size_t size);                /* "0", "512 B", "12.4 MiB" */

#endif
