/* SPDX-License-Identifier: MIT
 *
 * A plan: everything that has to be done to start one process, as an array of operations, in order.
 * niwad builds it (pure), niwa-keep executes it. On the wire it is one sealed memfd: a header, then
 * operations; nothing in it is a pointer. Its text dump is what tests compare and what snapshots will be
 * keyed by. Keep checks every length; it believes the content, because only root can send one.
 *
 * Phases: BEFORE runs in keep; then the clone; HOST runs in keep with the child alive, while CHILD
 * operations run in the child until their next NIWA_OP_AWAIT. HOST operations are executed up to the end;
 * NIWA_OP_RELEASE n lets the child's AWAIT n go on. The last operation of a plan is NIWA_OP_EXEC.
 *
 * Order, as niwa_plan_check enforces it: BEFORE operations, one CLONE, then HOST and CHILD operations mixed as one
 * likes (each side runs its own in their order), EXEC at the very end. MKDIR and WRITE may also stand after the
 * CLONE; keep runs them then while the child works. Numbers of RELEASE rise, those of AWAIT too, and each AWAIT has
 * its RELEASE. A slot is filled once and before it is used; slots from NIWA_SLOT_GIVEN on may be filled by
 * descriptors that come with START. docs/plan.md documents every operation and the recommended order.
 */
#ifndef NIWA_CONTAINER_PLAN_H
#define NIWA_CONTAINER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

#define NIWA_PLAN_MAGIC        0x4e504c31u   /* "NPL1" */
#define NIWA_PLAN_MAX          (1024 * 1024) /* bytes */
#define NIWA_SLOTS             32            /* descriptors a plan can name */
#define NIWA_SLOT_GIVEN        3             /* the descriptors that come with START fill this slot and the next ones */
#define NIWA_PLAN_OPS_MAX      1024
#define NIWA_PLAN_KEPT_MAX     4     /* slots that keep retains and sends back (PIPE, DIAG, NOTIFY, FOLDER, TMPFS) */
#define NIWA_PLAN_ARGS_MAX     4096  /* argv and env strings of EXEC together */
#define NIWA_PLAN_MESSAGES_MAX 128   /* of one netlink batch */
#define NIWA_PLAN_NETLINK_MAX  32768 /* bytes of one netlink batch */
#define NIWA_PLAN_GROUPS_MAX   64
#define NIWA_PLAN_TARGET_MAX   63 /* highest number of PASS */

/* The arguments (numbers a, b, c; strings s, t; bytes) are in the comment; those not named stay 0 or empty.
 * Paths are absolute. Strings and bytes are part of the operation's record. */
