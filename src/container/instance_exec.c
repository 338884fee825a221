/* SPDX-License-Identifier: MIT
 *
 * The two small plans: a process inside a running instance (niwa exec), and a program of niwa itself.
 */
#include "container/instance_private.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Given with START (instance.h). */
enum { SLOT_PIDFD = NIWA_SLOT_FIRST_FREE, SLOT_STDIN, SLOT_STDOUT, SLOT_STDERR, SLOT_EXEC_CGROUP };

static size_t count_strings(char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

static int exec_command(struct builder *b, const struct niwa_exec_params *p)
{
	char home[PATH_MAX], app[NIWA_NAME_MAX + 16];
	struct env env = {0};

	(void)snprintf(home, sizeof(home), "HOME=%s",
		       p->home && p->home[0] == '/' ? p->home
		       : p->uid == 0                ? "/root"
						    : "/");
	(void)snprintf(app, sizeof(app), "NIWA_APP=%s", p->spec->name);
	env_put(&env, DEFAULT_PATH);
	env_put(&env, home);
	if (p->terminal)
		env_put(&env, "TERM=xterm");
	if (p->image)
		env_put_all(&env, p->image->env);
	env_put_all(&env, p->spec->env);
	env_put(&env, "container=niwa");
	env_put(&env, app);
	return plan_exec(b, (const char *const *)p->argv, count_strings(p->argv), &env);
}

static int build_exec(struct builder *b, const struct niwa_host *host, const struct niwa_exec_params *p)
{
	int r;

	if (!p->argv || !p->argv[0])
		return niwa_fail(b->err, NIWA_CALLER, 0, "no command to execute");
	plan_open_cgroup(b, host, p->instance, SLOT_EXEC_CGROUP);
	plan_op(b, NIWA_OP_CLONE, 0, SLOT_EXEC_CGROUP, 0);
	/* in every limit before it joins; what JOIN forks is in them too */
	plan_enter_v1(b, host, &p->spec->limits, p->instance);
	plan_op(b, NIWA_OP_JOIN, SLOT_PIDFD, 0, 0);
	plan_op(b, NIWA_OP_USER, 0, 0, 0);
	if (p->terminal) {
		plan_op(b, NIWA_OP_CONSOLE, SLOT_STDIN, p->rows, p->columns);
	} else {
		plan_op(b, NIWA_OP_SESSION, 0, 0, 0);
		plan_op(b, NIWA_OP_STDIO, SLOT_STDIN, SLOT_STDOUT, SLOT_STDERR);
	}
	if (p->spec->limits.open_files)
		plan_op(b, NIWA_OP_RLIMIT, RLIMIT_NOFILE, p->spec->limits.open_files, p->spec->limits.open_files);
	plan_op(b, NIWA_OP_RLIMIT, RLIMIT_CORE, 0, 0);
	r = plan_confine(b, p->uid, p->gid, p->groups, p->group_count, plan_workdir(p->spec, p->image));
	if (r == 0)
		r = exec_command(b, p);
	return r < 0 ? r : plan_finish(b);
}

int niwa_exec_plan(const struct niwa_host *host, const struct niwa_exec_params *params, struct niwa_plan *ret,
		   struct niwa_error *err)
{
	struct niwa_plan plan = {0};
	struct builder b = {.plan = &plan, .err = err};
	int r = build_exec(&b, host, params);

	if (r < 0) {
		niwa_plan_fini(&plan);
		return r;
	}
	*ret = plan;
	return 0;
}

static int build_program(struct builder *b, const struct niwa_program_params *p)
{
	struct env env = {0};
	int r;

	if (!p->argv || !p->argv[0])
		return niwa_fail(b->err, NIWA_CALLER, 0, "no program to execute");
	if (p->fd_count > NIWA_SLOTS - NIWA_SLOT_FIRST_FREE)
		return niwa_fail(b->err, NIWA_CALLER, 0, "%u descriptors for a program, at most %d", p->fd_count,
				 NIWA_SLOTS - NIWA_SLOT_FIRST_FREE);
	plan_op(b, NIWA_OP_CLONE, 0, -1, 0);
	plan_op(b, NIWA_OP_SESSION, 0, 0, 0);
	for (unsigned i = 0; i < p->fd_count; i++)
		plan_op(b, NIWA_OP_PASS, NIWA_SLOT_FIRST_FREE + i, 3 + i, 0);
	if (p->nofile)
		plan_op(b, NIWA_OP_RLIMIT, RLIMIT_NOFILE, (int64_t)p->nofile, (int64_t)p->nofile);
	plan_op(b, NIWA_OP_RLIMIT, RLIMIT_CORE, 0, 0);
	plan_op(b, NIWA_OP_BOUNDING, (int64_t)p->caps, 0, 0);
	plan_op(b, NIWA_OP_USER, p->uid, p->gid, 0);
	plan_op(b, NIWA_OP_CAPS, (int64_t)p->caps, 0, 0);
	plan_op(b, NIWA_OP_NO_NEW_PRIVS, 0, 0, 0);
	env_put_all(&env, p->env);
	r = plan_exec(b, (const char *const *)p->argv, count_strings(p->argv), &env);
	return r < 0 ? r : plan_finish(b);
}

int niwa_program_plan(const struct niwa_program_params *params, struct niwa_plan *ret, struct niwa_error *err)
{
	struct niwa_plan plan = {0};
	struct builder b = {.plan = &plan, .err = err};
	int r = build_program(&b, params);

	if (r < 0) {
		niwa_plan_fini(&plan);
		return r;
	}
	*ret = plan;
	return 0;
}
