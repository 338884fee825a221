/* SPDX-License-Identifier: MIT
 *
 * Finding niwa's own programs without talking to them.
 */
#ifndef NIWA_CLI_NIWA_PROCESS_H
#define NIWA_CLI_NIWA_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Does somebody listen on the Unix socket at path? Looks at /proc/net/unix: connecting to keep's would take it away
 * from niwad. */
bool niwa_socket_is_listened_on(const char *path);
/* A process with this name (comm), 0: none. */
pid_t niwa_process_find(const char *name);
/* The control group of a process in the v2 hierarchy (controller "") or in that of a v1 controller, below the mount
 * point: "/niwa.slice/niwad.service". False: not known. */
bool niwa_process_group(pid_t pid, const char *controller, char *buf, size_t size);

#endif
