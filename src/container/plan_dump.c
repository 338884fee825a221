/* SPDX-License-Identifier: MIT
 *
 * Text form of plans. Stable: tests compare it, and keys are made of it. Everything in a plan is shown but
 * seccomp programs, which are too long to read: their length and a hash stand for them.
 */
#include "container/plan_private.h"

#include <inttypes.h>
#include <string.h>
#include <linux/netlink.h>

static void add_quoted(struct niwa_text *out, const char *s)
{
	niwa_text_add(out, "\"");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			niwa_text_addf(out, "\\%c", c);
		else if (c == '\n')
			niwa_text_add(out, "\\n");
		else if (c < 0x20 || c == 0x7f)
			niwa_text_addf(out, "\\x%02x", c);
		else
			niwa_text_add_bytes(out, s, 1);
	}
	niwa_text_add(out, "\"");
}

static void add_number(struct niwa_text *out, enum number_kind kind, const char *label, int64_t v)
{
	if (kind == NUMBER_NONE)
		return;
	niwa_text_addf(out, " %s=", label);
	if (kind == NUMBER_MODE)
		niwa_text_addf(out, "%04" PRIo64, (uint64_t)v);
	else if (kind == NUMBER_HEX)
		niwa_text_addf(out, "0x%" PRIx64, (uint64_t)v);
	else
		niwa_text_addf(out, "%" PRId64, v);
}

static void add_netlink(struct niwa_text *out, const char *p, uint32_t left)
{
	while (left > 0) {
		const struct nlmsghdr *m = (const void *)p;

		niwa_text_addf(out, " [type=%u flags=0x%x ", m->nlmsg_type, m->nlmsg_flags);
		for (uint32_t i = sizeof(*m); i < m->nlmsg_len; i++)
			niwa_text_addf(out, "%02x", (unsigned char)p[i]);
		niwa_text_add(out, "]");
		p += NLMSG_ALIGN(m->nlmsg_len);
		left -= NLMSG_ALIGN(m->nlmsg_len);
	}
}

static const char *add_vector(struct niwa_text *out, const char *label, const char *p)
{
	uint32_t count;

	memcpy(&count, p, sizeof(count));
	p += sizeof(count);
	niwa_text_addf(out, " %s=[", label);
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			niwa_text_add(out, " ");
		add_quoted(out, p);
		p += strlen(p) + 1;
	}
	niwa_text_add(out, "]");
	return p;
}

static void add_mount(struct niwa_text *out, const char *p)
{
	niwa_text_add(out, " type=");
	add_quoted(out, p);
	niwa_text_add(out, " data=");
	add_quoted(out, p + strlen(p) + 1);
}

static void add_groups(struct niwa_text *out, const char *p, uint32_t count)
{
	niwa_text_add(out, " groups=[");
	for (uint32_t i = 0; i < count; i++) {
		uint32_t group;

		memcpy(&group, p + i * sizeof(group), sizeof(group));
		niwa_text_addf(out, i ? " %u" : "%u", group);
	}
	niwa_text_add(out, "]");
}

static uint64_t fnv1a(const unsigned char *p, uint32_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (uint32_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3;
	return h;
}

static void add_bytes(struct niwa_text *out, enum bytes_kind kind, const struct niwa_op_view *op)
{
	switch (kind) {
	case BYTES_NONE:
		break;
	case BYTES_MOUNT:
		add_mount(out, op->bytes);
		break;
	case BYTES_NETLINK:
		add_netlink(out, op->bytes, op->bytes_len);
		break;
	case BYTES_GROUPS:
		add_groups(out, op->bytes, op->bytes_len / 4);
		break;
	case BYTES_SECCOMP:
		niwa_text_addf(out, " filters=%u hash=%016" PRIx64, op->bytes_len / 8, fnv1a(op->bytes, op->bytes_len));
		break;
	case BYTES_EXEC:
		(void)add_vector(out, "env", add_vector(out, "argv", op->bytes)); /* the end, which nobody needs */
		break;
	}
}

void niwa_plan_dump(const void *data, size_t len, struct niwa_text *out)
{
	static const char *const phases[] = {
		[NIWA_PHASE_BEFORE] = "before", [NIWA_PHASE_HOST] = "host", [NIWA_PHASE_CHILD] = "child"};
	struct niwa_op_view op;
	size_t pos = 0;

	while (niwa_plan_next(data, len, &pos, &op)) {
		const struct op_info *info = &niwa_plan_ops[op.op];
		const int64_t numbers[] = {op.a, op.b, op.c};
		const char *const strings[] = {op.s, op.t};

		niwa_text_addf(out, "%-6s %s", phases[info->phase], info->name);
		for (int i = 0; i < 2; i++) {
			if (info->string[i].kind == STRING_NONE)
				continue;
			niwa_text_addf(out, " %s=", info->string[i].label);
			add_quoted(out, strings[i]);
		}
		for (int i = 0; i < 3; i++)
			add_number(out, info->number[i].kind, info->number[i].label, numbers[i]);
		add_bytes(out, info->bytes, &op);
		niwa_text_add(out, "\n");
	}
}
