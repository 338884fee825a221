/* SPDX-License-Identifier: MIT
 *
 * What snapshots add to the plan of an instance, and the plans of CRIU itself. Everything that CRIU may touch is given
 * to it as a descriptor, since no path of the host exists where it runs; what it would look for by itself (its
 * configuration, plugins, a log) is inside the tenant's reach and therefore named or switched off.
 */
#include "container/instance_snapshot.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <linux/capability.h>

#include "base/memory.h"
#include "container/instance_private.h"

#define NSEC       INT64_C(1000000000)
#define CACHE_KIB  1024
#define CRIU_FILES 8192 /* soft limit: of its own descriptors, which lie above those that it restores */

/* What CRIU does to processes, their files and their sockets; not clocks, modules, devices, the machine. Without
 * SYS_RESOURCE it leaves its limit of files alone: it would raise it to the kernel's highest and put descriptors there,
 * which makes a table of 8 MiB that is copied for each process. */
#define CAP(name) (UINT64_C(1) << CAP_##name)
#define CRIU_CAPS                                                                                                      \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) | CAP(SETGID) | \
	 CAP(SETUID) | CAP(SETPCAP) | CAP(NET_BIND_SERVICE) | CAP(NET_ADMIN) | CAP(NET_RAW) | CAP(IPC_LOCK) |          \
	 CAP(IPC_OWNER) | CAP(SYS_CHROOT) | CAP(SYS_PTRACE) | CAP(SYS_ADMIN) | CAP(SYS_NICE) |                         \
	 CAP(CHECKPOINT_RESTORE))

/* Numbers that CRIU's descriptors get, and what it is told of them. */
enum { TARGET_LOG_PIPE = 51, TARGET_IMAGES = 60, TARGET_CACHE, TARGET_EMPTY };
#define IMAGES    "/proc/self/fd/60"
#define CACHE     "/proc/self/fd/61"
#define EMPTY     "/proc/self/fd/62"
#define CACHE_ENV "XDG_RUNTIME_DIR=" CACHE

/* Filled by the plans themselves. */
enum { SLOT_CRIU_CGROUP = NIWA_CRIU_GIVEN_END, SLOT_LOG_PIPE };

bool plan_below_init(const struct niwa_instance_params *params)
{
	return params->spec->init || params->init || params->restore;
}

int plan_restore_check(struct builder *b)
{
	const struct niwa_instance_restore *r = b->params->restore;

	if (!r)
		return 0;
	if (r->pid < 2 || r->last_pid < 1)
		return niwa_fail(b->err, NIWA_PERMANENT, 0, "restore: pid %d and free pids above %d make no sense",
				 (int)r->pid, (int)r->last_pid);
	for (int i = 0; i < 2; i++) {
		const char *path = i ? r->shm : r->layer;

		if (path && (path[0] != '/' || strlen(path) > PATH_MAX / 2))
			return niwa_fail(b->err, NIWA_PERMANENT, 0,
					 "restore: '%s' is not an absolute path of reasonable length", path);
	}
	return 0;
}

static void take_saved(struct builder *b, int slot, const char *path)
{
	if (path)
		plan_pair(b, NIWA_OP_OPEN_TREE, slot, path, NULL);
}

void plan_restore_before(struct builder *b)
{
	const struct niwa_instance_restore *r = b->params->restore;

	if (!r)
		return;
	if (r->layer)
		plan_path(b, NIWA_OP_MKDIR, 0755, "%s/mnt/saved", b->host->run_dir);
	take_saved(b, SLOT_SAVED, r->layer);
	take_saved(b, SLOT_SAVED_SHM, r->shm);
}

void plan_restore_host(struct builder *b)
{
	const struct niwa_instance_restore *r = b->params->restore;

	if (r && r->layer)
		plan_op(b, NIWA_OP_IDMAP, SLOT_SAVED, 0, MOUNT_ATTR_RDONLY);
	if (r && r->shm)
		plan_op(b, NIWA_OP_IDMAP, SLOT_SAVED_SHM, 0, MOUNT_ATTR_RDONLY);
}

static void clock_line(struct niwa_text *t, const char *name, int64_t ns)
{
	int64_t part = ns % NSEC < 0 ? ns % NSEC + NSEC : ns % NSEC; /* the kernel wants it positive */

	niwa_text_addf(t, "%s %" PRId64 " %" PRId64 "\n", name, (ns - part) / NSEC, part);
}