enum niwa_op {
	/* BEFORE: in keep, before the clone */
	NIWA_OP_MKDIR,     /* s path, a mode; existing is fine; missing parents are made 0755 */
	NIWA_OP_WRITE,     /* s path, t text: cgroup and sysctl files; a=1: failure is ignored; b=1 (after the clone
			      only): in the child's network namespace, for files below /proc/sys/net */
	NIWA_OP_OPEN_TREE, /* a slot, s path, b=1 recursive: detached clone of a mount (open_tree); c=1: a symbolic link
			      anywhere on the path is ELOOP (a tenant may own a part of it) */
	NIWA_OP_OPEN,      /* a slot, s path, b open(2) flags */
	NIWA_OP_PIPE,      /* a slot of the read end (kept, sent back), b slot of the write end (child's), c its
			      owner, user and group, as the host counts: who has it open can open it again by
			      name (/dev/stdout) */
	NIWA_OP_TMPFS, /* a slot, b size in bytes/1024: detached tmpfs mount, for a disk-limited upper layer; c=1: kept,
			  sent back */
	NIWA_OP_CLONE, /* a CLONE_NEW* flags, b slot of the cgroup folder or -1 */
	/* HOST: in keep, the child exists */
	NIWA_OP_ID_MAP,  /* s uid_map, t gid_map */
	NIWA_OP_ATTACH,  /* s path of a cgroup.procs: the child's pid is written */
	NIWA_OP_IDMAP,   /* a slot of a detached mount, s "" = the child's user namespace, else the uid map ("first
			    lower count" lines: id on disk, id on the host it appears as) of a throw-away user
			    namespace, t its gid map ("" = as s); c MOUNT_ATTR_* to set; b=1: no id mapping, only
			    attributes */
	NIWA_OP_NETLINK, /* bytes: one rtnetlink batch, sent in keep's network namespace, with b=1 in the child's, each
			    message acknowledged; a: number of offsets, followed in s as "off off": where the child's
			    pid is put (u32) */
	NIWA_OP_RELEASE, /* a number, 1 to 63 */
	/* CHILD: in the cloned child */
	NIWA_OP_AWAIT,      /* a number */
	NIWA_OP_OWN_GROUPS, /* a cgroup namespace: the groups that the child is in are the roots that it sees */
	NIWA_OP_PRIVATE,    /* the whole mount tree becomes private (MS_REC|MS_PRIVATE) */
	NIWA_OP_MOUNT,      /* s source, t target, bytes: fstype NUL data NUL; a mount(2) flags */
	NIWA_OP_MOVE_MOUNT, /* a slot, s target */
	NIWA_OP_PIVOT,      /* s new root, which is a mount point; the old root is detached, with a=1 only at DETACH:
			       paths resolve in the new root already, and /proc can still be mounted */
	NIWA_OP_DETACH,     /* after PIVOT with a=1 */
	NIWA_OP_DIR,        /* s path, a mode, b uid, c gid (container ids); existing is left as it is; missing parents
			       are made 0755 */
	NIWA_OP_FILE,       /* s path, t content, a mode; replaces */
	NIWA_OP_SYMLINK,    /* s target, t path; replaces */
	NIWA_OP_MASK,       /* s path: hidden behind /dev/null or an empty read-only tmpfs; missing is fine */
	NIWA_OP_READ_ONLY,  /* s path: the tree there becomes read-only; missing is fine */
	NIWA_OP_PUT,        /* s path, t text: write to an existing file (sysctl); a=1: failure is ignored */
	NIWA_OP_CHILD_NETLINK, /* bytes: one rtnetlink batch in the child's network namespace, acknowledged */
	NIWA_OP_HOST_NAME,     /* s */
	NIWA_OP_DIAG,          /* a slot: a NETLINK_SOCK_DIAG socket of the child's network namespace, sent back */
	NIWA_OP_NOTIFY,        /* a slot, s path: a bound datagram socket, sent back */
	NIWA_OP_JOIN,    /* a slot of a pidfd: join its user, mount, pid, net, ipc, uts, cgroup namespaces and root,
			    then fork once more (for exec into an instance); keep is told the inner pid. Its time
			    namespace too, where the kernel has them. b=1: not the user namespace (CRIU): what follows
			    runs with the rights of keep */
	NIWA_OP_CONSOLE, /* a slot of a Unix socket: open a pty here of b rows and c columns, send its master there,
			    make it our terminal */
	NIWA_OP_STDIO,   /* a, b, c: slots for 0, 1, 2; -1: /dev/null, as found at this point of the plan */
	NIWA_OP_PASS,   /* a slot, b number (3 to NIWA_PLAN_TARGET_MAX): this descriptor survives exec as that number */
	NIWA_OP_RLIMIT, /* a resource, b soft, c hard */
	NIWA_OP_BOUNDING, /* a 64-bit mask of the capabilities that stay */
	NIWA_OP_USER,     /* a uid, b gid, bytes: u32 supplementary groups; after it the capabilities are those of a
			     fresh exec of that user. "USER 0 0" early in the plan makes the child root of its own user
			     namespace; a second one may follow */
	NIWA_OP_CAPS,     /* a 64-bit mask, after USER: permitted = effective = inheritable = ambient (programs of niwa
			     itself) */
	NIWA_OP_NO_NEW_PRIVS,
	NIWA_OP_SECCOMP, /* bytes: a struct sock_filter program */
	NIWA_OP_CHDIR,   /* s */
	NIWA_OP_SESSION, /* setsid */
	NIWA_OP_EXEC,    /* bytes: argc(u32) then argv strings, envc(u32) then env strings, each NUL-terminated;
			    a slot of an O_PATH file to execute or -1: argv[0] looked up along PATH of env */
	/* CHILD again: numbers of operations stay what they are, a keep may be older than its niwad */
	NIWA_OP_TIME_OFFSETS, /* s lines "monotonic SECONDS NANOSECONDS", "boottime ...": a new time namespace with
				 these offsets to the host's clocks; before USER */
	NIWA_OP_FOLDER,       /* a slot, s path: a folder opened for reading, sent back */
	NIWA_OP_COPY,         /* a slot of a detached mount, s target folder: its files, folders, links and FIFOs are
				 copied with owners, modes and times; what is there already is an error */
	NIWA_OP_COUNT,
};

enum niwa_phase { NIWA_PHASE_BEFORE, NIWA_PHASE_HOST, NIWA_PHASE_CHILD };

/* "mkdir", NIWA_PHASE_BEFORE ... from one table. */
const char *niwa_op_name(enum niwa_op op); /* "?" when there is none */
enum niwa_phase niwa_op_phase(enum niwa_op op);

/* One operation as read from a plan; pointers point into the plan. */
struct niwa_op_view {
	enum niwa_op op;
	int64_t a, b, c;
	const char *s, *t; /* terminated, "" when absent */
	const void *bytes;
	uint32_t bytes_len;
	uint32_t index; /* position in the plan: what a failure report names */
};

/* Building. A zeroed struct niwa_plan is empty. After a failed append `buf.failed` is set. buf.data and buf.len are
 * at any time a plan that niwa_plan_next and niwa_plan_dump can read. */
struct niwa_plan {
	struct niwa_text buf;
	uint32_t count;
};
void niwa_plan_add(struct niwa_plan *plan, const struct niwa_op_view *op); /* index ignored; s, t may be NULL */
void niwa_plan_fini(struct niwa_plan *plan);
/* A sealed memfd with the finished plan, or -errno. Checks the plan first, so that a mistake of the builder is found
 * where it was made. */
int niwa_plan_to_memfd(struct niwa_plan *plan, struct niwa_error *err);

/* Reading: data/len as mapped. niwa_plan_check walks the whole plan once and refuses every bad length, op,
 * phase order or slot. niwa_plan_next: only on checked plans; *pos starts at 0; the same ret from call to call (it
 * counts the index); false at the end. */
int niwa_plan_check(const void *data, size_t len, struct niwa_error *err);
bool niwa_plan_next(const void *data, size_t len, size_t *pos, struct niwa_op_view *ret);

/* One line an operation, stable, for tests, people and keys: "child   mount source=\"proc\" target=\"/proc\" ...". */
void niwa_plan_dump(const void *data, size_t len, struct niwa_text *out);

#endif
