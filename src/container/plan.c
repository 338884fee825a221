/* SPDX-License-Identifier: MIT
 *
 * Plans: the table of operations, building, reading. Pure but for the memfd at the end.
 */
#include "container/plan_private.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

#define BEFORE .phase = NIWA_PHASE_BEFORE
#define HOST   .phase = NIWA_PHASE_HOST
#define CHILD  .phase = NIWA_PHASE_CHILD

/* clang-format off */
const struct op_info niwa_plan_ops[NIWA_OP_COUNT] = {
	[NIWA_OP_MKDIR] = {"mkdir", BEFORE, .any_time = true,
		.number = {{NUMBER_MODE, "mode"}}, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_WRITE] = {"write", BEFORE, .any_time = true,
		.number = {{NUMBER_FLAG, "optional"}, {NUMBER_FLAG, "inside"}},
		.string = {{STRING_PATH, "path"}, {STRING_ANY, "text"}}},
	[NIWA_OP_OPEN_TREE] = {"open-tree", BEFORE,
		.number = {{NUMBER_FILLS, "slot"}, {NUMBER_FLAG, "recursive"}, {NUMBER_FLAG, "no-links"}},
		.string = {{STRING_PATH, "path"}}},
	[NIWA_OP_OPEN] = {"open", BEFORE,
		.number = {{NUMBER_FILLS, "slot"}, {NUMBER_HEX, "flags"}}, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_PIPE] = {"pipe", BEFORE, .number = {{NUMBER_KEPT, "read"}, {NUMBER_FILLS, "write"}, {NUMBER_U32, "owner"}}},
	[NIWA_OP_TMPFS] = {"tmpfs", BEFORE, .number = {{NUMBER_FILLS, "slot"}, {NUMBER_U32, "kib"}, {NUMBER_FLAG, "kept"}}},
	[NIWA_OP_CLONE] = {"clone", BEFORE, .number = {{NUMBER_HEX, "flags"}, {NUMBER_SLOT_OR_NONE, "cgroup"}}},

	[NIWA_OP_ID_MAP] = {"id-map", HOST, .string = {{STRING_NAME, "uid"}, {STRING_NAME, "gid"}}},
	[NIWA_OP_ATTACH] = {"attach", HOST, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_IDMAP] = {"idmap", HOST,
		.number = {{NUMBER_SLOT, "slot"}, {NUMBER_FLAG, "plain"}, {NUMBER_HEX, "attributes"}},
		.string = {{STRING_ANY, "uid"}, {STRING_ANY, "gid"}}},
	[NIWA_OP_NETLINK] = {"netlink", HOST,
		.number = {{NUMBER_U32, "pids"}, {NUMBER_FLAG, "inside"}}, .string = {{STRING_ANY, "offsets"}},
		.bytes = BYTES_NETLINK},
	[NIWA_OP_RELEASE] = {"release", HOST, .number = {{NUMBER_RELEASE, "n"}}},

	[NIWA_OP_AWAIT] = {"await", CHILD, .number = {{NUMBER_RELEASE, "n"}}},
	[NIWA_OP_OWN_GROUPS] = {"own-groups", CHILD},
	[NIWA_OP_PRIVATE] = {"private", CHILD},
	[NIWA_OP_MOUNT] = {"mount", CHILD, .number = {{NUMBER_HEX, "flags"}},
		.string = {{STRING_ANY, "source"}, {STRING_PATH, "target"}}, .bytes = BYTES_MOUNT},
	[NIWA_OP_MOVE_MOUNT] = {"move-mount", CHILD,
		.number = {{NUMBER_SLOT, "slot"}}, .string = {{STRING_PATH, "target"}}},
	[NIWA_OP_PIVOT] = {"pivot", CHILD,
		.number = {{NUMBER_FLAG, "keep-old"}}, .string = {{STRING_PATH, "root"}}},
	[NIWA_OP_DETACH] = {"detach", CHILD},
	[NIWA_OP_DIR] = {"dir", CHILD, .number = {{NUMBER_MODE, "mode"}, {NUMBER_U32, "uid"}, {NUMBER_U32, "gid"}},
		.string = {{STRING_PATH, "path"}}},
	[NIWA_OP_FILE] = {"file", CHILD, .number = {{NUMBER_MODE, "mode"}},
		.string = {{STRING_PATH, "path"}, {STRING_ANY, "text"}}},
	[NIWA_OP_SYMLINK] = {"symlink", CHILD, .string = {{STRING_NAME, "to"}, {STRING_PATH, "path"}}},
	[NIWA_OP_MASK] = {"mask", CHILD, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_READ_ONLY] = {"read-only", CHILD, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_PUT] = {"put", CHILD, .number = {{NUMBER_FLAG, "optional"}},
		.string = {{STRING_PATH, "path"}, {STRING_ANY, "text"}}},
	[NIWA_OP_CHILD_NETLINK] = {"child-netlink", CHILD, .bytes = BYTES_NETLINK},
	[NIWA_OP_HOST_NAME] = {"host-name", CHILD, .string = {{STRING_NAME, "name"}}},
	[NIWA_OP_DIAG] = {"diag", CHILD, .number = {{NUMBER_KEPT, "slot"}}},
	[NIWA_OP_NOTIFY] = {"notify", CHILD, .number = {{NUMBER_KEPT, "slot"}}, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_JOIN] = {"join", CHILD, .number = {{NUMBER_SLOT, "slot"}, {NUMBER_FLAG, "keep-user"}}},
	[NIWA_OP_CONSOLE] = {"console", CHILD,
		.number = {{NUMBER_SLOT, "slot"}, {NUMBER_U32, "rows"}, {NUMBER_U32, "columns"}}},
	[NIWA_OP_STDIO] = {"stdio", CHILD, .number = {{NUMBER_SLOT_OR_NONE, "in"}, {NUMBER_SLOT_OR_NONE, "out"},
		{NUMBER_SLOT_OR_NONE, "err"}}},
	[NIWA_OP_PASS] = {"pass", CHILD, .number = {{NUMBER_SLOT, "slot"}, {NUMBER_TARGET, "as"}}},
	[NIWA_OP_RLIMIT] = {"rlimit", CHILD,
		.number = {{NUMBER_U32, "resource"}, {NUMBER_ANY, "soft"}, {NUMBER_ANY, "hard"}}},
	[NIWA_OP_BOUNDING] = {"bounding", CHILD, .number = {{NUMBER_HEX, "mask"}}},
	[NIWA_OP_USER] = {"user", CHILD,
		.number = {{NUMBER_U32, "uid"}, {NUMBER_U32, "gid"}}, .bytes = BYTES_GROUPS},
	[NIWA_OP_CAPS] = {"caps", CHILD, .number = {{NUMBER_HEX, "mask"}}},
	[NIWA_OP_NO_NEW_PRIVS] = {"no-new-privs", CHILD},
	[NIWA_OP_SECCOMP] = {"seccomp", CHILD, .bytes = BYTES_SECCOMP},
	[NIWA_OP_CHDIR] = {"chdir", CHILD, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_SESSION] = {"session", CHILD},
	[NIWA_OP_EXEC] = {"exec", CHILD, .number = {{NUMBER_SLOT_OR_NONE, "file"}}, .bytes = BYTES_EXEC},
	[NIWA_OP_TIME_OFFSETS] = {"time-offsets", CHILD, .string = {{STRING_NAME, "clocks"}}},
	[NIWA_OP_FOLDER] = {"folder", CHILD, .number = {{NUMBER_KEPT, "slot"}}, .string = {{STRING_PATH, "path"}}},
	[NIWA_OP_COPY] = {"copy", CHILD, .number = {{NUMBER_SLOT, "slot"}}, .string = {{STRING_PATH, "target"}}},
};
/* clang-format on */

