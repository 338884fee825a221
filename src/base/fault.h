/* SPDX-License-Identifier: MIT
 *
 * Fault injection at named points, for tests that break a program on purpose. Without the
 * environment variable NIWA_FAULT a point costs one load. Never set it in production.
 *
 *   NIWA_FAULT=POINT:kill       SIGKILL to ourselves at the first pass
 *   NIWA_FAULT=POINT:kill@3     at the third pass
 *   NIWA_FAULT=POINT:ENOSPC     the point returns -ENOSPC (any of the names in fault.c), each pass; @N: only then
 *   NIWA_FAULT=POINT:stop       SIGSTOP to ourselves
 *   NIWA_FAULT=POINT:slow       goes on after two seconds
 *   NIWA_FAULT=POINT:hang       until somebody kills us (the first process of a pid namespace cannot do it itself)
 * Several, separated by commas.
 */
#ifndef NIWA_BASE_FAULT_H
#define NIWA_BASE_FAULT_H

/* 0, or the negative errno that was asked for; may not return. */
int niwa_fault(const char *point);
/* The same for the point "POINT.STEP". */
int niwa_fault_step(const char *point, const char *step);

#endif
