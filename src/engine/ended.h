/* SPDX-License-Identifier: MIT
 *
 * What instances that have ended leave in the kernel's tables: the connections that conntrack translates to them, and
 * their element in `marks`. Both are taken away in rounds, of many instances at once, since finding the connections of
 * one takes as long as finding those of a thousand: a thread walks the table, then the loop deletes the elements. An
 * address rests for a minute before it has another owner, so nobody waits for it. The element goes last: a niwad that
 * comes before knows by it what to look for.
 */
#ifndef NIWA_ENGINE_ENDED_H
#define NIWA_ENGINE_ENDED_H

#include "engine/engine_private.h"

/* To be called once nothing of the instance is left that sends, and its address rests. Without memory it is done at
 * once. */
void niwa_ended_put(struct niwa_engine *e, uint32_t private_addr, uint32_t mark);

#endif
