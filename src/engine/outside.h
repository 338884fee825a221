/* SPDX-License-Identifier: MIT
 *
 * What an instance has written outside its volumes, as far as a bounded look sees. An app makes its folders as deep and
 * as wide as it likes, and may move them while they are looked at: the look costs at most that many entries and
 * NIWA_OUTSIDE_DEPTH descriptors, follows no link, and never builds a path.
 */
#ifndef NIWA_ENGINE_OUTSIDE_H
#define NIWA_ENGINE_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>

#define NIWA_OUTSIDE_DEPTH 32

struct niwa_outside {
	uint64_t bytes; /* on disk, of regular files */
	bool cut;       /* there is more that was not looked at */
};

/* Adds to *ret what is below the folder. One that cannot be opened holds nothing. */
void niwa_outside_add(const char *path, unsigned entries, struct niwa_outside *ret);

#endif
