/* SPDX-License-Identifier: MIT
 *
 * What a client is told when its app cannot be had, in the protocol of the port. Pure: no socket, no clock.
 * Sources: RFC 9110 and 9112 (HTTP), RFC 5321 and 3463 (SMTP), RFC 2033 (LMTP), RFC 9051 and 5530 (IMAP),
 * RFC 1939 and 3206 (POP3), the PostgreSQL and MySQL protocol chapters, RESP (Redis).
 */
#ifndef NIWA_RELAY_ANSWER_H
#define NIWA_RELAY_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "spec/app.h"

#define NIWA_ANSWER_MAX 2048 /* bytes of any answer */

struct niwa_answer {
	enum niwa_protocol protocol;
	enum niwa_error_kind kind; /* NIWA_NONE counts as temporary */
	uint32_t retry_after_s;    /* HTTP; 0: 5 */
	const char *text;          /* one line for people; control and non-ASCII bytes are replaced */
};

/* Writes the answer to buf (NIWA_ANSWER_MAX). Returns its length; 0: the protocol has none, reset the connection. */
size_t niwa_answer_format(const struct niwa_answer *a, char *buf, size_t size);

#endif
