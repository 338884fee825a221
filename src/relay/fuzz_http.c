/* SPDX-License-Identifier: MIT
 *
 * Fuzz target: the status line of an HTTP/1 answer. In one piece and byte by byte it has to say the same.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct niwa_http_status whole = {0}, bytes = {0};
	enum niwa_http_said a = niwa_http_feed(&whole, data, size), b = NIWA_HTTP_MORE;

	for (size_t i = 0; i < size && b == NIWA_HTTP_MORE; i++)
		b = niwa_http_feed(&bytes, data + i, 1);
	assert(a == b);
	assert(a != NIWA_HTTP_DONE || (whole.code == bytes.code && whole.code >= 100 && whole.code <= 599));
	return 0;
}
