/* SPDX-License-Identifier: MIT
 *
 * What a PostgreSQL client says before it may be answered: SSLRequest and GSSENCRequest (each answered 'N', once),
 * then its StartupMessage (protocol chapter "Start-up"). A bounded cursor: resumable at any byte, allocates nothing,
 * keeps nothing of the message but its length.
 */
#ifndef NIWA_RELAY_POSTGRES_H
#define NIWA_RELAY_POSTGRES_H

#include <stddef.h>
#include <stdint.h>

#define NIWA_POSTGRES_STARTUP_MAX 10000 /* bytes, as in the server */

struct niwa_postgres {   /* zero-initialise */
	uint8_t head[8]; /* length and code */
	uint8_t have;    /* bytes of head */
	uint8_t asked;   /* bits: which encryption was asked for already */
	uint16_t rest;   /* bytes of the message still to come */
};

enum niwa_postgres_said {
	NIWA_POSTGRES_MORE,    /* all was taken; more is needed */
	NIWA_POSTGRES_ENCRYPT, /* answer 'N', then feed what is left */
	NIWA_POSTGRES_STARTUP, /* complete: answer now */
	NIWA_POSTGRES_CANCEL,  /* a CancelRequest: nobody listens for an answer */
	NIWA_POSTGRES_BAD,     /* not this protocol */
};

/* Takes bytes until something was said. *ret_used: how many of len. After STARTUP, CANCEL and BAD it is over. */
enum niwa_postgres_said niwa_postgres_feed(struct niwa_postgres *p, const uint8_t *data, size_t len, size_t *ret_used);

#endif
