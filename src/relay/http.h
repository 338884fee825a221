/* SPDX-License-Identifier: MIT
 *
 * The status line of an HTTP/1 answer (RFC 9112 section 4), for ready checks. A bounded cursor: resumable at any
 * byte, looks at 13 bytes, keeps three digits.
 */
#ifndef NIWA_RELAY_HTTP_H
#define NIWA_RELAY_HTTP_H

#include <stddef.h>
#include <stdint.h>

struct niwa_http_status { /* zero-initialise */
	uint8_t at;       /* position in the pattern */
	uint16_t code;    /* valid after DONE: 100 to 599 */
};

enum niwa_http_said { NIWA_HTTP_MORE, NIWA_HTTP_DONE, NIWA_HTTP_BAD };

enum niwa_http_said niwa_http_feed(struct niwa_http_status *s, const uint8_t *data, size_t len);

#endif
