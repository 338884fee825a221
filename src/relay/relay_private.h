/* SPDX-License-Identifier: MIT
 *
 * The relay's inside: the connection, its states and events, and what the siblings call of each other.
 *   relay.c   the loop, bounds, timers, freeing       listen.c  listeners, admission
 *   conn.c    states, the setter, the table of events  splice.c  pipes, bytes in both directions
 *   engine.c  messages in and out                      reply.c   failure answers, lingering close
 *   check.c   HTTP ready checks                       client_addr.c  where connections to instances begin
 * A connection is freed in one place, at the end of a turn (reap() in relay.c), after it died and after its last
 * message to the engine was sent. Before that every pointer to it stays good.
 */
#ifndef NIWA_RELAY_RELAY_PRIVATE_H
#define NIWA_RELAY_RELAY_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/relay_protocol.h"
#include "relay/deadline.h"
#include "relay/postgres.h"
#include "relay/proxy.h"
#include "relay/relay.h"
#include "spec/app.h"

#define NIWA_RELAY_PIPES         64            /* kept for bytes in transit */
#define NIWA_RELAY_PIPE_BYTES    (512 * 1024)  /* asked of the kernel for each */
#define NIWA_RELAY_CHUNK         (512 * 1024)  /* bytes of one splice */
#define NIWA_RELAY_SPILL         (16 * 1024)   /* bytes of one splice while pipes are short: at most this is copied */
#define NIWA_RELAY_BUDGET        (1024 * 1024) /* bytes of one direction in one turn */
#define NIWA_RELAY_FD_RESERVE    32            /* descriptors for the loop, logs, sockets just accepted */
#define NIWA_RELAY_SPARE         64            /* connections over the bound that get an answer at a time */
#define NIWA_RELAY_ACCEPTS       64            /* connections taken from one listener in one turn */
#define NIWA_RELAY_QUEUE         4096          /* connections with messages for the engine, then nothing is accepted */
#define NIWA_RELAY_PAUSE_US      (100 * NIWA_MS) /* without accepting, when descriptors or memory are out */
#define NIWA_RELAY_CLOSING_US    (60 * NIWA_SEC) /* of silence after the instance has closed its half */
#define NIWA_RELAY_REPEAT_MS     20u             /* without an answer to a SYN, then another; doubled each time */
#define NIWA_RELAY_REPEATS       5               /* then the kernel's own repetitions */
#define NIWA_RELAY_DRAIN_POLL_US (20 * NIWA_MS)  /* between looks at a send queue before a reset */

enum niwa_conn_state {
	NIWA_CONN_NEW,        /* accepted, not judged yet */
	NIWA_CONN_ASKING,     /* the engine was asked and has not answered */
	NIWA_CONN_WAITING,    /* for the client's first byte */
	NIWA_CONN_HELD,       /* the engine wakes the app */
	NIWA_CONN_QUEUED,     /* READY came; waits for a descriptor */
	NIWA_CONN_CONNECTING, /* to the instance */
	NIWA_CONN_SPLICED,
	NIWA_CONN_ANSWERING, /* a failure; what the client has to say first is read, or the answer does not fit yet */
	NIWA_CONN_LINGERING, /* after the last byte of ours: what still comes is thrown away, then closed or reset */
	NIWA_CONN_DEAD,
	NIWA_CONN_STATES,
};

enum niwa_conn_event {
	NIWA_EVENT_BYTES,    /* the client has sent something */
	NIWA_EVENT_END,      /* the client has ended its half without having sent anything */
	NIWA_EVENT_RESET,    /* the client has reset, or closed both halves */
	NIWA_EVENT_INSTANCE, /* the socket to the instance has news */
	NIWA_EVENT_DEADLINE,
	NIWA_EVENT_HELLO, /* a new engine */
	NIWA_EVENT_WAIT,  /* these five are the engine's messages */
	NIWA_EVENT_HOLD,
	NIWA_EVENT_READY,
	NIWA_EVENT_FAIL,
	NIWA_EVENT_REFUSE,
	NIWA_CONN_EVENTS,
};

enum { NIWA_CLIENT, NIWA_INSTANCE };
enum { NIWA_IN, NIWA_OUT }; /* flows: from the client, from the instance. A flow comes from the side of its number */

struct niwa_pipe {
	int read, write;
	uint32_t bytes;
	struct niwa_pipe *next; /* in the pool */
};

struct niwa_spill; /* bytes that left their pipe for memory */

struct niwa_flow {
	struct niwa_pipe *pipe;   /* only while bytes are in it */
	struct niwa_spill *spill; /* sent before what the pipe holds; never both */
	bool ended;               /* the source is at its end */
	bool done;                /* nothing will be sent any more */
};

struct niwa_source {   /* a client address with connections that are not spliced */
	uint64_t addr; /* of IPv6 the first half: one customer's network */
	uint32_t count;
};

