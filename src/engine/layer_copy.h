/* SPDX-License-Identifier: MIT
 *
 * A copy of what an app has written, with the ids of a container on disk instead of those of a lease. Touches nothing
 * of the engine: for threads.
 */
#ifndef NIWA_ENGINE_LAYER_COPY_H
#define NIWA_ENGINE_LAYER_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "snapshot/manifest.h"

#define NIWA_LAYER_DEPTH   64
#define NIWA_LAYER_ENTRIES NIWA_MANIFEST_PARTS_MAX /* no image has more */

struct niwa_layer_copy {
	int from, to;     /* folders; stay the caller's */
	uint32_t id_base; /* of the lease: ids from here become 0 and on */
	uint64_t *bytes;  /* that may still be written, counted down; -EFBIG beyond. Holes are kept and do not count */
	uint64_t deadline_us; /* niwa_now_us; -ETIMEDOUT beyond; 0: none */
	bool over;            /* what is in `to` already lies below: the result is what is seen of both */
	int image;            /* with over: the root of what lies below the two, for what they hide of it */
	bool overlay;         /* from is an overlay's upper folder: whiteouts and opaque folders mean something */
};
/* What is in `from` into `to`, whose owner and mode become those of `from`. Links are copied as links, sockets as
 * sockets; no path leaves the two folders. -E2BIG: too deep or too many. Access lists and capabilities of files name
 * ids of the lease, and a file of several names would become several files: refused. -ETIMEDOUT is NIWA_TEMPORARY. */
int niwa_layer_copy(const struct niwa_layer_copy *copy, struct niwa_error *err);

#endif
