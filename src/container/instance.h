/* SPDX-License-Identifier: MIT
 *
 * App record + what the host gave this instance → plan. Pure: reads no file, makes no call. The same input gives
 * the same plan. What is refused is refused with NIWA_CALLER and the key of the app file in the message.
 * What an instance gets, in which order and why: docs/adr/002-images-and-instances.md.
 */
#ifndef NIWA_CONTAINER_INSTANCE_H
#define NIWA_CONTAINER_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/ula.h"
#include "container/image.h"
#include "container/plan.h"
#include "spec/app.h"

/* Slots of the descriptors that keep sends back (niwa_keep_msg.sent) for an instance. */
enum { NIWA_SLOT_LOG = 0, NIWA_SLOT_DIAG = 1, NIWA_SLOT_NOTIFY = 2, NIWA_SLOT_FIRST_FREE = 3 };
/* And, of one that may be dumped (init or restore of its parameters) with a layer in memory: its folder, O_RDONLY |
 * O_DIRECTORY; "upper" in it is what the app has written. Files have the ids of the lease. It is the only way there,
 * and it pins that memory until FORGET and the caller's close. A layer on disk is at layer_dir instead. */
#define NIWA_SLOT_LAYER (NIWA_SLOTS - 1)

#define NIWA_LAYER_BYTES (UINT64_C(256) << 20)

enum niwa_cgroup_layout { NIWA_CGROUP_UNIFIED, NIWA_CGROUP_HYBRID };

/* The host's side, the same for all instances of one niwad run. Borrowed. */
struct niwa_host {
	enum niwa_cgroup_layout cgroup_layout;
	const char *cgroup_v2; /* absolute path of niwa's own v2 group; instances are children "i<id>" */
	const char *cgroup_memory, *cgroup_cpu, *cgroup_pids, *cgroup_blkio; /* hybrid: niwa's v1 groups or NULL */
	bool cgroup_swap;      /* swap is counted by group: limits.memory bounds it as well (adr/013) */
	const char *run_dir;   /* RUN_DIR, e.g. /run/niwa; others may pass through it (0711 or 0755) */
	const char *state_dir; /* STATE_DIR, e.g. /var/lib/niwa */
	const char *dev_dir;   /* prepared /dev (see image.h) */
	const char *init_path; /* niwa-init */
	uint32_t gateway_addr; /* network order; on the host's lo; next hop of all instances */
	uint32_t veth_group;   /* interface group of the host ends */
	uint8_t host_mac[6];   /* of every host end (permanent neighbour of the instances) */
	const char *domain;    /* "niwa.internal" */
	struct niwa_ula ula;   /* on: instances have IPv6 addresses, too */
	bool no_ipv6;          /* the host's kernel has none (/proc/sys/net/ipv6 is missing) */
	/* Where an app writes outside its volumes, when it sets no limits.disk: a tmpfs of layer_bytes (0:
	 * NIWA_LAYER_BYTES), charged to the app's memory; or a folder of the disk, slower and without a bound. */
	uint64_t layer_bytes;
	bool layer_on_disk;
	uint32_t cpu_centi_max; /* hybrid: of the group that instances' groups are in, which refuses more; 0: any */
	uint64_t nofile_max;    /* hard limit of niwa-keep, 0: not known; limits.open_files above it is refused */
};

/* What this instance got. Borrowed. */
struct niwa_instance_params {
	uint64_t id;
	uint64_t app_id; /* of the app, never given twice; for keys of snapshots, not in the plan */
	const struct niwa_app_spec *spec;
	const struct niwa_image *image;
	uint32_t id_base;        /* lease: 65,536 ids from here */
	uint32_t tenant_id_base; /* of the tenant's files on volumes (owner: tenant) */
	uint32_t private_addr;   /* network order */
	uint32_t service_addr;   /* network order, put on the instance's lo */
	char veth[16];           /* name of the host end */
	const char *layer_dir;   /* STATE_DIR/layers/<id>: upper and work are created below */
	const char *
		tenant_dir; /* RUN_DIR/tenants/<tenant>: hosts and resolv.conf, mounted read-only at /run/niwa/tenant */
	/* By position in spec->volumes. Ids: for owner: USER, looked up by the engine (container ids: those of the
	 * app's user). is_file: `from` is no folder. */
	struct niwa_volume_ids {
		uint32_t host_uid, host_gid, container_uid, container_gid;
		bool is_file;
	} volume_ids[NIWA_VOLUMES_MAX];
	uint32_t uid, gid; /* of the app's user, looked up in the image */
	uint32_t groups[32];
	unsigned group_count;
	const char *home; /* of that user (niwa_image_home); NULL: /root for uid 0, else / */
	char random[65];  /* fresh at each start, 64 hexadecimal digits: for the app to mix in; "": none */
	bool init;        /* below niwa-init also where the app does not ask: it may be dumped (instance_snapshot.h) */
	const struct niwa_instance_restore *restore; /* NULL: its command is started */
};

