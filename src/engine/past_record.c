/* SPDX-License-Identifier: MIT
 *
 * A version, then numbers of seven bits a byte, the least first, all but the last with the highest bit set (LEB128):
 * the boot, milliseconds, microseconds, KiB; then to the end pairs of a bucket and its weight, in order.
 */
#include "engine/past_record.h"

#define VERSION 1
#define MS      1000
#define KIB     1024

struct cursor {
	const uint8_t *at, *end;
	bool failed;
};

static uint8_t *put(uint8_t *at, uint64_t n)
{
	for (; n > 0x7f; n >>= 7)
		*at++ = (uint8_t)(n | 0x80);
	*at++ = (uint8_t)n;
	return at;
}

static uint64_t get(struct cursor *c, uint64_t max)
{
	uint64_t n = 0;

	for (unsigned shift = 0; !c->failed && shift < 64; shift += 7) {
		uint8_t byte = c->at < c->end ? *c->at++ : 0x80; /* without an end */

		n |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80) && n <= max)
			return n;
		c->failed = !(byte & 0x80) || c->at == c->end;
	}
	c->failed = true;
	return 0;
}

size_t niwa_past_record_pack(const struct niwa_past_record *record, uint8_t buf[NIWA_PAST_RECORD_MAX])
{
	uint8_t *at = put(buf, VERSION);

	at = put(at, record->boot);
	at = put(at, record->visited_us / MS);
	at = put(at, record->woke_us);
	at = put(at, record->needs_bytes / KIB);
	for (unsigned n = 0; n < NIWA_GAPS_BUCKETS; n++)
		if (record->gaps.weight[n])
			at = put(put(at, n), record->gaps.weight[n]);
	return (size_t)(at - buf);
}

bool niwa_past_record_unpack(const uint8_t *data, size_t len, struct niwa_past_record *ret)
{
	struct cursor c = {.at = data, .end = data + len};
	struct niwa_past_record r = {0};
	uint64_t bucket, next = 0;

	if (get(&c, UINT64_MAX) != VERSION)
		return false;
	r.boot = (uint32_t)get(&c, UINT32_MAX);
	r.visited_us = get(&c, UINT64_MAX / MS) * MS;
	r.woke_us = get(&c, UINT64_MAX);
	r.needs_bytes = get(&c, UINT64_MAX / KIB) * KIB;
	while (!c.failed && c.at < c.end) {
		bucket = get(&c, NIWA_GAPS_BUCKETS - 1);
		if (bucket < next)
			return false;
		next = bucket + 1;
		r.gaps.weight[bucket] = (uint16_t)get(&c, UINT16_MAX);
	}
	if (c.failed || !niwa_gaps_are_sound(&r.gaps))
		return false;
	*ret = r;
	return true;
}
