/* SPDX-License-Identifier: MIT
 *
 * The system call filter of instances: the allow-list that OCI runtimes use by default, for the native
 * architecture only, compiled once per process. Calls that are not on it answer EPERM; clone3
 * and calls newer than the list answer ENOSYS, so that C libraries fall back to what they used before.
 * docs/adr/002-images-and-instances.md says where and why the list differs.
 */
#ifndef NIWA_CONTAINER_SECCOMP_PROFILE_H
#define NIWA_CONTAINER_SECCOMP_PROFILE_H

#include <stdint.h>

#include "base/error.h"

/* *ret: an array of struct sock_filter, *ret_len its bytes. It is the module's own and stays until exit. */
int niwa_seccomp_profile(const void **ret, uint32_t *ret_len, struct niwa_error *err);

#endif
