/* SPDX-License-Identifier: MIT
 *
 * niwa-keep, the parent of all instances. Single-threaded, root, allocates nothing after its start: every table
 * is static. Four parts:
 *   main.c   set-up, the loop, signals, reaping
 *   serve.c  the conversation with niwad: requests, answers, what could not be sent yet
 *   table.c  instances and stored descriptors
 *   start.c  one start from its plan to its exec; host.c, child.c: what the operations do, netlink.c: both
 * Invariant: an instance is in the table from its START until its FORGET (or until its FAILED is told), and its
 * child is a child of ours as long as it is STARTING or LIVE.
 */
#ifndef NIWA_KEEP_KEEP_H
#define NIWA_KEEP_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "container/keep_protocol.h"
#include "container/plan.h"

#define KEEP_STARTS        256               /* under way at the same time */
#define KEEP_TIMEOUT_US    (30 * 1000000ull) /* from the clone to the exec, by default */
#define KEEP_GO            255               /* release number that lets the inner process of JOIN go on */
#define KEEP_OWN_FDS       1024              /* what is kept for long has numbers from here on, a start's are below */
#define KEEP_TERM_AGAIN_US (5 * 1000000ull)  /* a second SIGTERM within this time ends keep */

/* ---- table.c ---- */

enum keep_state { KEEP_FREE, KEEP_STARTING, KEEP_LIVE, KEEP_EXITED, KEEP_FAILED };

#define KEEP_TELL_STARTED 1u /* what niwad has not been told yet: bits of keep_unsent */
#define KEEP_TELL_EXITED  2u
#define KEEP_TELL_FAILED  4u

struct keep_instance {
	enum keep_state state;
	pid_t pid;
	int pidfd;
	int code, status;                      /* EXITED */
	int fail_op, fail_error, fail_message; /* FAILED */
	uint64_t cloned_us, started_us;
	uint32_t sent; /* slots of kept[], lowest first */
	int kept[NIWA_PLAN_KEPT_MAX];
	uint32_t tag_len;
	uint8_t tag[NIWA_KEEP_TAG_MAX];
};

struct keep_stored {
	char name[NIWA_KEEP_NAME_MAX]; /* "": free */
	int fd;
};

int keep_table_init(void);     /* 0 or -errno */
unsigned keep_table_end(void); /* all indexes in use are below */
unsigned keep_table_count(void);
struct keep_instance *keep_instance_at(unsigned index);
uint64_t keep_instance_id(unsigned index); /* 0: free */
int keep_instance_find(uint64_t id);       /* index or -1 */
int keep_instance_add(uint64_t id);        /* index or -ENOSPC; state STARTING */
void keep_instance_drop(unsigned index);   /* closes its descriptors */
void keep_pid_set(pid_t pid, int index);   /* index -1: unknown from now on */
int keep_pid_find(pid_t pid);              /* index or -1 */
/* Marks what niwad has to be told; keep_unsent() is read and cleared by serve.c. */
void keep_tell(unsigned index, unsigned bits);
unsigned keep_unsent(unsigned index);
void keep_told(unsigned index, unsigned bits);
bool keep_any_unsent(void);

struct keep_stored *keep_stored_at(unsigned index); /* NULL behind the end */
void keep_fd_lift(int *fd);                         /* moves it to KEEP_OWN_FDS or higher, if it can */
int keep_store(const char *name, int fd);           /* takes fd, also on failure; 0 or -ENOSPC */
void keep_unstore(const char *name);

/* ---- start.c ---- */

/* What the child tells without a message: shared memory, so that also a child that hangs or was killed says where. */
struct keep_progress {
	int32_t op;        /* being executed */
	int32_t error;     /* errno, positive; 0: none */
	int32_t message;   /* of a netlink batch */
	int32_t executing; /* EXEC was reached */
};

struct keep_start {
	int index; /* of the instance; -1: free */
	const void *plan;
	size_t plan_len;
	size_t pos;           /* HOST: where the walk is */
	int sock, child_sock; /* releases to the child, descriptors from it; its end is the exec */
	int slots[NIWA_SLOTS];
	uint32_t kept;          /* slots that go to the instance */
	int pidfd, outer_pidfd; /* outer: of JOIN, whose inner process replaces it */
	pid_t pid;
	int user_ns, net_ns, inner_rtnl; /* of the child, once opened: namespaces, an rtnetlink socket in the latter */
	int alive;                       /* children not yet reaped */
	bool failed, shared;             /* shared: the child began with our table of descriptors */
	uint64_t deadline_us;
	struct keep_progress *progress;
};

int keep_start_init(int epoll_fd); /* 0 or -errno */
void keep_start_set_timeout(uint64_t us);
bool keep_start_room(void);
/* Executes a plan (fds[0]) up to the end of its HOST operations; takes all descriptors. Its end is told by keep_tell:
 * STARTED or FAILED. */
void keep_start_begin(unsigned index, int *fds, size_t nfds);
void keep_start_event(unsigned start);  /* its socket is readable */
void keep_start_reaped(unsigned index); /* one of its children is gone */
int keep_start_timeout(void);           /* kills what is over its deadline; ms until the next deadline, -1: none */

/* ---- host.c, child.c, netlink.c ---- */

int keep_host_init(void);
/* To where new network namespaces are to be born. False: keep is where it was. */
bool keep_host_enter_parent_net(void);
void keep_host_leave_net(void); /* and back */
/* One BEFORE or HOST operation. 0 or -errno; *message as in keep_progress. */
int keep_host_op(struct keep_start *s, const struct niwa_op_view *op, int *message);
/* The child. Async-signal-safe calls only from here to exec. */
void keep_child_init(const struct rlimit *started_with);
/* clone: the operation at hand, before pos. */
_Noreturn void keep_child_run(struct keep_start *s, size_t pos, const struct niwa_op_view *clone);
/* Sends a batch and checks every acknowledgement. pid is put at the offsets named in op->s. */
int keep_netlink_open(void);
int keep_netlink_batch(int sock, const struct niwa_op_view *op, pid_t pid, int *message);
/* A message of the child to keep: slot >= 0: the descriptor fills that slot; KEEP_INNER: pid is the inner process of
 * JOIN and the descriptor its pidfd; KEEP_UNSHARED: the child has a table of descriptors of its own now. */
#define KEEP_INNER    (-1)
#define KEEP_UNSHARED (-2)
struct keep_child_msg {
	int32_t slot;
	int32_t pid;
};
int keep_slot(const struct keep_start *s, int64_t slot); /* descriptor or -EBADF */

/* ---- serve.c ---- */

int keep_serve_init(int epoll_fd, const char *run_dir);
void keep_serve_accept(void);
int keep_serve_timeout(void);           /* ms until a turn is due without an event; -1: none is */
void keep_serve_event(uint32_t events); /* of the connection */
void keep_serve_flush(void);            /* sends what can be sent; once a turn */

/* Data of epoll events: kind in the upper half. */
enum keep_event { KEEP_EVENT_LISTEN, KEEP_EVENT_NIWAD, KEEP_EVENT_SIGNAL, KEEP_EVENT_START };
int keep_epoll(int epoll_fd, int how, int fd, uint32_t events, uint64_t data);
#define KEEP_EVENT(kind, n) ((uint64_t)(kind) << 32 | (n))

#endif