struct niwa_conn {
	struct niwa_relay *relay;
	struct niwa_deadline deadline;
	struct niwa_conn *next_out;      /* queue of messages */
	struct niwa_conn *next_runnable; /* bytes to move, budget spent */
	struct niwa_conn *next_reap;
	struct niwa_conn *next_queued, *prev_queued; /* wait for a descriptor */
	struct niwa_source *source;
	int fd[2]; /* client, instance */
	uint64_t ticket;
	uint64_t held_until_us, connect_until_us;
	uint64_t accepted_us, connected_us, first_byte_us, active_us;
	uint64_t bytes[2];
	struct niwa_flow flow[2];
	union {
		struct niwa_postgres postgres; /* ANSWERING */
		uint32_t discarded;            /* LINGERING */
	};
	uint8_t client6[16]; /* of a client that came by IPv6; client is 0 then, and the others are as they are */
	uint32_t service, client, to;
	int32_t error, closed_error; /* of RESULT or GONE; of CLOSED */
	uint32_t retry_after_s;
	uint16_t port, client_port, to_port;
	uint8_t state, protocol, kind, repeats; /* repeats: SYNs of this connect after its first */
	uint8_t messages;                       /* bits to send, 1 << enum niwa_relay_type */
	bool readable[2], writable[2];
	bool told : 1;       /* an OPEN was sent */
	bool told_bytes : 1; /* with BYTES */
	bool again : 1;      /* the next OPEN is a repetition */
	bool orphan : 1;     /* connecting by the word of an engine that is gone */
	bool has_bytes : 1;  /* the client has sent something */
	bool protocol_known : 1;
	bool in_out_queue : 1, runnable : 1, reaping : 1, in_fd_queue : 1;
	bool broken : 1;      /* one side was reset, the other will be */
	bool reset : 1;       /* close with RST */
	bool failed_side : 1; /* of broken */
	bool answered : 1;    /* the ticket is over for the engine */
	bool listens : 1;     /* ANSWERING: the client may be answered now */
	bool six : 1;         /* came by IPv6 */
	bool to_six : 1;      /* and the instance can be reached there */
	uint8_t proxy : 2;    /* enum niwa_proxy_version: what the instance hears first */
};

struct niwa_listener {
	struct niwa_relay *relay;
	struct niwa_listener *next;
	sd_event_source *io;
	int fd;
	uint8_t host[16]; /* IPv4 is mapped. Of a transparent listener: where it is bound; of IPv6 it and its port are 0
			   */
	uint32_t service;
	uint16_t host_port, port;
	bool transparent;
};

struct niwa_known { /* remembered from WAIT, HOLD and LISTEN; a hint for answers over a bound */
	uint32_t service;
	uint16_t port;
	uint8_t protocol;
};
#define NIWA_RELAY_KNOWN 4096

enum niwa_counter { /* order of niwa_relay_msg.counters */
		    NIWA_COUNT_OPEN,
		    NIWA_COUNT_WAITING,
		    NIWA_COUNT_ACCEPTED,
		    NIWA_COUNT_SPLICED,
		    NIWA_COUNT_ANSWERED,
		    NIWA_COUNT_REFUSED,
		    NIWA_COUNT_BYTES,
		    NIWA_COUNT_OVER_LIMIT,
};

struct niwa_check; /* check.c */

struct niwa_relay {
	sd_event *event;
	sd_event_source *engine_io, *conns_io, *timer, *defer, *signals[2];
	int engine, epoll;
	uint64_t timer_at_us;
	struct niwa_map *tickets, *sources;
	uint64_t last_ticket;
	struct niwa_deadlines deadlines;
	struct niwa_listener *listeners;
	uint32_t listener_count;
	struct niwa_conn *out_first, *out_last;
	uint32_t out_count;
	struct niwa_conn *runnable, *reap, *queued_first, *queued_last;
	struct niwa_pipe *pipes;
	uint32_t pipes_made, pipes_max;
	struct niwa_check *checks, *checked; /* under way; with a result to send */
	uint32_t check_count;
	struct niwa_relay_limits limits; /* in force */
	uint32_t nofile, fd_limit, fds;  /* descriptors: allowed, for connections, in use by them */
	uint64_t counters[8];
	uint8_t private6[12]; /* of instances, before the IPv4 address; from the engine's READY */
	uint32_t host;        /* the address that clients on this host have */
	struct niwa_known *known;
	struct niwa_log_limit log_accept, log_limit, log_engine, log_pipe;
	bool want_stats, want_draining, out_blocked, accept_off, accept_paused, draining, engine_lost, log_moves;
	bool client_addr; /* connections to instances begin at the client's address */
};

/* relay.c */
void niwa_relay_arm(struct niwa_relay *r, struct niwa_conn *c, uint64_t at_us); /* 0: disarm */
void niwa_relay_apply_limits(struct niwa_relay *r, const struct niwa_relay_limits *asked);
void niwa_relay_drain(struct niwa_relay *r, const char *why);
void niwa_relay_runnable(struct niwa_conn *c); /* niwa_splice_pump again in the next turn */
void niwa_relay_may_reap(struct niwa_conn *c); /* frees it at the end of the turn if nothing needs it any more */

