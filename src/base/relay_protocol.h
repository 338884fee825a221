/* SPDX-License-Identifier: MIT
 *
 * What niwa-relay and niwad say to each other, over an inherited SOCK_SEQPACKET pair (descriptor 4 of the relay;
 * descriptor 3 is the transparent listener). Fixed structs. The relay knows connections by tickets of its own;
 * the engine never sees a client byte. The pair outlives niwad (niwa-keep holds a copy of the engine's end):
 * when an engine takes it over it sends HELLO, and the relay sends OPEN again for every ticket that is unanswered.
 */
#ifndef NIWA_BASE_RELAY_PROTOCOL_H
#define NIWA_BASE_RELAY_PROTOCOL_H

#include <stdint.h>

enum niwa_relay_type {
	/* relay → engine */
	NIWA_RELAY_OPEN = 1, /* ticket, service, port, client, client_port, flags: a connection was accepted, or its first
				bytes are there now (NIWA_RELAY_BYTES). May be sent twice for a ticket: first without
				BYTES, answered WAIT, then with. */
	NIWA_RELAY_GONE,    /* ticket: an unanswered client has left, or its own deadline passed */
	NIWA_RELAY_RESULT,  /* ticket of a READY whose connect() was done: error = 0 or errno; stage times */
	NIWA_RELAY_CLOSED,  /* ticket of a spliced connection: it ended; bytes_in, bytes_out */
	NIWA_RELAY_CHECKED, /* ticket of a CHECK: error 0 = the ready check answered 2xx or 3xx */
	NIWA_RELAY_STATS,   /* answer to STATS: counters */
	/* engine → relay */
	NIWA_RELAY_HELLO,   /* a new engine: bounds in `limits` */
	NIWA_RELAY_WAIT,    /* ticket: client speaks first; tell me at the first byte. deadline_ms for that byte */
	NIWA_RELAY_HOLD,    /* ticket: waking; deadline_ms until READY or FAIL, else answer for `protocol` */
	NIWA_RELAY_READY,   /* ticket, to, to_port: connect and splice; -ECONNREFUSED etc. come back as RESULT and the
			       relay keeps holding the client for another READY or FAIL */
	NIWA_RELAY_FAIL,    /* ticket, protocol, kind, retry_after_s, text: answer in the protocol, lingering close */
	NIWA_RELAY_REFUSE,  /* ticket: reset */
	NIWA_RELAY_LISTEN,  /* port is published: host, host_port → service, port; one descriptor, a listening socket */
	NIWA_RELAY_UNLISTEN, /* host, host_port */
	NIWA_RELAY_CHECK,   /* ticket (engine's, high bit set), to, to_port, text = HTTP path, deadline_ms */
	NIWA_RELAY_ASK_STATS,
	NIWA_RELAY_DRAIN,   /* stop accepting (close the listeners), exit when the last connection ends */
};

#define NIWA_RELAY_BYTES 1u /* flags of OPEN: the client has sent something */
#define NIWA_RELAY_AGAIN 2u /* flags of OPEN: repeated after HELLO */

/* Bounds, named as in niwad.conf. */
struct niwa_relay_limits {
	uint32_t connections;         /* all, spliced and waiting */
	uint32_t waiting;             /* held: not yet spliced */
	uint32_t waiting_per_source;  /* held from one client address */
	uint32_t held_bytes;          /* of one held connection; more stays in the kernel's buffer */
	uint32_t first_byte_ms;       /* a silent client of a client-speaks-first port */
	uint32_t idle_ms;             /* a spliced connection without a byte, 0: no bound */
	uint32_t linger_ms;           /* lingering close after an answer of ours */
	uint32_t linger_bytes;
};

struct niwa_relay_msg {
	uint32_t type, flags;
	uint64_t ticket;
	uint32_t service, client, to, host; /* IPv4, network order */
	uint16_t port, client_port, to_port, host_port; /* host order */
	uint32_t protocol;  /* enum niwa_protocol of spec/app.h */
	uint32_t kind;      /* enum niwa_error_kind */
	uint32_t deadline_ms, retry_after_s;
	int32_t error;
	uint64_t accepted_us, connected_us, first_byte_us; /* CLOCK_MONOTONIC; RESULT carries accepted and connected,
							      CLOSED also first_byte (from the instance) */
	uint64_t bytes_in, bytes_out;
	struct niwa_relay_limits limits;
	uint64_t counters[8]; /* STATS: open, waiting, accepted, spliced, answered, refused, bytes, over_limit */
	char text[256];
};

#endif
