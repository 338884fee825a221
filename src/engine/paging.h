/* SPDX-License-Identifier: MIT
 *
 * A frozen app's memory goes to swap, and what it had resident is fetched when it is woken. Both are done by threads:
 * one app at a time is paged, within page_budget a minute and page_deadline; a wake in the middle stops it.
 */
#ifndef NIWA_ENGINE_PAGING_H
#define NIWA_ENGINE_PAGING_H

#include "engine/engine_private.h"

/* paged <- frozen, some time later. -EAGAIN: another app is being paged, or the minute's budget is spent: ask again. */
int niwa_paging_begin(struct niwa_engine *e, struct niwa_instance *i, const char *why);
/* It is thawed, or ends: paging it stops. */
void niwa_paging_stop(struct niwa_engine *e, const struct niwa_instance *i);
/* A paged app was thawed: what it had is read before it is asked for. A hint; without it pages come one by one. */
void niwa_paging_fetch(struct niwa_engine *e, const struct niwa_instance *i);

#endif
