/* SPDX-License-Identifier: MIT
 *
 * The plan of an instance, as a sequence of parts. While the child builds its root, keep makes the network, inside
 * too; the child waits for it only when everything else is done.
 */
#include "container/instance.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "container/instance_private.h"
#include "container/rtnl.h"

#define DEFAULT_PATH      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define HOST_NAME_MAX_LEN 64 /* of the kernel; an app's name may be longer */
#define IFINDEX_BASE      0x20000000u
#define IFINDEX_COUNT     0x50000000u
#define ARGS_MAX          1024

void niwa_instance_veth_name(uint64_t id, char ret[16])
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char text[14];
	size_t n = sizeof(text);

	/* 15 characters hold "nw" and 13 digits, which is every 64-bit number */
	text[--n] = '\0';
	do {
		text[--n] = digits[id % 36];
		id /= 36;
	} while (id && n);
	(void)snprintf(ret, 16, "nw%s", text + n);
}

bool niwa_instance_of_veth(const char *name, uint64_t *ret_id)
{
	char again[16];
	uint64_t id;

	if (strncmp(name, "nw", 2) != 0)
		return false;
	id = strtoull(name + 2, NULL, 36);
	niwa_instance_veth_name(id, again); /* what is not written so is not ours */
	if (strcmp(name, again) != 0)
		return false;
	*ret_id = id;
	return true;
}

void niwa_instance_mac(uint64_t id, uint8_t ret[6])
{
	ret[0] = 0x02; /* locally administered, one station */
	for (int i = 1; i < 6; i++)
		ret[i] = (uint8_t)(id >> (8 * (5 - i)));
}

uint32_t niwa_instance_ifindex(uint64_t id)
{
	return IFINDEX_BASE + (uint32_t)(id % IFINDEX_COUNT);
}

static int check_paths(struct builder *b)
{
	const struct {
		const char *what, *path;
	} paths[] = {
		{"run folder", b->host->run_dir},         {"state folder", b->host->state_dir},
		{"device folder", b->host->dev_dir},      {"cgroup", b->host->cgroup_v2},
		{"image root", b->params->image->root},   {"layer folder", b->params->layer_dir},
		{"tenant folder", b->params->tenant_dir}, {"init", b->host->init_path},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(paths); i++)
		if (!paths[i].path || paths[i].path[0] != '/' || strlen(paths[i].path) > PATH_MAX / 2)
			return niwa_fail(b->err, NIWA_PERMANENT, 0,
					 "%s '%s' is not an absolute path of reasonable length", paths[i].what,
					 paths[i].path ? paths[i].path : "");
	return 0;
}

static int check(struct builder *b)
{
	const struct niwa_instance_params *p = b->params;
	uint32_t files = p->spec->limits.open_files;
	int r = check_paths(b);

	if (r < 0)
		return r;
	if (p->id == 0 || p->id_base < 65536 || p->id_base % 65536 || !p->private_addr || !p->veth[0])
		return niwa_fail(b->err, NIWA_PERMANENT, 0, "instance %" PRIu64 " lacks its id range, address or veth",
				 p->id);
	if (!(p->spec->command && p->spec->command[0]) && !(p->image->command && p->image->command[0]))
		return niwa_fail(b->err, NIWA_CALLER, 0,
				 "command: image '%s' has none of its own, so the app must say one", p->image->name);
	if (p->group_count > NIWA_ARRAY_LEN(p->groups))
		return niwa_fail(b->err, NIWA_CALLER, 0, "user: in %u groups, at most %zu", p->group_count,
				 NIWA_ARRAY_LEN(p->groups));
	if (b->host->nofile_max && files > b->host->nofile_max)
		return niwa_fail(b->err, NIWA_CALLER, 0,
				 "limits.open-files: %u is more than this host gives niwa-keep (%" PRIu64
				 "); lower it, or raise LimitNOFILE of niwa-keep",
				 files, b->host->nofile_max);
	r = plan_restore_check(b);
	return r < 0 ? r : plan_mount_check(b);
}

static void id_map(struct builder *b)
{
	char map[32];

	(void)snprintf(map, sizeof(map), "0 %u 65536\n", b->params->id_base);
	plan_pair(b, NIWA_OP_ID_MAP, 0, map, map);
}

