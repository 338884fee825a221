/* SPDX-License-Identifier: MIT
 *
 * The one table of operations: the builder, the checker and the dump all read it, so that an operation
 * is described once. Wire format of a plan: struct plan_head, then records; a record is struct op_head,
 * the bytes, s with its NUL, t with its NUL, zeros up to a multiple of 8. Everything in host byte order.
 */
#ifndef NIWA_CONTAINER_PLAN_PRIVATE_H
#define NIWA_CONTAINER_PLAN_PRIVATE_H

#include "container/plan.h"

struct plan_head {
	uint32_t magic; /* NIWA_PLAN_MAGIC */
	uint32_t len;   /* of the whole plan */
	uint32_t count; /* of operations */
	uint32_t zero;
};

struct op_head {
	uint32_t op;
	uint32_t len; /* of the whole record, multiple of 8 */
	int64_t a, b, c;
	uint32_t bytes_len, s_len, t_len; /* without their NULs */
	uint32_t zero;
};

enum number_kind {
	NUMBER_NONE = 0, /* must be 0 */
	NUMBER_ANY,
	NUMBER_U32,
	NUMBER_FLAG, /* 0 or 1 */
	NUMBER_MODE, /* 0 to 07777 */
	NUMBER_HEX,  /* any, flags or a mask */
	NUMBER_SLOT,
	NUMBER_SLOT_OR_NONE, /* or -1 */
	NUMBER_FILLS,        /* a slot that this operation fills */
	NUMBER_KEPT,         /* the same, and keep retains it */
	NUMBER_RELEASE,      /* 1 to 63 */
	NUMBER_TARGET,       /* 3 to NIWA_PLAN_TARGET_MAX */
};

enum string_kind {
	STRING_NONE = 0, /* must be empty */
	STRING_ANY,
	STRING_NAME, /* not empty */
	STRING_PATH, /* absolute */
};

enum bytes_kind {
	BYTES_NONE = 0, /* must be empty */
	BYTES_MOUNT,    /* fstype NUL data NUL */
	BYTES_NETLINK,
	BYTES_GROUPS,
	BYTES_SECCOMP,
	BYTES_EXEC,
};

struct op_info {
	const char *name;
	enum niwa_phase phase;
	bool any_time; /* BEFORE operation that may also stand after the CLONE */
	struct {
		enum number_kind kind;
		const char *label;
	} number[3];
	struct {
		enum string_kind kind;
		const char *label;
	} string[2];
	enum bytes_kind bytes;
};

extern const struct op_info niwa_plan_ops[NIWA_OP_COUNT];

#endif
