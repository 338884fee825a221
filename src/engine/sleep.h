/* SPDX-License-Identifier: MIT
 *
 * The governor's looks at an awake app, freezing and thawing.
 */
#ifndef NIWA_ENGINE_SLEEP_H
#define NIWA_ENGINE_SLEEP_H

#include "engine/engine_private.h"

/* Begins to look at an instance that has just become ready (or was adopted). */
void niwa_sleep_watch(struct niwa_engine *e, struct niwa_instance *i);
void niwa_sleep_unwatch(struct niwa_instance *i);

/* frozen <- running. Asynchronous; a wake meanwhile cancels it. */
int niwa_sleep_freeze(struct niwa_engine *e, struct niwa_instance *i, const char *why, struct niwa_error *err);
/* running <- frozen or freezing, at once. */
void niwa_sleep_thaw(struct niwa_engine *e, struct niwa_instance *i, const char *why);
/* Only the control group, without a change of state: before a stop. */
void niwa_sleep_release(struct niwa_engine *e, struct niwa_instance *i);

/* An adopted instance that is frozen: its way deeper is watched. */
void niwa_sleep_resume_frozen(struct niwa_engine *e, struct niwa_instance *i);

/* The kernel's `knocked` set is read and what is in it is thawed. */
void niwa_sleep_read_knocked(struct niwa_engine *e);
void niwa_sleep_knocked(struct niwa_engine *e, const struct niwa_net_knock *knock);
/* Where knocks may have been lost (the rules were gone for a while): thaws each frozen instance whose byte counter is
 * not the one of its freezing. */
void niwa_sleep_compare_frozen(struct niwa_engine *e);
/* The same at adoption, when no counter is known: thaws those that are not in the kernel's `frozen` set. */
void niwa_sleep_thaw_unwatched(struct niwa_engine *e);

/* More TCP sockets than this in an instance are not looked at one by one: it counts as busy. */
#define NIWA_SLEEP_SOCKETS_MAX 4096
bool niwa_sleep_too_many_sockets(const struct niwa_instance *i);
/* Connections that moved data within sleep.connection. */
bool niwa_sleep_has_connections(const struct niwa_instance *i);
/* Somebody waits for an answer of the instance. */
bool niwa_sleep_owes_answer(const struct niwa_instance *i);

/* Bytes through the veth and CPU time of the group, both since the start. */
int niwa_sleep_usage(struct niwa_engine *e, struct niwa_instance *i, uint64_t *ret_bytes, uint64_t *ret_cpu_us);
uint64_t niwa_sleep_memory(struct niwa_engine *e, const struct niwa_instance *i);

#endif
