/* SPDX-License-Identifier: MIT
 *
 * Shared by the builders of plans: short ways to add operations, environments, the parts of an instance's plan.
 */
#ifndef NIWA_CONTAINER_INSTANCE_PRIVATE_H
#define NIWA_CONTAINER_INSTANCE_PRIVATE_H

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"
#include "container/instance.h"
#include "container/plan.h"

/* Slots of an instance's plan behind the ones that are sent back. */
enum {
	SLOT_CGROUP = NIWA_SLOT_FIRST_FREE,
	SLOT_LOG_WRITE,
	SLOT_IMAGE,
	SLOT_SKELETON,
	SLOT_LAYER,
	SLOT_USR,
	SLOT_DEV,
	SLOT_TENANT,
	SLOT_INIT,
	SLOT_VOLUME,                                 /* and the following ones */
	SLOT_SAVED = SLOT_VOLUME + NIWA_VOLUMES_MAX, /* layer and shared memory of a dumped instance */
	SLOT_SAVED_SHM,
};
_Static_assert(SLOT_SAVED_SHM < NIWA_SLOT_LAYER, "everything has a slot");

/* Numbers of RELEASE and AWAIT: the child's ids and the mounts of its root are there; its network and its volumes. */
enum { STEP_ROOT = 1, STEP_REST = 2 };

struct builder {
	struct niwa_plan *plan;
	const struct niwa_host *host;
	const struct niwa_instance_params *params;
	struct niwa_error *err;
	bool too_long; /* a path did not fit */
	char text[PATH_MAX];
};

void plan_op(struct builder *b, enum niwa_op op, int64_t a, int64_t n_b, int64_t c);
void plan_path(struct builder *b, enum niwa_op op, int64_t a, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void plan_pair(struct builder *b, enum niwa_op op, int64_t a, const char *s, const char *t);
/* Formats into b->text, which the next call overwrites; operations copy it. */
const char *plan_text(struct builder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A NULL-terminated environment in the making: later values of a key replace earlier ones in place. */
#define ENV_MAX 1024
struct env {
	const char *vars[ENV_MAX];
	size_t count;
	bool full;
};
void env_put(struct env *env, const char *var);
void env_put_all(struct env *env, char *const *vars);
/* EXEC. 0, or -E2BIG when the plan has no room for so many strings. */
int plan_exec(struct builder *b, const char *const *argv, size_t argc, const struct env *env);
/* The same, of the file in a slot. */
int plan_exec_file(struct builder *b, int slot, const char *const *argv, size_t argc, const struct env *env);

/* The folder that an app starts in: its own, else the image's (NULL: none), else /. */
const char *plan_workdir(const struct niwa_app_spec *spec, const struct niwa_image *image);
/* What every process of an app gets at the end: capabilities, user, no new privileges, filter. */
int plan_confine(struct builder *b, uint32_t uid, uint32_t gid, const uint32_t *groups, unsigned group_count,
		 const char *workdir);
/* Everything is added: out of memory, a path that did not fit, or 0. */
int plan_finish(struct builder *b);

/* instance_cgroup.c: groups and limits, before the clone. */
int plan_cgroups(struct builder *b);
/* The child enters the v1 groups of an instance, while it sees the host's tree and is root there. */
void plan_enter_v1(struct builder *b, const struct niwa_host *host, const struct niwa_limits *limits,
		   uint64_t instance);
void plan_open_cgroup(struct builder *b, const struct niwa_host *host, uint64_t instance, int slot);

/* instance_mount.c: the root and what is mounted in it: before the clone, in keep, in the child. Volumes come last:
 * each may need a user namespace of its own, which takes keep 0.2 ms. */
int plan_mount_check(struct builder *b);
void plan_mount_before(struct builder *b);
void plan_mount_host(struct builder *b);
void plan_mount_child(struct builder *b);
void plan_volumes_host(struct builder *b);
void plan_volumes_child(struct builder *b);
/* Bytes of the writable layer when it is kept in memory, 0: it is on disk. */
uint64_t plan_layer_bytes(const struct builder *b);
/* niwa-init is pid 1: the app asks for it, or it may be dumped or is restored. */
bool plan_below_init(const struct niwa_instance_params *params);

/* instance_snapshot.c: what is different in the plan of an instance that is restored into, or may be dumped; nothing
 * in that of any other. */
int plan_restore_check(struct builder *b);
void plan_restore_before(struct builder *b);
void plan_restore_host(struct builder *b);
void plan_restore_clocks(struct builder *b);
/* The child attaches a saved layer at RUN_DIR/mnt/saved; false: there is none. */
bool plan_restore_layer(struct builder *b);
void plan_keep_layer(struct builder *b);
/* /dev/shm and /proc are there, /proc/sys can be written. */
void plan_restore_child(struct builder *b);

#endif
