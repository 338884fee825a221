/* SPDX-License-Identifier: MIT
 *
 * Plans of CRIU: a dump of what runs in an instance, a restore into a new one, the look at the kernel that both need.
 * Pure, as instance.h. How it fits together: docs/adr/007-snapshots.md. An instance that may be dumped, or restored
 * into, is started with niwa_instance_params.init or .restore (instance.h).
 *
 * Each plan starts one program with START of niwa-keep: STARTED when CRIU runs (pidfd; nothing else is sent back but
 * where it is said), EXITED with its status when it is done. Deadline, killing (cgroup.kill of the instance for a
 * restore; by pidfd or the group for a dump) and FORGET are the caller's. CRIU runs as root of the host, in the
 * instance's group, hierarchies of limits and all its namespaces but the user namespace; what it must not load or read
 * of the instance (configuration, libraries, plugins) is switched off.
 *
 * CRIU's binary has to be static, which niwa_criu_open looks at: inside the instance an interpreter would be the
 * tenant's.
 */
#ifndef NIWA_CONTAINER_INSTANCE_SNAPSHOT_H
#define NIWA_CONTAINER_INSTANCE_SNAPSHOT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "container/instance.h"
#include "container/plan.h"

/* Descriptors that come with START of a dump or a restore, behind the plan, in this order. Keep closes its copies at
 * the end of the start; the caller closes its own when it likes.
 *   PIDFD   of the instance's pid 1
 *   CRIU    the binary, O_PATH or O_RDONLY
 *   IMAGES  folder of the *.img files, O_RDONLY | O_DIRECTORY, of mode 0711 or 0755 (below one of 0700): some of CRIU's
 *           processes look into it as the instance's root. A dump creates files there (and stats-dump); a restore only
 *           reads, so that any number of restores may use one folder at the same time
 *   CACHE   folder on a tmpfs with criu.kdat (see niwa_criu_check_plan), O_RDONLY | O_DIRECTORY. A restore leaves
 *           stats-restore here, which nobody needs
 *   EMPTY   an empty folder that stays empty, O_RDONLY | O_DIRECTORY (mkdirat "empty" in CACHE will do)
 *   LOG     CRIU's standard output and error: a memfd, or a file. Errors only (-v1), a line each; the first one with
 *           "Error" and without "rlimit" in it is the reason. The description is shared: read it with pread */
enum {
	NIWA_CRIU_PIDFD = NIWA_SLOT_FIRST_FREE,
	NIWA_CRIU_BINARY,
	NIWA_CRIU_IMAGES,
	NIWA_CRIU_CACHE,
	NIWA_CRIU_EMPTY,
	NIWA_CRIU_LOG,
	NIWA_CRIU_GIVEN_END, /* count of descriptors: NIWA_CRIU_GIVEN_END - NIWA_SLOT_FIRST_FREE */
};

/* What niwa-init starts has this pid in an instance that was not restored: it is the first fork there. In a restored
 * one it is the `pid` of the restore. */
#define NIWA_INIT_COMMAND_PID 2

/* Pids that have to be free above niwa_instance_restore.last_pid, for CRIU and its helpers. */
#define NIWA_CRIU_PIDS 64

/* There is no third way, "end them": CRIU runs in the pid namespace that ends with niwa-init, which ends with its
 * command. Who wants that lets them stop, and kills the group. */
enum niwa_dump_then {
	NIWA_DUMP_GO_ON, /* processes run again when CRIU ends */
	NIWA_DUMP_STOP,  /* they stay stopped (each as after SIGSTOP), to be continued with SIGCONT to each of them */
};

struct niwa_dump_params {
	uint64_t instance;                /* its number */
	const struct niwa_app_spec *spec; /* limits: which v1 groups there are */
	pid_t pid;                        /* of the root process, as numbered inside */
	enum niwa_dump_then then;
};

/* CRIU's status 0: the images are complete, but for the edit of inventory.img. Killed while it runs: the processes may
 * die or be left stopped, end the instance. A frozen group has to be thawed before, CRIU would wait for ever.
 * Nothing but the processes' state is in the images: not the writable layer (NIWA_SLOT_LAYER), not /dev/shm. */
int niwa_dump_plan(const struct niwa_host *host, const struct niwa_dump_params *params, struct niwa_plan *ret,
		   struct niwa_error *err);

struct niwa_criu_restore_params {
	uint64_t instance; /* restored into; started with niwa_instance_params.restore, STARTED */
	const struct niwa_app_spec *spec;
	pid_t init_pid;     /* its pid 1, as numbered on the host: keep opens /proc/<init_pid>/fd/1 for writing, which
			       becomes the app's standard output and error */
	uint64_t log_inode; /* st_ino of the dumped instance's log pipe (fstat of NIWA_SLOT_LOG before the dump) */
};

/* CRIU's status 0: every process runs, is a descendant of niwa-init and listens; the command is adopted already.
 * Anything else: kill the group; half-restored processes may be in it. */
int niwa_criu_restore_plan(const struct niwa_host *host, const struct niwa_criu_restore_params *params,
			   struct niwa_plan *ret, struct niwa_error *err);

/* The descriptor for NIWA_CRIU_BINARY and NIWA_CRIU_CHECK_BINARY, the caller's; -ENOEXEC: not a static program. The one
 * function here that looks at the host. */
int niwa_criu_open(const char *path, struct niwa_error *err);

/* `criu check --unprivileged` on the host, once per niwad run and CRIU: START with { plan, binary, log } (slots
 * NIWA_CRIU_CHECK_BINARY, _LOG). STARTED sends back NIWA_CRIU_CHECK_CACHE: the root folder of a tmpfs that is mounted
 * nowhere. When EXITED says 0 criu.kdat is in it and it is what NIWA_CRIU_CACHE wants; it lives as long as somebody
 * holds the descriptor (keep can, STORE). Another status: CRIU does not work on this kernel, the log says why. */
enum {
	NIWA_CRIU_CHECK_CACHE = 0,
	NIWA_CRIU_CHECK_BINARY = NIWA_SLOT_FIRST_FREE,
	NIWA_CRIU_CHECK_LOG,
};
int niwa_criu_check_plan(struct niwa_plan *ret, struct niwa_error *err);

#endif
