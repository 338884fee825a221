/* SPDX-License-Identifier: MIT
 *
 * The relay's own cell.
 */
#ifndef NIWA_RELAY_CONFINE_H
#define NIWA_RELAY_CONFINE_H

/* Once, before anything comes from outside. -errno: the kernel has no seccomp, or the machine is not one that the
 * filter was written for; then every capability is given up instead, and apps see the host's address. */
int niwa_confine(void);

#endif
