/* SPDX-License-Identifier: MIT
 *
 * Between counting and telling.
 */
#ifndef NIWA_ENGINE_METRICS_PRIVATE_H
#define NIWA_ENGINE_METRICS_PRIVATE_H

#include "engine/metrics.h"

/* Microseconds; bucket below NIWA_BUCKETS - 1. */
uint32_t niwa_histogram_bound(enum niwa_scale scale, unsigned bucket);

#endif
