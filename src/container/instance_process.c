/* SPDX-License-Identifier: MIT
 *
 * Ways to add operations, environments, and what confines the process at the end of every plan.
 */
#include "container/instance_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <linux/capability.h>

#include "container/seccomp_profile.h"

/* The default of OCI runtimes without what an instance has no use for: MKNOD, AUDIT_WRITE, NET_RAW. */
#define KEPT_CAPS                                                                                                      \
	((UINT64_C(1) << CAP_CHOWN) | (UINT64_C(1) << CAP_DAC_OVERRIDE) | (UINT64_C(1) << CAP_FOWNER) |                \
	 (UINT64_C(1) << CAP_FSETID) | (UINT64_C(1) << CAP_KILL) | (UINT64_C(1) << CAP_SETGID) |                       \
	 (UINT64_C(1) << CAP_SETUID) | (UINT64_C(1) << CAP_SETPCAP) | (UINT64_C(1) << CAP_NET_BIND_SERVICE) |          \
	 (UINT64_C(1) << CAP_SYS_CHROOT) | (UINT64_C(1) << CAP_SETFCAP))

void plan_op(struct builder *b, enum niwa_op op, int64_t a, int64_t n_b, int64_t c)
{
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = op, .a = a, .b = n_b, .c = c});
}

void plan_pair(struct builder *b, enum niwa_op op, int64_t a, const char *s, const char *t)
{
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = op, .a = a, .s = s, .t = t});
}

__attribute__((format(printf, 2, 0))) static const char *format(struct builder *b, const char *fmt, va_list ap)
{
	int n = vsnprintf(b->text, sizeof(b->text), fmt, ap);

	if (n < 0 || (size_t)n >= sizeof(b->text))
		b->too_long = true;
	return b->text;
}

const char *plan_text(struct builder *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)format(b, fmt, ap);
	va_end(ap);
	return b->text;
}

void plan_path(struct builder *b, enum niwa_op op, int64_t a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)format(b, fmt, ap);
	va_end(ap);
	plan_pair(b, op, a, b->text, NULL);
}

void env_put(struct env *env, const char *var)
{
	size_t key = strcspn(var, "=") + 1;

	for (size_t i = 0; i < env->count; i++)
		if (strncmp(env->vars[i], var, key) == 0) {
			env->vars[i] = var;
			return;
		}
	if (env->count == ENV_MAX) {
		env->full = true;
		return;
	}
	env->vars[env->count++] = var;
}

void env_put_all(struct env *env, char *const *vars)
{
	for (size_t i = 0; vars && vars[i]; i++)
		if (strchr(vars[i], '='))
			env_put(env, vars[i]);
}

static void add_strings(struct niwa_text *t, const char *const *strings, size_t count)
{
	uint32_t n = (uint32_t)count;

	niwa_text_add_bytes(t, &n, sizeof(n));
	for (size_t i = 0; i < count; i++)
		niwa_text_add_bytes(t, strings[i], strlen(strings[i]) + 1);
}

int plan_exec(struct builder *b, const char *const *argv, size_t argc, const struct env *env)
{
	return plan_exec_file(b, -1, argv, argc, env);
}

int plan_exec_file(struct builder *b, int slot, const char *const *argv, size_t argc, const struct env *env)
{
	struct niwa_text bytes = {0};

	if (env->full || argc + env->count > NIWA_PLAN_ARGS_MAX)
		return niwa_fail(b->err, NIWA_CALLER, E2BIG, "%zu arguments and %zu variables of the environment", argc,
				 env->count);
	add_strings(&bytes, argv, argc);
	add_strings(&bytes, env->vars, env->count);
	if (bytes.failed)
		b->plan->buf.failed = true;
	else
		niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_EXEC,
							      .a = slot,
							      .bytes = bytes.data,
							      .bytes_len = (uint32_t)bytes.len});
	niwa_text_fini(&bytes);
	return 0;
}

int plan_confine(struct builder *b, uint32_t uid, uint32_t gid, const uint32_t *groups, unsigned group_count,
		 const char *workdir)
{
	const void *filter;
	uint32_t filter_len;
	int r = niwa_seccomp_profile(&filter, &filter_len, b->err);

	if (r < 0)
		return r;
	if (uid > 65535 || gid > 65535)
		return niwa_fail(b->err, NIWA_CALLER, 0, "user: %u:%u: ids in a container end at 65535", uid, gid);
	plan_op(b, NIWA_OP_BOUNDING, (int64_t)KEPT_CAPS, 0, 0);
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_USER,
						      .a = uid,
						      .b = gid,
						      .bytes = groups,
						      .bytes_len = group_count * (uint32_t)sizeof(*groups)});
	/* as the user, so that a folder that it may not enter is an error here and not a surprise later */
	plan_pair(b, NIWA_OP_CHDIR, 0, workdir, NULL);
	plan_op(b, NIWA_OP_NO_NEW_PRIVS, 0, 0, 0);
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_SECCOMP, .bytes = filter, .bytes_len = filter_len});
	return 0;
}

int plan_finish(struct builder *b)
{
	if (b->too_long)
		return niwa_fail(b->err, NIWA_CALLER, ENAMETOOLONG, "a path of the plan");
	if (b->plan->buf.failed)
		return niwa_fail(b->err, NIWA_TEMPORARY, ENOMEM, "plan: out of memory or more than %d bytes",
				 NIWA_PLAN_MAX);
	return 0;
}