/* An instance that a dump is restored into: as any other, but niwa-init starts no command. It waits for CRIU's process
 * `pid` to become its child, then is to it what it is to a command. Until then it forwards no signal, and it does
 * not end by itself when the restore fails. Borrowed. */
struct niwa_instance_restore {
	pid_t pid;      /* of the dumped root process, as numbered inside; above 1 */
	pid_t last_pid; /* the NIWA_CRIU_PIDS numbers above it are none of the dumped processes', threads', process
			   groups' or sessions'; below the kernel's pid_max minus those */
	/* What the instance's clocks are ahead of the host's (negative: behind): at the dump, as seen inside, minus the
	 * host's now. Both 0: no time namespace. Read later from /proc/<pid 1>/timens_offsets. */
	int64_t monotonic_ns, boottime_ns;
	/* Saved writable layer: a folder of the host with ids 0 to 65535, over the image and below the fresh layer,
	 * which is read-only and may be used by any number of instances. What of an overlay's upper folder has a
	 * meaning has to be in it as it was: devices 0:0 (whiteouts) and the attributes user.overlay.opaque and
	 * .redirect; none of the other user.overlay ones. NULL: none */
	const char *layer;
	/* Saved files of /dev/shm, copied there: a folder as above with files, folders and symbolic links, 8 levels at
	 * most. NULL: none */
	const char *shm;
};

int niwa_instance_plan(const struct niwa_host *host, const struct niwa_instance_params *params, struct niwa_plan *ret,
		       struct niwa_error *err);

/* A share of the CPUs, in hundredths of a percent, as the kernel has it. */
void niwa_cpu_quota(uint32_t centi, uint64_t *ret_quota_us, uint64_t *ret_period_us);

struct niwa_exec_params {
	uint64_t id, instance; /* of the exec, of the instance joined */
	const struct niwa_app_spec *spec;
	const struct niwa_image *image; /* for its environment and folder, or NULL */
	char *const *argv;              /* NULL-terminated */
	uint32_t uid, gid, groups[32];
	unsigned group_count;
	const char *home; /* as in struct niwa_instance_params */
	bool terminal; /* slot 4 is a console socket; else slots 4, 5, 6 are 0, 1, 2. Slot 3 is the instance's pidfd */
	uint16_t rows, columns; /* of the terminal, 0: not known */
};
int niwa_exec_plan(const struct niwa_host *host, const struct niwa_exec_params *params, struct niwa_plan *ret,
		   struct niwa_error *err);

/* A program of niwa itself (the relay): no namespaces, another user, descriptors passed as numbers 3, 4, ... */
struct niwa_program_params {
	char *const *argv, *const *env;
	uint32_t uid, gid;
	uint64_t caps;     /* mask that stays */
	unsigned fd_count; /* slots NIWA_SLOT_FIRST_FREE.. become 3.. */
	uint64_t nofile;   /* soft and hard; 0: as keep's hard limit */
};
int niwa_program_plan(const struct niwa_program_params *params, struct niwa_plan *ret, struct niwa_error *err);

/* Names derived from an instance's id, for planning and for collecting: "i<id>" groups, veth name "nw<base36 id>",
 * number of the host end (0x20000000 and up: the kernel's own counting never gets there). */
void niwa_instance_veth_name(uint64_t id, char ret[16]);
bool niwa_instance_of_veth(const char *name, uint64_t *ret_id); /* false: it is no such name */
void niwa_instance_mac(uint64_t id, uint8_t ret[6]);
uint32_t niwa_instance_ifindex(uint64_t id);

#endif