const char *niwa_op_name(enum niwa_op op)
{
	return (unsigned)op < NIWA_OP_COUNT ? niwa_plan_ops[op].name : "?";
}

enum niwa_phase niwa_op_phase(enum niwa_op op)
{
	assert((unsigned)op < NIWA_OP_COUNT);
	return niwa_plan_ops[op].phase;
}

/* The head is kept current at each append, so that the buffer is a readable plan at any time. */
static void update_head(struct niwa_plan *plan)
{
	struct plan_head head = {.magic = NIWA_PLAN_MAGIC, .len = (uint32_t)plan->buf.len, .count = plan->count};

	memcpy(plan->buf.data, &head, sizeof(head));
}

void niwa_plan_add(struct niwa_plan *plan, const struct niwa_op_view *op)
{
	static const char zeros[8];
	const char *s = op->s ? op->s : "", *t = op->t ? op->t : "";
	struct op_head head = {.op = op->op, .a = op->a, .b = op->b, .c = op->c, .bytes_len = op->bytes_len};
	size_t s_len = strlen(s), t_len = strlen(t), len = sizeof(head) + op->bytes_len + s_len + 1 + t_len + 1;
	size_t pad = (8 - len % 8) % 8;

	if (plan->buf.len + sizeof(struct plan_head) + len + pad > NIWA_PLAN_MAX)
		plan->buf.failed = true;
	if (plan->buf.len == 0)
		niwa_text_add_bytes(&plan->buf, &(struct plan_head){0}, sizeof(struct plan_head));
	head.len = (uint32_t)(len + pad);
	head.s_len = (uint32_t)s_len;
	head.t_len = (uint32_t)t_len;
	niwa_text_add_bytes(&plan->buf, &head, sizeof(head));
	niwa_text_add_bytes(&plan->buf, op->bytes, op->bytes_len);
	niwa_text_add_bytes(&plan->buf, s, s_len + 1);
	niwa_text_add_bytes(&plan->buf, t, t_len + 1);
	niwa_text_add_bytes(&plan->buf, zeros, pad);
	if (plan->buf.failed)
		return;
	plan->count++;
	update_head(plan);
}

