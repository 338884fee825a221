/* SPDX-License-Identifier: MIT
 *
 * What niwa-relay and niwad say to each other, over an inherited SOCK_SEQPACKET pair (descriptor 4 of the relay;
 * descriptor 3 is the transparent listener). Fixed structs. The relay knows connections by tickets of its own;
 * the engine never sees a client byte. The pair outlives niwad (niwa-keep holds a copy of the engine's end):
 * when an engine takes it over it sends HELLO, and the relay sends OPEN again for every ticket that is unanswered.
 * A message whose length is not sizeof(struct niwa_relay_msg) is ignored. Reserved and unused members are 0.
 *
 * The life of a ticket. OPEN begins it. It ends with exactly one of: FAIL or REFUSE (from the engine), GONE (the
 * client left, or the relay's own deadline passed and it gave the answer itself; also after a READY, then instead of
 * RESULT), CLOSED (after RESULT with error 0). Messages for tickets that have ended cross on the way: both sides
 * ignore what they do not know. The engine may answer an OPEN at once with WAIT, HOLD, READY, FAIL or REFUSE; READY
 * also while it waits for the first byte; REFUSE also cuts a spliced connection (CLOSED follows). After HELLO the
 * new engine may get a RESULT or CLOSED of its predecessor's tickets, and an OPEN that the predecessor never read
 * as well as its repetition with AGAIN.
 */
#ifndef NIWA_BASE_RELAY_PROTOCOL_H
#define NIWA_BASE_RELAY_PROTOCOL_H

#include <stdint.h>

enum niwa_relay_type {
	/* relay → engine */
	NIWA_RELAY_OPEN = 1, /* ticket, service, port, client, client_port, flags: a connection was accepted, or its
				first bytes are there now (NIWA_RELAY_BYTES). May be sent twice for a ticket: first
				without BYTES, answered WAIT, then with. */
	NIWA_RELAY_GONE,     /* ticket: an unanswered client has left (error 0), or the relay's own deadline passed
				(ETIMEDOUT) */
	NIWA_RELAY_RESULT,   /* ticket of a READY whose connect() was done: error = 0 or errno; stage times */
	NIWA_RELAY_CLOSED,  /* ticket of a spliced connection: it ended; bytes_in (from the client), bytes_out; service,
			       port, to, to_port too; error: 0, or what broke it (ECONNRESET, ETIMEDOUT: idle) */
	NIWA_RELAY_CHECKED, /* ticket of a CHECK: error 0 = the ready check answered 2xx or 3xx, else errno:
			       ECONNREFUSED, ETIMEDOUT, EPROTO (no HTTP), EBADMSG (another status), EBUSY; text says
			       which */
	NIWA_RELAY_STATS,   /* answer to ASK_STATS: counters; limits in force */
	/* engine → relay */
	NIWA_RELAY_HELLO,  /* a new engine: bounds in `limits`; with NIWA_RELAY_CLIENT_ADDR in flags connections to
			      instances begin at the client's address (host: the address that local clients have) */
	NIWA_RELAY_WAIT,   /* ticket: client speaks first; tell me at the first byte. deadline_ms for that byte (0:
			      first_byte_ms); protocol (0: not told): remembered for when a bound of the relay's is passed
			    */
	NIWA_RELAY_HOLD,   /* ticket: waking; deadline_ms until READY or FAIL (0: ask_ms), else answer for `protocol`
			      with retry_after_s and GONE. A second HOLD begins a new deadline */
	NIWA_RELAY_READY,  /* ticket, to, to_port: connect and splice; -ECONNREFUSED etc. come back as RESULT and the
			      relay keeps holding the client for another READY or FAIL */
	NIWA_RELAY_FAIL,   /* ticket, protocol, kind, retry_after_s, text: answer in the protocol, lingering close */
	NIWA_RELAY_REFUSE, /* ticket: reset */
	NIWA_RELAY_LISTEN, /* port is published: host, host_port → service, port, protocol; one descriptor, a listening
			      socket. Replaces an earlier one of the same host and host_port. With NIWA_RELAY_HOST6 in
			      flags the host is the IPv6 address in text, :: for all of both families. With
			      NIWA_RELAY_V6 it is the transparent listener of IPv6, and the first one stays */
	NIWA_RELAY_UNLISTEN, /* host, host_port; flags and text as with LISTEN */
	NIWA_RELAY_CHECK, /* ticket (engine's, high bit set), to, to_port, deadline_ms, text = HTTP path; after a blank
			     the value for the Host header may follow (else to:to_port). A ticket under way starts again
			   */
	NIWA_RELAY_ASK_STATS,
	NIWA_RELAY_DRAIN, /* stop accepting (close the listeners), exit when the last connection ends */
	/* relay → engine */
	NIWA_RELAY_DRAINING, /* that has begun, also because of a signal: start the next relay. Tickets go on */
};

