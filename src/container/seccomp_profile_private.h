/* SPDX-License-Identifier: MIT
 *
 * The list itself, for the test that compares the program with what libseccomp makes of it.
 */
#ifndef NIWA_CONTAINER_SECCOMP_PROFILE_PRIVATE_H
#define NIWA_CONTAINER_SECCOMP_PROFILE_PRIVATE_H

#include <stddef.h>

#include "container/seccomp_profile.h"

extern const char *const niwa_seccomp_allowed[]; /* allowed whatever the arguments are */
extern const size_t niwa_seccomp_allowed_count;

#endif
