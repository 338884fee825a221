/* SPDX-License-Identifier: MIT
 *
 * One table serves both: numbered slots, never-used ones first, then a queue of returned ones. Memory of slots
 * that were never used is never touched, so a large pool costs nothing until it is used.
 */
#include "container/lease.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum slot_state { SLOT_NEVER_USED = 0, SLOT_IN_USE, SLOT_RETURNED };

struct slot {
	uint32_t prev, next;  /* queue of returned ones; slot number + 1, 0: none */
	uint32_t returned_ds; /* tenths of a second */
	uint8_t state;
};

struct table {
	struct slot *slots;
	uint32_t count, in_use;
	uint32_t fresh,
		tried; /* the slot that is the next to be given out for the first time; how many were looked at */
	uint32_t first, last; /* of the queue, oldest first; slot number + 1 */
};

static int table_init(struct table *t, uint32_t count)
{
	t->slots = niwa_zalloc((size_t)count * sizeof(struct slot));
	if (!t->slots)
		return -ENOMEM;
	t->count = count;
	return 0;
}

static void queue_remove(struct table *t, uint32_t n)
{
	struct slot *s = &t->slots[n];

	if (s->prev)
		t->slots[s->prev - 1].next = s->next;
	else
		t->first = s->next;
	if (s->next)
		t->slots[s->next - 1].prev = s->prev;
	else
		t->last = s->prev;
	s->prev = s->next = 0;
}

static void use(struct table *t, uint32_t n)
{
	t->slots[n].state = SLOT_IN_USE;
	t->in_use++;
}

static bool take_fresh(struct table *t, uint32_t *ret)
{
	for (; t->tried < t->count; t->tried++) {
		uint32_t n = t->fresh;

		t->fresh = n + 1 < t->count ? n + 1 : 0;
		if (t->slots[n].state != SLOT_NEVER_USED)
			continue;
		t->tried++;
		use(t, n);
		*ret = n;
		return true;
	}
	return false;
}

static bool table_take(struct table *t, uint32_t now_ds, uint32_t rest_ds, uint32_t *ret)
{
	if (take_fresh(t, ret))
		return true;
	if (!t->first || now_ds - t->slots[t->first - 1].returned_ds < rest_ds)
		return false;
	*ret = t->first - 1;
	queue_remove(t, *ret);
	use(t, *ret);
	return true;
}

static int table_mark(struct table *t, uint32_t n)
{
	if (t->slots[n].state == SLOT_IN_USE)
		return -EEXIST;
	if (t->slots[n].state == SLOT_RETURNED)
		queue_remove(t, n);
	use(t, n);
	return 0;
}

static int table_return(struct table *t, uint32_t n, uint32_t now_ds)
{
	struct slot *s = &t->slots[n];

	if (s->state != SLOT_IN_USE)
		return -ENOENT;
	*s = (struct slot){.state = SLOT_RETURNED, .returned_ds = now_ds, .prev = t->last};
	if (t->last)
		t->slots[t->last - 1].next = n + 1;
	else
		t->first = n + 1;
	t->last = n + 1;
	t->in_use--;
	return 0;
}

struct niwa_lease_pool {
	struct table table;
	uint32_t base;
};

int niwa_lease_pool_new(uint32_t base, uint32_t count, struct niwa_lease_pool **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_lease_pool_free) struct niwa_lease_pool *pool = NULL;

	if (base == 0 || base % NIWA_LEASE_IDS)
		return niwa_fail(err, NIWA_CALLER, 0, "id pool: first id %u must be a multiple of 65536 and not 0",
				 base);
	/* 4294967295 is no id but "unchanged" */
	if (count == 0 || (uint64_t)base + (uint64_t)count * NIWA_LEASE_IDS > UINT32_MAX)
		return niwa_fail(err, NIWA_CALLER, 0, "id pool: %u ranges of 65536 ids from %u do not fit below 2^32",
				 count, base);
	pool = niwa_zalloc(sizeof(*pool));
	if (!pool || table_init(&pool->table, count) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "id pool of %u ranges", count);
	pool->base = base;
	*ret = NIWA_TAKE(pool);
	return 0;
}

void niwa_lease_pool_free(struct niwa_lease_pool **pool)
{
	if (!*pool)
		return;
	free((*pool)->table.slots);
	free(*pool);
	*pool = NULL;
}

int niwa_lease_take(struct niwa_lease_pool *pool, uint32_t *ret_base, struct niwa_error *err)
{
	uint32_t n;

	if (!table_take(&pool->table, 0, 0, &n))
		return niwa_fail(err, NIWA_TEMPORARY, EAGAIN, "all %u id ranges are in use (lease_count in niwad.conf)",
				 pool->table.count);
	*ret_base = pool->base + n * NIWA_LEASE_IDS;
	return 0;
}

static int lease_number(const struct niwa_lease_pool *pool, uint32_t base, uint32_t *ret)
{
	uint32_t n;

	if (base < pool->base || (base - pool->base) % NIWA_LEASE_IDS)
		return -ERANGE;
	n = (base - pool->base) / NIWA_LEASE_IDS;
	if (n >= pool->table.count)
		return -ERANGE;
	*ret = n;
	return 0;
}