void plan_restore_clocks(struct builder *b)
{
	const struct niwa_instance_restore *r = b->params->restore;
	NIWA_AUTO(niwa_text_fini) struct niwa_text text = {0};

	if (!r || (r->monotonic_ns == 0 && r->boottime_ns == 0))
		return;
	clock_line(&text, "monotonic", r->monotonic_ns);
	clock_line(&text, "boottime", r->boottime_ns);
	if (text.failed)
		b->plan->buf.failed = true;
	else
		plan_pair(b, NIWA_OP_TIME_OFFSETS, 0, text.data, NULL);
}

bool plan_restore_layer(struct builder *b)
{
	if (!b->params->restore || !b->params->restore->layer)
		return false;
	plan_path(b, NIWA_OP_MOVE_MOUNT, SLOT_SAVED, "%s/mnt/saved", b->host->run_dir);
	return true;
}

void plan_keep_layer(struct builder *b)
{
	if (b->params->init || b->params->restore)
		plan_path(b, NIWA_OP_FOLDER, NIWA_SLOT_LAYER, "%s/mnt/layer", b->host->run_dir);
}

void plan_restore_child(struct builder *b)
{
	const struct niwa_instance_restore *r = b->params->restore;

	if (!r)
		return;
	if (r->shm)
		plan_pair(b, NIWA_OP_COPY, SLOT_SAVED_SHM, "/dev/shm", NULL);
	plan_pair(b, NIWA_OP_PUT, 0, "/proc/sys/kernel/ns_last_pid", plan_text(b, "%d", (int)r->last_pid));
}

/* A process in the instance's limits and namespaces that becomes CRIU. What it needs of the host it takes along before
 * it joins. Its hard limit of files stays keep's: that of an app is lowered to what it was, and could not be raised. */
static void enter(struct builder *b, const struct niwa_host *host, uint64_t instance, const struct niwa_app_spec *spec)
{
	plan_op(b, NIWA_OP_CLONE, 0, SLOT_CRIU_CGROUP, 0);
	plan_enter_v1(b, host, &spec->limits, instance);
	plan_op(b, NIWA_OP_STDIO, -1, NIWA_CRIU_LOG, NIWA_CRIU_LOG);
	plan_op(b, NIWA_OP_PASS, NIWA_CRIU_IMAGES, TARGET_IMAGES, 0);
	plan_op(b, NIWA_OP_PASS, NIWA_CRIU_CACHE, TARGET_CACHE, 0);
	plan_op(b, NIWA_OP_PASS, NIWA_CRIU_EMPTY, TARGET_EMPTY, 0);
	plan_op(b, NIWA_OP_RLIMIT, RLIMIT_NOFILE, CRIU_FILES, INT64_MAX); /* cut to the hard limit that there is */
	plan_op(b, NIWA_OP_RLIMIT, RLIMIT_CORE, 0, 0);
	plan_op(b, NIWA_OP_BOUNDING, (int64_t)CRIU_CAPS, 0, 0);
}

static int criu_exec(struct builder *b, int file, const char *const *argv)
{
	struct env env = {0};
	size_t argc = 0;

	while (argv[argc])
		argc++;
	env_put(&env, CACHE_ENV);
	return plan_exec_file(b, file, argv, argc, &env);
}

static int build_dump(struct builder *b, const struct niwa_host *host, const struct niwa_dump_params *p)
{
	static const char *const then[] = {[NIWA_DUMP_GO_ON] = "--leave-running", [NIWA_DUMP_STOP] = "--leave-stopped"};
	char pid[16];
	const char *argv[] = {"criu",
			      "dump",
			      "--no-default-config",
			      "--libdir",
			      EMPTY,
			      "--unprivileged",
			      "-v1",
			      "-t",
			      pid,
			      "-D",
			      IMAGES,
			      "--network-lock",
			      "skip",
			      "--manage-cgroups=ignore",
			      "--skip-in-flight",
			      "--tcp-close",
			      "--file-locks",
			      "--file-validation",
			      "filesize",
			      then[p->then],
			      NULL};
	int r;

	if (p->pid < 2)
		return niwa_fail(b->err, NIWA_PERMANENT, 0, "dump: pid %d is not below niwa-init", (int)p->pid);
	(void)snprintf(pid, sizeof(pid), "%d", (int)p->pid);
	plan_open_cgroup(b, host, p->instance, SLOT_CRIU_CGROUP);
	enter(b, host, p->instance, p->spec);
	plan_op(b, NIWA_OP_JOIN, NIWA_CRIU_PIDFD, 1, 0);
	plan_op(b, NIWA_OP_SESSION, 0, 0, 0);
	r = criu_exec(b, NIWA_CRIU_BINARY, argv);
	return r < 0 ? r : plan_finish(b);
}

