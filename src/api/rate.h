/* SPDX-License-Identifier: MIT
 *
 * How much each source may ask: a bucket of one second's questions, filled all the time. A table of fixed size; sources
 * whose addresses differ by a multiple of it share a bucket. Pure: the clock is the caller's.
 */
#ifndef NIWA_API_RATE_H
#define NIWA_API_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define NIWA_RATE_BUCKETS 16384

struct niwa_rate; /* opaque */

struct niwa_rate *niwa_rate_new(uint32_t per_second); /* NULL: out of memory */
void niwa_rate_free(struct niwa_rate **rate);
/* addr in network order; now_us never goes back. False: one too many. */
bool niwa_rate_allow(struct niwa_rate *rate, uint32_t addr, uint64_t now_us);

#endif