int niwa_lease_mark(struct niwa_lease_pool *pool, uint32_t base)
{
	uint32_t n;
	int r = lease_number(pool, base, &n);

	return r < 0 ? r : table_mark(&pool->table, n);
}

int niwa_lease_return(struct niwa_lease_pool *pool, uint32_t base)
{
	uint32_t n;
	int r = lease_number(pool, base, &n);

	return r < 0 ? r : table_return(&pool->table, n, 0);
}

uint32_t niwa_lease_in_use(const struct niwa_lease_pool *pool)
{
	return pool->table.in_use;
}

/* "name:first:count"; false when the line is none. */
static bool parse_subid(const char *line, size_t len, uint64_t *ret_first, uint64_t *ret_count)
{
	const char *colon = memchr(line, ':', len);
	char buf[64], *end;

	if (!colon || (size_t)(line + len - colon) >= sizeof(buf))
		return false;
	memcpy(buf, colon + 1, (size_t)(line + len - colon - 1));
	buf[line + len - colon - 1] = '\0';
	*ret_first = strtoull(buf, &end, 10);
	if (end == buf || *end != ':')
		return false;
	*ret_count = strtoull(end + 1, &end, 10);
	return *end == '\0' && *ret_count > 0;
}

int niwa_lease_check_subid(const char *text, const char *source, uint64_t first, uint64_t count, struct niwa_error *err)
{
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		uint64_t f, n;

		if (parse_subid(line, len, &f, &n) && f < first + count && (f >= first || first - f < n))
			return niwa_fail(
				err, NIWA_PERMANENT, EEXIST,
				"ids %llu to %llu are niwa's, but %s gives some of them away ('%.*s'): change that "
				"line or lease_base in niwad.conf",
				(unsigned long long)first, (unsigned long long)(first + count - 1), source,
				(int)(len < 80 ? len : 80), line);
		line += len;
		line += *line == '\n';
	}
	return 0;
}

struct niwa_addr_pool {
	struct table table;
	uint32_t first; /* host order: address of slot 0 */
	uint32_t rest_ds;
};

/* 32 bits of tenths of a second are 13 years; differences wrap correctly. */
static uint32_t to_ds(uint64_t us)
{
	return (uint32_t)(us / 100000);
}

int niwa_addr_pool_new(uint32_t net, unsigned bits, uint64_t rest_us, struct niwa_addr_pool **ret,
		       struct niwa_error *err)
{
	NIWA_AUTO(niwa_addr_pool_free) struct niwa_addr_pool *pool = NULL;
	uint32_t size, base = ntohl(net);

	if (bits < 8 || bits > 29)
		return niwa_fail(err, NIWA_CALLER, 0, "private addresses: /%u is not between /8 and /29", bits);
	size = UINT32_C(1) << (32 - bits);
	if (base & (size - 1))
		return niwa_fail(err, NIWA_CALLER, 0, "private addresses: the network has bits below /%u", bits);
	pool = niwa_zalloc(sizeof(*pool));
	if (!pool || table_init(&pool->table, size - 3) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "private addresses");
	pool->first = base + 2;
	pool->rest_ds = to_ds(rest_us);
	*ret = NIWA_TAKE(pool);
	return 0;
}

void niwa_addr_pool_resume(struct niwa_addr_pool *pool, uint64_t now_us)
{
	uint32_t rest = pool->rest_ds ? pool->rest_ds : 1;

	pool->table.fresh = (uint32_t)((uint64_t)pool->table.count * (to_ds(now_us) % rest) / rest);
}

void niwa_addr_pool_free(struct niwa_addr_pool **pool)
{
	if (!*pool)
		return;
	free((*pool)->table.slots);
	free(*pool);
	*pool = NULL;
}

int niwa_addr_take(struct niwa_addr_pool *pool, uint64_t now_us, uint32_t *ret_addr, struct niwa_error *err)
{
	uint32_t n;

	if (!table_take(&pool->table, to_ds(now_us), pool->rest_ds, &n))
		return niwa_fail(
			err, NIWA_TEMPORARY, EAGAIN,
			"no private address is free: %u in use, %u resting (make private_range in niwad.conf larger)",
			pool->table.in_use, pool->table.count - pool->table.in_use);
	*ret_addr = htonl(pool->first + n);
	return 0;
}

static int addr_number(const struct niwa_addr_pool *pool, uint32_t addr, uint32_t *ret)
{
	uint32_t n = ntohl(addr) - pool->first; /* below it: wraps to something large */

	if (n >= pool->table.count)
		return -ERANGE;
	*ret = n;
	return 0;
}

int niwa_addr_mark(struct niwa_addr_pool *pool, uint32_t addr)
{
	uint32_t n;
	int r = addr_number(pool, addr, &n);

	return r < 0 ? r : table_mark(&pool->table, n);
}

int niwa_addr_return(struct niwa_addr_pool *pool, uint64_t now_us, uint32_t addr)
{
	uint32_t n;
	int r = addr_number(pool, addr, &n);

	return r < 0 ? r : table_return(&pool->table, n, to_ds(now_us));
}

uint32_t niwa_addr_in_use(const struct niwa_addr_pool *pool)
{
	return pool->table.in_use;
}