struct addresses6 {
	uint8_t private[16], service[16], gateway[16];
};

static void link_of6(const struct builder *b, struct addresses6 *six, struct niwa_rtnl_link *ret)
{
	const struct niwa_ula *ula = &b->host->ula;

	if (!ula->on || b->host->no_ipv6)
		return;
	niwa_ula_make(ula, NIWA_ULA_PRIVATE, b->params->private_addr, six->private);
	niwa_ula_make(ula, NIWA_ULA_SERVICE, b->params->service_addr, six->service);
	niwa_ula_make(ula, NIWA_ULA_PRIVATE, b->host->gateway_addr, six->gateway);
	ret->private6 = six->private;
	ret->service6 = b->params->service_addr ? six->service : NULL;
	ret->gateway6 = six->gateway;
}

static void link_of(const struct builder *b, struct niwa_rtnl_link *ret)
{
	const struct niwa_instance_params *p = b->params;

	*ret = (struct niwa_rtnl_link){
		.veth = p->veth,
		.host_index = niwa_instance_ifindex(p->id),
		.group = b->host->veth_group,
		.private_addr = p->private_addr,
		.service_addr = p->service_addr,
		.gateway_addr = b->host->gateway_addr,
		.host_has_ipv6 = !b->host->no_ipv6,
	};
	memcpy(ret->host_mac, b->host->host_mac, sizeof(ret->host_mac));
	niwa_instance_mac(p->id, ret->mac);
}

static void network(struct builder *b)
{
	struct niwa_rtnl_link link;
	struct addresses6 six;
	struct niwa_rtnl batch;
	char text[32];

	link_of(b, &link);
	link_of6(b, &six, &link);
	niwa_rtnl_host(&link, &batch);
	(void)snprintf(text, sizeof(text), "%u", batch.pid_offset);
	niwa_plan_add(b->plan,
		      &(struct niwa_op_view){
			      .op = NIWA_OP_NETLINK, .a = 1, .s = text, .bytes = batch.data, .bytes_len = batch.len});
	niwa_rtnl_child(&link, &batch);
	niwa_plan_add(b->plan, &(struct niwa_op_view){
				       .op = NIWA_OP_NETLINK, .b = 1, .bytes = batch.data, .bytes_len = batch.len});
	niwa_rtnl_settle(&link, &batch);
	niwa_plan_add(b->plan,
		      &(struct niwa_op_view){.op = NIWA_OP_NETLINK, .bytes = batch.data, .bytes_len = batch.len});
}

/* An app's name is a DNS name of up to 253 characters; a host name ends where the kernel says, at a label's end or
 * at least not at a separator. */
static void host_name(struct builder *b)
{
	const char *name = b->params->spec->name;
	int n = (int)strnlen(name, HOST_NAME_MAX_LEN + 1);

	if (n > HOST_NAME_MAX_LEN) {
		n = HOST_NAME_MAX_LEN;
		while (n > 1 && (name[n - 1] == '.' || name[n - 1] == '-'))
			n--;
	}
	plan_path(b, NIWA_OP_HOST_NAME, 0, "%.*s", n, name);
}

static void rlimits(struct builder *b)
{
	uint32_t files = b->params->spec->limits.open_files;

	if (files)
		plan_op(b, NIWA_OP_RLIMIT, RLIMIT_NOFILE, files, files);
	plan_op(b, NIWA_OP_RLIMIT, RLIMIT_CORE, 0, 0); /* a core file would fill the layer */
}

static const char *home_of(const char *home, uint32_t uid)
{
	if (home && home[0] == '/')
		return home;
	return uid == 0 ? "/root" : "/";
}

