/* SPDX-License-Identifier: MIT
 *
 * The checker: one walk over a plan that refuses every bad length, argument, order and slot, so that the
 * executor can trust what it reads. It never reads behind `len` and allocates nothing.
 */
#include "container/plan_private.h"

#include <string.h>
#include <linux/netlink.h>

#define FILTERS_MAX 4096 /* BPF_MAXINSNS */

/* What the walk has seen so far. */
struct walk {
	struct niwa_op_view op;
	uint64_t seen;   /* bit per operation (there are fewer than 64) */
	uint32_t filled; /* slots */
	unsigned kept;
	int64_t released, awaited;
	uint64_t releases, awaits; /* numbers below 64 */
	struct niwa_error *err;
};
_Static_assert(NIWA_OP_COUNT <= 64, "walk.seen has a bit for each operation");
_Static_assert(NIWA_SLOTS <= 32, "walk.filled has a bit for each slot");

#define REFUSE(w, fmt, ...)                                                                                            \
	niwa_fail((w)->err, NIWA_CALLER, EINVAL, "plan: operation %u (%s): " fmt, (w)->op.index,                       \
		  niwa_op_name((w)->op.op), ##__VA_ARGS__)

static bool seen(const struct walk *w, enum niwa_op op)
{
	return w->seen >> op & 1;
}

static int check_uses(struct walk *w, int64_t slot, const char *label)
{
	if (slot < 0 || slot >= NIWA_SLOTS)
		return REFUSE(w, "%s: there is no slot %lld", label, (long long)slot);
	if (slot < NIWA_SLOT_GIVEN && !(w->filled >> slot & 1))
		return REFUSE(w, "%s: slot %lld is empty", label, (long long)slot);
	return 0;
}

static int check_fills(struct walk *w, int64_t slot, const char *label)
{
	if (slot < 0 || slot >= NIWA_SLOTS)
		return REFUSE(w, "%s: there is no slot %lld", label, (long long)slot);
	if (w->filled >> slot & 1)
		return REFUSE(w, "%s: slot %lld is filled twice", label, (long long)slot);
	w->filled |= 1u << slot;
	return 0;
}

static int count_kept(struct walk *w)
{
	if (++w->kept > NIWA_PLAN_KEPT_MAX)
		return REFUSE(w, "more than %d slots are kept", NIWA_PLAN_KEPT_MAX);
	return 0;
}

static int check_kept(struct walk *w, int64_t slot, const char *label)
{
	int r = count_kept(w);

	return r < 0 ? r : check_fills(w, slot, label);
}

static int check_range(struct walk *w, int64_t v, int64_t min, int64_t max, const char *label)
{
	if (v < min || v > max)
		return REFUSE(w, "%s is %lld, allowed is %lld to %lld", label, (long long)v, (long long)min,
			      (long long)max);
	return 0;
}

static int check_number(struct walk *w, enum number_kind kind, int64_t v, const char *label)
{
	switch (kind) {
	case NUMBER_NONE:
		return v == 0 ? 0 : REFUSE(w, "a number that it does not have is %lld", (long long)v);
	case NUMBER_ANY:
	case NUMBER_HEX:
		return 0;
	case NUMBER_U32:
		return check_range(w, v, 0, UINT32_MAX, label);
	case NUMBER_FLAG:
		return check_range(w, v, 0, 1, label);
	case NUMBER_MODE:
		return check_range(w, v, 0, 07777, label);
	case NUMBER_SLOT_OR_NONE:
		return v == -1 ? 0 : check_uses(w, v, label);
	case NUMBER_SLOT:
		return check_uses(w, v, label);
	case NUMBER_FILLS:
		return check_fills(w, v, label);
	case NUMBER_KEPT:
		return check_kept(w, v, label);
	case NUMBER_RELEASE:
		return check_range(w, v, 1, 63, label);
	case NUMBER_TARGET:
		return check_range(w, v, 3, NIWA_PLAN_TARGET_MAX, label);
	}
	return REFUSE(w, "unknown kind of number");
}

static int check_string(struct walk *w, enum string_kind kind, const char *s, const char *label)
{
	switch (kind) {
	case STRING_NONE:
		return *s == '\0' ? 0 : REFUSE(w, "a string that it does not have is set");
	case STRING_ANY:
		return 0;
	case STRING_NAME:
		return *s != '\0' ? 0 : REFUSE(w, "%s is empty", label);
	case STRING_PATH:
		return *s == '/' ? 0 : REFUSE(w, "%s is not an absolute path", label);
	}
	return REFUSE(w, "unknown kind of string");
}

static int check_mount(struct walk *w)
{
	const char *p = w->op.bytes;
	uint32_t len = w->op.bytes_len;
	const char *first = len ? memchr(p, '\0', len) : NULL;
	const char *second = first ? memchr(first + 1, '\0', len - (size_t)(first + 1 - p)) : NULL;

	if (!second || second != p + len - 1)
		return REFUSE(w, "its bytes are not type and data, each terminated");
	return 0;
}

static int check_netlink(struct walk *w)
{
	const char *p = w->op.bytes;
	uint32_t left = w->op.bytes_len, count = 0;

	if (left == 0 || left > NIWA_PLAN_NETLINK_MAX)
		return REFUSE(w, "a batch of %u bytes, allowed is 1 to %d", left, NIWA_PLAN_NETLINK_MAX);
	while (left > 0) {
		const struct nlmsghdr *m = (const void *)p;

		if (left < sizeof(*m) || m->nlmsg_len < sizeof(*m) || NLMSG_ALIGN(m->nlmsg_len) > left)
			return REFUSE(w, "message %u has a bad length", count);
		if (++count > NIWA_PLAN_MESSAGES_MAX)
			return REFUSE(w, "more than %d messages", NIWA_PLAN_MESSAGES_MAX);
		p += NLMSG_ALIGN(m->nlmsg_len);
		left -= NLMSG_ALIGN(m->nlmsg_len);
	}
	return 0;
}

/* NETLINK's s: a times a decimal offset, separated by single spaces. */
static int check_offsets(struct walk *w)
{
	const char *p = w->op.s;

	for (int64_t i = 0; i < w->op.a; i++) {
		uint64_t v = 0;
		const char *start = p;

		while (*p >= '0' && *p <= '9' && p - start < 6)
			v = v * 10 + (uint64_t)(*p++ - '0');
		if (p == start || v % 4 != 0 || v + 4 > w->op.bytes_len)
			return REFUSE(w, "offset %lld of a pid is not inside the batch", (long long)i);
		if (i + 1 < w->op.a && *p++ != ' ')
			return REFUSE(w, "fewer than %lld offsets", (long long)w->op.a);
	}
	return *p == '\0' ? 0 : REFUSE(w, "more than %lld offsets", (long long)w->op.a);
}

/* count(u32), then that many terminated strings. Moves *p and *left behind them. */
static int check_vector(struct walk *w, const char **p, uint32_t *left, uint32_t *total)
{
	uint32_t count;

	if (*left < sizeof(count))
		return REFUSE(w, "its arguments are cut");
	memcpy(&count, *p, sizeof(count));
	*p += sizeof(count);
	*left -= (uint32_t)sizeof(count);
	if (count > NIWA_PLAN_ARGS_MAX || (*total += count) > NIWA_PLAN_ARGS_MAX)
		return REFUSE(w, "more than %d arguments and variables", NIWA_PLAN_ARGS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		const char *end = *left ? memchr(*p, '\0', *left) : NULL;

		if (!end)
			return REFUSE(w, "its arguments are cut");
		*left -= (uint32_t)(end + 1 - *p);
		*p = end + 1;
	}
	return 0;
}

static int check_exec(struct walk *w)
{
	const char *p = w->op.bytes;
	uint32_t left = w->op.bytes_len, total = 0;
	int r = check_vector(w, &p, &left, &total);

	if (r == 0 && total == 0)
		return REFUSE(w, "no command");
	if (r == 0)
		r = check_vector(w, &p, &left, &total);
	if (r < 0)
		return r;
	return left == 0 ? 0 : REFUSE(w, "%u bytes too many", left);
}

static int check_array(struct walk *w, uint32_t size, uint32_t min, uint32_t max)
{
	uint32_t count = w->op.bytes_len / size;

	if (w->op.bytes_len % size || count < min || count > max)
		return REFUSE(w, "%u bytes are not %u to %u entries", w->op.bytes_len, min, max);
	return 0;
}

static int check_bytes(struct walk *w, enum bytes_kind kind)
{
	switch (kind) {
	case BYTES_NONE:
		return w->op.bytes_len == 0 ? 0 : REFUSE(w, "it has no bytes");
	case BYTES_MOUNT:
		return check_mount(w);
	case BYTES_NETLINK:
		return check_netlink(w);
	case BYTES_GROUPS:
		return check_array(w, 4, 0, NIWA_PLAN_GROUPS_MAX);
	case BYTES_SECCOMP:
		return check_array(w, 8, 1, FILTERS_MAX);
	case BYTES_EXEC:
		return check_exec(w);
	}
	return REFUSE(w, "unknown kind of bytes");
}

static int check_place(struct walk *w, const struct op_info *info)
{
	bool cloned = seen(w, NIWA_OP_CLONE);

	if (seen(w, NIWA_OP_EXEC))
		return REFUSE(w, "stands behind exec");
	if (w->op.op == NIWA_OP_CLONE && cloned)
		return REFUSE(w, "a second one");
	if (info->phase == NIWA_PHASE_BEFORE && cloned && !info->any_time)
		return REFUSE(w, "must stand before clone");
	if (info->phase != NIWA_PHASE_BEFORE && !cloned)
		return REFUSE(w, "must stand behind clone");
	return 0;
}

/* Rules between operations. */
static int check_order(struct walk *w)
{
	int64_t n = w->op.a;

	if (w->op.op == NIWA_OP_RELEASE) {
		if (n <= w->released)
			return REFUSE(w, "%lld comes after %lld", (long long)n, (long long)w->released);
		w->released = n;
		w->releases |= (uint64_t)1 << n;
	}
	if (w->op.op == NIWA_OP_AWAIT) {
		if (n <= w->awaited)
			return REFUSE(w, "%lld comes after %lld", (long long)n, (long long)w->awaited);
		w->awaited = n;
		w->awaits |= (uint64_t)1 << n;
	}
	if (w->op.op == NIWA_OP_DETACH && !seen(w, NIWA_OP_PIVOT))
		return REFUSE(w, "there is no pivot before it");
	if (w->op.op == NIWA_OP_TIME_OFFSETS && (seen(w, NIWA_OP_USER) || seen(w, NIWA_OP_JOIN)))
		return REFUSE(w, "must stand before user and join"); /* afterwards /proc/self is not ours to write */
	if (w->op.op == NIWA_OP_TMPFS && w->op.c)
		return count_kept(w);
	if (w->op.op == NIWA_OP_WRITE && w->op.b && !seen(w, NIWA_OP_CLONE))
		return REFUSE(w, "inside, before there is a child");
	if (w->op.op == NIWA_OP_NETLINK)
		return check_offsets(w);
	return 0;
}

static int check_op(struct walk *w)
{
	const struct op_info *info = &niwa_plan_ops[w->op.op];
	const int64_t numbers[] = {w->op.a, w->op.b, w->op.c};
	const char *const strings[] = {w->op.s, w->op.t};
	int r = check_place(w, info);

	for (int i = 0; r == 0 && i < 3; i++)
		r = check_number(w, info->number[i].kind, numbers[i], info->number[i].label);
	for (int i = 0; r == 0 && i < 2; i++)
		r = check_string(w, info->string[i].kind, strings[i], info->string[i].label);
	if (r == 0)
		r = check_bytes(w, info->bytes);
	if (r == 0)
		r = check_order(w);
	w->seen |= (uint64_t)1 << w->op.op;
	return r;
}

/* The record at p, of which `left` bytes are there: its lengths fit, its strings are terminated and whole. */
static int check_record(struct walk *w, const char *p, size_t left)
{
	static const char zeros[8];
	struct op_head head;
	size_t used;
	const char *s, *t;

	if (left < sizeof(head))
		return REFUSE(w, "cut");
	memcpy(&head, p, sizeof(head));
	if (head.op >= NIWA_OP_COUNT)
		return niwa_fail(w->err, NIWA_CALLER, EINVAL, "plan: operation %u: there is no operation %u",
				 w->op.index, head.op);
	w->op.op = (enum niwa_op)head.op;
	used = sizeof(head) + (size_t)head.bytes_len + head.s_len + 1 + (size_t)head.t_len + 1;
	if (head.len > left || head.len % 8 || head.zero || used > head.len || head.len - used >= 8)
		return REFUSE(w, "bad lengths");
	s = p + sizeof(head) + head.bytes_len;
	t = s + head.s_len + 1;
	if (memchr(s, '\0', (size_t)head.s_len + 1) != s + head.s_len ||
	    memchr(t, '\0', (size_t)head.t_len + 1) != t + head.t_len)
		return REFUSE(w, "a string is not terminated where it should be");
	if (memcmp(p + used, zeros, head.len - used) != 0)
		return REFUSE(w, "bytes behind its end");
	return 0;
}

static int check_head(const void *data, size_t len, struct plan_head *ret, struct niwa_error *err)
{
	if (len < sizeof(*ret) || len > NIWA_PLAN_MAX || (uintptr_t)data % 8)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "plan: %zu bytes, allowed is %zu to %d", len, sizeof(*ret),
				 NIWA_PLAN_MAX);
	memcpy(ret, data, sizeof(*ret));
	if (ret->magic != NIWA_PLAN_MAGIC)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "plan: its first bytes are not those of a plan");
	if (ret->len != len || ret->zero || ret->count == 0 || ret->count > NIWA_PLAN_OPS_MAX)
		return niwa_fail(err, NIWA_CALLER, EINVAL,
				 "plan: its head says %u bytes and %u operations, it has %zu bytes", ret->len,
				 ret->count, len);
	return 0;
}

int niwa_plan_check(const void *data, size_t len, struct niwa_error *err)
{
	struct walk w = {.err = err};
	struct plan_head head;
	size_t pos = 0;
	int r = check_head(data, len, &head, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < head.count; i++) {
		size_t at = pos ? pos : sizeof(head);

		w.op.index = i;
		r = check_record(&w, (const char *)data + at, len - at);
		if (r < 0)
			return r;
		w.op.index = i ? i - 1 : 0;
		(void)niwa_plan_next(data, len, &pos, &w.op); /* true: check_record has found one */
		r = check_op(&w);
		if (r < 0)
			return r;
	}
	if (pos != len)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "plan: %zu bytes behind the last operation", len - pos);
	if (!seen(&w, NIWA_OP_EXEC))
		return niwa_fail(err, NIWA_CALLER, EINVAL, "plan: it does not end with exec");
	if (w.awaits & ~w.releases)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "plan: an await has no release");
	return 0;
}
