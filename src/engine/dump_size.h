/* SPDX-License-Identifier: MIT
 *
 * How large an image of a group of processes would be. What processes share since their fork the kernel counts once,
 * and CRIU writes once for each of them; what is in swap counts as well. Touches nothing of the engine: for threads.
 */
#ifndef NIWA_ENGINE_DUMP_SIZE_H
#define NIWA_ENGINE_DUMP_SIZE_H

#include <stdint.h>

/* Of all in procs (a cgroup.procs), bytes of private memory; 0 when nothing can be read. */
uint64_t niwa_dump_size(const char *procs);

#endif
