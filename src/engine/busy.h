/* SPDX-License-Identifier: MIT
 *
 * Why an app that moves no byte is not to sleep: it has said that it is busy (a lease), or its schedule says so. An app
 * takes a lease by writing a time such as 5m to /run/niwa/busy, or, where it has NOTIFY_SOCKET, by the line BUSY=5m to
 * that; 0 gives it back. No lease is longer than lease_max; each may be renewed. Nothing but sleep heeds them:
 * lifetime, rotation, stop and limits do not.
 *
 * The file is looked at when an instance would be put to sleep and at no other time, so leases of many apps cost
 * nothing. What is in it is the tenant's: it is opened below the instance's root without following anything, and only a
 * regular file of a few bytes is read. Each change of it (ctime, which nobody can forge) begins one lease.
 */
#ifndef NIWA_ENGINE_BUSY_H
#define NIWA_ENGINE_BUSY_H

#include "engine/engine_private.h"

/* Until when this instance is not to sleep, CLOCK_MONOTONIC; 0 or what has passed: no longer. Looks at its file.
 * ret_why may be NULL; "lease", "its hours", "its schedule". */
uint64_t niwa_busy_until(struct niwa_instance *i, const char **ret_why);
bool niwa_is_busy(struct niwa_instance *i);
/* As far as is known without a look at its file. */
bool niwa_busy_is_known(const struct niwa_instance *i);
/* A lease was taken since the last look: between a decision and the freezer. */
bool niwa_busy_is_new(struct niwa_instance *i);

/* A datagram that came to its NOTIFY_SOCKET: BUSY= in it. False: there is none. */
bool niwa_busy_read(const char *text, size_t len, uint64_t *ret_us);
/* What the last one said, of those that came together. */
void niwa_busy_told(struct niwa_engine *e, struct niwa_instance *i, uint64_t us);

#endif
