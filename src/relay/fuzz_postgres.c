/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: the start of a PostgreSQL connection. In one piece and byte by byte it has to say the same at the
 * same places, and never take more than it was given.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/postgres.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Feeds pieces until something final was said; a digest of what was said where. */
static uint64_t run(const uint8_t *data, size_t size, size_t piece)
{
	struct niwa_postgres p = {0};
	uint64_t digest = 0;
	size_t at = 0;

	while (at < size) {
		size_t n = size - at < piece ? size - at : piece, used = SIZE_MAX;
		enum niwa_postgres_said said = niwa_postgres_feed(&p, data + at, n, &used);

		assert(used <= n && used > 0);
		assert(said != NIWA_POSTGRES_MORE || used == n);
		at += used;
		if (said != NIWA_POSTGRES_MORE)
			digest = digest * 1000003 + at * 8 + said;
		if (said != NIWA_POSTGRES_MORE && said != NIWA_POSTGRES_ENCRYPT)
			break;
	}
	assert(at <= 16 + NIWA_POSTGRES_STARTUP_MAX);
	return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole = run(data, size, SIZE_MAX);

	assert(whole == run(data, size, 1));
	assert(whole == run(data, size, 7));
	return 0;
}
