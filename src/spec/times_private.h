/* SPDX-License-Identifier: MIT
 *
 * Names of days and months, as both kinds of times have them.
 */
#ifndef NIWA_SPEC_TIMES_PRIVATE_H
#define NIWA_SPEC_TIMES_PRIVATE_H

#include <stddef.h>

extern const char *const niwa_weekday_names[7]; /* sun, mon, ... */
/* The index of a name of three letters, in any case; -1: none of them. */
int niwa_name_index(const char *text, size_t len, const char *const *names, size_t count);

#endif
