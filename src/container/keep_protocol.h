/* SPDX-License-Identifier: MIT
 *
 * What niwad and niwa-keep say to each other: one fixed struct a message over a SOCK_SEQPACKET Unix socket
 * (RUN_DIR/keep.sock, 0600). One niwad at a time; a newer connection replaces the older one. Keep answers
 * each request; EXITED comes unasked. Descriptors travel with the message they belong to and are copies: keep
 * retains its own until FORGET.
 */
#ifndef NIWA_CONTAINER_KEEP_PROTOCOL_H
#define NIWA_CONTAINER_KEEP_PROTOCOL_H

#include <stdint.h>

#define NIWA_KEEP_VERSION   1
#define NIWA_KEEP_TAG_MAX   1024 /* bytes */
#define NIWA_KEEP_NAME_MAX  64   /* name of a stored descriptor */
#define NIWA_KEEP_INSTANCES 32768
#define NIWA_KEEP_FDS       4096 /* stored descriptors */

enum niwa_keep_type {
	/* niwad → keep */
	NIWA_KEEP_START, /* id, tag; descriptors: [0] the plan (memfd), then those for slots NIWA_SLOT_GIVEN (3), 4, ...
			    of the plan. Answer STARTED or FAILED; a second START of a known id is FAILED with EEXIST
			    (and changes nothing); FAILED with EAGAIN: too many starts under way. */
	NIWA_KEEP_TAG,   /* id, tag: replaces the tag. Answer OK or FAILED */
	NIWA_KEEP_FORGET,  /* id: of an exited one; keep closes what it held. Answer OK (also when it knows no such id:
			      of a  failed start nothing is kept) or FAILED(EBUSY: still alive) */
	NIWA_KEEP_LIST,    /* answer: one INSTANCE each, one STORED each, then END */
	NIWA_KEEP_STORE,   /* name + one descriptor; replaces one of the same name. Answer OK or FAILED */
	NIWA_KEEP_UNSTORE, /* name. Answer OK (also when it was not there) */
	/* keep → niwad */
	NIWA_KEEP_STARTED, /* id, pid; exec has succeeded. Descriptors: pidfd, then those of `sent` in the order of
			      their slots */
	NIWA_KEEP_FAILED, /* id or name, op (index in the plan, -1: not in a plan), error. Nothing is left of the child.
			   */
	NIWA_KEEP_EXITED, /* id, status as of waitid: code CLD_EXITED/KILLED/DUMPED in `code`, value in `status` */
	NIWA_KEEP_INSTANCE, /* as STARTED (code 0) or EXITED (code set), with tag. A start under way has pid 0 and no
			       descriptors yet; its STARTED or FAILED follows. */
	NIWA_KEEP_STORED,   /* name + descriptor */
	NIWA_KEEP_END,
	NIWA_KEEP_OK, /* id or name of the request */
};

struct niwa_keep_msg {
	uint32_t version;    /* NIWA_KEEP_VERSION */
	uint32_t type;       /* enum niwa_keep_type */
	uint64_t id;         /* chosen by niwad, never 0, never reused */
	int32_t pid;         /* in the host's pid namespace */
	int32_t op;          /* FAILED: index of the operation */
	int32_t error;       /* FAILED: errno, positive */
	int32_t code;        /* EXITED: si_code */
	int32_t status;      /* EXITED: si_status. FAILED in a netlink operation: index of the message in its batch */
	uint32_t sent;       /* STARTED, INSTANCE: bit n set: a descriptor of slot n is in this message (log pipe, diag,
				notify) */
	uint64_t started_us; /* INSTANCE: CLOCK_MONOTONIC of the successful exec */
	uint64_t cloned_us;  /* STARTED, INSTANCE: CLOCK_MONOTONIC of the clone */
	char name[NIWA_KEEP_NAME_MAX];
	uint32_t tag_len;
	uint8_t tag[NIWA_KEEP_TAG_MAX];
};

#endif