#define NIWA_RELAY_CHECK_TICKET (UINT64_C(1) << 63) /* set in the tickets that the engine makes, for CHECK */
#define NIWA_RELAY_LISTENERS    1024 /* published ports of one relay; descriptors count too, see niwa-relay(8) */
#define NIWA_RELAY_CHECKS       256  /* ready checks under way; one more is CHECKED with EBUSY */

#define NIWA_RELAY_BYTES 1u /* flags of OPEN: the client has sent something */
#define NIWA_RELAY_AGAIN 2u /* flags of OPEN: repeated after HELLO */
#define NIWA_RELAY_V6                                                                                                  \
	4u /* flags of LISTEN, see there. Of OPEN: the client came by IPv6, text is its address (client: 0). Of READY: \
	      connect to the IPv6 address in text; where that fails, and for other clients, to `to` */
#define NIWA_RELAY_HOST6       8u /* flags of LISTEN and UNLISTEN */
#define NIWA_RELAY_CLIENT_ADDR 1u /* flags of HELLO */
#define NIWA_RELAY_PROXY_V1                                                                                            \
	1u /* flags of READY and CHECK: what is sent begins with a header of the PROXY protocol; such a */
#define NIWA_RELAY_PROXY_V2 2u /* connection begins at the host's own address */

/* Bounds, named as in niwad.conf. In HELLO a 0 means the relay's default (idle_ms: no bound). STATS brings back what
 * is in force: RLIMIT_NOFILE may allow fewer connections than were asked for. */
struct niwa_relay_limits {
	uint32_t connections;        /* all, spliced and waiting */
	uint32_t waiting;            /* held: not yet spliced */
	uint32_t waiting_per_source; /* held from one client address */
	uint32_t held_bytes;         /* of one held connection; more stays in the kernel's buffer */
	uint32_t first_byte_ms;      /* a silent client of a client-speaks-first port */
	uint32_t idle_ms;            /* a spliced connection without a byte, 0: no bound */
	uint32_t linger_ms;          /* lingering close after an answer of ours */
	uint32_t linger_bytes;
	uint32_t ask_ms;     /* an OPEN without an answer of the engine, then as if the wake had failed */
	uint32_t connect_ms; /* a connect to an instance, then RESULT with ETIMEDOUT */
};

struct niwa_relay_msg {
	uint32_t type, flags;
	uint64_t ticket;
	uint32_t service, client, to, host;             /* IPv4, network order */
	uint16_t port, client_port, to_port, host_port; /* host order */
	uint32_t protocol;                              /* enum niwa_protocol of spec/app.h */
	uint32_t kind;                                  /* enum niwa_error_kind */
	uint32_t deadline_ms, retry_after_s;
	int32_t error;
	uint64_t accepted_us, connected_us, first_byte_us; /* CLOCK_MONOTONIC; RESULT carries accepted and connected,
							      CLOSED also first_byte (from the instance) */
	uint64_t bytes_in, bytes_out;
	struct niwa_relay_limits limits;
	uint64_t counters[8]; /* STATS: open and waiting now; since the start: accepted, spliced, answered (failure
				 answers), refused (resets), bytes (both ways), over_limit */
	char text[256];
};

#endif
