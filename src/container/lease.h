/* SPDX-License-Identifier: MIT
 *
 * What an instance borrows from the host while it lives: a range of 65,536 user ids and a private address.
 * Pure tables in memory, every call O(1); after a restart the engine marks what it finds in use. What was
 * returned the longest ago (or never used) is given out first. An address rests before it is used again,
 * because conntrack and clients may still remember the instance that had it.
 */
#ifndef NIWA_CONTAINER_LEASE_H
#define NIWA_CONTAINER_LEASE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NIWA_LEASE_IDS    65536u                   /* ids of one lease */
#define NIWA_LEASE_BASE   0x10000000u              /* default pool: first id, ... */
#define NIWA_LEASE_COUNT  10000u                   /* ... number of leases */
#define NIWA_ADDR_REST_US (60 * UINT64_C(1000000)) /* pause before an address is used again, at least */

struct niwa_lease_pool; /* opaque */

/* base and base + count * 65536 must fit 32 bits, base must be a multiple of 65,536 and not 0. */
int niwa_lease_pool_new(uint32_t base, uint32_t count, struct niwa_lease_pool **ret, struct niwa_error *err);
void niwa_lease_pool_free(struct niwa_lease_pool **pool);
/* -EAGAIN with a message when all are leased. */
int niwa_lease_take(struct niwa_lease_pool *pool, uint32_t *ret_base, struct niwa_error *err);
/* Adoption: this one is in use. -EEXIST: it was marked before, -ERANGE: not one of the pool's. */
int niwa_lease_mark(struct niwa_lease_pool *pool, uint32_t base);
/* -ENOENT: was not leased, -ERANGE: not one of the pool's. */
int niwa_lease_return(struct niwa_lease_pool *pool, uint32_t base);
uint32_t niwa_lease_in_use(const struct niwa_lease_pool *pool);

/* Looks for a range of /etc/subuid or /etc/subgid ("name:first:count" lines) that overlaps the ids first to
 * first+count-1: two owners of one id could reach into each other. text: the file's content. source: its name, for
 * the message. 0 or -EEXIST with the line. Lines that are not understood are skipped. */
int niwa_lease_check_subid(const char *text, const char *source, uint64_t first, uint64_t count,
			   struct niwa_error *err);

struct niwa_addr_pool; /* opaque */

/* Addresses of net/bits (network order), without the network's own, the first one (the gateway) and the last.
 * bits 8 to 29. Rest: see NIWA_ADDR_REST_US. */
int niwa_addr_pool_new(uint32_t net, unsigned bits, uint64_t rest_us, struct niwa_addr_pool **ret,
		       struct niwa_error *err);
void niwa_addr_pool_free(struct niwa_addr_pool **pool);
/* Before the first one is given out: who does not know which addresses were used a moment ago begins at another one at
 * each moment, as far on as a pool is that gives out as many as can rest. */
void niwa_addr_pool_resume(struct niwa_addr_pool *pool, uint64_t now_us);
/* now_us: CLOCK_MONOTONIC, never going back. -EAGAIN with a message when every address is in use or resting. */
int niwa_addr_take(struct niwa_addr_pool *pool, uint64_t now_us, uint32_t *ret_addr, struct niwa_error *err);
int niwa_addr_mark(struct niwa_addr_pool *pool, uint32_t addr);                    /* as niwa_lease_mark */
int niwa_addr_return(struct niwa_addr_pool *pool, uint64_t now_us, uint32_t addr); /* as niwa_lease_return */
uint32_t niwa_addr_in_use(const struct niwa_addr_pool *pool);

#endif
