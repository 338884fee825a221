/* SPDX-License-Identifier: MIT
 *
 * Each bucket says until when its source has asked ahead: that may be a second from now.
 */
#include "api/rate.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

struct niwa_rate {
	uint64_t each_ns; /* that a question takes */
	uint64_t busy_until_ns[NIWA_RATE_BUCKETS];
};

struct niwa_rate *niwa_rate_new(uint32_t per_second)
{
	struct niwa_rate *rate = niwa_zalloc(sizeof(*rate));

	if (rate)
		rate->each_ns = 1000 * NIWA_SEC / (per_second ? per_second : 1);
	return rate;
}

void niwa_rate_free(struct niwa_rate **rate)
{
	free(*rate);
	*rate = NULL;
}

bool niwa_rate_allow(struct niwa_rate *rate, uint32_t addr, uint64_t now_us)
{
	uint64_t *until = &rate->busy_until_ns[ntohl(addr) % NIWA_RATE_BUCKETS], now = now_us * 1000;

	if (*until < now)
		*until = now;
	if (*until + rate->each_ns > now + 1000 * NIWA_SEC)
		return false;
	*until += rate->each_ns;
	return true;
}