void niwa_plan_fini(struct niwa_plan *plan)
{
	niwa_text_fini(&plan->buf);
	*plan = (struct niwa_plan){0};
}

int niwa_plan_to_memfd(struct niwa_plan *plan, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = -1;
	ssize_t n;
	int r;

	if (plan->buf.failed)
		return niwa_fail(err, NIWA_PERMANENT, ENOMEM, "plan: out of memory or more than %d bytes",
				 NIWA_PLAN_MAX);
	r = niwa_plan_check(plan->buf.data, plan->buf.len, err);
	if (r < 0)
		return r;
	fd = memfd_create("niwa-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "create the plan's memfd");
	n = write(fd, plan->buf.data, plan->buf.len);
	if (n < 0 || (size_t)n != plan->buf.len)
		return niwa_fail(err, NIWA_TEMPORARY, n < 0 ? errno : EIO, "write the plan's memfd");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "seal the plan's memfd");
	return NIWA_TAKE_FD(fd);
}

bool niwa_plan_next(const void *data, size_t len, size_t *pos, struct niwa_op_view *ret)
{
	const char *base = data;
	const struct op_head *head;
	uint32_t index = 0;

	if (*pos == 0) {
		*pos = sizeof(struct plan_head);
	} else {
		index = ret->index + 1;
	}
	if (*pos >= len)
		return false;
	head = (const void *)(base + *pos);
	base += *pos + sizeof(*head);
	*ret = (struct niwa_op_view){
		.op = (enum niwa_op)head->op,
		.a = head->a,
		.b = head->b,
		.c = head->c,
		.bytes = base,
		.bytes_len = head->bytes_len,
		.s = base + head->bytes_len,
		.t = base + head->bytes_len + head->s_len + 1,
		.index = index,
	};
	*pos += head->len;
	return true;
}
