/* SPDX-License-Identifier: MIT
 *
 * What is remembered of an app's visits: how long it was quiet between them, as a histogram of half octaves from one
 * second to three days. Older gaps fade: at most the last 64 to 128 count. Pure, 72 bytes, zero-initialised.
 */
#ifndef NIWA_GOVERNOR_GAPS_H
#define NIWA_GOVERNOR_GAPS_H

#include <stdbool.h>
#include <stdint.h>

#define NIWA_GAPS_BUCKETS 36
#define NIWA_GAPS_LEAST   ((uint64_t)1000000) /* shorter ones are not counted: nothing is decided so soon */
#define NIWA_GAPS_ENOUGH  6                   /* from so many on an app's past says something of its future */

struct niwa_gaps {
	uint16_t weight[NIWA_GAPS_BUCKETS];
};

void niwa_gaps_add(struct niwa_gaps *gaps, uint64_t gap_us);
/* What niwa_gaps_add can have made; others come from a damaged store. */
bool niwa_gaps_are_sound(const struct niwa_gaps *gaps);
/* How many are remembered, rounded up. */
unsigned niwa_gaps_count(const struct niwa_gaps *gaps);
/* Where bucket n begins; for NIWA_GAPS_BUCKETS the end of the last one, in which longer gaps are counted too. */
uint64_t niwa_gaps_edge_us(unsigned n);
/* The bucket of a gap; the first one for shorter ones. */
unsigned niwa_gaps_bucket(uint64_t gap_us);
/* The part of all gaps that is longer, 1 for 0; between edges as if a bucket's gaps were spread evenly. What was never
 * seen is not impossible: one gap more is assumed, that is longer than t with a chance of (1 s / t) ^ 1/4. */
double niwa_gaps_longer(const struct niwa_gaps *gaps, uint64_t than_us);

#endif