/* conn.c */
struct niwa_conn *niwa_conn_new(struct niwa_relay *r, int fd); /* takes fd; NULL: out of memory, fd closed */
/* The one setter. at_us: the new state's deadline, 0: none. */
void niwa_conn_set(struct niwa_conn *c, enum niwa_conn_state state, uint64_t at_us);
bool niwa_conn_may(enum niwa_conn_state from, enum niwa_conn_state to);
const char *niwa_conn_state_name(enum niwa_conn_state state);
/* What the table says for the connection's state; msg for the engine's events, else NULL. */
void niwa_conn_event(struct niwa_conn *c, enum niwa_conn_event event, const struct niwa_relay_msg *msg);
bool niwa_conn_handles(enum niwa_conn_state state, enum niwa_conn_event event);
void niwa_conn_io(struct niwa_conn *c, int side, uint32_t events); /* from epoll */
int niwa_conn_watch(struct niwa_conn *c, int side);
void niwa_conn_begin(struct niwa_conn *c);           /* judged: ask the engine */
void niwa_conn_connect_queued(struct niwa_relay *r); /* as many as descriptors allow */
void niwa_conn_close_side(struct niwa_conn *c, int side);
void niwa_conn_die(struct niwa_conn *c, int error); /* ends the ticket: GONE or CLOSED when one is due */
struct niwa_source *niwa_source_get(struct niwa_relay *r, uint64_t addr); /* NULL: out of memory */
void niwa_source_put(struct niwa_relay *r, struct niwa_source *s);

/* client_addr.c */
/* The client as text; buf of INET6_ADDRSTRLEN. */
const char *niwa_client_addr_text(const struct niwa_conn *c, char *buf);
/* What the engine has said in READY of where to connect. */
void niwa_client_addr_ready(struct niwa_conn *c, const struct niwa_relay_msg *m);
enum niwa_proxy_version niwa_client_addr_version(const struct niwa_relay_msg *m); /* of READY or CHECK */
/* Keeps the header that the instance gets before the client's bytes, when it gets one. 0 or -ENOMEM. */
int niwa_client_addr_tell(struct niwa_conn *c);
/* A socket that connects to the instance, its SYN sent; or -errno. Two tries: some 5 us. */
int niwa_client_addr_dial(struct niwa_conn *c);
void niwa_client_addr_hello(struct niwa_relay *r, const struct niwa_relay_msg *m);

/* splice.c */
void niwa_splice_pump(struct niwa_conn *c); /* moves what can be moved; may kill the connection */
void niwa_splice_release(struct niwa_conn *c);
void niwa_splice_free_pipes(struct niwa_relay *r);
uint64_t niwa_splice_idle_bound(const struct niwa_conn *c); /* 0: none */
/* Copies bytes to be sent by niwa_splice_flush_spill. The flow holds none. 0 or -ENOMEM. */
int niwa_splice_keep(struct niwa_conn *c, int flow, const void *data, size_t len);
/* 0: all is sent; -EAGAIN; -errno */
int niwa_splice_flush_spill(struct niwa_conn *c, int flow);

/* reply.c */
void niwa_reply(struct niwa_conn *c, const char *text); /* answers in c->protocol with c->kind, or resets */
void niwa_reply_bytes(struct niwa_conn *c);             /* ANSWERING: news from the client */
void niwa_linger(struct niwa_conn *c);                  /* LINGERING begins */
void niwa_linger_bytes(struct niwa_conn *c);            /* LINGERING: news */
void niwa_linger_deadline(struct niwa_conn *c);
void niwa_reset_after_drain(struct niwa_conn *c); /* the one side that is left is reset when its send queue is empty */

/* listen.c */
int niwa_listen_add(struct niwa_relay *r, int fd,
		    const struct niwa_relay_msg *msg);                           /* msg NULL: transparent; takes fd */
bool niwa_listen_has6(const struct niwa_relay *r);                               /* the transparent one of IPv6 */
void niwa_listen_remove(struct niwa_relay *r, const struct niwa_relay_msg *msg); /* LISTEN or UNLISTEN */
void niwa_listen_close_all(struct niwa_relay *r);
void niwa_listen_update(struct niwa_relay *r);                      /* accepts or not, as queue and descriptors allow */
enum niwa_protocol niwa_listen_protocol(const struct niwa_conn *c); /* told by the engine, else remembered, else tcp */
void niwa_listen_know(struct niwa_relay *r, uint32_t service, uint16_t port, uint32_t protocol);

/* engine.c */
int niwa_engine_attach(struct niwa_relay *r, struct niwa_error *err);
void niwa_engine_tell(struct niwa_conn *c,
		      enum niwa_relay_type type); /* queued, sent at the end of the turn at latest */
void niwa_engine_untell(struct niwa_conn *c, enum niwa_relay_type type);
void niwa_engine_flush(struct niwa_relay *r);

/* check.c */
void niwa_check_start(struct niwa_relay *r, const struct niwa_relay_msg *msg);
/* The next finished check as a message, 0: there is none. niwa_check_sent() takes it from the list. */
bool niwa_check_message(struct niwa_relay *r, struct niwa_relay_msg *msg);
void niwa_check_sent(struct niwa_relay *r);
void niwa_check_free_all(struct niwa_relay *r);

#endif