static int build_restore(struct builder *b, const struct niwa_host *host, const struct niwa_criu_restore_params *p)
{
	char pipe[64];
	const char *const argv[] = {"criu",
				    "restore",
				    "--no-default-config",
				    "--libdir",
				    EMPTY,
				    "--unprivileged",
				    "-v1",
				    "-d",
				    "-D",
				    IMAGES,
				    "-W",
				    CACHE,
				    "--inherit-fd",
				    pipe,
				    "--join-ns",
				    "user:/proc/1/ns/user,0,0",
				    "--manage-cgroups=ignore",
				    "--tcp-close",
				    "--file-locks",
				    "--file-validation",
				    "filesize",
				    NULL};
	const char *log_pipe;
	int r;

	if (p->init_pid < 2)
		return niwa_fail(b->err, NIWA_PERMANENT, 0, "restore: pid 1 is said to be %d on the host",
				 (int)p->init_pid);
	(void)snprintf(pipe, sizeof(pipe), "fd[%d]:pipe:[%" PRIu64 "]", TARGET_LOG_PIPE, p->log_inode);
	plan_open_cgroup(b, host, p->instance, SLOT_CRIU_CGROUP);
	log_pipe = plan_text(b, "/proc/%d/fd/1", (int)p->init_pid);
	niwa_plan_add(b->plan,
		      &(struct niwa_op_view){
			      .op = NIWA_OP_OPEN, .a = SLOT_LOG_PIPE, .b = O_WRONLY | O_CLOEXEC, .s = log_pipe});
	enter(b, host, p->instance, p->spec);
	plan_op(b, NIWA_OP_PASS, SLOT_LOG_PIPE, TARGET_LOG_PIPE, 0);
	plan_op(b, NIWA_OP_JOIN, NIWA_CRIU_PIDFD, 1, 0);
	plan_op(b, NIWA_OP_SESSION, 0, 0, 0);
	r = criu_exec(b, NIWA_CRIU_BINARY, argv);
	return r < 0 ? r : plan_finish(b);
}

static int build_check(struct builder *b)
{
	static const char *const argv[] = {"criu", "check", "--no-default-config", "--unprivileged", "-v1", NULL};
	int r;

	niwa_plan_add(b->plan,
		      &(struct niwa_op_view){.op = NIWA_OP_TMPFS, .a = NIWA_CRIU_CHECK_CACHE, .b = CACHE_KIB, .c = 1});
	plan_op(b, NIWA_OP_CLONE, 0, -1, 0);
	plan_op(b, NIWA_OP_SESSION, 0, 0, 0);
	plan_op(b, NIWA_OP_STDIO, -1, NIWA_CRIU_CHECK_LOG, NIWA_CRIU_CHECK_LOG);
	plan_op(b, NIWA_OP_PASS, NIWA_CRIU_CHECK_CACHE, TARGET_CACHE, 0);
	plan_op(b, NIWA_OP_RLIMIT, RLIMIT_CORE, 0, 0);
	r = criu_exec(b, NIWA_CRIU_CHECK_BINARY, argv);
	return r < 0 ? r : plan_finish(b);
}

static int finished(struct niwa_plan *plan, int r, struct niwa_plan *ret)
{
	if (r < 0)
		niwa_plan_fini(plan);
	else
		*ret = *plan;
	return r;
}

int niwa_dump_plan(const struct niwa_host *host, const struct niwa_dump_params *params, struct niwa_plan *ret,
		   struct niwa_error *err)
{
	struct niwa_plan plan = {0};
	struct builder b = {.plan = &plan, .host = host, .err = err};

	return finished(&plan, build_dump(&b, host, params), ret);
}

int niwa_criu_restore_plan(const struct niwa_host *host, const struct niwa_criu_restore_params *params,
			   struct niwa_plan *ret, struct niwa_error *err)
{
	struct niwa_plan plan = {0};
	struct builder b = {.plan = &plan, .host = host, .err = err};

	return finished(&plan, build_restore(&b, host, params), ret);
}

int niwa_criu_check_plan(struct niwa_plan *ret, struct niwa_error *err)
{
	struct niwa_plan plan = {0};
	struct builder b = {.plan = &plan, .err = err};

	return finished(&plan, build_check(&b), ret);
}