static int execute(struct builder *b)
{
	const struct niwa_instance_params *p = b->params;
	char *const *command = p->spec->command && p->spec->command[0] ? p->spec->command : p->image->command;
	const char *argv[ARGS_MAX];
	char home[PATH_MAX], app[NIWA_NAME_MAX + 16], pid[16];
	struct env env = {0};
	size_t argc = 0;

	if (plan_below_init(p))
		argv[argc++] = "/run/niwa/init";
	if (p->restore) {
		(void)snprintf(pid, sizeof(pid), "%d", (int)p->restore->pid);
		argv[argc++] = "--adopt";
		argv[argc++] = pid;
	}
	for (size_t i = 0; !p->restore && command[i]; i++) {
		if (argc == ARGS_MAX)
			return niwa_fail(b->err, NIWA_CALLER, E2BIG, "command: more than %d arguments", ARGS_MAX - 1);
		argv[argc++] = command[i];
	}
	(void)snprintf(home, sizeof(home), "HOME=%s", home_of(p->home, p->uid));
	(void)snprintf(app, sizeof(app), "NIWA_APP=%s", p->spec->name);
	env_put(&env, DEFAULT_PATH);
	env_put(&env, home);
	env_put_all(&env, p->image->env);
	env_put_all(&env, p->spec->env);
	env_put(&env, "container=niwa");
	env_put(&env, app);
	if (p->spec->ready.kind == NIWA_READY_NOTIFY)
		env_put(&env, "NOTIFY_SOCKET=/run/niwa/notify");
	return plan_exec(b, argv, argc, &env);
}

const char *plan_workdir(const struct niwa_app_spec *spec, const struct niwa_image *image)
{
	if (spec->workdir && spec->workdir[0] == '/')
		return spec->workdir;
	if (image && image->workdir && image->workdir[0] == '/')
		return image->workdir;
	return "/";
}

static int before(struct builder *b)
{
	int r = plan_cgroups(b);

	if (r < 0)
		return r;
	plan_mount_before(b);
	plan_open_cgroup(b, b->host, b->params->id, SLOT_CGROUP);
	/* a group of the instance too, else its root has no rights over it */
	plan_op(b, NIWA_OP_PIPE, NIWA_SLOT_LOG, SLOT_LOG_WRITE, b->params->id_base + b->params->uid);
	plan_op(b, NIWA_OP_CLONE,
		CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, SLOT_CGROUP,
		0);
	return 0;
}

static void in_keep(struct builder *b)
{
	id_map(b);
	plan_mount_host(b);
	plan_op(b, NIWA_OP_RELEASE, STEP_ROOT, 0, 0);
	network(b);
	plan_volumes_host(b);
	plan_op(b, NIWA_OP_RELEASE, STEP_REST, 0, 0);
}

static void in_child(struct builder *b)
{
	plan_enter_v1(b, b->host, &b->params->spec->limits, b->params->id);
	/* in all its groups: it sees them as the roots, and nothing above them */
	plan_op(b, NIWA_OP_OWN_GROUPS, 0, 0, 0);
	plan_op(b, NIWA_OP_PRIVATE, 0, 0, 0);
	plan_op(b, NIWA_OP_SESSION, 0, 0, 0);
	plan_op(b, NIWA_OP_AWAIT, STEP_ROOT, 0, 0);
	plan_restore_clocks(b);
	plan_op(b, NIWA_OP_USER, 0, 0, 0);
	plan_mount_child(b);
	host_name(b);
	if (b->params->spec->ready.kind == NIWA_READY_NOTIFY)
		plan_pair(b, NIWA_OP_NOTIFY, NIWA_SLOT_NOTIFY, "/run/niwa/notify", NULL);
	plan_op(b, NIWA_OP_DIAG, NIWA_SLOT_DIAG, 0, 0);
	rlimits(b);
	plan_op(b, NIWA_OP_STDIO, -1, SLOT_LOG_WRITE, SLOT_LOG_WRITE);
	plan_op(b, NIWA_OP_AWAIT, STEP_REST, 0, 0);
	plan_volumes_child(b);
}

static int build(struct builder *b)
{
	const struct niwa_instance_params *p = b->params;
	int r = check(b);

	if (r == 0)
		r = before(b);
	if (r < 0)
		return r;
	in_keep(b);
	in_child(b);
	r = plan_confine(b, p->uid, p->gid, p->groups, p->group_count, plan_workdir(p->spec, p->image));
	if (r == 0)
		r = execute(b);
	return r < 0 ? r : plan_finish(b);
}

int niwa_instance_plan(const struct niwa_host *host, const struct niwa_instance_params *params, struct niwa_plan *ret,
		       struct niwa_error *err)
{
	struct niwa_plan plan = {0};
	struct builder b = {.plan = &plan, .host = host, .params = params, .err = err};
	int r = build(&b);

	if (r < 0) {
		niwa_plan_fini(&plan);
		return r;
	}
	*ret = plan;
	return 0;
}
