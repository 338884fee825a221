/* SPDX-License-Identifier: MIT
 *
 * Time: CLOCK_MONOTONIC in microseconds everywhere inside, wall time only for people.
 */
#ifndef NIWA_BASE_CLOCK_H
#define NIWA_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NIWA_MS  ((uint64_t)1000)    /* microseconds in a millisecond */
#define NIWA_SEC ((uint64_t)1000000) /* microseconds in a second */

uint64_t niwa_now_us(void);      /* CLOCK_MONOTONIC */
uint64_t niwa_realtime_us(void); /* CLOCK_REALTIME, since 1970 */

/* "2026-11-22T21:49:03.123456Z"; buf of at least 32 bytes; returns buf. */
char *niwa_time_format(uint64_t realtime_us, char *buf, size_t size);

#endif
