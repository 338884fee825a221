/* SPDX-License-Identifier: MIT
 *
 * Numbers in /proc and /sys.
 */
#ifndef NIWA_CLI_PROC_NUMBER_H
#define NIWA_CLI_PROC_NUMBER_H

#include <stdint.h>

/* The first number of a file; preset when there is none. "max" is UINT64_MAX. */
uint64_t niwa_proc_number(const char *path, uint64_t preset);

#endif
